// From ready rows to messages and back to runs, on a real PostgreSQL; the queue between is what the test says.

import assert from 'node:assert/strict';
import test, { beforeEach, describe } from 'node:test';
import fc from 'fast-check';
import { makeBell } from '../../src/clock.ts';
import { makeConsumer } from '../../src/queue/consumer.ts';
import { dispatch, inMessages, startProducer } from '../../src/queue/producer.ts';
import type { Backend, Message } from '../../src/queue/transport.ts';
import { standingClock } from '../support/clock.ts';
import {
  afterAll,
  claim,
  clear,
  failedOnce,
  fire,
  noon,
  openStores,
  placeJob,
  placeNode,
  queueRuns,
  seconds,
  wayOf,
} from '../support/jobs.ts';
import { keptLog } from '../support/log.ts';
import { testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
beforeEach(() => clear(stores));

/** A node that sends; `away` is what its queue answers instead of taking messages. */
function nodeOf({ workers = 1, slots = 10, now = afterAll } = {}) {
  const clock = standingClock(now);
  const { log, messages } = keptLog();
  const sent: Message[][] = [];
  const queue: { away: Error | undefined } = { away: undefined };
  const bySlot = (lane: string): { workers: number; slots: number } =>
    lane === 'label:gpu' ? { workers: 1, slots: 2 } : lane === '' ? { workers, slots } : { workers: 0, slots: 0 };
  const lanes = new Map<string, number[]>();
  const waiting: (readonly string[])[] = [];
  const send = (given: readonly Message[], lane: string): Promise<void> => {
    if (queue.away) return Promise.reject(queue.away);
    sent.push([...given]);
    lanes.set(lane, [...(lanes.get(lane) ?? []), ...given.flatMap(({ runs }) => runs)]);
    return Promise.resolve();
  };
  const lanesWaiting = (given: readonly string[]): void => void waiting.push(given);
  const deps = { clock, log, runs: stores.runs, send, capacity: bySlot, catchupPerSecond: 100, lanesWaiting };
  return {
    lanes,
    waiting,
    deps,
    clock,
    queue,
    messages,
    sent: () => sent.flat().flatMap(({ runs }) => runs),
    batches: sent,
  };
}

async function queued(count: number, runOn = ''): Promise<number[]> {
  return await queueRuns(stores, await placeJob(stores, { overlap: 'allow', runOn }), count);
}

describe('a dispatch', () => {
  test('sends what is ready, once', async () => {
    const ids = await queued(5);
    const { deps, sent } = nodeOf();
    await dispatch(deps);
    await dispatch(deps);
    assert.deepEqual(sent(), ids);
  });

  test('sends nothing as long as there is no worker', async () => {
    const ids = await queued(5);
    const { deps, sent } = nodeOf({ workers: 0, slots: 0 });
    assert.deepEqual(await dispatch(deps), { sent: 0, waitMs: 1000 });
    assert.deepEqual(sent(), []);
    assert.equal((await wayOf(stores, ids[0] ?? 0))?.sends, 0);
  });

  test('sends four times what all workers take at a time, no more', async () => {
    const ids = await queued(50);
    const { deps, sent } = nodeOf({ workers: 2, slots: 5 });
    await dispatch(deps);
    assert.deepEqual(sent(), ids.slice(0, 20));
    await claim(stores, ids.slice(0, 3), await placeNode(stores, 'worker'));
    await dispatch(deps);
    assert.deepEqual(sent(), ids.slice(0, 23));
  });

  test('takes back what the queue did not take, tells so, and sends it when the queue is back', async () => {
    const ids = await queued(5);
    const { deps, queue, sent } = nodeOf();
    queue.away = new Error('Redis is away');
    await assert.rejects(dispatch(deps), queue.away);
    assert.equal((await wayOf(stores, ids[0] ?? 0))?.sentAt, null);
    queue.away = undefined;
    await dispatch(deps);
    assert.deepEqual(sent(), ids);
  });

  test('sends each lane to those who serve it, four times what they take at a time; a lane that nobody serves not at all', async () => {
    const [any, gpu, gone] = [await queued(3), await queued(10, 'label:gpu'), await queued(2, 'node:gone')];
    const { deps, lanes, waiting } = nodeOf();
    assert.equal((await dispatch(deps)).sent, 11);
    assert.deepEqual(
      lanes,
      new Map([
        ['', any],
        ['label:gpu', gpu.slice(0, 8)],
      ]),
    );
    assert.deepEqual(waiting, [['label:gpu', 'node:gone']]);
    assert.equal((await wayOf(stores, gone[0] ?? 0))?.sends, 0);
  });

  test('tells of no lanes where nothing waits in them', async () => {
    await queued(3);
    const { deps, waiting } = nodeOf();
    await dispatch(deps);
    assert.deepEqual(waiting, []);
  });

  test('by two nodes at once sends each run once', async (t) => {
    const ids = await queued(200);
    const [one, other] = [nodeOf({ slots: 100 }), nodeOf({ slots: 100 })];
    await Promise.all([dispatch(one.deps), dispatch({ ...other.deps, runs: openStores(t, url).runs })]);
    assert.deepEqual(
      [...one.sent(), ...other.sent()].sort((a, b) => a - b),
      ids,
    );
  });

  test('answers when the next run is ready: a second at most', async () => {
    assert.equal((await dispatch(nodeOf({ now: noon }).deps)).waitMs, 1000);
    const job = await placeJob(stores, { overlap: 'allow' });
    const [first] = await fire(stores, job, noon);
    const [run] = await claim(stores, [first?.id ?? 0], await placeNode(stores, 'worker'), noon);
    assert.ok(run);
    await stores.runs.record(failedOnce(run, seconds(0.3)));
    assert.equal((await dispatch(nodeOf({ now: noon }).deps)).waitMs, 300);
    assert.equal((await dispatch(nodeOf({ now: seconds(-60) }).deps)).waitMs, 1000);
  });
});

describe('the producer', { timeout: 30_000 }, () => {
  test('dispatches when it is called and when its time has come, and goes on after a fault', async () => {
    const { deps, clock, queue, messages, sent } = nodeOf();
    const bell = makeBell(clock);
    const producer = startProducer(deps, bell);
    await clock.asleep(1000);
    const first = await queued(1);
    bell.ring();
    await clock.asleep(1000);
    assert.deepEqual(sent(), first);
    const second = await queued(1);
    queue.away = new Error('Redis is away');
    clock.pass(1000);
    await clock.asleep(100);
    queue.away = undefined;
    clock.pass(100);
    await clock.asleep(1000);
    assert.deepEqual(sent(), [...first, ...second]);
    assert.deepEqual(messages(), ['dispatch_failed']);
    await producer.stop();
  });
});

describe('messages', () => {
  test('carry one run each when few are due, and up to a hundred in a burst', () => {
    const sizes = (count: number, workers: number): number[] => [
      ...new Set(
        inMessages(
          Array.from({ length: count }, (_, index) => index),
          workers,
        ).map(({ runs }) => runs.length),
      ),
    ];
    assert.deepEqual(sizes(1, 1), [1]);
    assert.deepEqual(sizes(16, 1), [1]);
    assert.deepEqual(sizes(160, 1), [10]);
    assert.deepEqual(sizes(160, 10), [1]);
    assert.deepEqual(sizes(100_000, 1), [100]);
  });

  test('carry each run once, in order, however many there are', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 3000 }), fc.integer({ min: 1, max: 50 }), (count, workers) => {
        const ids = Array.from({ length: count }, (_, index) => index + 1);
        const messages = inMessages(ids, workers);
        assert.deepEqual(
          messages.flatMap(({ runs }) => runs),
          ids,
        );
        assert.ok(messages.every(({ runs }) => runs.length > 0 && runs.length <= 100));
      }),
    );
  });
});

describe('the consumer', () => {
  /** A queue that hands over whatever lies in its lanes, and tells what is listened to. */
  function queueWith(lying: Record<string, unknown[]>) {
    const log: string[] = [];
    const consume: Backend['consume'] = async (lane, take) => {
      log.push(`open ${lane}`);
      for (const each of lying[lane] ?? []) await take(each as Message);
      return { close: async () => void log.push(`close ${lane}`), drop: () => void log.push(`drop ${lane}`) };
    };
    return { backend: { consume }, log };
  }

  function consumerOf(backend: Pick<Backend, 'consume'>, lanes = ['', 'label:gpu', 'node:a']) {
    const taken: (readonly number[])[] = [];
    let heard = 0;
    const consumer = makeConsumer({
      backend,
      lanes,
      take: (runs) => {
        taken.push(runs);
        return Promise.resolve();
      },
      heard: () => void heard++,
      onFault: (fault) => assert.fail(String(fault)),
    });
    return { consumer, taken, heard: () => heard };
  }

  test('hands on the runs of each message, and drops what is none of ours', async () => {
    const strange = [
      undefined,
      null,
      'runs',
      {},
      { runs: 1 },
      { runs: ['1'] },
      { runs: [0] },
      { runs: [1.5] },
      { runs: [-1] },
      { runs: Array.from({ length: 1001 }, () => 1) },
    ];
    const { consumer, taken, heard } = consumerOf(queueWith({ '': [{ runs: [1, 2] }, ...strange, { runs: [3] }] }).backend);
    await consumer.start();
    assert.deepEqual([taken, heard()], [[[1, 2], [3]], strange.length + 2]);
  });

  test('listens in a lane of its own from when something waits in it, once, and in no lane of others', async () => {
    const { backend, log } = queueWith({ 'label:gpu': [{ runs: [7] }] });
    const { consumer, taken } = consumerOf(backend);
    await consumer.start();
    consumer.listenIn(['label:gpu', 'label:other', 'node:b']);
    consumer.listenIn(['label:gpu', 'node:a']);
    await consumer.close();
    assert.deepEqual(log, ['open ', 'open label:gpu', 'open node:a', 'close ', 'close label:gpu', 'close node:a']);
    assert.deepEqual(taken, [[7]]);
  });

  test('that listens anew hangs up and opens each lane again; closed, it opens none', async () => {
    const { backend, log } = queueWith({});
    const { consumer } = consumerOf(backend);
    await consumer.start();
    consumer.listenIn(['node:a']);
    consumer.relisten();
    await consumer.close();
    assert.deepEqual(log.toSorted(), ['close ', 'close node:a', 'drop ', 'drop node:a', 'open ', 'open ', 'open node:a', 'open node:a']);
    consumer.listenIn(['label:gpu']);
    consumer.relisten();
    assert.equal(log.length, 8);
  });
});
