// How a node does, seen on a real PostgreSQL: what its rows and its clock say, and what the log tells of it.

import assert from 'node:assert/strict';
import test, { beforeEach, describe } from 'node:test';
import { Client } from 'pg';
import { makeHealth, type HealthDeps } from '../../src/node/health.ts';
import type { QueueState } from '../../src/node/readiness.ts';
import { mostCounted, openVitals } from '../../src/store/vitals.ts';
import { until } from '../support/belfry.ts';
import { standingClock } from '../support/clock.ts';
import { migrations, wellDoing } from '../support/doors.ts';
import { claim, clear, openStores, placeJob, placeNode, queueRuns } from '../support/jobs.ts';
import { keptLog } from '../support/log.ts';
import { execute, testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const vitals = openVitals({ url, applicationName: 'belfry test', onError: () => {} }, migrations);
test.after(() => vitals.close());

beforeEach(() => clear(stores));

function healthOf(changed: Partial<HealthDeps> = {}) {
  const clock = standingClock();
  const { log, lines } = keptLog();
  const deps = { ...wellDoing, clock, log, look: vitals.look, ...changed };
  return { health: makeHealth(deps), clock, told: () => lines.map(({ msg, degraded }) => [msg, degraded]) };
}

/** So many runs that have been ready for so long, and are `placed` otherwise. */
async function placeReady(count: number, sinceMs: number, placed = ''): Promise<void> {
  const job = await placeJob(stores, { overlap: 'allow' });
  await execute(
    url,
    `with made as (insert into belfry.runs (job_id, job_name, due_at, command, policy, overlap, queued_at, trace_id)
     select ${job.id}, 'many', now() + interval '1 second' * n, '{}', '{}', 'allow', now(), repeat('0', 32) from generate_series(1, ${count}) n returning id)
     insert into belfry.unfinished (run_id, job_id, overlap, ready_at) select id, ${job.id}, 'allow', now() - interval '${sinceMs} milliseconds' from made`,
  );
  if (placed !== '') await execute(url, `update belfry.unfinished set ${placed} where job_id = ${job.id}`);
}

describe('the backlog', () => {
  test('is what is ready and nobody has taken, and how long the first of it waits', async () => {
    await placeReady(3, 5000);
    await placeReady(1, 90_000);
    await placeReady(2, -60_000);
    const { ready, oldestReadyMs } = await vitals.look();
    assert.equal(ready, 4);
    assert.ok(oldestReadyMs >= 90_000 && oldestReadyMs < 600_000, String(oldestReadyMs));
  });

  test('has no run that is held, waits for another, or is at its end', async () => {
    await placeReady(5, 120_000, 'blocked = true');
    const job = await placeJob(stores, { overlap: 'allow' });
    const ids = await queueRuns(stores, job, 2);
    await claim(stores, ids, await placeNode(stores, 'busy'));
    await execute(url, `update belfry.unfinished set ready_at = now() - interval '1 hour'`);
    assert.deepEqual(await vitals.look(), { schema: 'ok', ready: 0, oldestReadyMs: 0 });
  });

  test('has what may run on some nodes only, too', async () => {
    await placeReady(2, 70_000, `lane = 'node:n1'`);
    await placeReady(1, 0, `lane = 'label:gpu'`);
    const { ready, oldestReadyMs } = await vitals.look();
    assert.ok(ready === 3 && oldestReadyMs >= 70_000);
  });

  test('is not old by what is made up for, which may take its time', async () => {
    await placeReady(7, 3_600_000, 'catchup = true');
    assert.deepEqual(await vitals.look(), { schema: 'ok', ready: 7, oldestReadyMs: 0 });
  });

  test('is counted as far as it takes to know that it is one', async () => {
    await placeReady(mostCounted + 500, 0);
    assert.equal((await vitals.look()).ready, mostCounted);
  });
});

describe('the schema', () => {
  test('is that of this program, unless another has changed it', async () => {
    assert.equal((await vitals.look()).schema, 'ok');
    await execute(url, `insert into belfry.__migrations (hash, created_at) values ('from the future', 99999999999999)`);
    assert.equal((await vitals.look()).schema, 'newer');
    await execute(url, `delete from belfry.__migrations where hash = 'from the future'`);
    const last = `select max(id) from belfry.__migrations`;
    const [row] = await execute(url, `delete from belfry.__migrations where id = (${last}) returning hash, created_at`);
    assert.equal((await vitals.look()).schema, 'older');
    await execute(
      url,
      `insert into belfry.__migrations (hash, created_at) values ('${String(row?.['hash'])}', ${String(row?.['created_at'])})`,
    );
  });
});

describe('a node', () => {
  test('that is asked by many at once asks the database once', async () => {
    let asked = 0;
    const answer = Promise.withResolvers<void>();
    const { health } = healthOf({
      look: async () => {
        asked++;
        await answer.promise;
        return await vitals.look();
      },
    });
    const looks = Array.from({ length: 50 }, () => health.look());
    answer.resolve();
    assert.deepEqual(new Set((await Promise.all(looks)).map(({ status }) => status)), new Set(['ready']));
    assert.equal(asked, 1);
    await health.look();
    assert.equal(asked, 2);
  });

  test('whose database does not answer is told so within seconds, and is ready again after it', { timeout: 30_000 }, async () => {
    const { health } = healthOf();
    const holder = await holdTable('belfry.unfinished');
    assert.deepEqual((await health.look()).not_ready, ['database']);
    await holder.release();
    await until(async () => (await health.look()).status === 'ready' || undefined);
  });

  test('that stops is not ready from then on', async () => {
    const { health } = healthOf();
    health.stopping();
    assert.deepEqual((await health.look()).not_ready, ['stopping']);
  });

  test('says once what begins to be wrong, and once what ends to be', async () => {
    let queue: QueueState = 'ok';
    let lagMs = 0;
    const { health, told } = healthOf({ queue: () => queue, loopLagMs: () => lagMs });
    await health.look();
    queue = 'silent';
    await health.look();
    await health.look();
    lagMs = 40_000;
    await health.look();
    queue = 'ok';
    await health.look();
    lagMs = 0;
    await health.look();
    await health.look();
    assert.deepEqual(told(), [
      ['degraded', 'queue'],
      ['degraded', 'loop'],
      ['degraded_no_more', 'queue'],
      ['degraded_no_more', 'loop'],
    ]);
  });

  test('says it also when nobody asks', { timeout: 30_000 }, async () => {
    let queue: QueueState = 'ok';
    const { health, clock, told } = healthOf({ queue: () => queue });
    health.start();
    await clock.asleep(5000);
    queue = 'unavailable';
    clock.pass(5000);
    await clock.asleep(5000);
    await health.stop();
    assert.deepEqual(told(), [['degraded', 'queue']]);
  });

  test('does not say that a backlog is over because the database is away', async () => {
    let isAway = false;
    const { health, told } = healthOf({ look: () => (isAway ? Promise.reject(new Error('away')) : vitals.look()) });
    await placeReady(1, 90_000);
    await health.look();
    isAway = true;
    await health.look();
    isAway = false;
    await health.look();
    assert.deepEqual(told(), [
      ['degraded', 'backlog'],
      ['degraded', 'database'],
      ['degraded_no_more', 'database'],
    ]);
  });
});

/** Holds a table so that nobody can read it, until `release`. */
async function holdTable(table: string): Promise<{ release: () => Promise<void> }> {
  const client = new Client(url);
  await client.connect();
  await client.query(`begin; lock table ${table} in access exclusive mode`);
  return { release: () => client.end() };
}
