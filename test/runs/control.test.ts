// What people do to runs, on a real PostgreSQL.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { makeBell } from '../../src/clock.ts';
import { Refusal, type RefusalKind } from '../../src/errors.ts';
import { rememberSchedules } from '../../src/crontab/schedules.ts';
import { backfill, stopCancelled, trigger } from '../../src/runs/control.ts';
import { hasRung, standingClock } from '../support/clock.ts';
import { claim, fire, noon, openStores, placeJob, placeNode, runNow, seconds, wayOf } from '../support/jobs.ts';
import { keptLog } from '../support/log.ts';
import { execute, testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const { jobs, runs } = stores;
const options = { override: false, traceId: 'the trace of the request' };

function doorOf() {
  const clock = standingClock(noon);
  const { log, lines } = keptLog();
  const dispatch = makeBell(clock);
  return { deps: { clock, log, jobs, runs, dispatch }, lines, isDispatched: () => hasRung(dispatch, clock) };
}

function refusal(kind: RefusalKind, says: RegExp): (thrown: unknown) => boolean {
  return (thrown) => {
    assert.ok(thrown instanceof Refusal, String(thrown));
    assert.equal(thrown.kind, kind);
    assert.match(thrown.message, says);
    return true;
  };
}

describe('a run by hand', () => {
  test('is made now, told, and dispatched', async () => {
    const job = await placeJob(stores);
    const { deps, lines, isDispatched } = doorOf();
    const { id } = await trigger(deps, job.name, options);
    const { state, cause, dueAt, traceId, command, policy } = await runNow(stores, id);
    assert.deepEqual(
      { state, cause, dueAt, traceId, command, policy },
      { state: 'queued', cause: 'manual', dueAt: noon, traceId: options.traceId, command: job.command, policy: job.policy },
    );
    assert.equal(await isDispatched(), true);
    assert.deepEqual(
      lines.map((line) => [line.msg, line['run'], line['trace_id']]),
      [['triggered_job', id, options.traceId]],
    );
  });

  test('is made of a job that is switched off, and leaves its due times alone', async () => {
    const job = await placeJob(stores, { enabled: false, nextDueAt: null });
    await trigger(doorOf().deps, job.name, options);
    const { enabled, nextDueAt } = (await jobs.byName(job.name)) ?? assert.fail();
    assert.deepEqual({ enabled, nextDueAt }, { enabled: false, nextDueAt: null });
  });

  test('is refused where there is no such job', async () => {
    await assert.rejects(trigger(doorOf().deps, 'nobody', options), refusal('not_found', /nobody/));
  });

  test('is refused while the row was not worked out, and for its fault', async () => {
    await execute(url, `insert into belfry.jobs (name, expr, command) values ('by hand', '* * * * *', '{}')`);
    await assert.rejects(trigger(doorOf().deps, 'by hand', options), refusal('conflict', /not worked out yet/));
    await execute(url, `update belfry.jobs set fault = 'expr: expected five fields' where name = 'by hand'`);
    await assert.rejects(trigger(doorOf().deps, 'by hand', options), refusal('conflict', /expr: expected five fields/));
  });

  for (const state of ['queued', 'running'] as const) {
    test(`of a job that skips is refused while one is ${state}, unless it is to run beside it`, async () => {
      const job = await placeJob(stores, { overlap: 'skip' });
      const [first] = await fire(stores, job, noon);
      const node = await placeNode(stores, `node of ${state}`);
      if (state === 'running') await claim(stores, [first?.id ?? 0], node);
      const { deps, isDispatched } = doorOf();
      await assert.rejects(trigger(deps, job.name, options), refusal('conflict', /"override": true/));
      assert.equal(await isDispatched(), false);
      const { id } = await trigger(deps, job.name, { ...options, override: true });
      assert.equal((await claim(stores, [id], node)).length, 1);
    });
  }

  test('of a job whose runs wait is made, and waits', async () => {
    const job = await placeJob(stores, { overlap: 'wait_all' });
    const node = await placeNode(stores, 'node of waiting');
    const [first] = await fire(stores, job, noon);
    await claim(stores, [first?.id ?? 0], node);
    const { id } = await trigger(doorOf().deps, job.name, options);
    assert.deepEqual(await claim(stores, [id], node), []);
    assert.equal((await wayOf(stores, id))?.blocked, true);
  });
});

describe('the runs of this node that shall be cancelled', () => {
  test('are told to stop, and no others', async () => {
    const [mine, theirs] = [await placeNode(stores, 'mine'), await placeNode(stores, 'theirs')];
    const replaced: number[] = [];
    for (const node of [mine, theirs]) {
      const job = await placeJob(stores, { overlap: 'replace' });
      const [first] = await fire(stores, job, noon);
      await claim(stores, [first?.id ?? 0], node);
      await fire(stores, job, seconds(60));
      replaced.push(first?.id ?? 0);
    }
    const told: (readonly number[])[] = [];
    const cancel = (ids: readonly number[]): void => void told.push(ids);
    await stopCancelled({ runs, incarnation: () => mine, cancel });
    assert.deepEqual(told, [[replaced[0]]]);
  });

  test('are none most of the time: nobody is told', async () => {
    await stopCancelled({ runs, incarnation: () => 2 ** 40, cancel: () => assert.fail() });
  });
});

describe('a backfill', () => {
  const scheduleOf = rememberSchedules();
  const asked = { from: seconds(-600), to: noon, onlyMissing: false, overlap: 'wait_all', traceId: options.traceId } as const;
  const rowsOf = async (name: string) =>
    await execute(url, `select due_at, cause, catchup, state from belfry.records where job_name = '${name}' order by id`);

  test('runs the due times of a stretch of the past, its end not included, after what is live', async () => {
    const job = await placeJob(stores);
    const { deps, isDispatched } = doorOf();
    assert.deepEqual(await backfill({ ...deps, scheduleOf }, job.name, { ...asked, from: seconds(-180) }), { runs: 3 });
    const row = { cause: 'backfill', catchup: true, state: 'queued' };
    assert.deepEqual(await rowsOf(job.name), [
      { ...row, due_at: seconds(-180) },
      { ...row, due_at: seconds(-120) },
      { ...row, due_at: seconds(-60) },
    ]);
    assert.equal(await isDispatched(), true);
  });

  test('of what is missing only leaves out what was run or is on its way, and runs what was skipped', async () => {
    const job = await placeJob(stores, { overlap: 'allow', nextDueAt: seconds(-180) });
    await fire(stores, job, { dueAt: seconds(-180) }, { dueAt: seconds(-120), reason: 'missed' });
    const { deps } = doorOf();
    const once = { ...asked, from: seconds(-180), onlyMissing: true };
    assert.deepEqual(await backfill({ ...deps, scheduleOf }, job.name, once), { runs: 2 });
    assert.deepEqual(await backfill({ ...deps, scheduleOf }, job.name, once), { runs: 0 });
  });

  test('leaves out what is blacked out', async () => {
    const job = await placeJob(stores, { blackouts: ['* * * * *'] });
    assert.deepEqual(await backfill({ ...doorOf().deps, scheduleOf }, job.name, asked), { runs: 0 });
  });

  const refused: [string, Partial<typeof asked>, RefusalKind, RegExp][] = [
    ['into the future', { to: seconds(1) }, 'bad_input', /^to: expected a moment up to now/],
    ['that ends before it begins', { from: noon, to: noon }, 'bad_input', /^from: expected a moment before/],
    ['of too many due times', { from: seconds(-86_400 * 30) }, 'bad_input', /^from: expected at most 10000 due times .*, got 43200/],
  ];
  for (const [what, change, kind, says] of refused) {
    test(`${what} is refused, and nothing is made`, async () => {
      const job = await placeJob(stores);
      await assert.rejects(backfill({ ...doorOf().deps, scheduleOf }, job.name, { ...asked, ...change }), refusal(kind, says));
      assert.deepEqual(await rowsOf(job.name), []);
    });
  }
});
