// The slots of a node, on a real PostgreSQL, with attempts that end when the test says.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { makeBell } from '../../src/clock.ts';
import { makeWorker } from '../../src/runs/worker.ts';
import type { ClaimedRun } from '../../src/store/runs.ts';
import { hasRung, standingClock } from '../support/clock.ts';
import { afterAll, clear, openStores, outcome, placeJob, placeNode, queueRuns, statesOf, wayOf } from '../support/jobs.ts';
import { testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const incarnation = await placeNode(stores, 'node a');
test.beforeEach(() => clear(stores));

async function queued(count: number, overlap = 'allow'): Promise<number[]> {
  const ids = await queueRuns(stores, await placeJob(stores, { overlap }), count);
  await stores.runs.markSent(afterAll, 1_000_000);
  return ids;
}

type Attempt = { readonly id: number; readonly signal: AbortSignal; readonly end: () => void };

/** A worker, and its attempts: they are recorded and end when the test says `end`, or when they are told to stop. */
function workerWith(slots: number, claim = stores.runs.claim) {
  const clock = standingClock(afterAll);
  const dispatch = makeBell(clock);
  const attempts = new Map<number, Attempt>();
  const watchers = new Set<() => void>();
  let most = 0;

  const perform = async (run: ClaimedRun, signal: AbortSignal): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>();
    attempts.set(run.id, { id: run.id, signal, end: resolve });
    most = Math.max(most, attempts.size);
    for (const look of watchers) look();
    await promise;
    await stores.runs.record(outcome(run));
    attempts.delete(run.id);
  };
  const me = () => ({ name: 'node a', incarnation });
  const worker = makeWorker({ clock, slots, me, runs: { claim, unmarkSent: stores.runs.unmarkSent }, perform, dispatch });

  /** Resolves when so many attempts are under way. */
  const begun = (count: number): Promise<Attempt[]> =>
    new Promise((resolve) => {
      const look = (): void => {
        if (attempts.size < count) return;
        watchers.delete(look);
        resolve([...attempts.values()]);
      };
      watchers.add(look);
      look();
    });
  return { worker, clock, begun, attempts, most: () => most, isDispatched: () => hasRung(dispatch, clock) };
}

/** Whether it is settled by now, when all else that goes on has come to rest. */
async function isSettled(work: Promise<unknown>): Promise<boolean> {
  const later = Symbol('later');
  await stores.runs.idle();
  const turn = new Promise((resolve) => setImmediate(() => resolve(later)));
  return (await Promise.race([work, turn])) !== later;
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}

describe('a worker', { timeout: 60_000 }, () => {
  test('begins what it is told of, as far as it has slots', async () => {
    const { worker, begun } = workerWith(4);
    const ids = await queued(3);
    await worker.take(ids);
    const attempts = await begun(3);
    assert.deepEqual([worker.busy(), worker.running(), attempts.map(({ id }) => id)], [3, ids, ids]);
    assert.deepEqual(await statesOf(stores, ids), ['running', 'running', 'running']);
  });

  test('gives back what it finds no slot for within a moment, to be sent again', async () => {
    const { worker, clock, begun, isDispatched } = workerWith(4);
    const ids = await queued(7);
    const taken = worker.take(ids);
    await begun(4);
    await clock.asleep(250);
    assert.equal((await wayOf(stores, ids[6] ?? 0))?.sends, 1);
    clock.pass(250);
    await clock.asleep(60_000);
    assert.deepEqual(await stores.runs.markSent(afterAll, 100), ids.slice(4));
    assert.equal(await isDispatched(), true);
    assert.equal(worker.busy(), 4);
    assert.equal(await isSettled(taken), false);
  });

  test('begins the rest when slots get free in that moment', async () => {
    const { worker, clock, begun } = workerWith(2);
    const ids = await queued(3);
    void worker.take(ids);
    const [first] = await begun(2);
    await clock.asleep(250);
    first?.end();
    await until(() => worker.running().includes(ids[2] ?? 0));
    assert.deepEqual(worker.running(), ids.slice(1));
  });

  test('answers when it could take more: not before a slot is free', async () => {
    const { worker, begun } = workerWith(2);
    const taken = worker.take(await queued(2));
    const [first] = await begun(2);
    assert.equal(await isSettled(taken), false);
    first?.end();
    await taken;
    assert.equal(worker.busy(), 1);
  });

  test('has its slots free again for what it did not get', async () => {
    const [ours, theirs] = [workerWith(5), workerWith(5)];
    const ids = await queued(5);
    await Promise.all([ours.worker.take(ids.slice(0, 4)), theirs.worker.take(ids.slice(0, 4))]);
    assert.equal(ours.worker.busy() + theirs.worker.busy(), 4);
    await ours.worker.take(ids.slice(0, 4));
    assert.equal(ours.worker.busy() + theirs.worker.busy(), 4);
  });

  test('has its slots free again when a claim failed, and tells so', async () => {
    const { worker } = workerWith(2, () => Promise.reject(new Error('PostgreSQL is away')));
    await assert.rejects(worker.take([1, 2]), /PostgreSQL is away/);
    assert.equal(worker.busy(), 0);
  });

  test('tells that there is room in the queue when it has taken twice its slots', async () => {
    const { worker, begun, isDispatched } = workerWith(2);
    for (const [turn, rings] of [
      [1, false],
      [2, true],
      [3, false],
      [4, true],
    ] as const) {
      const taken = worker.take(await queued(2));
      for (const { end } of await begun(2)) end();
      await taken;
      await until(() => worker.busy() === 0);
      assert.equal(await isDispatched(), rings, `turn ${turn}`);
    }
  });

  test('never does more at once than it has slots, however much comes', async () => {
    const slots = 7;
    const { worker, attempts, begun, most } = workerWith(slots);
    const ids = await queued(150);
    const messages = Array.from({ length: 30 }, (_, index) => ids.slice(index * 5, index * 5 + 5));
    let waiting = messages.length;
    const takes = messages.map((each) => worker.take(each).finally(() => (waiting -= 1)));
    while (waiting > 0 || attempts.size > 0) {
      assert.ok(worker.busy() <= slots);
      const [one] = await Promise.race([begun(1), Promise.all(takes).then(() => [])]);
      one?.end();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(takes);
    assert.equal(most(), slots);
    assert.deepEqual([...new Set(await statesOf(stores, ids))], ['succeeded']);
  });

  test('tells attempts to stop: those that are named, or all', async () => {
    const { worker, begun } = workerWith(4);
    await worker.take(await queued(3));
    const attempts = await begun(3);
    worker.cancel([attempts[1]?.id ?? 0, 2 ** 40]);
    assert.deepEqual(
      attempts.map(({ signal }) => signal.reason as unknown),
      [undefined, 'cancelled', undefined],
    );
    worker.interruptAll();
    assert.deepEqual(
      attempts.map(({ signal }) => signal.reason as unknown),
      ['interrupted', 'cancelled', 'interrupted'],
    );
  });
});

describe('a worker that stops', { timeout: 60_000 }, () => {
  const never = new AbortController().signal;

  test('lets its runs come to their end, and waits for it', async () => {
    const { worker, begun } = workerWith(4);
    const ids = await queued(2);
    await worker.take(ids);
    const attempts = await begun(2);
    const stopped = worker.stop(30_000, never);
    assert.equal(await isSettled(stopped), false);
    assert.ok(attempts.every(({ signal }) => !signal.aborted));
    for (const { end } of attempts) end();
    await stopped;
    assert.deepEqual(await statesOf(stores, ids), ['succeeded', 'succeeded']);
  });

  test('interrupts at the deadline what has not ended, and still waits for its end', async () => {
    const { worker, clock, begun } = workerWith(4);
    await worker.take(await queued(1));
    const [attempt = assert.fail()] = await begun(1);
    const stopped = worker.stop(30_000, never);
    await clock.asleep(30_000);
    clock.pass(30_000);
    await new Promise((resolve) => attempt.signal.addEventListener('abort', resolve));
    assert.equal(attempt.signal.reason, 'interrupted');
    assert.equal(await isSettled(stopped), false);
    attempt.end();
    await stopped;
  });

  test('interrupts at once when it is told to hurry', async () => {
    const { worker, begun } = workerWith(4);
    await worker.take(await queued(1));
    const [attempt = assert.fail()] = await begun(1);
    const hurry = new AbortController();
    const stopped = worker.stop(30_000, hurry.signal);
    const interrupted = new Promise((resolve) => attempt.signal.addEventListener('abort', resolve));
    hurry.abort();
    await interrupted;
    attempt.end();
    await stopped;
  });

  test('takes nothing more: it goes back, to be sent to others', async () => {
    const { worker } = workerWith(4);
    const ids = await queued(2);
    await worker.stop(30_000, never);
    await worker.take(ids);
    assert.equal(worker.busy(), 0);
    assert.deepEqual(await stores.runs.markSent(afterAll, 100), ids);
  });

  test('answers those who wait for a slot, and gives back what they have left', async () => {
    const { worker, begun, clock } = workerWith(1);
    const ids = await queued(3);
    const taken = worker.take(ids);
    const [attempt = assert.fail()] = await begun(1);
    await clock.asleep(250);
    const stopped = worker.stop(30_000, never);
    await taken;
    assert.deepEqual(await stores.runs.markSent(afterAll, 100), ids.slice(1));
    attempt.end();
    await stopped;
  });

  for (const [when, late] of [
    ['in time', false],
    ['after the deadline', true],
  ] as const) {
    test(`does and waits for what it claimed just before and hears of ${when}`, async () => {
      const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
      const { promise: asked, resolve: ask } = Promise.withResolvers<void>();
      const { worker, clock, begun } = workerWith(4, async (wanted) => {
        const claimed = await stores.runs.claim(wanted);
        ask();
        await answered;
        return claimed;
      });
      const ids = await queued(1);
      const taken = worker.take(ids);
      await asked;
      const stopped = worker.stop(30_000, never);
      await clock.asleep(30_000);
      if (late) clock.pass(30_000);
      assert.equal(await isSettled(stopped), false);
      answer();
      await taken;
      const [attempt = assert.fail()] = await begun(1);
      assert.equal(attempt.signal.aborted, late);
      assert.equal(await isSettled(stopped), false);
      attempt.end();
      await stopped;
      assert.deepEqual(await statesOf(stores, ids), ['succeeded']);
    });
  }
});
