import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseExpression } from '../../src/crontab/expression.ts';
import { rememberSchedules, type Scheduled } from '../../src/crontab/schedules.ts';
import { Refusal } from '../../src/errors.ts';

const job = { name: 'a', expr: '*/5 * * * *', timezone: 'UTC' };

describe('a schedule that was read before', () => {
  test('is the same one for all jobs that say the same', () => {
    const scheduleOf = rememberSchedules();
    assert.equal(scheduleOf(job), scheduleOf({ ...job, name: 'b' }));
  });

  test('is another one in another time zone or of another expression', () => {
    const scheduleOf = rememberSchedules();
    assert.notEqual(scheduleOf(job), scheduleOf({ ...job, timezone: 'Europe/Berlin' }));
    assert.notEqual(scheduleOf(job), scheduleOf({ ...job, expr: '*/6 * * * *' }));
  });

  for (const expr of ['H * * * *', 'H(0-29)/10 * * * *', '@every 5m']) {
    test(`is the job's own where its name decides: ${expr}`, () => {
      const scheduleOf = rememberSchedules();
      const [a, b] = ['job a', 'job b'].map((name) => ({ ...job, name, expr }));
      assert.ok(a && b);
      assert.equal(scheduleOf(a), scheduleOf(a));
      assert.notEqual(scheduleOf(a), scheduleOf(b));
      const at = new Date('2030-01-01T00:00:00Z');
      for (const each of [a, b]) assert.deepEqual(scheduleOf(each).next(at), parseExpression(expr, 'UTC', each.name).next(at));
    });
  }

  test('answers what one does that is read afresh, in whatever order it is asked', () => {
    const expressions = ['* * * * *', '*/7 * * * * *', '30 2 * * *', '0 0 29 2 *', 'H 3 * * MON', '@every 90s'];
    const moments = fc.date({ min: new Date('2026-01-01T00:00:00Z'), max: new Date('2032-01-01T00:00:00Z'), noInvalidDate: true });
    const near = fc.array(fc.integer({ min: -200_000, max: 200_000 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(
        fc.constantFrom(...expressions),
        fc.constantFrom('UTC', 'America/New_York'),
        moments,
        near,
        (expr, timezone, moment, offsets) => {
          const remembered = rememberSchedules()({ name: 'a', expr, timezone });
          for (const offset of offsets) {
            const after = new Date(moment.getTime() + offset);
            assert.deepEqual(remembered.next(after), parseExpression(expr, timezone, 'a').next(after));
          }
        },
      ),
      { numRuns: 50 },
    );
  });

  test('is forgotten when there are too many, the oldest first', () => {
    const scheduleOf = rememberSchedules(2);
    const [first, second, third] = ['1 * * * *', '2 * * * *', '3 * * * *'].map((expr) => ({ ...job, expr }));
    assert.ok(first && second && third);
    const [oldest, newer] = [scheduleOf(first), scheduleOf(second)];
    scheduleOf(third);
    assert.equal(scheduleOf(second), newer);
    assert.notEqual(scheduleOf(first), oldest);
  });
});

describe('an expression that cannot be read', () => {
  test('is refused, every time', () => {
    const scheduleOf = rememberSchedules();
    for (let time = 0; time < 2; time++) assert.throws(() => scheduleOf({ ...job, expr: '61 * * * *' }), Refusal);
    assert.throws(() => scheduleOf({ ...job, timezone: 'Nowhere/Land' }), Refusal);
  });
});

describe('what a job says about when', () => {
  const scheduleOf = rememberSchedules();
  const moment = (text: string): Date => new Date(`2030-03-${text}Z`);
  const named = (more: Partial<Scheduled>, from: string, count: number): string[] => {
    const schedule = scheduleOf({ ...job, expr: '0 9 * * *', ...more });
    const times: string[] = [];
    for (let due = schedule.next(moment(from)); due && times.length < count; due = schedule.next(due))
      times.push(due.toISOString().slice(8, 16));
    return times;
  };

  test('several expressions unite, and what two of them name is due once', () => {
    const expr = '0 9 * * *\n0 17 * * *\n0 9 * * 1-5';
    assert.deepEqual(named({ expr }, '01T00:00:00', 4), ['01T09:00', '01T17:00', '02T09:00', '02T17:00']);
    const schedule = scheduleOf({ ...job, expr });
    assert.equal(schedule.count(moment('01T00:00:00'), moment('02T17:00:00')), 4);
    assert.deepEqual(schedule.previous(moment('02T09:00:00')), moment('01T17:00:00'));
  });

  test('it is due from starts_at to ends_at, both included, looked at from either side', () => {
    const more = { startsAt: moment('02T09:00:00'), endsAt: moment('04T09:00:00') };
    assert.deepEqual(named(more, '01T00:00:00', 9), ['02T09:00', '03T09:00', '04T09:00']);
    const schedule = scheduleOf({ ...job, expr: '0 9 * * *', ...more });
    assert.deepEqual(schedule.previous(moment('20T00:00:00')), moment('04T09:00:00'));
    assert.equal(schedule.previous(moment('02T09:00:00')), undefined);
    assert.equal(schedule.count(moment('01T00:00:00'), moment('20T00:00:00')), 3);
    assert.equal(schedule.count(moment('05T00:00:00'), moment('20T00:00:00')), 0);
  });

  const blackouts: [string, string, string, boolean][] = [
    ['a date', '2030-03-02', '02T09:00:00', true],
    ['the day after a date', '2030-03-02', '03T00:00:00', false],
    ['the last of two dates', '2030-02-20/2030-03-02', '02T23:59:59', true],
    ['an expression', '0 9 * * 6', '02T09:00:00', true],
    ['another time of it', '0 9 * * 6', '02T09:01:00', false],
    ['a second of a minute that is named', '* 9 * * *', '02T09:59:59', true],
    ['a second beside the one that is named', '30 0 9 * * *', '02T09:00:31', false],
    ['a word', '@hourly', '02T09:00:59', true],
  ];
  for (const [what, blackout, time, isIn] of blackouts) {
    test(`${what} ${isIn ? 'is' : 'is not'} blacked out: ${blackout}`, () => {
      assert.equal(scheduleOf({ ...job, blackouts: [blackout] }).isBlackedOut(moment(time)), isIn);
    });
  }

  test("a date is one of the job's own time zone", () => {
    const inTokyo = scheduleOf({ ...job, timezone: 'Asia/Tokyo', blackouts: ['2030-03-02'] });
    assert.deepEqual(
      ['01T14:59:59', '01T15:00:00', '02T14:59:59', '02T15:00:00'].map((time) => inTokyo.isBlackedOut(moment(time))),
      [false, true, true, false],
    );
  });

  for (const blackout of ['2030-02-30', '2030-03-02/2030-03-01', 'christmas', '@every 5m', '']) {
    test(`${JSON.stringify(blackout)} blacks out nothing and is refused`, () => {
      assert.throws(() => scheduleOf({ ...job, blackouts: [blackout] }), Refusal);
    });
  }
});
