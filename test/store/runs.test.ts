// Runs as rows, on a real PostgreSQL: made by hand, sent and sent again, cancelled, forgotten, read.

import assert from 'node:assert/strict';
import test, { afterEach, beforeEach, describe } from 'node:test';
import {
  afterAll,
  claim,
  clear,
  failedOnce,
  fire,
  noon,
  openStores,
  outcome,
  placeJob,
  placeNode,
  queueRuns,
  runNow,
  seconds,
  statesOf,
  torn,
  wayOf,
  edited,
} from '../support/jobs.ts';
import { testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const { runs, records } = stores;
const me = await placeNode(stores, 'node a');

beforeEach(() => clear(stores));
afterEach(async () => assert.deepEqual(await torn(stores), []));

async function queued(count: number, overlap = 'allow'): Promise<number[]> {
  return await queueRuns(stores, await placeJob(stores, { overlap }), count);
}

describe('a run by hand', () => {
  const byHand = async (jobId: number, evenIfBusy = false) => {
    const [made] = await runs.insert({ jobId, cause: 'manual', dueAt: noon, traceId: 'its own', evenIfBusy });
    return made;
  };

  test('carries what the job says and a trace of its own, and is ready at once', async () => {
    const job = await placeJob(stores, { overlap: 'wait' });
    const made = await byHand(job.id);
    const { state, cause, command, policy, readyAt, traceId, jobName } = await runNow(stores, made?.id ?? 0);
    const overlap = (await wayOf(stores, made?.id ?? 0))?.overlap;
    assert.deepEqual(
      { state, cause, command, policy, overlap, readyAt, traceId, jobName },
      {
        state: 'queued',
        cause: 'manual',
        command: job.command,
        policy: job.policy,
        overlap: 'wait',
        readyAt: noon,
        traceId: 'its own',
        jobName: job.name,
      },
    );
  });

  test('may be due at the moment of another, by hand or by schedule', async () => {
    const job = await placeJob(stores, { overlap: 'allow' });
    await fire(stores, job, noon);
    assert.ok((await byHand(job.id)) && (await byHand(job.id)));
  });

  test('is not made of a job that skips and is busy, unless asked to be beside it', async () => {
    const job = await placeJob(stores, { overlap: 'skip' });
    assert.ok(await byHand(job.id));
    assert.equal(await byHand(job.id), undefined);
    const beside = await byHand(job.id, true);
    assert.equal((await wayOf(stores, beside?.id ?? 0))?.overlap, 'allow');
  });

  test('is not made of a job that is deleted or was never there', async () => {
    const job = await placeJob(stores);
    await stores.jobs.remove(job.id, edited);
    assert.equal(await byHand(job.id), undefined);
    assert.equal(await byHand(2 ** 40), undefined);
  });
});

describe('what is to be sent', () => {
  test('is what is ready, once', async () => {
    const ids = await queued(5);
    assert.deepEqual(await runs.markSent(seconds(2), 100), ids.slice(0, 3));
    assert.deepEqual(await runs.markSent(seconds(2), 100), []);
    assert.deepEqual(await runs.markSent(seconds(4), 100), ids.slice(3));
  });

  test('of what is caught up are as many as may be, after all that is live', async () => {
    const job = await placeJob(stores, { overlap: 'allow' });
    const late = await fire(stores, job, ...[0, 1, 2].map((second) => ({ dueAt: seconds(second), catchup: true })));
    const live = await fire(stores, job, seconds(10), seconds(11));
    const [first = 0, ...others] = late.map(({ id }) => id).sort((a, b) => a - b);
    const idsOfLive = live.map(({ id }) => id).sort((a, b) => a - b);
    assert.deepEqual(await runs.markSent(afterAll, 100, 0), idsOfLive);
    assert.deepEqual(await runs.markSent(afterAll, 100, 1), [first]);
    assert.deepEqual(await runs.markSent(afterAll, 3, 100), [], 'the window is full');
    assert.deepEqual(await runs.markSent(afterAll, 100, 100), others);
  });

  test('is no more than fits in the window, what was sent and not begun included', async () => {
    const ids = await queued(10);
    assert.deepEqual(await runs.markSent(afterAll, 4), ids.slice(0, 4));
    assert.deepEqual(await runs.markSent(afterAll, 4), []);
    await claim(stores, ids.slice(0, 2), me);
    assert.deepEqual(await runs.markSent(afterAll, 4), ids.slice(4, 6));
  });

  test('is what is live before what is caught up, each the oldest first', async () => {
    const job = await placeJob(stores, { overlap: 'allow' });
    const fired = await fire(
      stores,
      job,
      { dueAt: seconds(0), catchup: true },
      { dueAt: seconds(1), catchup: true },
      seconds(3),
      seconds(2),
    );
    const inOrder: number[] = [];
    for (let turn = 0; turn < fired.length; turn++) {
      const [id = 0] = await runs.markSent(afterAll, 1);
      inOrder.push((await runNow(stores, id)).dueAt.getTime());
      await claim(stores, [id], me);
    }
    assert.deepEqual(
      inOrder,
      [2, 3, 0, 1].map((at) => seconds(at).getTime()),
    );
  });

  test('is a run that waits to be tried again, when it is ready', async () => {
    const [id = 0] = await queued(1);
    const [run] = await claim(stores, [id], me);
    assert.ok(run);
    await runs.record(failedOnce(run, seconds(5000)));
    assert.deepEqual(await runs.markSent(seconds(4999), 100), []);
    assert.deepEqual(await runs.markSent(seconds(5000), 100), [id]);
  });

  test('is nothing that is running or at its end', async () => {
    const [first = 0, second = 0] = await queued(2);
    const [, ended] = await claim(stores, [first, second], me);
    assert.ok(ended);
    await runs.record(outcome(ended));
    assert.deepEqual(await runs.markSent(afterAll, 100), []);
  });

  test('is sent again when nobody began it: after 15 s, 30 s, 60 s, 2 min, 4 min, and every 4 min from then on', async () => {
    const [id = 0] = await queued(1);
    let at = 0;
    await runs.markSent(seconds(at), 100);
    for (const wait of [15, 30, 60, 120, 240, 240, 240]) {
      at += wait;
      assert.deepEqual(await runs.markSent(seconds(at), 100), [], `${wait} s`);
      at += 0.001;
      assert.deepEqual(await runs.markSent(seconds(at), 100), [id], `${wait} s and a bit`);
    }
  });

  test('is sent at once again when it was given back', async () => {
    const ids = await queued(3);
    await runs.markSent(afterAll, 100);
    await runs.unmarkSent(ids.slice(0, 2));
    const { sentAt, sends } = (await wayOf(stores, ids[0] ?? 0)) ?? {};
    assert.deepEqual({ sentAt, sends }, { sentAt: null, sends: 0 });
    assert.deepEqual(await runs.markSent(afterAll, 100), ids.slice(0, 2));
  });

  test('that was given back after it was begun stays begun', async () => {
    const [id = 0] = await queued(1);
    await claim(stores, [id], me);
    const before = await wayOf(stores, id);
    await runs.unmarkSent([id]);
    assert.deepEqual(await wayOf(stores, id), before);
  });

  test('is sent by one of two nodes that send at once', async (t) => {
    const other = openStores(t, url);
    const ids = await queued(400);
    for (let round = 0; round < 20; round++) {
      const [ours, theirs] = await Promise.all([runs.markSent(afterAll, 400), other.runs.markSent(afterAll, 400)]);
      assert.deepEqual(
        [...ours, ...theirs].sort((a, b) => a - b),
        ids,
        `round ${round}`,
      );
      await Promise.all([runs.unmarkSent(ours), other.runs.unmarkSent(theirs.toReversed())]);
    }
  });
});

describe('the next ready run', () => {
  test('is told: the earliest that is not ready yet, live or caught up', async () => {
    const job = await placeJob(stores, { overlap: 'allow' });
    assert.equal((await runs.waiting(noon)).readyAt, undefined);
    await fire(stores, job, seconds(0), seconds(20), { dueAt: seconds(10), catchup: true });
    assert.deepEqual((await runs.waiting(seconds(1))).readyAt, seconds(10));
    assert.deepEqual((await runs.waiting(seconds(10))).readyAt, seconds(20));
    assert.equal((await runs.waiting(seconds(20))).readyAt, undefined);
  });
});

describe('a run that shall be cancelled', () => {
  test('ends where it has not begun, and its node is asked to stop it where it has', async () => {
    const job = await placeJob(stores, { overlap: 'replace' });
    const [first] = await fire(stores, job, noon);
    await claim(stores, [first?.id ?? 0], me);
    const [second] = await fire(stores, job, seconds(1));
    await fire(stores, job, seconds(2));
    assert.equal(await runs.cancelWaiting(seconds(3)), 1);
    const { state, reason, finishedAt } = await runNow(stores, second?.id ?? 0);
    assert.deepEqual({ state, reason, finishedAt }, { state: 'cancelled', reason: 'replaced', finishedAt: seconds(3) });
    assert.deepEqual(await runs.toCancel(me), [first?.id]);
    assert.deepEqual(await runs.toCancel(me + 1000), []);
  });

  test('is cancelled while it waits to be tried again', async () => {
    const job = await placeJob(stores, { overlap: 'replace' });
    const [first] = await fire(stores, job, noon);
    const [run] = await claim(stores, [first?.id ?? 0], me);
    assert.ok(run);
    await runs.record(failedOnce(run, seconds(7200)));
    const [second] = await fire(stores, job, seconds(1));
    await runs.cancelWaiting(seconds(3));
    assert.deepEqual(await statesOf(stores, [run.id, second?.id ?? 0]), ['cancelled', 'queued']);
  });
});

describe('what a node holds', () => {
  test('is told with what settling it needs', async () => {
    const [id = 0] = await queued(2);
    const [run] = await claim(stores, [id], me);
    assert.deepEqual(await runs.heldBy(me), [{ ...run, node: `node ${me}`, begunAt: afterAll }]);
    assert.deepEqual(await runs.heldBy(me + 1000), []);
  });
});

describe('forgetting', () => {
  async function ended(count: number): Promise<number[]> {
    const ids = await queued(count);
    for (const run of await claim(stores, ids, me)) void runs.record(outcome(run, { finishedAt: noon }));
    await runs.idle();
    return ids;
  }

  test('takes what ended before, in steps, the oldest first', async () => {
    const ids = await ended(5);
    assert.deepEqual([await runs.forget(seconds(1), 2), await runs.forget(seconds(1), 2)], [2, 2]);
    assert.equal((await runNow(stores, ids[4] ?? 0)).state, 'succeeded');
    assert.deepEqual([await runs.forget(seconds(1), 2), await runs.forget(seconds(1), 2)], [1, 0]);
  });

  test('keeps what ended later, and what has not ended however old it is', async () => {
    await ended(3);
    await queued(3);
    assert.equal(await runs.forget(noon, 100), 0);
    assert.equal(await runs.forget(seconds(1), 100), 3);
    assert.equal((await records.list({}, { limit: 100, offset: 0 })).length, 3);
  });

  test('goes on behind runs that have not ended', async () => {
    await queued(10);
    const ids = await ended(3);
    for (let step = 0; step < 10; step++) await runs.forget(seconds(1), 2);
    assert.deepEqual(await statesOf(stores, ids), []);
  });
});

describe('the record', () => {
  test('is read newest first, page by page or from an id down', async () => {
    const ids = (await queued(5)).toReversed();
    const pageOf = async (offset: number, before?: number) => (await records.list({ before }, { limit: 2, offset })).map(({ id }) => id);
    assert.deepEqual(
      [await pageOf(0), await pageOf(2), await pageOf(4), await pageOf(6)],
      [ids.slice(0, 2), ids.slice(2, 4), ids.slice(4), []],
    );
    assert.deepEqual(await pageOf(0, ids[1]), ids.slice(2, 4));
  });

  test('is read by name, state and time of queueing, from inclusive, to exclusive', async () => {
    const job = await placeJob(stores, { overlap: 'skip' });
    await fire(stores, job, noon);
    await fire(stores, job, seconds(1));
    await queued(3);
    const count = async (filter: Parameters<typeof records.list>[0]) => (await records.list(filter, { limit: 100, offset: 0 })).length;
    assert.equal(await count({ name: job.name }), 2);
    assert.equal(await count({ name: job.name, state: 'skipped' }), 1);
    assert.equal(await count({ from: noon, to: seconds(1) }), 5);
    assert.equal(await count({ from: seconds(1) }), 0);
    assert.equal(await count({ to: noon }), 0);
    assert.equal(await records.byId(2 ** 40), undefined);
  });
});
