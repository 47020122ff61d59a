// All that several nodes do with the same runs at one moment, each in an order of its own: nobody stands in another's way.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { connectionTo, openSession } from '../../src/store/connection.ts';
import { until } from '../support/belfry.ts';
import {
  afterAll,
  claim,
  clear,
  failedOnce,
  openStores,
  outcome,
  placeJob,
  placeNode,
  queueRuns,
  seconds,
  statesOf,
  torn,
  type Stores,
} from '../support/jobs.ts';
import { testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const [one, other, third] = [openStores(test, url), openStores(test, url), openStores(test, url)];
const [node, otherNode] = [await placeNode(one, 'one'), await placeNode(other, 'other')];

/** Does it some times, one after the other. */
async function times(count: number, work: (turn: number) => Promise<unknown>): Promise<void> {
  for (let turn = 0; turn < count; turn++) await work(turn);
}

/** Claims runs in messages of some dozens, and records them: every third is to be tried again. */
async function perform(stores: Stores, owner: number, ids: readonly number[]): Promise<void> {
  for (let from = 0; from < ids.length; from += 37) {
    const claimed = await claim(stores, ids.slice(from, from + 37), owner);
    await Promise.all(claimed.map((run) => stores.runs.record(run.id % 3 === 0 ? failedOnce(run, afterAll) : outcome(run))));
  }
}

// markSent, unmarkSent, unblock, cancelWaiting and the readying within a record wait for rows that others hold.

describe('sending, giving back, claiming, recording and upkeep at once', { timeout: 120_000 }, () => {
  for (const overlap of ['allow', 'skip', 'wait', 'wait_all', 'replace']) {
    test(`end well for all: ${overlap}`, async () => {
      await times(3, async () => {
        await clear(one);
        const jobs = await Promise.all(Array.from({ length: 40 }, () => placeJob(one, { overlap })));
        const ids = (await Promise.all(jobs.map((job) => queueRuns(one, job, 10)))).flat();
        const shuffled = ids.toSorted((a, b) => ((a * 7919) % 401) - ((b * 7919) % 401));
        await Promise.all([
          perform(one, node, ids),
          perform(other, otherNode, ids.toReversed()),
          perform(third, node, shuffled),
          // So late that whatever was sent is sent again.
          times(10, (turn) => other.runs.markSent(seconds(7200 + turn * 600), 400)),
          times(10, (turn) => third.runs.markSent(seconds(7500 + turn * 600), 400).then(() => third.runs.unmarkSent(shuffled))),
          times(10, () => one.runs.unblock().then(() => other.runs.cancelWaiting(afterAll))),
        ]);
        assert.deepEqual(await torn(one), []);
      });
    });
  }
});

test('a trigger that PostgreSQL ends to break a deadlock is made all the same, once', { timeout: 60_000 }, async () => {
  await clear(one);
  const job = await placeJob(one, { overlap: 'replace' });
  const ids = await queueRuns(one, job, 2);
  const session = await openSession(connectionTo({ url, applicationName: 'another' }), { lost: () => undefined });
  const lock = (id: number | undefined) => session.query('select from belfry.unfinished where run_id = $1 for update', [id]);
  await session.query("set deadlock_timeout = '1min'");
  await session.query('begin');
  await lock(ids[1]);
  const making = one.runs.insert({ jobId: job.id, cause: 'manual', dueAt: afterAll, traceId: 'trace', evenIfBusy: false });
  const isWaiting = other.database.sql.part`exists (select from pg_locks l where l.pid = a.pid and not l.granted)`;
  await until(async () => {
    const rows = await other.database.sql`select from pg_stat_activity a where datname = current_database() and ${isWaiting}`;
    return rows.length > 0 || undefined;
  });
  await lock(ids[0]);
  await session.query('commit');
  assert.equal((await making).length, 1);
  await session.close();
  assert.equal(await one.runs.cancelWaiting(afterAll), 2);
  const all = await one.database.sql<{ id: number }[]>`select id from belfry.runs where job_id = ${job.id}`;
  assert.deepEqual(
    await statesOf(
      one,
      all.map(({ id }) => id),
    ),
    ['cancelled', 'cancelled', 'queued'],
  );
});
