// Pausing a job that fails, on a real PostgreSQL.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { claim, fire, jobNow, openStores, outcome, placeJob, placeNode, seconds } from '../support/jobs.ts';
import { testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const { jobs, runs } = stores;
const me = await placeNode(stores, 'node a');

/** A job whose runs have come to this, one after the other. */
async function after(...states: ('failed' | 'succeeded' | 'skipped')[]) {
  const job = await placeJob(stores, { overlap: 'allow' });
  for (const [index, state] of states.entries()) {
    const [fired] = await fire(stores, job, { dueAt: seconds(index), ...(state === 'skipped' ? { reason: 'missed' } : {}) });
    if (!fired || state === 'skipped') continue;
    const [run] = await claim(stores, [fired.id], me);
    assert.ok(run);
    await runs.record(outcome(run, { state, failed: state === 'failed' }));
  }
  return job;
}

describe('a job that shall be paused after three failures', () => {
  test('is, after the third in a row, and says why', async () => {
    const job = await after('succeeded', 'failed', 'failed', 'failed');
    assert.equal(await jobs.pauseIfFailing(job.id, 3, seconds(9)), true);
    const { pausedAt, pauseNote } = await jobNow(stores, job.name);
    assert.deepEqual([pausedAt, pauseNote], [seconds(9), '3 failed runs in a row']);
    assert.equal(await jobs.pauseIfFailing(job.id, 3, seconds(10)), false, 'it is already');
  });

  test('is, whatever was skipped between them', async () => {
    const job = await after('failed', 'failed', 'skipped', 'failed', 'skipped');
    assert.equal(await jobs.pauseIfFailing(job.id, 3, seconds(9)), true);
  });

  test('is not, as long as there are fewer, or one went well', async () => {
    for (const states of [
      ['failed', 'failed'],
      ['failed', 'failed', 'succeeded', 'failed'],
      ['failed', 'failed', 'failed', 'succeeded'],
    ] as const) {
      const job = await after(...states);
      assert.equal(await jobs.pauseIfFailing(job.id, 3, seconds(9)), false);
    }
  });
});
