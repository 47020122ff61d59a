// A pattern in a time zone → its due times, and the rules for the days on which the clocks change (time.md, "Clock changes").
// Nothing is remembered from one question to the next: asked afresh from any moment, the answer is that of having walked there.

import { countMatches, matchFrom, matchUpTo } from './pattern.ts';
import type { Pattern } from './pattern.ts';
import { calendarEnd, firstMoment, seek } from './zone.ts';
import type { Zone } from './zone.ts';

export type Schedule = {
  readonly kind: 'cron' | 'every' | 'at';
  /**
   * Whether it names the hour and minute: then it is due exactly once where clocks change, in a gap at the first moment after
   * it, in an overlap the first time. Else it leaves the gap out and is due in both passes of an overlap.
   */
  readonly isFixedTime: boolean;
  /** The first due time strictly after a moment; none when there is no other before 2200. Always a whole second. Never throws. */
  readonly next: (after: Date) => Date | undefined;
  /** The last due time strictly before a moment; none when there is no other since 1970. Never throws. */
  readonly previous: (before: Date) => Date | undefined;
  /** How many due times there are after one moment and up to another, reckoned by months and not by going through them. */
  readonly count: (after: Date, upTo: Date) => number;
};

/** The schedule of a pattern. */
export function cronSchedule(pattern: Pattern, zone: Zone, isFixedTime: boolean): Schedule {
  return {
    kind: 'cron',
    isFixedTime,
    next: (after) => {
      const second = Math.floor(after.getTime() / 1000) + 1;
      if (!(second > 0 && second < calendarEnd)) return undefined;
      return dateOf(isFixedTime ? fixedFrom(pattern, zone, second) : intervalFrom(pattern, zone, second));
    },
    previous: (before) => {
      const second = Math.ceil(before.getTime() / 1000) - 1;
      if (!(second >= 0 && second < calendarEnd)) return undefined;
      return dateOf(isFixedTime ? fixedUpTo(pattern, zone, second) : intervalUpTo(pattern, zone, second));
    },
    count: (after, upTo) => {
      let count = 0;
      const end = secondAfter(upTo);
      for (let second = secondAfter(after); second < end; second = zone.end) {
        seek(zone, second);
        const until = Math.min(end, zone.end);
        count += isFixedTime ? countFixed(pattern, zone, second, until) : countInterval(pattern, zone, second, until);
      }
      return count;
    },
  };
}

/** Whether the pattern is due at all in the years of the calendar. */
export function isEverDue(pattern: Pattern, zone: Zone, isFixedTime: boolean): boolean {
  const local = matchFrom(pattern, 0);
  // Without years each day comes again in other years; with them the only one may be in a gap.
  if (local === Infinity || pattern.years === undefined) return local !== Infinity;
  // No zone is two days off, and what is read of a zone is not more than it takes.
  const from = Math.max(local - 172_800, 0);
  return (isFixedTime ? fixedFrom(pattern, zone, from) : intervalFrom(pattern, zone, from)) < calendarEnd;
}

/** Due every `period` seconds, `phase` seconds off the full ones. */
export function everySchedule(period: number, phase: number): Schedule {
  return {
    kind: 'every',
    isFixedTime: false,
    next: (after) => {
      const second = Math.floor(after.getTime() / 1000) + 1;
      if (!(second > 0 && second < calendarEnd)) return undefined;
      return dateOf(phase + Math.max(0, Math.ceil((second - phase) / period)) * period);
    },
    previous: (before) => {
      const second = Math.ceil(before.getTime() / 1000) - 1;
      if (!(second >= 0 && second < calendarEnd)) return undefined;
      return dateOf(phase + Math.floor((second - phase) / period) * period);
    },
    count: (after, upTo) => {
      const before = (end: number): number => Math.max(0, Math.ceil((end - phase) / period));
      return Math.max(0, before(secondAfter(upTo)) - before(secondAfter(after)) || 0);
    },
  };
}

/** Due once. */
export function atSchedule(second: number): Schedule {
  return {
    kind: 'at',
    isFixedTime: true,
    next: (after) => (after.getTime() < second * 1000 ? dateOf(second) : undefined),
    previous: (before) => (before.getTime() > second * 1000 ? dateOf(second) : undefined),
    count: (after, upTo) => (after.getTime() < second * 1000 && upTo.getTime() >= second * 1000 ? 1 : 0),
  };
}

function dateOf(second: number): Date | undefined {
  return second >= 0 && second < calendarEnd ? new Date(second * 1000) : undefined;
}

// Each local time has one moment, its first or the end of its gap, and later ones never have an earlier moment. So the first
// due time is that of the first local time whose moment is not past: in the second pass of an overlap, one behind both.
function fixedFrom(pattern: Pattern, zone: Zone, second: number): number {
  // Asked from the second before: a local time inside the gap that ends at it belongs to it.
  const behind = seek(zone, Math.max(second - 1, 0)) + second - 1;
  const local = matchFrom(pattern, Math.max(behind + 1, zone.start + zone.before));
  return local === Infinity ? Infinity : firstMoment(zone, local);
}

function fixedUpTo(pattern: Pattern, zone: Zone, second: number): number {
  const local = matchUpTo(pattern, Math.max(seek(zone, second) + second, zone.start + zone.before - 1));
  return local === -Infinity ? -Infinity : firstMoment(zone, local);
}

// All moments whose local time matches.
function intervalFrom(pattern: Pattern, zone: Zone, second: number): number {
  const offset = seek(zone, second);
  const from = second + offset;
  let local = matchFrom(pattern, from);
  if (local - offset < zone.end) return local - offset;
  if (zone.end >= calendarEnd) return Infinity;
  // What comes again right after this stretch, and was behind `from` the first time.
  const end = zone.end;
  const again = end + seek(zone, end);
  if (again < from) {
    const repeated = matchFrom(pattern, again);
    if (repeated < from) return repeated - zone.offset;
  }
  while (local !== Infinity) {
    const moment = firstMoment(zone, local);
    if (moment === Infinity || local - zone.offset === moment) return moment;
    // In a gap: on behind it.
    local = matchFrom(pattern, moment + zone.offset);
  }
  return Infinity;
}

function intervalUpTo(pattern: Pattern, zone: Zone, second: number): number {
  const offset = seek(zone, second);
  const to = second + offset;
  let local = matchUpTo(pattern, to);
  if (local - offset >= zone.start) return local - offset;
  // What came before this stretch with a local time that is still ahead of `to`.
  const { start, before } = zone;
  if (start + before - 1 > to) {
    const first = matchUpTo(pattern, start + before - 1);
    if (first > to) return first - before;
  }
  while (local !== -Infinity) {
    const moment = firstMoment(zone, local);
    if (local - zone.offset === moment) return secondPass(zone, local);
    if (moment === -Infinity) return moment;
    // In a gap: on before it.
    local = matchUpTo(pattern, zone.start + zone.before - 1);
  }
  return -Infinity;
}

// The last moment of a local time that exists; the zone's stretch is at its first.
function secondPass(zone: Zone, local: number): number {
  const moment = local - zone.offset;
  if (zone.end >= calendarEnd) return moment;
  const end = zone.end;
  const again = local - seek(zone, end);
  return again >= end ? again : moment;
}

// Both count in the zone's stretch only, from `second` to before `end`.
function countInterval(pattern: Pattern, { offset }: Zone, second: number, end: number): number {
  return countMatches(pattern, second + offset, end + offset);
}

function countFixed(pattern: Pattern, { start, before, offset }: Zone, second: number, end: number): number {
  const count = countMatches(pattern, Math.max(second + offset, start + before), end + offset);
  if (second > start || offset <= before) return count;
  // At the end of a gap: those in it are one, or none of their own where one is due there anyway.
  const isDueAnyway = matchFrom(pattern, start + offset) === start + offset;
  return count + (!isDueAnyway && matchFrom(pattern, start + before) < start + offset ? 1 : 0);
}

// The first second after a moment, within the calendar. What is no moment has none, and nothing is before or after that.
function secondAfter(moment: Date): number {
  return Math.min(Math.max(Math.floor(moment.getTime() / 1000) + 1, 0), calendarEnd);
}
