// What Belfry does not take: each "no" in a sentence that says where and what was expected, with an exit code to go by.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { folder, freePort, limitMs, startBelfry, startRefused } from '../support/belfry.ts';
import { testDatabase } from '../support/postgres.ts';
import { startTarget } from '../support/target.ts';

const badConfig = 78;
const unavailable = 69;

// Two at a time: one of them waits half a minute for a database.
describe('Belfry refuses to start', { timeout: 3 * limitMs, concurrency: 2 }, () => {
  test('when no database answers: after half a minute, in one line that names the setting and not the password', async (t) => {
    const url = `postgres://belfry:hidden@127.0.0.1:${await freePort()}/belfry`;
    const { code, stderr } = await startRefused({ cwd: await folder(t), env: { BELFRY_DATABASE_URL: url } });
    assert.equal(code, unavailable);
    const where = url.replace('belfry:hidden', String.raw`(belfry:)?\*\*\*`);
    assert.match(stderr, new RegExp(`^belfry: database.url: expected a PostgreSQL server, ${where} does not answer .*ECONNREFUSED.*\n$`));
  });

  test('when the database does not let it in: at once, without the password', async (t) => {
    const url = new URL((await testDatabase(t, 'empty')).url);
    url.password = 'hidden';
    const { code, stderr } = await startRefused({ cwd: await folder(t), env: { BELFRY_DATABASE_URL: url.href } });
    assert.equal(code, unavailable);
    assert.match(stderr, /^belfry: database\.url: .*password authentication failed.*\n$/);
    assert.doesNotMatch(stderr, /hidden/);
  });

  test('when there is no such database', async (t) => {
    const url = new URL((await testDatabase(t, 'empty')).url);
    const { password } = url;
    url.pathname = '/nowhere';
    const { code, stderr } = await startRefused({ cwd: await folder(t), env: { DATABASE_URL: url.href } });
    assert.equal(code, unavailable);
    assert.match(stderr, /^belfry: database\.url: .*"nowhere" does not exist.*\n$/);
    assert.equal(stderr.includes(password), false);
  });

  test('when its port is taken', async (t) => {
    const { url } = await testDatabase(t, 'empty');
    const { port } = new URL((await startTarget(t, () => ({ status: 200 }))).url);
    const { code, stderr } = await startRefused({ cwd: await folder(t), env: { BELFRY_DATABASE_URL: url, BELFRY_ADDR: `:${port}` } });
    assert.equal(code, unavailable);
    assert.equal(stderr, `belfry: transport.http.addr: can't listen on 127.0.0.1:${port} (EADDRINUSE)\n`);
  });

  test('with every fault of its configuration at once, each with file, line and column', async (t) => {
    const config = `retention.run = "7d"
[[jobs]]
name = "a"
expr = "61 * * * *"
timeout = "30"
[jobs.command]
type = "shel"
target = "true"
`;
    const { code, stderr } = await startRefused({ cwd: await folder(t), config, env: { BELFRY_LOG_LEVEL: 'loud' } });
    assert.equal(code, badConfig);
    const [retention, expr, timeout, type, level, ...others] = stderr.trimEnd().split('\n');
    assert.equal(retention, 'config.toml:1:1 retention.run: unknown key; did you mean "runs"?');
    assert.match(String(expr), /^config\.toml:4:1 jobs\[0\]\.expr: .*61/);
    assert.equal(timeout, 'config.toml:5:1 jobs[0].timeout: expected a duration such as "30s", got "30"');
    assert.equal(type, 'config.toml:7:1 jobs[0].command.type: expected "shell" or "http", got "shel"; did you mean "shell"?');
    assert.match(String(level), /^BELFRY_LOG_LEVEL: expected "trace", .*, got "loud"/);
    assert.deepEqual(others, []);
  });

  test('with a configuration that is no TOML, where it begins to be none', async (t) => {
    const { code, stderr } = await startRefused({ cwd: await folder(t), config: 'env = "dev"\n[transport\n' });
    assert.equal(code, badConfig);
    assert.match(stderr, /^config\.toml:2:\d+ expected TOML, got a fault in it: .*\n$/);
  });

  test('with a port that is none', async (t) => {
    const { code, stderr } = await startRefused({ cwd: await folder(t), env: { BELFRY_ADDR: undefined, PORT: '70000' } });
    assert.equal(code, badConfig);
    assert.equal(stderr, 'PORT: expected a port from 0 to 65535, got "70000"\n');
  });

  test('at an address that others can reach', async (t) => {
    const { code, stderr } = await startRefused({ cwd: await folder(t), env: { BELFRY_ADDR: '0.0.0.0:9000' } });
    assert.equal(code, badConfig);
    const why = 'until sign-in exists, Belfry can be reached from its own machine only';
    assert.equal(stderr, `BELFRY_ADDR: expected a loopback address such as "127.0.0.1:9000" (${why}), got "0.0.0.0:9000"\n`);
  });
});

describe('A running Belfry refuses', { timeout: 2 * limitMs }, () => {
  test('what a web page of another site asks through a browser of this machine', async (t) => {
    const { url } = await testDatabase(t, 'empty');
    const { address } = await startBelfry({ cwd: await folder(t), env: { BELFRY_DATABASE_URL: url } });
    const job = { name: 'from-a-page', expr: '@yearly', command: { type: 'shell', target: 'true' } };
    for (const headers of [{ origin: 'http://elsewhere.example' }, { 'sec-fetch-site': 'cross-site' }, { origin: 'null' }]) {
      const answer = await fetch(`${address}/createJob`, { method: 'POST', headers, body: JSON.stringify(job) });
      assert.deepEqual([answer.status, ((await answer.json()) as { code: number }).code], [403, -10], JSON.stringify(headers));
    }
  });
});
