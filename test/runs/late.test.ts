// A node that is called lost while its attempts go on: who saw how one ended is believed before who guessed, as long as the attempt
// was not made again. Two nodes, on a real PostgreSQL.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import type { AttemptRequest, AttemptResult } from '../../src/executors/executor.ts';
import { makeHeartbeat } from '../../src/node/heartbeat.ts';
import { makeBell } from '../../src/clock.ts';
import { beginWork } from '../../src/observe/tracing.ts';
import { audit } from '../../src/runs/audit.ts';
import { makeEvents } from '../../src/runs/events.ts';
import { claimName, type Policy } from '../../src/runs/lifecycle.ts';
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
import { until } from '../support/belfry.ts';
import { done, executorOf } from '../support/kinds.ts';
import { keptLog } from '../support/log.ts';
import { testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
test.afterEach(async () => assert.deepEqual(await torn(stores), []));

const hour = { ...retryOnce, maxAttempts: 3, delayMs: 3_600_000, maxDelayMs: 3_600_000 };
const interrupted: AttemptResult = { outcome: 'failed', known: true, error: 'interrupted: the service was shut down', result: {} };

/** A node with a heart, whose attempts end when the test says so, or when they are told to if they mind that. */
async function nodeWithRun(t: { after: (fn: () => Promise<void>) => void }, policy: Partial<Policy>, minds = true) {
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
  const begun: { readonly attempt: number; readonly end: (result: AttemptResult) => void }[] = [];
  const execute = async ({ attempt, signal }: AttemptRequest): Promise<AttemptResult> => {
    const { promise, resolve } = Promise.withResolvers<AttemptResult>();
    begun.push({ attempt, end: resolve });
    if (minds) signal.addEventListener('abort', () => resolve(interrupted));
    return await promise;
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
    unrecorded: new Set<string>(),
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
  const unrecorded = performing.unrecorded;
  return {
    id,
    incarnation,
    messages,
    begun,
    end: (result: AttemptResult) => begun[0]?.end(result),
    hearsOfIt,
    performed: performed.promise,
    worker,
    heartbeat,
    clock,
    unrecorded,
    runs,
  };
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

  test('leaves the next attempt alone that the same node has begun meanwhile', async (t) => {
    const policy = { onLost: 'retry', retry: { ...hour, delayMs: 0 } } as const;
    const node = await nodeWithRun(t, policy, false);
    await settleFor(node.incarnation);
    await node.hearsOfIt();
    node.clock.set(seconds(8000));
    await node.worker.take([node.id]);
    assert.deepEqual(
      node.begun.map(({ attempt }) => attempt),
      [1, 2],
    );
    node.end(interrupted);
    await until(() => node.worker.running().length === 1 || undefined);
    const isKnown = (held: { id: number; epoch: number }): boolean => node.unrecorded.has(claimName(held));
    const { clock, runs, heartbeat } = node;
    await audit({ clock, log: keptLog().log, incarnation: heartbeat.incarnation, runs, isKnown, dispatch: makeBell(clock) });
    const { state, attempt } = await runNow(stores, node.id);
    assert.deepEqual({ state, attempt }, { state: 'running', attempt: 2 });
    node.begun[1]?.end(done);
    await until(async () => (await cameTo(node.id)).state === 'succeeded' || undefined);
  });
});
