// The statement of the tick, on a real PostgreSQL: cursors that move, and the runs of those that moved.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import type { JobRow } from '../../src/store/jobs.ts';
import type { Fire, Move } from '../../src/store/ticks.ts';
import {
  afterAll,
  claim,
  failedOnce,
  fire,
  jobNow,
  noon,
  openStores,
  outcome,
  placeJob,
  placeNode,
  plainPolicy,
  runNow,
  seconds,
  torn,
  wayOf,
  written,
  edited,
} from '../support/jobs.ts';
import { execute, testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const { database, jobs, runs } = stores;
const me = await placeNode(stores, 'node a');

const once: Fire = { dueAt: noon, dueCount: 1, catchup: false };

/** The move that a tick makes of a job it saw. */
function moveOf(job: JobRow, changed: Partial<Move> = {}): Move {
  return { jobId: job.id, revision: job.revision, seen: noon, next: seconds(60), fires: [once], ...changed };
}

async function runsOf(job: JobRow) {
  return await database.sql<{ state: string; reason: string | null; dueAt: Date }[]>`
    select state, reason, due_at as "dueAt" from belfry.records where job_id = ${job.id} order by id`;
}

test.afterEach(async () => assert.deepEqual(await torn(stores), []));

describe('a tick that fires', () => {
  test('moves the cursor and writes the run, which is queued and ready since its due time', async () => {
    const job = await placeJob(stores, { overlap: 'allow' });
    const now = seconds(0.4);
    const [run] = await jobs.fire([moveOf(job)], now);
    assert.ok(run);
    const { id, traceId } = run;
    assert.deepEqual(run, { id, jobId: job.id, jobName: job.name, dueAt: noon, state: 'queued', reason: null, traceId });
    const { readyAt, queuedAt, finishedAt, cause, attempt, dueCount, catchup } = await runNow(stores, id);
    assert.deepEqual(
      { readyAt, queuedAt, finishedAt, cause, attempt, dueCount, catchup },
      { readyAt: noon, queuedAt: now, finishedAt: null, cause: 'schedule', attempt: 0, dueCount: 1, catchup: false },
    );
    const { nextDueAt, revision } = await jobNow(stores, job.name);
    assert.deepEqual({ nextDueAt, revision }, { nextDueAt: seconds(60), revision: job.revision });
  });

  test('gives the run what the job says now: a later edit does not change it', async () => {
    const command = { type: 'noop', words: ['ä', '"', null], deep: { b: 1, a: 2 } };
    const job = await placeJob(stores, { overlap: 'wait', command });
    const [run] = await jobs.fire([moveOf(job)], noon);
    await execute(url, `update belfry.jobs set command = '{"type": "other"}', policy = '{}', overlap = 'allow' where id = ${job.id}`);
    const row = await runNow(stores, run?.id ?? 0);
    assert.deepEqual(
      { command: row.command, policy: row.policy, overlap: (await wayOf(stores, row.id))?.overlap, traceId: row.traceId },
      { command, policy: plainPolicy, overlap: 'wait', traceId: job.traceId },
    );
  });

  test('ends a job that is never due again', async () => {
    const job = await placeJob(stores);
    await jobs.fire([moveOf(job, { next: undefined })], seconds(1));
    const { nextDueAt, endedAt } = await jobNow(stores, job.name);
    assert.deepEqual({ nextDueAt, endedAt }, { nextDueAt: null, endedAt: seconds(1) });
  });

  test('writes down what was missed, one row for all, at its end from the start', async () => {
    const job = await placeJob(stores);
    const missed: Fire = { dueAt: noon, lastDueAt: seconds(50), dueCount: 51, reason: 'missed', catchup: false };
    const [run] = await jobs.fire([moveOf(job, { fires: [missed] })], seconds(90));
    const { state, reason, dueAt, lastDueAt, dueCount, finishedAt } = await runNow(stores, run?.id ?? 0);
    assert.deepEqual(
      { state, reason, dueAt, lastDueAt, dueCount, finishedAt },
      { state: 'skipped', reason: 'missed', dueAt: noon, lastDueAt: seconds(50), dueCount: 51, finishedAt: seconds(90) },
    );
  });

  test('moves a cursor that was written by hand to the microsecond', async () => {
    const job = await placeJob(stores);
    await execute(url, `update belfry.jobs set next_due_at = '2100-01-01T12:00:00.000999Z' where id = ${job.id}`);
    assert.equal((await jobs.fire([moveOf(job)], noon)).length, 1);
    assert.deepEqual((await jobNow(stores, job.name)).nextDueAt, seconds(60));
  });

  test('fires a thousand jobs with all their due times', async () => {
    const many = await Promise.all(Array.from({ length: 1000 }, () => placeJob(stores, { overlap: 'allow' })));
    const fires = [once, { ...once, dueAt: seconds(1) }];
    const fired = await jobs.fire(
      many.map((job) => moveOf(job, { fires })),
      seconds(1),
    );
    assert.equal(new Set(fired.map(({ jobId, dueAt }) => `${jobId} ${dueAt.getTime()}`)).size, 2000);
  });
});

describe('a tick that comes too late', () => {
  const changes: [string, (job: JobRow) => Promise<unknown>][] = [
    ['was fired', (job) => jobs.fire([moveOf(job)], noon)],
    ['was edited by SQL', (job) => execute(url, `update belfry.jobs set expr = '0 * * * *' where id = ${job.id}`)],
    ['was switched off', (job) => jobs.setEnabled(job.id, false, undefined, edited)],
    [
      'was switched off and on',
      (job) => jobs.setEnabled(job.id, false, undefined, edited).then(() => jobs.setEnabled(job.id, true, noon, edited)),
    ],
    ['was deleted', (job) => jobs.remove(job.id, edited)],
  ];
  for (const [what, change] of changes) {
    test(`does not fire a job that ${what} since it was seen, and fires those beside it`, async () => {
      const [job, other] = [await placeJob(stores), await placeJob(stores)];
      await change(job);
      const row = () => execute(url, `select * from belfry.jobs left join belfry.cursors on job_id = id where id = ${job.id}`);
      const before = await row();
      const fired = await jobs.fire([moveOf(job, { next: seconds(3600) }), moveOf(other)], noon);
      assert.deepEqual(
        fired.map(({ jobId }) => jobId),
        [other.id],
      );
      assert.deepEqual(await row(), before);
    });
  }

  test('writes no second run of a due time, also when the cursor was put back by hand', async () => {
    const job = await placeJob(stores, { overlap: 'allow' });
    await jobs.fire([moveOf(job)], noon);
    await execute(url, `update belfry.cursors set next_due_at = '2100-01-01T12:00:00Z' where job_id = ${job.id}`);
    const fires = [once, { ...once, dueAt: seconds(30) }];
    assert.deepEqual(
      (await jobs.fire([moveOf(job, { fires })], noon)).map(({ dueAt }) => dueAt),
      [seconds(30)],
    );
    assert.deepEqual((await jobNow(stores, job.name)).nextDueAt, seconds(60));
  });
});

describe('two nodes that fire at once', { timeout: 120_000 }, () => {
  const other = openStores(test, url);

  test('fire each job once', async () => {
    const many = await Promise.all(Array.from({ length: 40 }, () => placeJob(stores, { overlap: 'allow' })));
    for (let round = 0; round < 50; round++) {
      const due = seconds(60 * round);
      const moves = many.map((job) => moveOf(job, { seen: due, next: seconds(60 * round + 60), fires: [{ ...once, dueAt: due }] }));
      // Each sees them in an order of its own.
      const [ours, theirs] = await Promise.all([jobs.fire(moves, due), other.jobs.fire(moves.toReversed(), due)]);
      const fired = [...ours, ...theirs].map(({ jobId }) => jobId);
      assert.equal(fired.length, many.length, `round ${round}`);
      assert.equal(new Set(fired).size, many.length, `round ${round}`);
    }
  });

  test('and see different due times of a job leave one cursor and one run each', async () => {
    for (let round = 0; round < 30; round++) {
      const job = await placeJob(stores, { overlap: 'allow' });
      const far = moveOf(job, { next: seconds(120), fires: [once, { ...once, dueAt: seconds(60) }] });
      const [near, both] = await Promise.all([jobs.fire([moveOf(job)], noon), other.jobs.fire([far], seconds(60))]);
      const { nextDueAt } = await jobNow(stores, job.name);
      assert.deepEqual([near.length, both.length, nextDueAt], near.length === 1 ? [1, 0, seconds(60)] : [0, 2, seconds(120)]);
    }
  });

  test('while a third edits: a job fires before its edit or not at all', async () => {
    for (let round = 0; round < 30; round++) {
      const job = await placeJob(stores, { overlap: 'allow' });
      const [ours, theirs] = await Promise.all([
        jobs.fire([moveOf(job)], noon),
        other.jobs.fire([moveOf(job)], noon),
        jobs.update(job.id, written({ name: job.name, expr: '0 0 * * *', nextDueAt: seconds(7200) }), edited),
      ]);
      assert.ok(ours.length + theirs.length <= 1);
      assert.deepEqual((await jobNow(stores, job.name)).nextDueAt, seconds(7200));
    }
  });
});

describe('a job that is due while one of its runs is not at its end', () => {
  type Unfinished = 'queued' | 'running' | 'retrying';

  async function withRun(overlap: string, state: Unfinished): Promise<JobRow> {
    const job = await placeJob(stores, { overlap });
    const [first] = await fire(stores, job, noon);
    assert.ok(first);
    if (state === 'queued') return job;
    const [run] = await claim(stores, [first.id], me);
    assert.ok(run);
    if (state === 'retrying') await runs.record(failedOnce(run, afterAll));
    return job;
  }

  for (const state of ['queued', 'running', 'retrying'] as const) {
    test(`skip: is skipped, which is written down (${state})`, async () => {
      const job = await withRun('skip', state);
      await fire(stores, job, seconds(60));
      assert.deepEqual(await runsOf(job), [
        { state, reason: null, dueAt: noon },
        { state: 'skipped', reason: 'overlap', dueAt: seconds(60) },
      ]);
    });

    test(`wait: one waits, the next is skipped (${state})`, async () => {
      const job = await withRun('wait', state);
      await fire(stores, job, seconds(60));
      await fire(stores, job, seconds(120));
      assert.deepEqual(
        (await runsOf(job)).map((run) => [run.state, run.reason]),
        [
          [state, null],
          ['queued', null],
          ['skipped', 'overlap'],
        ],
      );
    });

    test(`replace: that one shall be cancelled, and the new one is queued (${state})`, async () => {
      const job = await withRun('replace', state);
      const [second] = await fire(stores, job, seconds(60));
      assert.equal((await wayOf(stores, second?.id ?? 0))?.cancelAt, null);
      const cancelled = await execute(url, `select state from belfry.unfinished where job_id = ${job.id} and cancel_at is not null`);
      assert.deepEqual(cancelled, [{ state }]);
    });

    test(`allow: is queued beside it (${state})`, async () => {
      const job = await withRun('allow', state);
      await fire(stores, job, seconds(60));
      assert.deepEqual(
        (await runsOf(job)).map((run) => run.state),
        [state, 'queued'],
      );
    });
  }

  test('wait_all: a thousand wait, the next is skipped for the limit', async () => {
    const job = await placeJob(stores, { overlap: 'wait_all' });
    await fire(stores, job, ...Array.from({ length: 1000 }, (_, index) => seconds(index)));
    const [next] = await fire(stores, job, seconds(1000));
    assert.deepEqual([next?.state, next?.reason], ['skipped', 'limit']);
  });

  test('is queued again after that run came to its end, whatever its overlap', async () => {
    for (const overlap of ['skip', 'wait', 'wait_all', 'replace', 'allow']) {
      const job = await placeJob(stores, { overlap });
      const [first] = await fire(stores, job, noon);
      const [run] = await claim(stores, [first?.id ?? 0], me);
      assert.ok(run);
      await runs.record(outcome(run));
      assert.equal((await fire(stores, job, seconds(60)))[0]?.state, 'queued', overlap);
    }
  });

  test('of what is caught up waits its turn, where asked, also in a job that skips', async () => {
    const job = await withRun('skip', 'running');
    const [caughtUp] = await fire(stores, job, { dueAt: seconds(60), catchup: true, overlap: 'wait_all' });
    const { state, overlap, catchup } = (await wayOf(stores, caughtUp?.id ?? 0)) ?? {};
    assert.deepEqual({ state, overlap, catchup }, { state: 'queued', overlap: 'wait_all', catchup: true });
  });

  test('is skipped for being missed, not for overlap', async () => {
    const job = await withRun('skip', 'running');
    const [missed] = await fire(stores, job, { dueAt: seconds(60), reason: 'missed' });
    assert.equal(missed?.reason, 'missed');
  });
});
