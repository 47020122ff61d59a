import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { collisionsOf } from '../../src/crontab/collisions.ts';
import { parseExpression } from '../../src/crontab/expression.ts';
import { readMoment, relativeTo } from '../../src/crontab/moment.ts';
import { previewOf, type Preview } from '../../src/crontab/preview.ts';
import { sentenceOf } from '../../src/crontab/sentence.ts';
import { Refusal } from '../../src/errors.ts';
import { fiveFields, sevenFields, sixFields } from '../support/expressions.ts';

describe('the sentence of an expression', () => {
  for (const [expr, sentence] of [
    ['30 2 * * *', 'At 02:30, every day'],
    ['*/15 * * * *', 'Every 15 minutes, every hour, every day'],
    ['0/5 * * * * *', 'Every 5 seconds, every minute, every hour, every day'],
    ['0 9-17 * * MON-FRI', 'Every hour, between 09:00 and 17:00, Monday through Friday'],
    ['30 5 2 * * *', 'At 02:05:30, every day'],
    ['0 0 LW * *', 'At 00:00, on the last weekday of the month'],
    ['0 0 * * FRI#2', 'At 00:00, on the second Friday of the month'],
    ['@daily', 'At 00:00, every day'],
    ['CRON_TZ=Europe/Berlin 30 2 * * *', 'At 02:30, every day'],
    ['0 0 0 1 1 ? 2027', 'At 00:00, on day 1 of the month, only in January, only in 2027'],
  ] as const) {
    test(`${expr}: ${sentence}`, () => assert.equal(sentenceOf(expr, ''), sentence));
  }

  // cronstrue has another idea of these, or none.
  for (const [expr, sentence] of [
    ['0,30 2 * * *', 'At 02:00 and 02:30, every day'],
    ['*/7 * * * *', 'At minutes 0, 7, 14 … 56 of every hour, every day'],
    ['* 9,17 * * *', 'Every minute of hours 9 and 17, every day'],
    ['*/15 */6 * * *', 'At minutes 0, 15, 30 … 45 of hours 0, 6, 12 … 18, every day'],
    ['0 0 13 * 5', 'At 00:00, on day 13 of the month, and also on Friday'],
    ['0 0 13 * +5', 'At 00:00, on day 13 of the month, and of these days only on Friday'],
    ['0 0 */2 * *', 'At 00:00, on days 1, 3, 5 … 31 of the month'],
    [
      '0 0 L,15W,L-3 * *',
      'At 00:00, on the weekday (Monday to Friday) nearest day 15 of the month, the last day of the month and the day 3 days before the last of the month',
    ],
    ['0 0 * * 1#1,3L', 'At 00:00, on the first Monday of the month and the last Wednesday of the month'],
    ['0 0 0 1 */6 * 2027,2029', 'At 00:00, on day 1 of the month, in January and July, in 2027 and 2029'],
    ['@every 1h30m', 'Every 1h30m, counted from a moment of this job’s own'],
    ['@at 2030-01-23T09:00:00+01:00', 'Once, at 2030-01-23 08:00:00 UTC'],
    ['H 3 * * *', 'At 03:23, every day (H: a place of this job’s own)'],
  ] as const) {
    test(`${expr}: ${sentence}`, () => assert.equal(sentenceOf(expr, 'backup'), sentence));
  }

  test('there is one for whatever can be read, whole and in one line', () => {
    const near = new Date('2027-03-14T02:30:00Z');
    fc.assert(
      fc.property(fc.oneof(fiveFields(near), sixFields(near), sevenFields(near)), ({ text }) => {
        if (!isRead(text)) return;
        assert.match(sentenceOf(text, 'a'), /^(?!.*(undefined|NaN|null))(At|Every|On|Minutes|Seconds|Once) ?.+[^.,]$/);
      }),
    );
  });
});

describe('the next times of a preview', () => {
  test('are told in UTC, on the wall of the zone, and from now', () => {
    const { times, timezone } = preview('30 2 * * *', 'Asia/Kolkata', '2026-06-01T00:00:00Z', 2);
    assert.equal(timezone, 'Asia/Kolkata');
    assert.deepEqual(times, [
      { dueAt: new Date('2026-06-01T21:00:00Z'), local: '2026-06-02T02:30:00+05:30', relative: 'in 21 hours' },
      { dueAt: new Date('2026-06-02T21:00:00Z'), local: '2026-06-03T02:30:00+05:30', relative: 'in 1 day 21 hours' },
    ]);
  });

  test('come strictly after the moment that was asked for, so that the last one asks for the next page', () => {
    const { times } = preview('0 0 * * *', 'UTC', '2026-06-01T00:00:00Z', 1);
    assert.deepEqual(times[0]?.dueAt, new Date('2026-06-02T00:00:00Z'));
  });

  test('are fewer when no more follow', () => {
    assert.equal(preview('0 0 0 1 1 ? 2027', 'UTC', '2026-06-01T00:00:00Z', 5).times.length, 1);
    assert.equal(preview('0 0 0 1 1 ? 2020', 'UTC', '2026-06-01T00:00:00Z', 5).times.length, 0);
  });

  test('are refused as the parser refuses them', () => {
    assert.throws(
      () => preview('61 * * * *', 'UTC', '2026-06-01T00:00:00Z', 1),
      new Refusal('bad_input', 'expr: minute: expected 0-59, got "61" at column 1'),
    );
    assert.throws(() => preview('* * * * *', 'Nowhere', '2026-06-01T00:00:00Z', 1), Refusal);
  });
});

describe('what a preview says of the days on which clocks change', () => {
  for (const [expr, timezone, from, sentences] of [
    [
      '30 2 * * *',
      'America/New_York',
      '2026-01-01',
      ['2026-03-08 02:30 does not exist: runs at 03:00', '2027-03-14 02:30 does not exist: runs at 03:00'],
    ],
    [
      '0,30 2 * * *',
      'America/New_York',
      '2026-01-01',
      [
        '2026-03-08 02:00 and 1 more up to 03:00 do not exist: runs once for all, at 03:00',
        '2027-03-14 02:00 and 1 more up to 03:00 do not exist: runs once for all, at 03:00',
      ],
    ],
    [
      '30 1 * * *',
      'America/New_York',
      '2026-01-01',
      ['2026-11-01 01:30 comes twice: runs the first time only', '2027-11-07 01:30 comes twice: runs the first time only'],
    ],
    [
      '*/15 * * * *',
      'America/New_York',
      '2026-01-01',
      [
        '2026-03-08 02:00 to 03:00 does not exist: not run in it, goes on at 03:00',
        '2026-11-01 01:00 to 02:00 comes twice: runs both times',
      ],
    ],
    [
      '30 2 29 3 *',
      'Europe/Berlin',
      '2026-01-01',
      ['2026-03-29 02:30 does not exist: runs at 03:00', '2037-03-29 02:30 does not exist: runs at 03:00'],
    ],
    [
      '15 2 * * *',
      'Australia/Lord_Howe',
      '2026-08-01',
      ['2026-10-04 02:15 does not exist: runs at 02:30', '2027-10-03 02:15 does not exist: runs at 02:30'],
    ],
    ['0 12 30 12 *', 'Pacific/Apia', '2011-01-01', ['2011-12-30 12:00 does not exist: runs at 2011-12-31 00:00']],
    ['0 12 * * *', 'America/New_York', '2026-01-01', []],
    ['* * * * *', 'UTC', '2026-01-01', []],
    ['@every 5m', 'America/New_York', '2026-01-01', []],
  ] as const) {
    test(`${expr} in ${timezone}: ${sentences.length > 0 ? sentences.join('; ') : 'nothing that concerns it'}`, () => {
      const told = preview(expr, timezone, `${from}T00:00:00Z`, 1).clockChanges.map(({ sentence }) => sentence);
      assert.deepEqual(told, sentences);
    });
  }
});

describe('a moment as people write it', () => {
  test('is that of its offset, or what a wall of the zone shows', () => {
    assert.deepEqual(readMoment('2026-03-08T02:30:00Z', 'Europe/Berlin', 'from'), new Date('2026-03-08T02:30:00Z'));
    assert.deepEqual(readMoment('2026-03-08T02:30-05:00', 'UTC', 'from'), new Date('2026-03-08T07:30:00Z'));
    assert.deepEqual(readMoment('2026-07-01T02:30', 'Europe/Berlin', 'from'), new Date('2026-07-01T00:30:00Z'));
    assert.deepEqual(readMoment('2026-07-01', 'Europe/Berlin', 'from'), new Date('2026-06-30T22:00:00Z'));
    assert.deepEqual(readMoment('2026-07-01T00:00:00.250Z', 'UTC', 'from'), new Date('2026-07-01T00:00:00.250Z'));
  });

  for (const text of ['', 'tomorrow', '2026-02-30', '2026-01-01T24:00Z', '1969-12-31', '2200-01-01', '2026-01-01T00:00+25:00']) {
    test(`is refused when it is none: "${text}"`, () => assert.throws(() => readMoment(text, 'UTC', 'from'), Refusal));
  }

  test('is told from now in its two greatest units', () => {
    const now = new Date('2026-01-01T00:00:00Z');
    const told = ['2026-01-01T00:00:00Z', '2026-01-01T00:00:01Z', '2026-01-03T03:20:00Z', '2025-12-31T23:00:30Z'].map((at) =>
      relativeTo(now, new Date(at)),
    );
    assert.deepEqual(told, ['now', 'in 1 second', 'in 2 days 3 hours', '59 minutes 30 seconds ago']);
  });
});

describe('due times that collide', () => {
  test('are those that going through all of them finds, whatever the schedules, zones and ranges', () => {
    const zones = ['UTC', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kolkata', 'Africa/Cairo', 'Pacific/Apia'];
    const near = new Date('2011-12-30T01:30:00Z');
    const minutes = fc.integer({ min: Date.parse('2011-01-01') / 60_000, max: Date.parse('2026-12-31') / 60_000 });
    const sparse = fc.constantFrom(
      '@every 37m',
      '@at 2011-12-30T12:00:00Z',
      '*/20 * * * *',
      '0 30 2 * * *',
      '5 */10 */3 * * *',
      '*/30 0-3 * * *',
    );
    const group = fc.record({
      expr: fc.oneof(
        fiveFields(near)
          .map(({ text }) => text)
          .filter(isSparse),
        sparse,
      ),
      timezone: fc.constantFrom(...zones),
      weight: fc.integer({ min: 1, max: 3 }),
    });
    fc.assert(
      fc.property(
        fc.array(group, { minLength: 1, maxLength: 3 }),
        minutes,
        fc.integer({ min: 1, max: 12 * 1440 }),
        (given, start, length) => {
          const [from, to] = [new Date(start * 60_000), new Date((start + length) * 60_000)];
          const groups = given
            .filter(({ expr }) => isRead(expr))
            .map((each) => ({ ...each, schedule: parseExpression(each.expr, each.timezone, 'a') }));
          const perSecond = new Map<number, number>();
          for (const { schedule, weight } of groups) {
            for (let at = schedule.next(new Date(from.getTime() - 1)); at && at < to; at = schedule.next(at)) {
              perSecond.set(at.getTime(), (perSecond.get(at.getTime()) ?? 0) + weight);
            }
          }
          const counts = [...perSecond.values()];
          const found = collisionsOf(groups, from, to);
          assert.equal(
            found.dueTimes,
            counts.reduce((sum, count) => sum + count, 0),
          );
          assert.equal(found.secondsWithOne, counts.filter((count) => count === 1).length);
          assert.equal(found.secondsWithSeveral, counts.filter((count) => count > 1).length);
          const most = counts.reduce((highest, count) => Math.max(highest, count), 0);
          const first = Math.min(...[...perSecond].filter(([, count]) => count === most).map(([at]) => at));
          assert.deepEqual(found.busiestSecond, most === 0 ? undefined : { at: new Date(first), dueTimes: most });
        },
      ),
      { numRuns: 60 },
    );
  });
});

function preview(expr: string, timezone: string, after: string, most: number): Preview {
  return previewOf({ expr, timezone, name: '', after: new Date(after), most, now: new Date(after) });
}

function isRead(expr: string): boolean {
  try {
    parseExpression(expr, 'UTC', 'a');
    return true;
  } catch {
    return false;
  }
}

// So that the second opinion need not walk for long.
function isSparse(expr: string): boolean {
  return isRead(expr) && parseExpression(expr, 'UTC', 'a').count(new Date('2026-01-01'), new Date('2026-02-01')) < 10_000;
}
