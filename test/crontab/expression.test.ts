import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { parseExpression, zoneIn } from '../../src/crontab/expression.ts';

function dueTimes(expr: string, after: string, count: number, timezone = 'UTC', seed = 'job'): string[] {
  const schedule = parseExpression(expr, timezone, seed);
  const times: string[] = [];
  let at: Date | undefined = new Date(after);
  while (times.length < count && (at = schedule.next(at)) !== undefined) {
    times.push(at.toISOString().replace('.000Z', 'Z'));
  }
  return times;
}

describe('an expression', () => {
  // 2026-01-01 is a Thursday.
  const golden: [expr: string, after: string, due: string[]][] = [
    ['* * * * *', '2026-01-01T00:00:00Z', ['2026-01-01T00:01:00Z', '2026-01-01T00:02:00Z']],
    ['* * * * * *', '2026-01-01T00:00:00.5Z', ['2026-01-01T00:00:01Z', '2026-01-01T00:00:02Z']],
    ['0/5 * * * * *', '2026-01-01T00:00:00Z', ['2026-01-01T00:00:05Z', '2026-01-01T00:00:10Z']],
    ['0 */1 * * * *', '2026-01-01T00:00:30Z', ['2026-01-01T00:01:00Z', '2026-01-01T00:02:00Z']],
    [
      '10/20 * * * *',
      '2026-01-01T00:00:00Z',
      ['2026-01-01T00:10:00Z', '2026-01-01T00:30:00Z', '2026-01-01T00:50:00Z', '2026-01-01T01:10:00Z'],
    ],
    ['10-20/5 * * * *', '2026-01-01T00:11:00Z', ['2026-01-01T00:15:00Z', '2026-01-01T00:20:00Z', '2026-01-01T01:10:00Z']],
    ['1,1 0 * * *', '2026-01-01T00:00:00Z', ['2026-01-01T00:01:00Z', '2026-01-02T00:01:00Z']],
    [
      '0 22-1 * * *',
      '2026-01-01T12:00:00Z',
      ['2026-01-01T22:00:00Z', '2026-01-01T23:00:00Z', '2026-01-02T00:00:00Z', '2026-01-02T01:00:00Z', '2026-01-02T22:00:00Z'],
    ],
    [
      '0 0 * * FRI-MON',
      '2026-01-01T00:00:00Z',
      ['2026-01-02T00:00:00Z', '2026-01-03T00:00:00Z', '2026-01-04T00:00:00Z', '2026-01-05T00:00:00Z', '2026-01-09T00:00:00Z'],
    ],
    [
      '0 0 1 nov-February *',
      '2026-01-01T00:00:00Z',
      ['2026-02-01T00:00:00Z', '2026-11-01T00:00:00Z', '2026-12-01T00:00:00Z', '2027-01-01T00:00:00Z'],
    ],
    ['0 0 * * 7', '2026-01-01T00:00:00Z', ['2026-01-04T00:00:00Z', '2026-01-11T00:00:00Z']],
    [
      '0 0 * * 5-7',
      '2026-01-01T00:00:00Z',
      ['2026-01-02T00:00:00Z', '2026-01-03T00:00:00Z', '2026-01-04T00:00:00Z', '2026-01-09T00:00:00Z'],
    ],
    ['0 0 * * Sunday', '2026-01-01T00:00:00Z', ['2026-01-04T00:00:00Z']],
    ['0 0 13 * 5', '2026-01-01T00:00:00Z', ['2026-01-02T00:00:00Z', '2026-01-09T00:00:00Z', '2026-01-13T00:00:00Z']],
    ['0 0 ? * 5', '2026-01-01T00:00:00Z', ['2026-01-02T00:00:00Z', '2026-01-09T00:00:00Z']],
    ['0 0 L * *', '2026-01-31T00:00:00Z', ['2026-02-28T00:00:00Z', '2026-03-31T00:00:00Z']],
    ['0 0 15,L * ?', '2026-01-31T00:00:00Z', ['2026-02-15T00:00:00Z', '2026-02-28T00:00:00Z']],
    ['0 0 * * 5L', '2026-01-01T00:00:00Z', ['2026-01-30T00:00:00Z', '2026-02-27T00:00:00Z']],
    ['0 0 * * FRI#2', '2026-01-01T00:00:00Z', ['2026-01-09T00:00:00Z', '2026-02-13T00:00:00Z']],
    // 2026-05-30 is a Saturday and 31 a Sunday; 2026-08-01 is a Saturday; 2026-03-15 is a Sunday.
    ['0 0 L-3 * *', '2026-02-01T00:00:00Z', ['2026-02-25T00:00:00Z', '2026-03-28T00:00:00Z']],
    ['0 0 L-30 * *', '2026-02-01T00:00:00Z', ['2026-03-01T00:00:00Z', '2026-05-01T00:00:00Z']],
    ['0 0 LW * *', '2026-05-01T00:00:00Z', ['2026-05-29T00:00:00Z', '2026-06-30T00:00:00Z']],
    ['0 0 15W 2-3 *', '2026-02-14T00:00:00Z', ['2026-02-16T00:00:00Z', '2026-03-16T00:00:00Z', '2027-02-15T00:00:00Z']],
    ['0 0 1W 8 *', '2026-01-01T00:00:00Z', ['2026-08-03T00:00:00Z', '2027-08-02T00:00:00Z', '2028-08-01T00:00:00Z']],
    ['0 0 31w * *', '2026-04-30T00:00:00Z', ['2026-05-29T00:00:00Z', '2026-07-31T00:00:00Z']],
    ['0 0 L,10,LW 5 *', '2026-01-01T00:00:00Z', ['2026-05-10T00:00:00Z', '2026-05-29T00:00:00Z', '2026-05-31T00:00:00Z']],
    ['0 0 * * 1#1,3#2', '2026-01-06T00:00:00Z', ['2026-01-14T00:00:00Z', '2026-02-02T00:00:00Z', '2026-02-11T00:00:00Z']],
    ['0 0 * * fri#5', '2026-01-01T00:00:00Z', ['2026-01-30T00:00:00Z', '2026-05-29T00:00:00Z']],
    ['0 0 * * MONL,7#1', '2026-01-05T00:00:00Z', ['2026-01-26T00:00:00Z', '2026-02-01T00:00:00Z', '2026-02-23T00:00:00Z']],
    ['0 0 * * 1#1,3', '2026-01-01T00:00:00Z', ['2026-01-05T00:00:00Z', '2026-01-07T00:00:00Z', '2026-01-14T00:00:00Z']],
    ['0 0 13 * +FRI', '2026-01-01T00:00:00Z', ['2026-02-13T00:00:00Z', '2026-03-13T00:00:00Z', '2026-11-13T00:00:00Z']],
    ['0 0 8-14 * +2', '2026-01-01T00:00:00Z', ['2026-01-13T00:00:00Z', '2026-02-10T00:00:00Z']],
    // A star with a step restricts, here and in croner; in Vixie's own cron the second would wait for a Monday.
    ['0 0 */10 * MON', '2026-01-01T00:00:00Z', ['2026-01-05T00:00:00Z', '2026-01-11T00:00:00Z', '2026-01-12T00:00:00Z']],
    ['0 0 * * 1/2', '2026-01-01T00:00:00Z', ['2026-01-02T00:00:00Z', '2026-01-05T00:00:00Z', '2026-01-07T00:00:00Z']],
    ['0 0 * * 1-7/2', '2026-01-02T00:00:00Z', ['2026-01-04T00:00:00Z', '2026-01-05T00:00:00Z', '2026-01-07T00:00:00Z']],
    ['0 0 0 1 1 * 2028', '2026-01-01T00:00:00Z', ['2028-01-01T00:00:00Z']],
    ['0 0 0 1 1 ? 2028,2030-2031', '2026-01-01T00:00:00Z', ['2028-01-01T00:00:00Z', '2030-01-01T00:00:00Z', '2031-01-01T00:00:00Z']],
    ['0 0 0 1 1 * 2020/9', '2026-01-01T00:00:00Z', ['2029-01-01T00:00:00Z', '2038-01-01T00:00:00Z']],
    ['0 0 0 1 1 * *', '2099-06-01T00:00:00Z', ['2100-01-01T00:00:00Z']],
    ['30 0 0 29 2 * */5', '2026-01-01T00:00:00Z', ['2040-02-29T00:00:30Z', '2060-02-29T00:00:30Z', '2080-02-29T00:00:30Z']],
    ['0 0 29 2 +1', '2026-01-01T00:00:00Z', ['2044-02-29T00:00:00Z', '2072-02-29T00:00:00Z', '2112-02-29T00:00:00Z']],
    ['0 0 29 2 *', '2096-03-01T00:00:00Z', ['2104-02-29T00:00:00Z']],
    ['0 */24 * * *', '2026-01-01T00:00:00Z', ['2026-01-02T00:00:00Z']],
    ['  0   12 *\t* * ', '2026-01-01T00:00:00Z', ['2026-01-01T12:00:00Z']],
    ['@yearly', '2026-01-01T00:00:00Z', ['2027-01-01T00:00:00Z']],
    ['@annually', '2026-01-01T00:00:00Z', ['2027-01-01T00:00:00Z']],
    ['@monthly', '2026-01-01T00:00:00Z', ['2026-02-01T00:00:00Z']],
    ['@weekly', '2026-01-01T00:00:00Z', ['2026-01-04T00:00:00Z']],
    ['@daily', '2026-01-01T00:00:00Z', ['2026-01-02T00:00:00Z']],
    ['@midnight', '2026-01-01T00:00:00Z', ['2026-01-02T00:00:00Z']],
    ['@hourly', '2026-01-01T00:00:00Z', ['2026-01-01T01:00:00Z']],
  ];
  for (const [expr, after, due] of golden) {
    test(`${expr} after ${after} is due ${due[0]}`, () => assert.deepEqual(dueTimes(expr, after, due.length), due));
  }

  test('is read in its time zone', () => {
    assert.deepEqual(dueTimes('0 3 * * *', '2026-07-01T00:00:00Z', 2, 'Europe/Berlin'), ['2026-07-01T01:00:00Z', '2026-07-02T01:00:00Z']);
    assert.deepEqual(dueTimes('0 3 * * *', '2026-01-01T00:00:00Z', 1, 'Asia/Kathmandu'), ['2026-01-01T21:15:00Z']);
  });

  test('may name its time zone itself', () => {
    assert.deepEqual(dueTimes('CRON_TZ=Europe/Berlin 0 3 * * *', '2026-07-01T00:00:00Z', 1, 'Europe/Berlin'), ['2026-07-01T01:00:00Z']);
    assert.deepEqual(dueTimes('TZ=europe/berlin @daily', '2026-07-01T00:00:00Z', 1, 'Europe/Berlin'), ['2026-07-01T22:00:00Z']);
    assert.equal(zoneIn(' CRON_TZ=Europe/Berlin 0 3 * * *'), 'Europe/Berlin');
    assert.equal(zoneIn('0 3 * * *'), undefined);
  });

  test('is due strictly after the moment asked for, on a whole second', () => {
    const part = (least: number, most: number): fc.Arbitrary<string> =>
      fc.oneof(fc.constant('*'), fc.integer({ min: least, max: most }).map(String), fc.constantFrom('H', '*/7', `${least}-${most}`));
    const expr = fc.tuple(part(0, 59), part(0, 59), part(0, 23), part(1, 28), part(1, 12), part(0, 6)).map((parts) => parts.join(' '));
    const zone = fc.constantFrom('UTC', 'America/New_York', 'Australia/Sydney', 'Africa/Cairo', 'Antarctica/Troll', 'Pacific/Apia');
    const after = fc.date({ min: new Date('2024-01-01'), max: new Date('2032-01-01'), noInvalidDate: true });
    fc.assert(
      fc.property(expr, zone, after, (text, timezone, moment) => {
        const due = parseExpression(text, timezone, 'job').next(moment);
        assert.ok(due !== undefined && due > moment && due.getTime() % 1000 === 0, `${due?.toISOString()}`);
      }),
      { numRuns: 150 },
    );
  });
});

describe('a schedule', () => {
  test('goes on through the clock changes of Lord Howe, where the library behind it gives up', () => {
    assert.deepEqual(dueTimes('15 1 * * *', '2026-04-04T14:19:54Z', 1, 'Australia/Lord_Howe'), ['2026-04-05T14:45:00Z']);
    assert.deepEqual(dueTimes('0 * * * *', '2026-04-04T14:12:36Z', 1, 'Australia/Lord_Howe'), ['2026-04-04T15:30:00Z']);
  });

  test('has no due time around a moment that is none, or beyond the calendar', () => {
    for (const expr of ['* * * * *', '0 0 * * *', '@every 5m']) {
      const schedule = parseExpression(expr, 'UTC', 'job');
      for (const moment of [new Date(NaN), new Date(8.64e15), new Date(-8.64e15)]) {
        assert.equal(schedule.next(moment), undefined);
        assert.equal(schedule.previous(moment), undefined);
      }
      assert.equal(schedule.count(new Date(NaN), new Date('2026-01-01')), 0);
      assert.equal(schedule.count(new Date('2026-01-01'), new Date(NaN)), 0);
      assert.equal(schedule.count(new Date('2026-01-02'), new Date('2026-01-01')), 0);
    }
  });

  test('ends with the calendar, in 1970 and in 2199', () => {
    for (const [expr, timezone] of [
      ['0 0 * * *', 'America/New_York'],
      ['*/30 * * * *', 'Pacific/Kiritimati'],
    ] as const) {
      const schedule = parseExpression(expr, timezone, 'job');
      const [first, last] = [schedule.next(new Date('1970-01-01')), schedule.previous(new Date('2200-01-01'))];
      assert.ok(first && last && first < new Date('1970-01-02') && last > new Date('2199-12-31'));
      assert.equal(schedule.previous(first), undefined);
      assert.equal(schedule.next(last), undefined);
    }
  });

  const kinds: [expr: string, kind: string, isFixedTime: boolean][] = [
    ['30 2 * * *', 'cron', true],
    ['30 2,14 * * *', 'cron', true],
    ['0-10 2-4 * * *', 'cron', true],
    ['H H * * *', 'cron', true],
    ['* 30 2 * * *', 'cron', true],
    ['30 2 */2 * *', 'cron', true],
    ['@daily', 'cron', true],
    ['*/5 2 * * *', 'cron', false],
    ['30 * * * *', 'cron', false],
    ['30 ? * * *', 'cron', false],
    ['0 0-23/2 * * *', 'cron', false],
    ['5/60 2 * * *', 'cron', false],
    ['H/15 2 * * *', 'cron', false],
    ['H(0-29) 2 * * *', 'cron', false],
    ['@hourly', 'cron', false],
    ['@every 1d', 'every', false],
    ['@at 2030-01-23T09:00:00Z', 'at', true],
  ];
  for (const [expr, kind, isFixedTime] of kinds) {
    test(`of ${expr} is ${kind}, ${isFixedTime ? 'at fixed times' : 'at intervals'}`, () => {
      const schedule = parseExpression(expr, 'UTC', 'job');
      assert.deepEqual([schedule.kind, schedule.isFixedTime], [kind, isFixedTime]);
    });
  }

  test('counts years of due times without going through them', () => {
    const schedule = parseExpression('* * * * * *', 'Europe/Berlin', 'job');
    assert.equal(schedule.count(new Date('1970-01-01T00:00Z'), new Date('2100-01-01T00:00Z')), Date.UTC(2100, 0, 1) / 1000);
  });
});

describe('@at', () => {
  const moment = new Date('2030-01-23T08:00:00Z');

  for (const text of ['2030-01-23T09:00:00+01:00', '2030-01-23T08:00Z', '2030-01-23t08:00:00z', '2030-01-22T18:00:00-14:00']) {
    test(`is due once, at ${text}`, () => {
      const schedule = parseExpression(`@at ${text}`, 'America/New_York', 'job');
      assert.deepEqual(schedule.next(new Date(moment.getTime() - 1)), moment);
      assert.equal(schedule.next(moment), undefined);
      assert.deepEqual(schedule.previous(new Date(moment.getTime() + 1)), moment);
      assert.equal(schedule.previous(moment), undefined);
      assert.equal(schedule.count(new Date('2026-01-01'), moment), 1);
      assert.equal(schedule.count(moment, new Date('2040-01-01')), 0);
    });
  }
});

describe('@every', () => {
  test('is due once a period, at the same phase after every restart', () => {
    const first = dueTimes('@every 90s', '2026-01-01T00:00:00Z', 3);
    const gaps = first.slice(1).map((time, index) => Date.parse(time) - Date.parse(first[index] ?? ''));
    assert.deepEqual(gaps, [90_000, 90_000]);
    assert.deepEqual(dueTimes('@every 90s', first[0] ?? '', 2), first.slice(1));
  });

  test('goes back the way it came, and counts it', () => {
    const schedule = parseExpression('@every 90s', 'UTC', 'job');
    const first = schedule.next(new Date('2026-01-01T00:00:00Z'));
    const second = first && schedule.next(first);
    assert.ok(first && second);
    assert.deepEqual(schedule.previous(second), first);
    assert.deepEqual(schedule.previous(new Date(second.getTime() + 1)), second);
    assert.equal(schedule.count(first, second), 1);
    assert.equal(schedule.count(new Date('2026-01-01T00:00:00Z'), new Date('2026-01-02T00:00:00Z')), 960);
  });

  test('takes hours and minutes together', () => {
    const [first, second] = dueTimes('@every 1h30m', '2026-01-01T00:00:00Z', 2).map((time) => Date.parse(time));
    assert.equal((second ?? 0) - (first ?? 0), 5_400_000);
  });

  test('spreads jobs of different names over the period', () => {
    const seconds = Array.from({ length: 1000 }, (_, index) => dueTimes('@every 1m', '2026-01-01T00:00:00Z', 1, 'UTC', `job-${index}`)[0]);
    const counts = Map.groupBy(seconds, (time) => time);
    assert.equal(counts.size, 60);
    assert.ok(Math.max(...[...counts.values()].map((same) => same.length)) < 40);
  });
});

describe('H', () => {
  test('is a place of the job’s own, always the same', () => {
    const hours = new Set(
      Array.from({ length: 100 }, (_, index) => dueTimes('H H * * *', '2026-01-01T00:00:00Z', 1, 'UTC', `job-${index}`)[0]),
    );
    assert.ok(hours.size > 90);
    assert.deepEqual(dueTimes('H H * * *', '2026-01-01T00:00:00Z', 1), dueTimes('H H * * *', '2026-01-01T00:00:00Z', 1));
  });

  test('with a step keeps the step, within a range keeps the range', () => {
    const minutes = (expr: string): number[] => dueTimes(expr, '2026-01-01T00:00:00Z', 8).map((time) => new Date(time).getUTCMinutes());
    assert.deepEqual(new Set(minutes('H/15 * * * *').map((minute) => minute % 15)).size, 1);
    assert.ok(minutes('H(0-29)/10 * * * *').every((minute) => minute < 30));
    assert.ok(minutes('H(40-49) * * * *').every((minute) => minute >= 40 && minute < 50));
  });

  test('as a day of the month comes every month', () => {
    for (let index = 0; index < 50; index++) {
      const months = dueTimes('0 0 H * *', '2026-01-01T00:00:00Z', 13, 'UTC', `job-${index}`).map((time) => time.slice(0, 7));
      assert.equal(new Set(months).size, 13);
    }
  });
});
