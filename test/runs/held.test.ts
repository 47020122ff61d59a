// A worker that shall take nothing for a while, and one that shall hold nothing any more, on a real PostgreSQL.

import assert from 'node:assert/strict';
import test, { describe, type TestContext } from 'node:test';
import { makeBell } from '../../src/clock.ts';
import { makeWorker } from '../../src/runs/worker.ts';
import { until } from '../support/belfry.ts';
import { standingClock } from '../support/clock.ts';
import { afterAll, clear, openStores, outcome, placeJob, placeNode, queueRuns, statesOf, wayOf } from '../support/jobs.ts';
import { testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const incarnation = await placeNode(stores, 'node a');
const limit = { timeout: 60_000 };
const never = new AbortController().signal;
test.beforeEach(() => clear(stores));

async function queued(count: number): Promise<number[]> {
  const ids = await queueRuns(stores, await placeJob(stores, { overlap: 'allow' }), count);
  await stores.runs.markSent(afterAll, 1_000_000);
  return ids;
}

/** A worker whose attempts last until the test is over, unless they are told to stop; its clock stands still. */
function workerOf(t: TestContext, claim = stores.runs.claim) {
  const clock = standingClock(afterAll);
  const over = Promise.withResolvers<void>();
  const begun: { id: number; signal: AbortSignal; wasStopped: boolean }[] = [];
  const worker = makeWorker({
    clock,
    slots: 4,
    me: () => ({ name: 'node a', incarnation }),
    runs: { claim, unmarkSent: stores.runs.unmarkSent },
    perform: async (run, signal) => {
      begun.push({ id: run.id, signal, wasStopped: signal.aborted });
      const stopped = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
      if (!signal.aborted) await Promise.race([over.promise, stopped]);
      await stores.runs.record(outcome(run));
    },
    dispatch: makeBell(clock),
  });
  t.after(async () => {
    over.resolve();
    await worker.stop(0, never);
  });
  return { worker, begun, clock };
}

/** Whether it is settled by now, when all else that goes on has come to rest. */
async function isSettled(work: Promise<unknown>): Promise<boolean> {
  const later = Symbol('later');
  await stores.runs.idle();
  const turn = new Promise((resolve) => setImmediate(() => resolve(later)));
  return (await Promise.race([work, turn])) !== later;
}

describe('a worker that is held', limit, () => {
  test('gives back at once all that comes, and fetches no more; what runs goes on', async (t) => {
    const { worker, begun } = workerOf(t);
    await worker.take(await queued(1));
    worker.hold(true);
    const ids = await queued(2);
    const taken = worker.take(ids);
    // Without its clock going on.
    await until(async () => (await Promise.all(ids.map((id) => wayOf(stores, id)))).every((way) => way?.sentAt === null) || undefined);
    assert.deepEqual(await stores.runs.markSent(afterAll, 100), ids);
    assert.deepEqual([await isSettled(taken), worker.busy(), begun[0]?.signal.aborted], [false, 1, false]);
    worker.hold(false);
    await taken;
  });

  test('takes again when it is not any more', async (t) => {
    const { worker } = workerOf(t);
    worker.hold(true);
    const taken = worker.take(await queued(1));
    assert.equal(await isSettled(taken), false);
    worker.hold(false);
    await taken;
    const ids = await queued(3);
    await worker.take(ids);
    assert.deepEqual(worker.running(), ids);
  });

  test('gives back what waited for a slot', async (t) => {
    const { worker, clock } = workerOf(t);
    const first = worker.take(await queued(4));
    const ids = await queued(2);
    const second = worker.take(ids);
    await clock.asleep(250);
    worker.hold(true);
    clock.pass(250);
    await until(async () => (await wayOf(stores, ids[0] ?? 0))?.sentAt === null || undefined);
    worker.cancel(worker.running());
    await until(() => worker.busy() === 0 || undefined);
    assert.deepEqual([await isSettled(first), await isSettled(second)], [false, false]);
    worker.hold(false);
    await Promise.all([first, second]);
  });

  test('can be stopped', async (t) => {
    const { worker } = workerOf(t);
    worker.hold(true);
    const taken = worker.take(await queued(1));
    await worker.stop(30_000, never);
    await taken;
  });
});

describe('a worker that lets go of all', limit, () => {
  test('begins nothing of what it claimed before and hears of afterwards, and goes on', async (t) => {
    const answered = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    const { worker, begun } = workerOf(t, async (wanted) => {
      const claimed = await stores.runs.claim(wanted);
      asked.resolve();
      await answered.promise;
      return claimed;
    });
    const [before = 0] = await queued(1);
    const taken = worker.take([before]);
    await asked.promise;
    worker.interruptAll();
    answered.resolve();
    await taken;
    await until(async () => (await statesOf(stores, [before]))[0] === 'succeeded' || undefined);
    await worker.take(await queued(1));
    assert.deepEqual(
      begun.map(({ wasStopped }) => wasStopped),
      [true, false],
    );
    assert.equal(begun[0]?.signal.reason, 'interrupted');
  });
});
