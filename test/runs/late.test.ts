// A node that is called lost while its attempts go on: who saw how one ended is believed before who guessed, as long as the attempt
// was not made again. Two nodes, on a real PostgreSQL.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import type { AttemptRequest, AttemptResult } from '../../src/executors/executor.ts';
import { makeHeartbeat } from '../../src/node/heartbeat.ts';
import { makeBell } from '../../src/clock.ts';
import { beginWork } from '../../src/observe/tracing.ts';
import { makeEvents } from '../../src/runs/events.ts';
import type { Policy } from '../../src/runs/lifecycle.ts';
import { perform } from '../../src/runs/perform.ts';
import { makeSpool } from '../../src/runs/spool.ts';
import { upkeep } from '../../src/runs/upkeep.ts';
import { makeWorker } from '../../src/runs/worker.ts';
import { standingClock } from '../support/clock.ts';
import {
  afterAll,
  claim,
  openStores,
  placeJob,
  placeNode,
  plainPolicy,
  queueRuns,
  retryOnce,
  runNow,
  seconds,
  torn,
} from '../support/jobs.ts';
import { done, executorOf } from '../support/kinds.ts';
import { keptLog } from '../support/log.ts';
import { testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
test.afterEach(async () => assert.deepEqual(await torn(stores), []));

const hour = { ...retryOnce, maxAttempts: 3, delayMs: 3_600_000, maxDelayMs: 3_600_000 };
const interrupted: AttemptResult = { outcome: 'failed', known: true, error: 'interrupted: the service was shut down', result: {} };

/** A node with a heart, whose one attempt ends when the test says so, or when it is told to. */
async function nodeWithRun(t: { after: (fn: () => Promise<void>) => void }, policy: Partial<Policy>) {
  const clock = standingClock(afterAll);
  const { log, messages } = keptLog();
  const { nodes, runs, jobs } = openStores(t, url);
  const self = { name: 'node a', version: 'test', address: undefined, pid: 1, duties: ['worker'], slots: 10, labels: [] };
  const heartbeat = await makeHeartbeat(
    {
      clock,
      log,
      nodes,
      startPulse: () => ({ live: () => undefined, stop: () => Promise.resolve() }),
      self,
      busy: () => 1,
      onLost: () => worker.interruptAll(),
      onDrain: () => undefined,
    },
    () => Promise.resolve(),
  );
  const incarnation = heartbeat.incarnation();
  const end = Promise.withResolvers<AttemptResult>();
  const execute = async ({ signal }: AttemptRequest): Promise<AttemptResult> => {
    signal.addEventListener('abort', () => end.resolve(interrupted));
    return await end.promise;
  };
  const spool = makeSpool({ clock, log, runs, jobs, folder: '/nowhere', node: 'node a', stopping: new AbortController().signal });
  const performing = {
    clock,
    log,
    kinds: new Map([['noop', executorOf('noop', execute)]]),
    me: () => ({ name: 'node a', marker: '' }),
    killGraceMs: 1,
    beginWork,
    recordAtLast: spool.record,
    unrecorded: new Set<number>(),
    events: makeEvents(),
    jobs,
    previous: runs.ended,
  };
  const performed = Promise.withResolvers<void>();
  const worker = makeWorker({
    clock,
    slots: 10,
    me: () => ({ name: 'node a', incarnation: heartbeat.incarnation() }),
    runs,
    perform: (run, signal) => perform(performing, run, signal).finally(performed.resolve),
    dispatch: makeBell(clock),
  });
  const job = await placeJob(stores, { command: { type: 'noop', target: 'x' }, policy: { ...plainPolicy, retry: hour, ...policy } });
  const [id = 0] = await queueRuns(stores, job, 1);
  await worker.take([id]);
  const hearsOfIt = async (): Promise<void> => {
    heartbeat.start();
    await clock.asleep(10_000);
    await heartbeat.stop();
  };
  return { id, incarnation, messages, end: end.resolve, hearsOfIt, performed: performed.promise };
}

/** Another node calls it lost, and settles what it held. */
async function settleFor(incarnation: number): Promise<void> {
  await stores.nodes.end(incarnation, 'lost');
  const { runs, jobs, nodes } = stores;
  await upkeep({
    clock: standingClock(seconds(3700)),
    log: keptLog().log,
    runs,
    jobs,
    nodes,
    isClockRight: () => true,
    replay: () => Promise.resolve(),
    retentionMs: undefined,
  });
}

async function cameTo(id: number) {
  const { state, reason, failedCount, attempts } = await runNow(stores, id);
  return { state, reason, failedCount, attempts: attempts.map((note) => [note['attempt'], note['outcome'], note['error']]) };
}

describe('of a node that was called lost, a result', { timeout: 60_000 }, () => {
  test('wins while the run waits to be tried again, which then is not', async (t) => {
    const { id, incarnation, end, performed, messages } = await nodeWithRun(t, { onLost: 'retry' });
    await settleFor(incarnation);
    assert.deepEqual([(await cameTo(id)).state, (await cameTo(id)).failedCount], ['retrying', 1]);
    end(done);
    await performed;
    assert.deepEqual(await cameTo(id), { state: 'succeeded', reason: null, failedCount: 0, attempts: [[1, 'succeeded', undefined]] });
    assert.deepEqual(await claim(stores, [id], await placeNode(stores, 'node b'), seconds(1_000_000)), []);
    assert.deepEqual(messages(), ['execed_job']);
  });

  test('comes too late once the run is tried again, or at its end', async (t) => {
    for (const [onLost, state] of [
      ['retry', 'running'],
      ['fail', 'failed'],
    ] as const) {
      const { id, incarnation, end, performed, messages } = await nodeWithRun(t, { onLost });
      await settleFor(incarnation);
      await claim(stores, [id], await placeNode(stores, 'node b'), seconds(1_000_000));
      end(done);
      await performed;
      assert.deepEqual([(await cameTo(id)).state, messages()], [state, ['result_came_too_late']]);
    }
  });

  test('that it was ended when its node heard of it is written as that, not as lost', async (t) => {
    const { id, incarnation, hearsOfIt, performed, messages } = await nodeWithRun(t, { onLost: 'retry' });
    await settleFor(incarnation);
    await hearsOfIt();
    await performed;
    assert.deepEqual(await cameTo(id), {
      state: 'retrying',
      reason: null,
      failedCount: 1,
      attempts: [[1, 'failed', interrupted.error]],
    });
    assert.deepEqual(messages(), ['called_lost', 'execed_job_failed']);
  });

  test('that it was ended is believed also before anybody has settled it, and the retry policy decides', async (t) => {
    const { id, incarnation, hearsOfIt, performed } = await nodeWithRun(t, { onLost: 'fail' });
    await stores.nodes.end(incarnation, 'lost');
    await hearsOfIt();
    await performed;
    await settleFor(incarnation);
    assert.deepEqual([(await cameTo(id)).state, (await cameTo(id)).attempts], ['retrying', [[1, 'failed', interrupted.error]]]);
  });
});
