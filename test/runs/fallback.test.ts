// What a worker does when the queue is silent, on a real PostgreSQL; time and messages are what the test says.

import assert from 'node:assert/strict';
import test, { beforeEach, describe } from 'node:test';
import { startFallback } from '../../src/runs/fallback.ts';
import { standingClock } from '../support/clock.ts';
import { clear, fire, noon, openStores, placeJob, placeNode, queueRuns, seconds, claim } from '../support/jobs.ts';
import { keptLog } from '../support/log.ts';
import { testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const owner = await placeNode(stores, 'node 1');
beforeEach(() => clear(stores));

type Given = { slots?: number; lanes?: readonly string[]; catchup?: number; claimant?: number };

/** A worker of which nothing ends, whose fallback looks as often as the test lets it. */
function workerOf(
  scope: { after(fn: () => Promise<void>): void },
  { slots = 10, lanes = ['', 'label:gpu'], catchup = 100, claimant = owner }: Given = {},
) {
  const clock = standingClock(noon);
  const { log, lines, messages } = keptLog();
  const given: { slots: number; trouble: { since: Date; reason: string } | undefined; relistened: number } = {
    slots,
    trouble: undefined,
    relistened: 0,
  };
  const taken: number[] = [];
  const wanted: (readonly number[])[] = [];
  const fallback = startFallback({
    clock,
    log,
    runs: stores.runs,
    lanes: () => lanes,
    freeSlots: () => given.slots - taken.length,
    take: async (ids) => {
      wanted.push(ids);
      const claimed = await claim(stores, ids, claimant, clock.now());
      taken.push(...claimed.map(({ id }) => id));
    },
    relisten: () => void given.relistened++,
    trouble: () => given.trouble,
    catchupPerSecond: () => catchup,
  });
  scope.after(() => fallback.stop());
  /** Lets so many milliseconds pass, half a second at a time. */
  const pass = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 500) {
      await clock.asleep();
      clock.pass(500);
    }
    await clock.asleep();
  };
  return { clock, lines, messages, given, taken, wanted, fallback, pass };
}

/** Runs that are ready a second after the other from noon on. */
async function queued(count: number, runOn = ''): Promise<number[]> {
  return await queueRuns(stores, await placeJob(stores, { overlap: 'allow', runOn }), count);
}

async function toCatchUp(count: number): Promise<number[]> {
  const job = await placeJob(stores, { overlap: 'allow' });
  const fired = await fire(stores, job, ...Array.from({ length: count }, (_, index) => ({ dueAt: seconds(-100 + index), catchup: true })));
  return fired.map(({ id }) => id).sort((a, b) => a - b);
}

describe('a worker that hears nothing', { timeout: 60_000 }, () => {
  test('claims what has been ready for seconds in the lanes it serves, and has the queue listened to anew', async (t) => {
    const [[any], [gpu], [gone]] = [await queued(1), await queued(1, 'label:gpu'), await queued(1, 'node:gone')];
    const { pass, taken, given, messages, fallback } = workerOf(t);
    await pass(2500);
    assert.deepEqual([taken, fallback.state().state], [[], 'ok']);
    await pass(2000);
    assert.deepEqual(taken, [any, gpu]);
    assert.equal(taken.includes(gone ?? 0), false);
    assert.deepEqual([given.relistened, messages(), fallback.state().state], [1, ['queue_silent'], 'silent']);
  });

  test('goes on so, a second after each is ready, until a message comes; that is told once each', async (t) => {
    await queued(9);
    const { pass, taken, clock, messages, lines, fallback } = workerOf(t);
    await pass(10_000);
    assert.equal(taken.length, 9);
    await queued(1);
    fallback.heard();
    fallback.heard();
    assert.deepEqual(
      [messages(), lines[1]?.['taken'], fallback.state()],
      [['queue_silent', 'queue_heard'], 9, { state: 'ok', since: clock.now() }],
    );
    await pass(2000);
    assert.equal(taken.length, 9);
  });

  test('has the queue listened to anew after ten seconds, then less and less often, once a minute at last', async (t) => {
    const { pass, given } = workerOf(t, { slots: 1000 });
    await queued(200);
    const counts: number[] = [];
    for (const ms of [9000, 10_000, 20_000, 40_000, 60_000]) {
      await pass(ms);
      counts.push(given.relistened);
    }
    assert.deepEqual(counts, [1, 1, 2, 3, 4]);
  });

  test('takes as much as it has slots, and again at once while there is more', async (t) => {
    const job = await placeJob(stores, { overlap: 'allow' });
    for (let at = 0; at < 800; at += 100)
      await fire(stores, job, ...Array.from({ length: 100 }, (_, i) => ({ dueAt: seconds(-2000 + at + i) })));
    const { pass, taken } = workerOf(t, { slots: 700 });
    await pass(4500);
    assert.equal(taken.length, 700);
  });

  test('looks no faster for what it does not get, as when it was called lost, and that hides nothing behind it', async (t) => {
    const lost = await placeNode(stores, 'lost');
    await stores.nodes.end(lost, 'lost');
    const ids = await queued(5);
    const { pass, wanted, taken } = workerOf(t, { slots: 2, claimant: lost });
    await pass(7000);
    const at = wanted.length;
    await pass(500);
    assert.deepEqual(wanted.slice(at), [ids.slice(0, 2), ids.slice(2, 4), ids.slice(4)]);
    assert.deepEqual(taken, []);
  });

  test('catches up no faster than it may', async (t) => {
    const late = await toCatchUp(50);
    const { pass, taken, given } = workerOf(t, { slots: 100, catchup: 2 });
    await pass(10_000);
    assert.deepEqual(taken, [], 'nobody has sent them yet');
    given.trouble = { since: noon, reason: 'Redis is away' };
    await pass(10_000);
    assert.ok(taken.length >= 10 && taken.length <= 20, String(taken.length));
    assert.deepEqual(taken, late.slice(0, taken.length));
  });

  test('takes what was sent to catch up and has not come', async (t) => {
    const late = await toCatchUp(5);
    await stores.runs.markSent(noon, 3);
    const { pass, taken } = workerOf(t, { catchup: 0.01 });
    await pass(5000);
    assert.deepEqual(taken, late.slice(0, 3));
  });

  test('is calm again when nothing has waited for a minute, unless it is known that nothing can be sent', async (t) => {
    await queued(1);
    const { pass, messages, given, fallback } = workerOf(t);
    await pass(4500);
    given.trouble = { since: noon, reason: 'Redis is away' };
    assert.deepEqual(fallback.state(), { state: 'unavailable', since: noon, reason: 'Redis is away' });
    await pass(65_000);
    assert.deepEqual(messages(), ['queue_silent']);
    given.trouble = undefined;
    await pass(1000);
    assert.deepEqual([messages(), fallback.state().state], [['queue_silent', 'queue_calm'], 'ok']);
  });
});

describe('a worker claims nothing by itself', { timeout: 60_000 }, () => {
  test('however old the backlog, as long as messages come', async (t) => {
    await queued(50);
    const { pass, taken, messages, fallback } = workerOf(t);
    for (let second = 0; second < 60; second += 2) {
      fallback.heard();
      await pass(2000);
    }
    assert.deepEqual([taken, messages()], [[], []]);
  });

  test('without a free slot, and not at once when one gets free', async (t) => {
    await queued(5);
    const { pass, taken, given, messages } = workerOf(t, { slots: 0 });
    await pass(20_000);
    given.slots = 5;
    await pass(2000);
    assert.deepEqual([taken, messages()], [[], []]);
  });

  test('when each run is gone before it is looked at again', async (t) => {
    const { pass, taken, messages, clock } = workerOf(t);
    const other = await placeNode(stores, 'other');
    for (const id of await queued(20)) {
      await pass(1000);
      await claim(stores, [id], other, new Date(clock.now().getTime() + 60_000));
    }
    assert.deepEqual([taken, messages()], [[], []]);
  });

  test('when it serves no lane: it takes nothing more', async (t) => {
    await queued(5);
    const { pass, taken, messages } = workerOf(t, { lanes: [] });
    await pass(20_000);
    assert.deepEqual([taken, messages()], [[], []]);
  });
});
