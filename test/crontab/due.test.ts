import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { expand, type DueJob } from '../../src/crontab/due.ts';
import { rememberSchedules, type Scheduled } from '../../src/crontab/schedules.ts';

const remembered = rememberSchedules();
const scheduleOf = (expr: string, more: Partial<Scheduled> = {}) => remembered({ name: 'a job', expr, timezone: 'UTC', ...more });
const everyMinute = scheduleOf('* * * * *');
const at = (time: string): Date => new Date(`2030-01-01T${time}Z`);
const job: DueJob = {
  nextDueAt: at('10:00:00'),
  misfire: 'once',
  overlap: 'skip',
  catchupWindowMs: undefined,
  maxCatchup: 100,
  isPaused: false,
  runsLeft: undefined,
};

describe('with somebody looking all the time', () => {
  test('a due time fires once and the cursor goes to the next', () => {
    const { fires, next } = expand(job, everyMinute, at('10:00:00'), undefined);
    assert.deepEqual(fires, [{ dueAt: at('10:00:00'), dueCount: 1, catchup: false }]);
    assert.deepEqual(next, at('10:01:00'));
  });

  test('due times that are late by our own load all fire', () => {
    const { fires, next } = expand(job, everyMinute, at('10:02:30'), undefined);
    assert.deepEqual(
      fires.map((fire) => fire.dueAt),
      [at('10:00:00'), at('10:01:00'), at('10:02:00')],
    );
    assert.ok(fires.every((fire) => !fire.catchup && fire.reason === undefined));
    assert.deepEqual(next, at('10:03:00'));
  });

  test('nothing fires before its time', () => {
    assert.deepEqual(expand(job, everyMinute, at('09:59:59'), undefined), { fires: [], next: at('10:00:00') });
  });
});

describe('after an hour in which nobody looked', () => {
  const gap = { from: at('09:59:30'), to: at('10:59:55') };
  const now = at('11:00:00');
  const live = { dueAt: at('11:00:00'), dueCount: 1, catchup: false };

  test('skip: the missed ones are one row with a count', () => {
    const { fires } = expand({ ...job, misfire: 'skip' }, everyMinute, now, gap);
    assert.deepEqual(fires, [{ dueAt: at('10:00:00'), lastDueAt: at('10:59:00'), dueCount: 60, reason: 'missed', catchup: false }, live]);
  });

  test('once: the latest missed one is caught up', () => {
    const { fires } = expand(job, everyMinute, now, gap);
    assert.deepEqual(fires, [
      { dueAt: at('10:00:00'), lastDueAt: at('10:58:00'), dueCount: 59, reason: 'missed', catchup: false },
      { dueAt: at('10:59:00'), dueCount: 1, catchup: true },
      live,
    ]);
  });

  test('all: each is caught up, one after another', () => {
    const { fires } = expand({ ...job, misfire: 'all', catchupWindowMs: 7_200_000 }, everyMinute, now, gap);
    assert.equal(fires.length, 61);
    assert.ok(fires.slice(0, 60).every((fire) => fire.catchup && fire.overlap === 'wait_all'));
  });

  test('all: at most max_catchup, the latest', () => {
    const { fires } = expand({ ...job, misfire: 'all', maxCatchup: 5 }, everyMinute, now, gap);
    assert.deepEqual(fires[0], { dueAt: at('10:00:00'), lastDueAt: at('10:54:00'), dueCount: 55, reason: 'missed', catchup: false });
    assert.equal(fires.filter((fire) => fire.catchup).length, 5);
  });

  test('what is older than the window is not caught up', () => {
    const { fires } = expand({ ...job, catchupWindowMs: 1000 }, everyMinute, now, gap);
    assert.deepEqual(
      fires.filter((fire) => fire.catchup),
      [],
    );
  });

  test('two days of a one-second job are one row, without going through them', () => {
    const everySecond = scheduleOf('* * * * * *');
    const since = new Date(at('10:00:00').getTime() - 2 * 86_400_000);
    const begun = performance.now();
    const { fires } = expand({ ...job, nextDueAt: since }, everySecond, at('10:00:00'), {
      from: new Date(since.getTime() - 1),
      to: at('10:00:00'),
    });
    assert.ok(performance.now() - begun < 1000);
    assert.deepEqual(fires, [
      { dueAt: since, lastDueAt: at('09:59:59'), dueCount: 172_800, reason: 'missed', catchup: false },
      { dueAt: at('10:00:00'), dueCount: 1, catchup: true },
    ]);
  });

  test('what was blacked out was not missed, and the latest that was not is caught up', () => {
    const schedule = scheduleOf('*/10 * * * *', { blackouts: ['30-59 10 * * *'] });
    const { fires } = expand(job, schedule, at('11:00:00'), gap);
    assert.deepEqual(fires, [
      { dueAt: at('10:00:00'), lastDueAt: at('10:10:00'), dueCount: 2, reason: 'missed', catchup: false },
      { dueAt: at('10:20:00'), dueCount: 1, catchup: true },
      { dueAt: at('10:30:00'), lastDueAt: at('10:50:00'), dueCount: 3, reason: 'blackout', catchup: false },
      live,
    ]);
  });

  test('far behind with blackouts the cursor goes on in steps, and the latest missed one still is the only one caught up', () => {
    const schedule = scheduleOf('* * * * * *', { blackouts: ['0 0 1 1 *'] });
    let cursor: Date | undefined = job.nextDueAt;
    const caughtUp: Date[] = [];
    let missed = 0;
    while (cursor && cursor <= now) {
      const step = expand({ ...job, nextDueAt: cursor }, schedule, now, gap);
      caughtUp.push(...step.fires.filter((fire) => fire.catchup).map((fire) => fire.dueAt));
      missed += step.fires.filter((fire) => fire.reason === 'missed').reduce((sum, fire) => sum + fire.dueCount, 0);
      cursor = step.next;
    }
    assert.deepEqual(caughtUp, [at('10:59:55')]);
    assert.equal(missed, 3595);
  });
});

describe('what else a job says about when', () => {
  test('a blacked-out due time is written down and not run', () => {
    const { fires } = expand(job, scheduleOf('* * * * *', { blackouts: ['2030-01-01'] }), at('10:00:00'), undefined);
    assert.deepEqual(fires, [{ dueAt: at('10:00:00'), dueCount: 1, reason: 'blackout', catchup: false }]);
  });

  test('due times of a paused job are one row, whether somebody looked or not', () => {
    const { fires, next } = expand({ ...job, isPaused: true }, everyMinute, at('10:05:30'), { from: at('09:00:00'), to: at('10:03:00') });
    assert.deepEqual(fires, [{ dueAt: at('10:00:00'), lastDueAt: at('10:05:00'), dueCount: 6, reason: 'paused', catchup: false }]);
    assert.deepEqual(next, at('10:06:00'));
  });

  test('with its last run a job is at its end', () => {
    const { fires, next } = expand({ ...job, runsLeft: 2 }, everyMinute, at('10:05:00'), undefined);
    assert.deepEqual(
      fires.map(({ dueAt }) => dueAt),
      [at('10:00:00'), at('10:01:00')],
    );
    assert.equal(next, undefined);
  });

  test('spread moves its start by as much each time, and not past the next due time', () => {
    const starts = (spreadMs: number): number[] =>
      expand(job, scheduleOf('* * * * *', { spreadMs }), at('10:02:00'), undefined).fires.map(
        ({ dueAt, readyAt }) => (readyAt ?? dueAt).getTime() - dueAt.getTime(),
      );
    const [first = 0, ...others] = starts(30_000);
    assert.ok(first > 0 && first < 30_000);
    assert.deepEqual(others, [first, first]);
    assert.ok(starts(86_400_000).every((ms) => ms < 60_000));
  });
});
