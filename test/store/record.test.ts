// Recording what an attempt came to, on a real PostgreSQL: believed only of who holds the run.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import type { ClaimedRun } from '../../src/store/runs.ts';
import {
  afterAll,
  claim,
  failedOnce,
  openStores,
  outcome,
  placeJob,
  placeNode,
  queueRuns,
  runNow,
  seconds,
  torn,
  wayOf,
} from '../support/jobs.ts';
import { execute, testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const { runs } = stores;
const me = await placeNode(stores, 'node a');

async function running(count: number): Promise<ClaimedRun[]> {
  const job = await placeJob(stores, { overlap: 'allow' });
  return await claim(stores, await queueRuns(stores, job, count), me);
}

async function oneRunning(): Promise<ClaimedRun> {
  const [run] = await running(1);
  assert.ok(run);
  return run;
}

test.afterEach(async () => assert.deepEqual(await torn(stores), []));

describe('what an attempt came to', () => {
  test('ends the run: state, reason, result, error, its note, and nobody holds it', async () => {
    const run = await oneRunning();
    const told = outcome(run, {
      state: 'failed',
      reason: 'timed_out',
      failed: true,
      error: 'took too long',
      result: { out: 'x', n: [1, null] },
    });
    assert.equal(await runs.record(told), true);
    const { state, reason, error, result, attempts, finishedAt, failedCount, node } = await runNow(stores, run.id);
    assert.deepEqual(
      { state, reason, error, result, attempts, finishedAt, failedCount, node },
      {
        state: 'failed',
        reason: 'timed_out',
        error: 'took too long',
        result: { out: 'x', n: [1, null] },
        attempts: [told.note],
        finishedAt: told.finishedAt,
        failedCount: 1,
        node: `node ${me}`,
      },
    );
    assert.equal(await wayOf(stores, run.id), undefined);
  });

  test('is kept of every attempt, and counted where it failed', async () => {
    const run = await oneRunning();
    await runs.record(failedOnce(run, afterAll));
    const [second] = await claim(stores, [run.id], me);
    assert.ok(second);
    await runs.record(outcome(second));
    const { state, failedCount, attempts, error } = await runNow(stores, run.id);
    assert.deepEqual(
      { state, failedCount, attempts: attempts.map((note) => note['attempt']), error },
      { state: 'succeeded', failedCount: 1, attempts: [1, 2], error: null },
    );
  });

  test('makes a run ready again that is tried again', async () => {
    const run = await oneRunning();
    await runs.record(failedOnce(run, seconds(5000)));
    const { state, readyAt, finishedAt, error } = await runNow(stores, run.id);
    const { owner } = (await wayOf(stores, run.id)) ?? {};
    assert.deepEqual(
      { state, readyAt, finishedAt, owner, error },
      { state: 'retrying', readyAt: seconds(5000), finishedAt: null, owner: null, error: 'exit status 3' },
    );
  });

  test('is not believed of who held it before', async () => {
    const run = await oneRunning();
    await runs.record(failedOnce(run, afterAll));
    const [second] = await claim(stores, [run.id], me);
    assert.equal(await runs.record(outcome(run)), false);
    assert.equal((await runNow(stores, run.id)).state, 'running');
    assert.ok(second && (await runs.record(outcome(second))));
  });

  test('is not believed of a run that is at its end: final is final', async () => {
    for (const state of ['succeeded', 'failed', 'cancelled'] as const) {
      const run = await oneRunning();
      await runs.record(outcome(run, { state }));
      const before = await runNow(stores, run.id);
      assert.equal(await runs.record(outcome(run, { state: 'failed', failed: true })), false);
      assert.equal(await runs.record(failedOnce(run, afterAll)), false);
      assert.deepEqual(await runNow(stores, run.id), before);
    }
  });

  test('told again of a run that is tried again, as when the first answer got lost, is one attempt all the same', async () => {
    const run = await oneRunning();
    assert.equal(await runs.record(failedOnce(run, afterAll)), true);
    assert.equal(await runs.record(failedOnce(run, seconds(9000))), true);
    const { readyAt, failedCount, attempts } = await runNow(stores, run.id);
    assert.deepEqual({ readyAt, failedCount, attempts: attempts.length }, { readyAt: seconds(9000), failedCount: 1, attempts: 1 });
  });

  test('told late wins over the guess that the attempt was lost, as long as it is not made again', async () => {
    const run = await oneRunning();
    const guess = { ...failedOnce(run, afterAll), error: 'lost', isGuess: true };
    assert.equal(await runs.record(guess), true);
    assert.equal(await runs.record(outcome(run)), true);
    const { state, failedCount, attempts, error } = await runNow(stores, run.id);
    assert.deepEqual(
      { state, failedCount, attempts: attempts.length, error },
      { state: 'succeeded', failedCount: 0, attempts: 1, error: null },
    );
  });

  test('told at the moment of a guess wins over it, whichever came first, and only it is told to be written', async () => {
    for (const isGuessFirst of [true, false]) {
      const run = await oneRunning();
      const guess = outcome(run, { state: 'failed', reason: 'lost', failed: true, error: 'lost', isGuess: true });
      const both = isGuessFirst ? [guess, outcome(run)] : [outcome(run), guess];
      assert.deepEqual(await Promise.all(both.map((each) => runs.record(each))), [!isGuessFirst, isGuessFirst]);
      const { state, failedCount, attempts } = await runNow(stores, run.id);
      assert.deepEqual({ state, failedCount, attempts: attempts.length }, { state: 'succeeded', failedCount: 0, attempts: 1 });
    }
  });

  test('told at one moment of two attempts is believed of the one that holds it', async () => {
    const run = await oneRunning();
    await runs.record(failedOnce(run, afterAll));
    const [second] = await claim(stores, [run.id], me);
    assert.ok(second);
    const told = [outcome(run), outcome(second, { state: 'failed', failed: true }), outcome(second, { state: 'failed', failed: true })];
    assert.deepEqual(await Promise.all(told.map((each) => runs.record(each))), [false, true, true]);
    assert.equal((await runNow(stores, run.id)).state, 'failed');
  });

  test('told in two ways at one moment is written in one, and only that is told to be written', async () => {
    const run = await oneRunning();
    assert.deepEqual(await Promise.all([runs.record(failedOnce(run, afterAll)), runs.record(outcome(run))]), [true, false]);
    assert.equal((await runNow(stores, run.id)).state, 'retrying');
  });

  test('that is a guess never wins over what was seen', async () => {
    const run = await oneRunning();
    await runs.record(failedOnce(run, afterAll));
    assert.equal(await runs.record({ ...outcome(run, { state: 'failed', failed: true }), isGuess: true }), false);
    assert.equal((await runNow(stores, run.id)).state, 'retrying');
  });

  test('told twice at one moment is written once', async () => {
    const run = await oneRunning();
    const told = await Promise.all([runs.record(outcome(run)), openStores(test, url).runs.record(outcome(run))]);
    assert.deepEqual(told.sort(), [false, true]);
    assert.equal((await runNow(stores, run.id)).attempts.length, 1);
  });

  test('of many runs at one moment is written in a few statements, each to its own run', async () => {
    const all = await running(250);
    const told = await Promise.all(all.map((run) => runs.record(outcome(run, { result: { mine: run.id } }))));
    assert.ok(told.every(Boolean));
    const ids = all.map(({ id }) => id).join();
    const [row] = await execute(
      url,
      `select count(distinct xmin::text)::integer as statements, count(*) filter (where (result ->> 'mine')::bigint = run_id)::integer as own
         from belfry.results where run_id in (${ids})`,
    );
    assert.equal(row?.['own'], 250);
    assert.ok(Number(row['statements']) <= 3, `${String(row['statements'])} statements`);
  });

  test('is written of those whose run is still theirs, beside others', async () => {
    const [mine, gone] = await running(2);
    assert.ok(mine && gone);
    await runs.record(outcome(gone));
    assert.deepEqual(await Promise.all([runs.record(outcome(gone)), runs.record(outcome(mine))]), [false, true]);
  });
});

describe('what a command wrote', () => {
  const texts = {
    'emoji and accents': 'e\u0301 ☃ 👩‍👩‍👧',
    'quotes, backslashes and braces': `"it's" \\ \\\\ {"a": [1]} $1 \${x} \\u0041`,
    'line ends and tabs': 'a\r\nb\tc\u2028d\u001b[0m',
    nothing: '',
    much: 'x'.repeat(100_000),
  };
  for (const [what, text] of Object.entries(texts)) {
    test(`is kept as it is: ${what}`, async () => {
      const run = await oneRunning();
      assert.equal(await runs.record(outcome(run, { result: { out: text }, error: text })), true);
      const { result, error } = await runNow(stores, run.id);
      assert.deepEqual({ result, error }, { result: { out: text }, error: text });
    });
  }

  for (const [what, error, kept] of [
    ['NUL', 'a\u0000b', 'what it said could not be stored'],
    ['half a character', 'a\ud83d', 'a\ufffd'],
  ] as const) {
    test(`and PostgreSQL can't hold (${what}) is replaced in its own run's record, and in no other`, async () => {
      const all = await running(5);
      const told = await Promise.all(all.map((run, index) => runs.record(outcome(run, { error: index === 2 ? error : 'plain' }))));
      assert.deepEqual(told, [true, true, true, true, true]);
      const errors = await Promise.all(all.map(async ({ id }) => (await runNow(stores, id)).error));
      assert.deepEqual(errors, ['plain', 'plain', kept, 'plain', 'plain']);
    });
  }
});
