// The wait for PostgreSQL at the start, and what is refused there.

import assert from 'node:assert/strict';
import { connect } from 'node:net';
import test, { describe, it } from 'node:test';
import { Refusal } from '../../src/errors.ts';
import { awaitDatabase } from '../../src/store/database.ts';
import { startPooler } from '../support/pooler.ts';
import { testDatabase } from '../support/postgres.ts';
import { startProxy } from '../support/proxy.ts';

const { url } = await testDatabase(test, 'empty');

/** Whatever is refused is told in one line that names the setting and shows no password. */
async function isRefused(waiting: Promise<void>, why: RegExp): Promise<void> {
  await assert.rejects(waiting, (thrown) => {
    assert.ok(thrown instanceof Refusal, String(thrown));
    assert.equal(thrown.kind, 'unavailable');
    assert.match(thrown.message, /^database\.url: expected [^\n]+$/);
    assert.match(thrown.message, why);
    assert.doesNotMatch(thrown.message, new RegExp(new URL(url).password));
    return true;
  });
}

describe('the wait for PostgreSQL', { timeout: 60_000 }, () => {
  it('ends when a server answers', async () => {
    await awaitDatabase({ url });
  });

  it('lasts while there is none', async (t) => {
    const proxy = await startProxy(t, url);
    await proxy.down();
    const waiting = awaitDatabase({ url: proxy.url });
    await assert.rejects(new Promise((_, reject) => connect(Number(new URL(proxy.url).port), '127.0.0.1').on('error', reject)));
    await proxy.up();
    await waiting;
  });

  it('ends in a refusal when none came in time', async (t) => {
    const proxy = await startProxy(t, url);
    await proxy.down();
    await isRefused(awaitDatabase({ url: proxy.url, withinMs: 100 }), /does not answer \(connect ECONNREFUSED/);
  });

  it('ends with the reason of an abort', async (t) => {
    const proxy = await startProxy(t, url);
    await proxy.down();
    const stopping = new AbortController();
    const waiting = assert.rejects(awaitDatabase({ url: proxy.url, signal: stopping.signal }), { name: 'AbortError' });
    stopping.abort();
    await waiting;
  });

  it('is not for a wrong password or database, which would stay wrong', async () => {
    const wrong = new URL(url);
    wrong.password = 'p@ss/word';
    await isRefused(awaitDatabase({ url: wrong.href }), /password authentication failed/);
    const missing = new URL(url);
    missing.pathname = '/nowhere';
    await isRefused(awaitDatabase({ url: missing.href }), /"nowhere" does not exist/);
  });

  it('is not for an address that is none', async () => {
    await isRefused(awaitDatabase({ url: 'postgres://belfry:secret@[::1' }), /expected a URL such as .* got postgres:\/\/belfry:\*\*\*@/);
  });
});

describe('a server that Belfry cannot live on', { timeout: 60_000 }, () => {
  it('is one that pools transactions', async (t) => {
    const pooler = await startPooler(t, url);
    await isRefused(awaitDatabase({ url: pooler.url }), /a proxy that pools transactions/);
  });

  it('is one older than 14', async (t) => {
    const pooler = await startPooler(t, url, { 'show server_version': '13.22 (Debian 13.22-1)' });
    await isRefused(awaitDatabase({ url: pooler.url }), /expected PostgreSQL 14 or newer, .* is 13\.22/);
  });

  it('is a database that cannot hold every text', async (t) => {
    const pooler = await startPooler(t, url, { 'show server_encoding': 'LATIN1' });
    await isRefused(awaitDatabase({ url: pooler.url }), /expected a database in UTF8, .* is in LATIN1/);
  });
});
