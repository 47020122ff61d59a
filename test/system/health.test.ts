// What a whole Belfry says of its health, and what it refuses its own jobs.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Readiness } from '../../src/node/readiness.ts';
import { folder, limitMs, startBelfry, suiteScope, until, type Belfry, type LogLine } from '../support/belfry.ts';
import { testDatabase } from '../support/postgres.ts';
import { startProxy, type Proxy } from '../support/proxy.ts';

const limit = { timeout: 3 * limitMs };
const scope = suiteScope();
let belfry: Belfry;
let database: Proxy;

before(async () => {
  const { url } = await testDatabase(scope, 'empty');
  database = await startProxy(scope, url);
  belfry = await startBelfry({ cwd: await folder(scope), env: { BELFRY_DATABASE_URL: database.url } });
});

async function readyz(): Promise<Readiness & { code: number }> {
  const answer = await fetch(`${belfry.address}/readyz`);
  return { ...((await answer.json()) as Readiness), code: answer.status };
}

/** Asks until it says this. */
async function untilSaid(isIt: (said: Readiness & { code: number }) => boolean): Promise<Readiness & { code: number }> {
  return await until(async () => {
    const said = await readyz();
    return isIt(said) ? said : undefined;
  });
}

/** Fails unless it was told in turns that this began and that it ended: once each time. */
function assertToldInTurns(what: string): void {
  const told = belfry.lines.filter((line) => line['degraded'] === what).map(({ msg }) => msg);
  assert.deepEqual(
    told,
    told.map((_, index) => (index % 2 === 0 ? 'degraded' : 'degraded_no_more')),
  );
}

describe('a job that calls the Belfry that runs it', limit, () => {
  async function calling(name: string, path: string, body?: Record<string, unknown>) {
    const request = { method: body ? 'POST' : 'GET', target: `${belfry.address}${path}`, ...(body ? { body } : {}) };
    await belfry.create({ name, expr: '@yearly', command: { type: 'http', ...request } });
    const run = await belfry.finished(await belfry.trigger(name));
    return { run, result: await belfry.resultOf(run.id) };
  }

  test('fails, and its result says why', async () => {
    const { run, result } = await calling('breeder', '/createJob', {
      name: 'bred',
      expr: '@yearly',
      command: { type: 'shell', target: 'true' },
    });
    assert.deepEqual([run.state, run.failed_cnt, result['status']], ['failed', 1, 403]);
    assert.match(
      String(result['body']),
      /a job may not call Belfry itself, but for \/ping, \/healthz, \/readyz, \/metrics; got a call of run/,
    );
    const { status } = await fetch(`${belfry.address}/v1/jobs/bred`);
    assert.equal(status, 404);
  });

  test('to ask whether it is there succeeds', async () => {
    for (const path of ['/ping', '/healthz']) {
      const { run, result } = await calling(`asks ${path.slice(1)}`, path);
      assert.deepEqual([run.state, result['status']], ['succeeded', 200]);
    }
  });
});

describe('a Belfry', limit, () => {
  test('that has just started is ready', async () => {
    const { code, not_ready: notReady, checks } = await untilSaid(({ status }) => status !== 'not_ready');
    assert.deepEqual([code, notReady, checks.database.answers, checks.clock.state], [200, [], true, 'right']);
  });

  test('whose event loop was kept for seconds says so, and goes on with its work', async () => {
    // Stopped from outside, it is kept from everything, as by a computation of its own.
    process.kill(belfry.pid, 'SIGSTOP');
    await sleep(3000);
    process.kill(belfry.pid, 'SIGCONT');
    // It may have been kept before, for less; and the database may not have answered in time meanwhile.
    await untilSaid(({ code, degraded, checks }) => code === 200 && degraded.includes('loop') && checks.loop.worst_ms >= 2500);
    await belfry.logged((line) => line.msg === 'degraded' && line['degraded'] === 'loop');
    // It stays so for a minute, and is not told again.
    await readyz();
    await belfry.create({ name: 'goes-on', expr: '@yearly', command: { type: 'shell', target: 'true' } });
    assert.equal((await belfry.finished(await belfry.trigger('goes-on'))).state, 'succeeded');
    assertToldInTurns('loop');
  });

  test('whose database is away is alive and not ready, and is ready again when that is back', async () => {
    await untilSaid(({ status }) => status !== 'not_ready');
    const saidBefore = belfry.lines.length;
    const isTold = (told: string) => (line: LogLine) =>
      line.msg === told && line['degraded'] === 'database' && belfry.lines.indexOf(line) >= saidBefore;
    await database.down();
    const { code, not_ready: notReady } = await untilSaid(({ status }) => status === 'not_ready');
    assert.deepEqual([code, notReady], [503, ['database']]);
    assert.equal((await readyz()).code, 503);
    assert.equal((await fetch(`${belfry.address}/healthz`)).status, 200);
    await database.up();
    await untilSaid(({ status }) => status !== 'not_ready');
    await belfry.logged(isTold('degraded'));
    await belfry.logged(isTold('degraded_no_more'));
    assertToldInTurns('database');
  });

  test('whose database is silent says so within seconds, however many ask', async () => {
    database.silence();
    const answers = await Promise.all(Array.from({ length: 100 }, readyz));
    // The connections that were open are; the next question has one that carries.
    assert.ok(answers.every(({ checks }) => !checks.database.answers || (checks.database.ms ?? 0) < 5000));
    await untilSaid(({ status }) => status !== 'not_ready');
  });
});
