// The golden cases of time.md: what a schedule does where the clocks change. Times are local, with their offset from UTC.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseExpression } from '../../src/crontab/expression.ts';

type Golden = [timezone: string, expr: string, from: string, due: string[], why: string];

const fixedTime: Golden[] = [
  ['America/New_York', '30 2 * * *', '2026-03-07T03:00-05:00', ['2026-03-08T03:00-04:00', '2026-03-09T02:30-04:00'], 'after the gap'],
  ['America/New_York', '0,30 2 * * *', '2026-03-08T00:00-05:00', ['2026-03-08T03:00-04:00', '2026-03-09T02:00-04:00'], 'once after a gap'],
  [
    'America/New_York',
    '0,30 2-3 * * *',
    '2026-03-08T00:00-05:00',
    ['2026-03-08T03:00-04:00', '2026-03-08T03:30-04:00', '2026-03-09T02:00-04:00'],
    'not again when due at the end of the gap anyway',
  ],
  ['America/New_York', '59 1 * * *', '2026-03-08T00:00-05:00', ['2026-03-08T01:59-05:00'], 'as ever just before a gap'],
  ['America/New_York', '30 1 * * *', '2026-11-01T00:00-04:00', ['2026-11-01T01:30-04:00', '2026-11-02T01:30-05:00'], 'the first time'],
  ['America/New_York', '30 1 * * *', '2026-11-01T01:10-05:00', ['2026-11-02T01:30-05:00'], 'not again when asked in the second pass'],
  ['America/New_York', '0 2 * * *', '2026-11-01T01:10-05:00', ['2026-11-01T02:00-05:00'], 'right after both passes'],
  [
    'America/New_York',
    '* 30 2 * * *',
    '2026-03-08T00:00-05:00',
    ['2026-03-08T03:00-04:00', '2026-03-09T02:30-04:00'],
    'whatever the seconds',
  ],
  [
    'Australia/Lord_Howe',
    '15 2 * * *',
    '2026-10-03T12:00+10:30',
    ['2026-10-04T02:30+11:00', '2026-10-05T02:15+11:00'],
    'after half an hour',
  ],
  [
    'Australia/Lord_Howe',
    '45 1 * * *',
    '2026-04-04T12:00+11:00',
    ['2026-04-05T01:45+11:00', '2026-04-06T01:45+10:30'],
    'in half an hour twice',
  ],
  ['Australia/Lord_Howe', '45 1 * * *', '2026-04-05T01:35+10:30', ['2026-04-06T01:45+10:30'], 'asked in the second half hour'],
  ['Africa/Cairo', '0 0 * * *', '2026-04-23T12:00+02:00', ['2026-04-24T01:00+03:00', '2026-04-25T00:00+03:00'], 'after a gap at midnight'],
  ['Africa/Cairo', '30 0 * * *', '2026-04-23T12:00+02:00', ['2026-04-24T01:00+03:00', '2026-04-25T00:30+03:00'], 'after a gap at midnight'],
  [
    'Africa/Cairo',
    '30 23 * * *',
    '2026-10-29T12:00+03:00',
    ['2026-10-29T23:30+03:00', '2026-10-30T23:30+02:00'],
    'in an hour before midnight twice',
  ],
  [
    'America/Santiago',
    '0 0 * * *',
    '2026-09-05T12:00-04:00',
    ['2026-09-06T01:00-03:00', '2026-09-07T00:00-03:00'],
    'after a gap at midnight',
  ],
  [
    'America/Santiago',
    '30 0 * * *',
    '2026-09-05T12:00-04:00',
    ['2026-09-06T01:00-03:00', '2026-09-07T00:30-03:00'],
    'after a gap at midnight',
  ],
  [
    'America/Santiago',
    '0 0 6 9 *',
    '2026-09-05T12:00-04:00',
    ['2026-09-06T01:00-03:00', '2027-09-06T00:00-03:00'],
    'a day without a midnight',
  ],
  ['Pacific/Apia', '0 12 * * *', '2011-12-29T00:00-10:00', ['2011-12-29T12:00-10:00', '2011-12-31T00:00+14:00'], 'after a missing day'],
  ['Pacific/Apia', '0 12 30 12 *', '2011-12-29T00:00-10:00', ['2011-12-31T00:00+14:00', '2012-12-30T12:00+14:00'], 'on the missing day'],
  [
    'Pacific/Apia',
    '0 0,12 * * *',
    '2011-12-29T13:00-10:00',
    ['2011-12-31T00:00+14:00', '2011-12-31T12:00+14:00'],
    'once for a missing day',
  ],
  [
    'Antarctica/Troll',
    '30 1 * * *',
    '2026-03-29T00:00+00:00',
    ['2026-03-29T03:00+02:00', '2026-03-30T01:30+02:00'],
    'after a gap of two hours',
  ],
  [
    'Antarctica/Troll',
    '30 1,2 * * *',
    '2026-03-29T00:00+00:00',
    ['2026-03-29T03:00+02:00', '2026-03-30T01:30+02:00'],
    'once after two hours',
  ],
  [
    'Antarctica/Troll',
    '30 1,2 * * *',
    '2026-10-25T00:00+02:00',
    ['2026-10-25T01:30+02:00', '2026-10-25T02:30+02:00'],
    'in two hours twice',
  ],
  ['Antarctica/Troll', '30 2 * * *', '2026-10-25T01:30+00:00', ['2026-10-26T02:30+00:00'], 'asked in the second pass of two hours'],
  [
    'America/Nuuk',
    '30 23 * * *',
    '2026-03-28T12:00-02:00',
    ['2026-03-29T00:00-01:00', '2026-03-29T23:30-01:00'],
    'after a gap up to midnight',
  ],
  ['Africa/Casablanca', '30 2 * * *', '2025-04-06T00:00+00:00', ['2025-04-06T03:00+01:00', '2025-04-07T02:30+01:00'], 'after Ramadan'],
  ['Africa/Monrovia', '30 0 7 1 *', '1972-01-06T00:00-00:44', ['1972-01-07T00:44:30+00:00'], 'after a gap of odd seconds'],
];

const interval: Golden[] = [
  [
    'America/New_York',
    '*/15 * * * *',
    '2026-03-08T01:30-05:00',
    ['2026-03-08T01:45-05:00', '2026-03-08T03:00-04:00', '2026-03-08T03:15-04:00'],
    'not in a gap, and goes on after it',
  ],
  ['America/New_York', '*/15 2 * * *', '2026-03-07T03:00-05:00', ['2026-03-09T02:00-04:00', '2026-03-09T02:15-04:00'], 'not in a gap'],
  [
    'America/New_York',
    '*/15 * * * *',
    '2026-11-01T01:15-04:00',
    ['2026-11-01T01:30-04:00', '2026-11-01T01:45-04:00', '2026-11-01T01:00-05:00', '2026-11-01T01:15-05:00', '2026-11-01T01:30-05:00'],
    'both passes',
  ],
  [
    'America/New_York',
    '*/30 1 1 11 *',
    '2026-06-01T00:00-04:00',
    ['2026-11-01T01:00-04:00', '2026-11-01T01:30-04:00', '2026-11-01T01:00-05:00', '2026-11-01T01:30-05:00', '2027-11-01T01:00-04:00'],
    'both passes, asked from far away',
  ],
  [
    'Australia/Lord_Howe',
    '*/20 * * * *',
    '2026-04-05T01:30+11:00',
    ['2026-04-05T01:40+11:00', '2026-04-05T01:40+10:30', '2026-04-05T02:00+10:30'],
    'both passes of half an hour',
  ],
  ['Australia/Lord_Howe', '*/20 * * * *', '2026-10-04T01:40+10:30', ['2026-10-04T02:40+11:00'], 'not in half an hour'],
  [
    'Africa/Cairo',
    '*/30 * * * *',
    '2026-04-23T23:20+02:00',
    ['2026-04-23T23:30+02:00', '2026-04-24T01:00+03:00'],
    'not in a gap at midnight',
  ],
  ['Pacific/Apia', '0 */8 * * *', '2011-12-29T15:00-10:00', ['2011-12-29T16:00-10:00', '2011-12-31T00:00+14:00'], 'not on a missing day'],
  [
    'Antarctica/Troll',
    '0 * * * *',
    '2026-10-25T01:00+02:00',
    ['2026-10-25T02:00+02:00', '2026-10-25T01:00+00:00', '2026-10-25T02:00+00:00', '2026-10-25T03:00+00:00'],
    'both passes of two hours',
  ],
  [
    'America/New_York',
    'H(0-29) 2 8 3 *',
    '2026-01-01T00:00-05:00',
    ['2027-03-08T02:28-05:00'],
    'not in a gap, as what spreads over a range',
  ],
];

describe('a fixed-time expression is due', () => {
  for (const golden of fixedTime) check(golden, true);
});

describe('an interval expression is due', () => {
  for (const golden of interval) check(golden, false);
});

function check([timezone, expr, from, due, why]: Golden, isFixedTime: boolean): void {
  test(`${why}: ${timezone} ${expr}`, () => {
    const schedule = parseExpression(expr, timezone, 'job');
    const times = due.map((time) => new Date(time));
    const [start, last] = [new Date(from), times.at(-1)];
    assert.ok(last !== undefined);
    assert.equal(schedule.isFixedTime, isFixedTime);
    // Walked there, walked back, counted, and asked afresh at every time and just before it.
    assert.deepEqual(
      times.map((_, index) => schedule.next(times[index - 1] ?? start)),
      times,
    );
    assert.deepEqual(
      times.map((_, index) => schedule.previous(times[index + 1] ?? new Date(last.getTime() + 1))),
      times,
    );
    assert.equal(schedule.count(start, last), times.length);
    for (const time of times) {
      assert.deepEqual(schedule.next(new Date(time.getTime() - 1)), time);
      assert.deepEqual(schedule.previous(new Date(time.getTime() + 1)), time);
    }
  });
}

describe('the last due time before a moment', () => {
  test('is the second pass, however long ago', () => {
    const schedule = parseExpression('*/30 1 1 11 *', 'America/New_York', 'job');
    assert.deepEqual(schedule.previous(new Date('2027-10-01T00:00Z')), new Date('2026-11-01T01:30-05:00'));
  });

  test('is the first pass of a fixed time, also when asked in the second', () => {
    const schedule = parseExpression('30 1 * * *', 'America/New_York', 'job');
    assert.deepEqual(schedule.previous(new Date('2026-11-01T01:20-05:00')), new Date('2026-11-01T01:30-04:00'));
    assert.deepEqual(schedule.previous(new Date('2026-11-01T01:40-05:00')), new Date('2026-11-01T01:30-04:00'));
  });
});
