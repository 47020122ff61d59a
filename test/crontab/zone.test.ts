import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { changesBetween, firstMoment, isTimezone, seek, zoneOf } from '../../src/crontab/zone.ts';
import { Refusal } from '../../src/errors.ts';
import { offsetReader } from '../support/walls.ts';

const seed = Number(process.env['BELFRY_SEED'] ?? 20_261_121);
const zones = Intl.supportedValuesOf('timeZone');
const second = (time: string): number => Date.parse(time) / 1000;

function changes(timezone: string, from: string, to: string): string[] {
  const hours = (seconds: number): string => `${seconds / 3600}`;
  return changesBetween(timezone, new Date(from), new Date(to)).map(
    ({ at, before, after }) => `${at.toISOString().slice(0, 19)} ${hours(before)} → ${hours(after)}`,
  );
}

describe('the offset of a zone', () => {
  test('is the one Intl tells, at any moment from 1970 to 2100, in every zone', { timeout: 60_000 }, (t) => {
    t.diagnostic(`seed ${seed}`);
    const moments = fc.sample(fc.integer({ min: 0, max: second('2100-01-01T00:00Z') }), { seed, numRuns: 60 });
    for (const timezone of zones) {
      const [zone, offsetAt] = [zoneOf(timezone), offsetReader(timezone)];
      for (const moment of moments) assert.equal(seek(zone, moment), offsetAt(moment * 1000) / 1000, `${timezone} at ${moment}`);
    }
  });

  test('changes in the very second Intl says, in every zone', { timeout: 60_000 }, () => {
    for (const timezone of zones) {
      const offsetAt = offsetReader(timezone);
      for (const { at, before, after } of changesBetween(timezone, new Date('1970-01-01'), new Date('2045-01-01')).slice(-60)) {
        const found = [offsetAt(at.getTime() - 1000), offsetAt(at.getTime())];
        assert.deepEqual(found, [before * 1000, after * 1000], `${timezone} at ${at.toISOString()}`);
      }
    }
  });

  test('changes no more often than it was found to, day by day, in the zones that change most', () => {
    for (const timezone of ['Asia/Gaza', 'Africa/Casablanca', 'America/Argentina/Tucuman', 'America/Noronha', 'Africa/Cairo']) {
      const offsetAt = offsetReader(timezone);
      let found = 0;
      let last = offsetAt(0);
      for (let day = 1; day < 130 * 365; day++) {
        const offset = offsetAt(day * 86_400_000);
        if (offset !== last) found++;
        last = offset;
      }
      assert.equal(changesBetween(timezone, new Date(0), new Date((130 * 365 - 1) * 86_400_000 + 1)).length, found, timezone);
    }
  });

  const told: [timezone: string, from: string, to: string, changes: string[]][] = [
    ['UTC', '1970-01-01', '2199-01-01', []],
    ['America/New_York', '2026-01-01', '2027-01-01', ['2026-03-08T07:00:00 -5 → -4', '2026-11-01T06:00:00 -4 → -5']],
    ['Australia/Lord_Howe', '2026-01-01', '2027-01-01', ['2026-04-04T15:00:00 11 → 10.5', '2026-10-03T15:30:00 10.5 → 11']],
    ['Africa/Casablanca', '2025-01-01', '2026-01-01', ['2025-02-23T02:00:00 1 → 0', '2025-04-06T02:00:00 0 → 1']],
    ['Africa/El_Aaiun', '2023-01-01', '2024-01-01', ['2023-03-19T02:00:00 1 → 0', '2023-04-23T02:00:00 0 → 1']],
    ['Asia/Gaza', '2040-10-01', '2040-11-01', ['2040-10-20T00:00:00 2 → 3', '2040-10-26T23:00:00 3 → 2']],
    ['Antarctica/Troll', '2026-01-01', '2027-01-01', ['2026-03-29T01:00:00 0 → 2', '2026-10-25T01:00:00 2 → 0']],
    ['Pacific/Apia', '2011-12-01', '2012-01-01', ['2011-12-30T10:00:00 -10 → 14']],
    ['Africa/Monrovia', '1970-01-01', '1973-01-01', [`1972-01-07T00:44:30 ${-2670 / 3600} → 0`]],
    ['Asia/Pyongyang', '2015-01-01', '2019-01-01', ['2015-08-14T15:00:00 9 → 8.5', '2018-05-04T15:00:00 8.5 → 9']],
  ];
  for (const [timezone, from, to, expected] of told) {
    test(`changes ${expected.length} times from ${from} to ${to} in ${timezone}`, () =>
      assert.deepEqual(changes(timezone, from, to), expected));
  }
});

describe('a local time', () => {
  const cases: [timezone: string, local: string, utc: string, why: string][] = [
    ['America/New_York', '2026-07-01T12:00', '2026-07-01T16:00Z', 'an ordinary one'],
    ['America/New_York', '2026-03-08T02:30', '2026-03-08T07:00Z', 'one that does not exist is the end of its gap'],
    ['America/New_York', '2026-11-01T01:30', '2026-11-01T05:30Z', 'one that comes twice is its first'],
    ['Pacific/Apia', '2011-12-30T12:00', '2011-12-30T10:00Z', 'one of a day that is missing'],
    ['Antarctica/Troll', '2026-10-25T02:59:59', '2026-10-25T00:59:59Z', 'one of two hours that come twice'],
  ];
  for (const [timezone, local, utc, why] of cases) {
    test(`${why}: ${local} in ${timezone}`, () => {
      const zone = zoneOf(timezone);
      for (const elsewhere of [0, second('2150-01-01T00:00Z'), second(utc)]) {
        seek(zone, elsewhere);
        assert.equal(firstMoment(zone, second(`${local}Z`)), second(utc));
      }
    });
  }

  test('is the moment again that it was made of, or the first of its two', () => {
    const some = fc.tuple(fc.constantFrom(...zones), fc.integer({ min: 86_400, max: second('2100-01-01T00:00Z') }));
    fc.assert(
      fc.property(some, ([timezone, utc]) => {
        const zone = zoneOf(timezone);
        const local = utc + seek(zone, utc);
        const first = firstMoment(zone, local);
        assert.ok(first <= utc);
        assert.equal(first + seek(zone, first), local);
      }),
      { seed, numRuns: 3000 },
    );
  });
});

describe('a time zone', () => {
  for (const name of [
    'UTC',
    'Etc/GMT+5',
    'EST5EDT',
    'GMT',
    'America/Argentina/Buenos_Aires',
    'US/Eastern',
    'europe/berlin',
    'EUROPE/BERLIN',
  ]) {
    test(`may be ${name}`, () => assert.ok(isTimezone(name)));
  }

  test('is one table, in whatever case it is written', () => assert.equal(zoneOf('europe/BERLIN'), zoneOf('Europe/Berlin')));

  const hostile = ['', ' ', 'local', 'Local', 'Mars/Phobos', '../../etc/passwd', '+01:00', 'UTC+3', 'UTC ', ' UTC', 'Europe/Berlin\0'];
  for (const name of [...hostile, 'Europe/', '/UTC', 'constructor', '__proto__', 'ＵＴＣ', 'a'.repeat(1e5)]) {
    test(`is refused when it is ${JSON.stringify(name.slice(0, 30))}`, () => {
      assert.equal(isTimezone(name), false);
      assert.throws(
        () => zoneOf(name),
        (thrown) => thrown instanceof Refusal && /^timezone: expected an IANA time zone such as .*, got "/.test(thrown.message),
      );
    });
  }
});
