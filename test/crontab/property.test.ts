// The engine against two others: croner, and clocks on the wall that are read through Intl. In every time zone this Node
// knows, near the moments at which its clocks change, with expressions made at random. The seed is printed; BELFRY_SEED sets it.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Cron } from 'croner';
import * as fc from 'fast-check';
import { parseExpression, type Schedule } from '../../src/crontab/expression.ts';
import { changesBetween, type Change } from '../../src/crontab/zone.ts';
import { Refusal } from '../../src/errors.ts';
import { fiveFields, sevenFields, sixFields, type Written } from '../support/expressions.ts';
import { dueTimesOnWalls, stretchesOf } from '../support/walls.ts';

const zones = Intl.supportedValuesOf('timeZone');
const seed = Number(process.env['BELFRY_SEED'] ?? 20_261_121);

const [hourMs, dayMs] = [3_600_000, 86_400_000];

type Case = { readonly expr: Written; readonly near: Change; readonly from: Date };

// From where there is a day before to where nothing new comes.
const [earliest, latest] = [new Date('1970-01-05T00:00:00Z'), new Date('2060-01-01T00:00:00Z')];
// For zones whose clocks never change.
const noChange: Change = { at: new Date('2026-03-08T07:00:00Z'), before: 0, after: 0 };

function casesIn(timezone: string, aroundMs: number): fc.Arbitrary<Case> {
  const changes = changesBetween(timezone, earliest, latest);
  return fc.constantFrom(...(changes.length === 0 ? [noChange] : changes)).chain((near) => {
    const from = fc.integer({ min: -aroundMs, max: aroundMs }).map((away) => new Date(near.at.getTime() + away));
    const expr = expressionsNear(near);
    return fc.record({ expr, near: fc.constant(near), from });
  });
}

// About what the walls show from just before the change to the end of the second pass.
function expressionsNear({ at, before }: Change): fc.Arbitrary<Written> {
  return fc.integer({ min: -60, max: 60 }).chain((minutes) => {
    const near = new Date(at.getTime() + before * 1000 + minutes * 60_000);
    return fc.oneof(fiveFields(near), sixFields(near), sevenFields(near));
  });
}

/** What never fires is refused; that is another test's. */
function scheduleOf({ text }: Written, timezone: string): Schedule | undefined {
  try {
    return parseExpression(text, timezone, 'job');
  } catch (thrown) {
    assert.ok(thrown instanceof Refusal && thrown.message.includes('never fires'), String(thrown));
    return undefined;
  }
}

describe('a due time', () => {
  test('is the one croner names, in every time zone, from any start', { timeout: 120_000 }, (t) => {
    t.diagnostic(`seed ${seed}`);
    let compared = 0;
    for (const timezone of zones) {
      fc.assert(
        fc.property(casesIn(timezone, 2 * dayMs), ({ expr, near, from }) => {
          if (!expr.isCroners || isDifferent(near, expr)) return;
          const schedule = scheduleOf(expr, timezone);
          if (schedule === undefined) return;
          const peer = croner(expr.text, timezone);
          const walk: Date[] = [];
          let at = from;
          for (let walked = 0; walked < 30; walked++) {
            const ours: Date | undefined = schedule.next(at);
            const theirs = peer.nextRun(at) ?? undefined;
            compared++;
            assert.equal(ours?.toISOString(), theirs?.toISOString(), `${expr.text} in ${timezone} after ${at.toISOString()}`);
            if (ours === undefined || ours > latest) break;
            walk.push(ours);
            at = ours;
          }
          const back = walk.map((_, index) => schedule.previous(walk[walk.length - index] ?? new Date(at.getTime() + 1)));
          assert.deepEqual(back.toReversed(), walk, `${expr.text} in ${timezone} back from ${at.toISOString()}`);
        }),
        { seed, numRuns: 34 },
      );
    }
    t.diagnostic(`${compared} due times compared in ${zones.length} time zones`);
    assert.ok(compared > 200_000);
  });
});

// What of it the comparison above leaves out. Besides, croner reads no ranges around the end, no L-3, no LW in a list, no full
// names, no H and no @every; it takes an expression that never fires, and 5-6#2, which time.md does not know.
describe('croner says something else', () => {
  type Difference = [timezone: string, expr: string, after: string, ours: string, theirs: string, why: string];
  const differences: Difference[] = [
    [
      'America/New_York',
      '* 30 2 * * *',
      '2026-03-08T00:00-05:00',
      '2026-03-08T03:00-04:00',
      '2026-03-09T02:30-04:00',
      'about fixed times: it asks the seconds too, time.md the hour and minute only',
    ],
    [
      'Pacific/Apia',
      '0 12 30 12 *',
      '2011-12-29T13:00-10:00',
      '2011-12-31T00:00+14:00',
      '2012-12-30T12:00+14:00',
      'about a day that is missing: it stays within the day, time.md goes to the first moment after the gap',
    ],
    [
      'America/Nuuk',
      '30 23 * * *',
      '2026-03-28T12:00-02:00',
      '2026-03-29T00:00-01:00',
      '2026-03-29T23:30-01:00',
      'about a gap up to midnight, for the same reason',
    ],
    [
      'Antarctica/Vostok',
      '* * * * *',
      '1994-01-31T16:59Z',
      '1994-01-31T17:00Z',
      '1994-02-01T00:00Z',
      'about an overlap of seven hours: it leaves out the second pass when asked at the end of the first',
    ],
  ];
  for (const [timezone, expr, after, ours, theirs, why] of differences) {
    test(why, () => {
      const start = new Date(after);
      assert.deepEqual(parseExpression(expr, timezone, 'job').next(start), new Date(ours));
      assert.deepEqual(croner(expr, timezone).nextRun(start), new Date(theirs));
    });
  }
});

function croner(expr: string, timezone: string): Cron {
  return new Cron(expr, { timezone, paused: true, sloppyRanges: true, fixedTimeRule: 'no-wildcard' });
}

describe('the due times of a window', () => {
  test('are those a clock on the wall shows, forwards, backwards, counted, split and asked afresh', { timeout: 120_000 }, (t) => {
    t.diagnostic(`seed ${seed}`);
    let compared = 0;
    for (const timezone of zones) {
      const changes = changesBetween(timezone, earliest, latest);
      const change = fc.constantFrom(...(changes.length === 0 ? [noChange] : changes));
      const expr = change.chain((near) =>
        fc.record({
          near: fc.constant(near),
          expr: expressionsNear(near),
          places: fc.array(fc.integer({ min: -2 * hourMs, max: 2 * hourMs }), { minLength: 5, maxLength: 5 }),
        }),
      );
      fc.assert(
        fc.property(expr, ({ expr: written, near, places }) => {
          const schedule = scheduleOf(written, timezone);
          if (schedule === undefined) return;
          const [from, to] = windowAround(near, written);
          const due = dueTimesOnWalls(written, stretchesOf(timezone, from, to));
          const what = `${written.text} in ${timezone} around ${near.at.toISOString()}`;
          const moments = places.map((away) => Math.min(Math.max(near.at.getTime() + away, from), to));
          same(forwards(schedule, from, to), due, what);
          same(backwards(schedule, from, to), due.toReversed(), what);
          assert.equal(schedule.count(new Date(from - 1), new Date(to - 1)), due.length, what);
          for (const moment of moments) {
            const [earlier, later] = [due.filter((time) => time < moment), due.filter((time) => time > moment)];
            assert.equal(schedule.count(new Date(from - 1), new Date(moment - 1)), earlier.length, what);
            same([schedule.next(new Date(moment))].map(Number).slice(0, later.length), later.slice(0, 1), `${what}, after ${moment}`);
            same(
              [schedule.previous(new Date(moment))].map(Number).slice(0, earlier.length),
              earlier.slice(-1),
              `${what}, before ${moment}`,
            );
          }
          compared += due.length;
        }),
        { seed, numRuns: 16 },
      );
    }
    t.diagnostic(`${compared} due times compared in ${zones.length} time zones`);
  });
});

// Long enough for both passes of an overlap; by seconds no longer than that, for they are many.
function windowAround({ at, before, after }: Change, { isByMinute }: Written): [number, number] {
  const around = isByMinute ? 30 * hourMs : Math.max(before - after, 1800) * 1000 + 300_000;
  return [at.getTime() - around, at.getTime() + around];
}

function same(ours: readonly number[], theirs: readonly number[], what: string): void {
  const at = ours.findIndex((time, index) => time !== theirs[index]);
  const told = (time: number | undefined): string => (time === undefined ? 'none' : new Date(time).toISOString());
  assert.ok(at < 0, `${what}: expected ${told(theirs[at])}, got ${told(ours[at])}`);
  assert.equal(ours.length, theirs.length, `${what}: expected also ${told(theirs[ours.length])}`);
}

function forwards(schedule: Schedule, from: number, to: number): number[] {
  const due: number[] = [];
  for (let at = schedule.next(new Date(from - 1)); at !== undefined && at.getTime() < to; at = schedule.next(at)) due.push(at.getTime());
  return due;
}

function backwards(schedule: Schedule, from: number, to: number): number[] {
  const due: number[] = [];
  for (let at = schedule.previous(new Date(to)); at !== undefined && at.getTime() >= from; at = schedule.previous(at))
    due.push(at.getTime());
  return due;
}

// The differences that are told below.
function isDifferent({ at, before, after }: Change, { isFixedTime }: Written): boolean {
  const dayAt = (offset: number): number => Math.floor((at.getTime() / 1000 + offset) / 86_400);
  return (isFixedTime && dayAt(before) !== dayAt(after)) || before - after > 4 * 3600;
}
