import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { backoffMs, decide, type Ended, type Policy } from '../../src/runs/lifecycle.ts';

const retry = { maxAttempts: 3, delayMs: 1000, maxDelayMs: 10_000, factor: 2, jitter: 0 };
const policy: Policy = { retry, timeoutMs: 1000, onLost: 'fail', log: true };
const now = new Date('2030-01-01T00:00:00Z');
const failed: Ended = { outcome: 'failed', known: true, exitCode: 3 };

function after(attempt: number, ended: Ended, changed: Partial<Policy> = {}) {
  return decide({ id: 7, attempt, policy: { ...policy, ...changed } }, ended, now);
}

describe('after an attempt', () => {
  test('success ends the run', () => {
    assert.deepEqual(after(1, { outcome: 'succeeded', known: true }), { state: 'succeeded' });
  });

  test('a known failure is tried again after the delay, which doubles', () => {
    assert.deepEqual(after(1, failed), { state: 'retrying', readyAt: new Date(now.getTime() + 1000) });
    assert.deepEqual(after(2, failed), { state: 'retrying', readyAt: new Date(now.getTime() + 2000) });
  });

  test('the last attempt decides', () => {
    assert.deepEqual(after(3, failed), { state: 'failed', reason: 'failed' });
    assert.deepEqual(after(3, { outcome: 'timed_out', known: true }), { state: 'failed', reason: 'timed_out' });
  });

  test('only the exit codes that are named are retried, where some are', () => {
    const changed = { retry: { ...retry, exitCodes: [75] } };
    assert.equal(after(1, failed, changed).state, 'failed');
    assert.equal(after(1, { ...failed, exitCode: 75 }, changed).state, 'retrying');
  });

  for (const status of [408, 425, 429, 500, 503, 599]) {
    test(`an answer of ${status} is tried again`, () => {
      assert.equal(after(1, { outcome: 'failed', known: true, status }).state, 'retrying');
    });
  }
  for (const status of [301, 400, 404, 410]) {
    test(`an answer of ${status} is not`, () => {
      assert.equal(after(1, { outcome: 'failed', known: true, status }).state, 'failed');
    });
  }

  test('an answer that says when to come again is not bothered before', () => {
    const verdict = after(1, { outcome: 'failed', known: true, status: 429, retryAfterMs: 60_000 });
    assert.deepEqual(verdict, { state: 'retrying', readyAt: new Date(now.getTime() + 60_000) });
  });

  test('nobody puts a run off for longer than an hour', () => {
    const verdict = after(1, { outcome: 'failed', known: true, status: 503, retryAfterMs: 10 ** 9 });
    assert.deepEqual(verdict, { state: 'retrying', readyAt: new Date(now.getTime() + 3_600_000) });
  });

  test('what nobody knows the effect of is tried again only where the job says so', () => {
    const lost: Ended = { outcome: 'lost', known: false };
    assert.deepEqual(after(1, lost), { state: 'failed', reason: 'lost' });
    assert.equal(after(1, lost, { onLost: 'retry' }).state, 'retrying');
    assert.deepEqual(after(3, lost, { onLost: 'retry' }), { state: 'failed', reason: 'lost' });
    assert.deepEqual(after(1, { outcome: 'failed', known: false }), { state: 'failed', reason: 'no_answer' });
  });

  test('a run that our own shutdown cut short has spent an attempt', () => {
    assert.equal(after(1, { outcome: 'failed', known: true, stopped: 'interrupted' }).state, 'retrying');
    assert.deepEqual(after(3, { outcome: 'failed', known: true, stopped: 'interrupted' }), { state: 'failed', reason: 'interrupted' });
  });

  test('cancelled is cancelled', () => {
    assert.deepEqual(after(1, { outcome: 'cancelled', known: true }), { state: 'cancelled', reason: 'cancelled' });
  });
});

describe('the wait before the next attempt', () => {
  test('grows by the factor up to max_delay', () => {
    const waits = [1, 2, 3, 4, 5, 6].map((attempt) => backoffMs(retry, 1, attempt));
    assert.deepEqual(waits, [1000, 2000, 4000, 8000, 10_000, 10_000]);
  });

  test('is moved by up to the jitter, differently for each run, and the same when asked again', () => {
    const jittered = { ...retry, jitter: 0.5 };
    const waits = Array.from({ length: 200 }, (_, id) => backoffMs(jittered, id, 1));
    assert.ok(waits.every((wait) => wait >= 500 && wait <= 1500));
    assert.ok(new Set(waits).size > 100);
    assert.deepEqual(
      waits,
      Array.from({ length: 200 }, (_, id) => backoffMs(jittered, id, 1)),
    );
  });
});
