// What an attempt is told of the run that its own comes after, on a real PostgreSQL that is away for a while.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import type { AttemptRequest, AttemptResult, StopReason } from '../../src/executors/executor.ts';
import { perform } from '../../src/runs/perform.ts';
import type { ClaimedRun } from '../../src/store/runs.ts';
import { claim, openStores, outcome, placeJob, placeNode, queueRuns, runNow } from '../support/jobs.ts';
import { done } from '../support/kinds.ts';
import { performersOn } from '../support/performing.ts';
import { testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const nodeOf = performersOn(stores);
const incarnation = await placeNode(stores, 'node a');

/** A run whose parent has succeeded and said "hello". */
async function chained(): Promise<ClaimedRun> {
  const command = { type: 'noop', target: 'x' };
  const [parent = assert.fail()] = await claim(stores, await queueRuns(stores, await placeJob(stores, { command }), 1), incarnation);
  await stores.runs.record(outcome(parent, { result: { out: 'hello' } }));
  const [run = assert.fail()] = await claim(stores, await queueRuns(stores, await placeJob(stores, { command }), 1), incarnation);
  return { ...run, parentId: parent.id };
}

/** A node that can't read the previous run so often before it can. */
function nodeAwayFor(tries: number) {
  const requests: AttemptRequest[] = [];
  const { deps, clock } = nodeOf((request) => {
    requests.push(request);
    const stopped: AttemptResult = { outcome: 'cancelled', known: true, error: 'cancelled', result: {} };
    return Promise.resolve(request.signal.aborted ? stopped : done);
  });
  let left = tries;
  const previous: typeof deps.previous = async (id) => {
    if (left-- > 0) throw new Error('PostgreSQL is away');
    return await stores.runs.ended(id);
  };
  return { deps: { ...deps, previous }, clock, requests };
}

describe('the previous run', { timeout: 60_000 }, () => {
  test('is waited for until it can be read, which is no failure', async () => {
    const run = await chained();
    const { deps, clock, requests } = nodeAwayFor(3);
    const performed = perform(deps, run, new AbortController().signal);
    for (let tries = 0; tries < 3; tries++) {
      await clock.asleep(1000);
      clock.pass(1000);
    }
    await performed;
    assert.deepEqual([requests.length, requests[0]?.previous?.result, requests[0]?.previous?.state], [1, 'hello', 'succeeded']);
    assert.deepEqual([(await runNow(stores, run.id)).state, (await runNow(stores, run.id)).failedCount], ['succeeded', 0]);
  });

  test('keeps no run from being cancelled that waits for it', async () => {
    const run = await chained();
    const { deps, clock } = nodeAwayFor(Infinity);
    const stop = new AbortController();
    const performed = perform(deps, run, stop.signal);
    await clock.asleep(1000);
    stop.abort('cancelled' satisfies StopReason);
    await performed;
    assert.equal((await runNow(stores, run.id)).state, 'cancelled');
  });
});
