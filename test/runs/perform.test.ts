// One attempt from begin to record, on a real PostgreSQL, with executors that do what the test says.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import type { AttemptRequest, AttemptResult, StopReason } from '../../src/executors/executor.ts';
import { claimName, type Policy } from '../../src/runs/lifecycle.ts';
import { perform } from '../../src/runs/perform.ts';
import type { Spool } from '../../src/runs/spool.ts';
import type { ClaimedRun } from '../../src/store/runs.ts';
import {
  afterAll,
  claim,
  failedOnce,
  fire,
  noon,
  openStores,
  outcome,
  placeJob,
  placeNode,
  plainPolicy,
  retryOnce,
  runNow,
  seconds,
  wayOf,
} from '../support/jobs.ts';
import { done } from '../support/kinds.ts';
import { performersOn } from '../support/performing.ts';
import { testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const nodeOf = performersOn(stores);
const incarnation = await placeNode(stores, 'node a');

/** A run that this node has claimed. */
async function claimed(
  policy: Partial<Policy> = {},
  command: Record<string, unknown> = { type: 'noop', target: 'x' },
): Promise<ClaimedRun> {
  const job = await placeJob(stores, { command, policy: { ...plainPolicy, ...policy } });
  const [fired] = await fire(stores, job, noon);
  const [run] = await claim(stores, [fired?.id ?? 0], incarnation);
  assert.ok(run);
  return run;
}

/** What a run came to whose attempt came to this. */
async function afterwards(result: AttemptResult, { policy, stopped }: { policy?: Partial<Policy>; stopped?: StopReason } = {}) {
  const run = await claimed(policy);
  const { deps, told } = nodeOf(() => Promise.resolve(result));
  await perform(deps, run, stopped === undefined ? new AbortController().signal : AbortSignal.abort(stopped));
  const { state, reason, error, failedCount } = await runNow(stores, run.id);
  assert.deepEqual([told.length, told[0]?.state], [1, state]);
  return { state, reason, error, failedCount };
}

const failed: AttemptResult = { outcome: 'failed', known: true, exitCode: 3, error: 'exit status 3', result: { err: 'exit status 3' } };
const unknown: AttemptResult = { outcome: 'failed', known: false, error: 'no answer', result: {} };
const thrice = { retry: { ...retryOnce, maxAttempts: 3, delayMs: 5000, maxDelayMs: 5000 } };

describe('an attempt', () => {
  test('is told its executor whole', async () => {
    const run = await claimed({ timeoutMs: 1234, log: false });
    const requests: AttemptRequest[] = [];
    const { deps } = nodeOf((request) => {
      requests.push(request);
      return Promise.resolve(done);
    });
    const { signal } = new AbortController();
    await perform(deps, run, signal);
    const [{ traceparent, ...request } = assert.fail()] = requests;
    assert.match(traceparent, new RegExp(`^00-${run.traceId}-[0-9a-f]{16}-01$`));
    assert.deepEqual(request, {
      command: { type: 'noop', target: 'x' },
      job: run.jobName,
      runId: String(run.id),
      attempt: 1,
      dueAt: noon,
      cause: 'schedule',
      idempotencyKey: `${run.jobName}:2100-01-01T12:00:00.000Z:${run.id}`,
      timeoutMs: 1234,
      killGraceMs: 10_000,
      marker: 'the marker',
      keepOutput: false,
      signal,
    });
  });

  test('has the same idempotency key when the run is tried again', async () => {
    const run = await claimed(thrice);
    const keys: string[] = [];
    const { deps } = nodeOf((request) => {
      keys.push(request.idempotencyKey);
      return Promise.resolve(failed);
    });
    await perform(deps, run, new AbortController().signal);
    const [again] = await claim(stores, [run.id], incarnation, seconds(7200));
    assert.ok(again);
    await perform(deps, again, new AbortController().signal);
    assert.equal(keys[1], keys[0]);
    assert.equal((await runNow(stores, run.id)).attempts.length, 2);
  });

  test('is kept with its run: by whom, from when to when, and how it ended', async () => {
    const run = await claimed();
    const { deps, clock, lines } = nodeOf(() => {
      clock.pass(1500);
      return Promise.resolve({ ...failed, status: 503 });
    });
    await perform(deps, run, new AbortController().signal);
    const { attempts, result, finishedAt, node } = await runNow(stores, run.id);
    assert.deepEqual(attempts, [
      {
        attempt: 1,
        node: 'node a',
        started_at: afterAll.toISOString(),
        finished_at: seconds(3601.5).toISOString(),
        outcome: 'failed',
        exit_code: 3,
        status: 503,
        error: 'exit status 3',
      },
    ]);
    assert.deepEqual({ result, finishedAt, node }, { result: failed.result, finishedAt: seconds(3601.5), node: `node ${incarnation}` });
    const [line] = lines;
    assert.deepEqual([line?.msg, line?.['ms'], line?.['run'], line?.['trace_id']], ['execed_job_failed', 1500, run.id, run.traceId]);
  });
});

describe('a run whose attempt', () => {
  const finished = { error: null, failedCount: 1, reason: null };

  test('succeeded has succeeded', async () => {
    assert.deepEqual(await afterwards(done), { ...finished, state: 'succeeded', failedCount: 0 });
  });

  test('failed has failed', async () => {
    assert.deepEqual(await afterwards(failed), { ...finished, state: 'failed', reason: 'failed', error: 'exit status 3' });
  });

  test('took too long has failed for that', async () => {
    const late: AttemptResult = { outcome: 'timed_out', known: true, error: 'timed out after 1s', result: {} };
    assert.deepEqual(await afterwards(late), { ...finished, state: 'failed', reason: 'timed_out', error: 'timed out after 1s' });
  });

  test('was cancelled is cancelled, and has not failed', async () => {
    const result: AttemptResult = { outcome: 'cancelled', known: true, error: 'cancelled', result: {} };
    const cancelled = { ...finished, state: 'cancelled', reason: 'cancelled', error: 'cancelled', failedCount: 0 };
    assert.deepEqual(await afterwards(result, { policy: thrice, stopped: 'cancelled' }), cancelled);
  });

  test('has no known effect has failed without an answer, or is tried again where the job says so', async () => {
    assert.deepEqual(await afterwards(unknown, { policy: thrice }), {
      ...finished,
      state: 'failed',
      reason: 'no_answer',
      error: 'no answer',
    });
    const retried = { ...finished, state: 'retrying', error: 'no answer' };
    assert.deepEqual(await afterwards(unknown, { policy: { ...thrice, onLost: 'retry' } }), retried);
  });

  test('failed and may be made again waits for that', async () => {
    const run = await claimed(thrice);
    const { deps, told, lines } = nodeOf(() => Promise.resolve(failed));
    await perform(deps, run, new AbortController().signal);
    const { state, readyAt } = await runNow(stores, run.id);
    assert.deepEqual({ state, readyAt }, { state: 'retrying', readyAt: seconds(3605) });
    assert.deepEqual(told, [{ runId: run.id, state, attempt: 1, type: 'noop', outcome: 'failed', tookMs: 0, lateMs: 3_600_000 }]);
    assert.equal(lines[0]?.['ready_at'], seconds(3605).toISOString());
  });

  const cutShort: AttemptResult = { outcome: 'failed', known: true, error: 'interrupted: the service was shut down', result: {} };

  test('was interrupted by our shutdown is tried again, while it has attempts left', async () => {
    const { state, reason } = await afterwards(cutShort, { policy: thrice, stopped: 'interrupted' });
    assert.deepEqual({ state, reason }, { state: 'retrying', reason: null });
  });

  test('was interrupted and was the last has failed for that', async () => {
    const { state, reason } = await afterwards(cutShort, { stopped: 'interrupted' });
    assert.deepEqual({ state, reason }, { state: 'failed', reason: 'interrupted' });
  });

  test('succeeded although it was told to stop has succeeded', async () => {
    for (const stopped of ['cancelled', 'interrupted'] as const) assert.equal((await afterwards(done, { stopped })).state, 'succeeded');
  });
});

describe('what an executor should not do', () => {
  const wrong: [string, (request: AttemptRequest) => Promise<AttemptResult>][] = [
    ['rejecting', () => Promise.reject(new Error('out of luck'))],
    [
      'throwing',
      () => {
        throw new Error('out of luck');
      },
    ],
  ];
  for (const [what, execute] of wrong) {
    test(`${what} is a failed attempt`, async () => {
      const run = await claimed();
      await perform(nodeOf(execute).deps, run, new AbortController().signal);
      const { state, error, result } = await runNow(stores, run.id);
      assert.deepEqual(
        { state, error, result },
        { state: 'failed', error: 'the executor failed: out of luck', result: { err: 'the executor failed: out of luck' } },
      );
    });
  }

  test('not taking a command that it took once is a failed attempt', async () => {
    const run = await claimed({}, { type: 'noop' });
    await perform(nodeOf(() => Promise.resolve(done)).deps, run, new AbortController().signal);
    assert.equal((await runNow(stores, run.id)).error, 'the executor failed: target: expected a text');
  });

  test('not being there is a failed attempt', async () => {
    const run = await claimed({}, { type: 'gone' });
    await perform(nodeOf(() => Promise.resolve(done)).deps, run, new AbortController().signal);
    const { state, error } = await runNow(stores, run.id);
    assert.deepEqual({ state, error }, { state: 'failed', error: 'expected a command of type noop, got "gone"' });
  });
});

describe('a result', () => {
  test("that comes when the run is another one's is told, and changes nothing", async () => {
    const run = await claimed(thrice);
    const { deps, told, lines } = nodeOf(async () => {
      await stores.runs.record(failedOnce(run, afterAll));
      await claim(stores, [run.id], incarnation);
      return done;
    });
    await perform(deps, run, new AbortController().signal);
    assert.deepEqual([(await wayOf(stores, run.id))?.state, (await wayOf(stores, run.id))?.attempt], ['running', 2]);
    assert.deepEqual([told, lines.map(({ msg }) => msg)], [[], ['result_came_too_late']]);
  });

  test('that comes when the run is at its end is told, and changes nothing', async () => {
    const run = await claimed();
    await stores.runs.record(outcome(run));
    const before = await runNow(stores, run.id);
    const { deps, told, lines } = nodeOf(() => Promise.resolve(failed));
    await perform(deps, run, new AbortController().signal);
    assert.deepEqual(await runNow(stores, run.id), before);
    assert.deepEqual([told, lines.map(({ msg }) => msg)], [[], ['result_came_too_late']]);
  });

  test('whose words cannot be stored is recorded without them', async () => {
    const run = await claimed();
    await perform(nodeOf(() => Promise.resolve({ ...failed, error: 'a \u0000' })).deps, run, new AbortController().signal);
    const { state, error } = await runNow(stores, run.id);
    assert.deepEqual([state, error], ['failed', 'what it said could not be stored']);
  });

  for (const [what, answer, message, isUnrecorded] of [
    ['that is recorded', () => Promise.resolve('recorded'), 'execed_job', false],
    ['that came too late', () => Promise.resolve('too_late'), 'result_came_too_late', false],
    ['that waits in a file for the next start', () => Promise.resolve('kept'), 'kept_result', true],
    ['that will not be recorded', () => Promise.reject(new Error('refused')), 'record_failed', true],
  ] as [string, Spool['record'], string, boolean][]) {
    test(`${what} is told as that${isUnrecorded ? ', and its run remembered as begun' : ''}`, async () => {
      const run = await claimed();
      let wasUnrecorded = false;
      const { deps, messages } = nodeOf(() => {
        wasUnrecorded = deps.unrecorded.has(claimName(run));
        return Promise.resolve(done);
      });
      await perform({ ...deps, recordAtLast: answer }, run, new AbortController().signal);
      assert.deepEqual([messages(), wasUnrecorded, deps.unrecorded.has(claimName(run))], [[message], true, isUnrecorded]);
    });
  }
});
