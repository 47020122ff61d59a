// Clocks on the wall, read second by second through Intl: which moments an expression is due at, worked out the slow way and
// without any of the engine. Moments and local times are milliseconds.

import type { Written } from './expressions.ts';

/** A stretch of time in which a wall is so far ahead of UTC. */
export type Stretch = { readonly from: number; readonly to: number; readonly offset: number };

/** What a zone's walls are ahead of UTC at a moment. */
export function offsetReader(timezone: string): (moment: number) => number {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: timezone,
    hourCycle: 'h23',
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
  });
  return (moment) => {
    const [month = NaN, day, year = NaN, hour, minute, second] = (format.format(moment).match(/\d+/g) ?? []).map(Number);
    return Date.UTC(year, month - 1, day, hour, minute, second) - moment;
  };
}

/** The stretches of a window, looking at every quarter of an hour and, where two of them differ, at every second between. */
export function stretchesOf(timezone: string, from: number, to: number): Stretch[] {
  const offsetAt = offsetReader(timezone);
  const stretches: Stretch[] = [];
  let begun = from;
  let offset = offsetAt(from);
  for (let moment = from; moment < to; moment += 900_000) {
    const end = Math.min(moment + 900_000, to);
    if (offsetAt(end - 1000) === offset && offsetAt(moment) === offset) continue;
    for (let second = moment; second < end; second += 1000) {
      const found = offsetAt(second);
      if (found === offset) continue;
      stretches.push({ from: begun, to: second, offset });
      begun = second;
      offset = found;
    }
  }
  return [...stretches, { from: begun, to, offset }];
}

/** All due times in the stretches, in order. */
export function dueTimesOnWalls(expr: Written, stretches: readonly Stretch[]): number[] {
  const due: number[] = [];
  // Where the wall has been. What is behind it comes a second time; what lies between it and the next stretch never comes.
  let shown = (stretches[0]?.from ?? 0) + (stretches[0]?.offset ?? 0);
  for (const { from, to, offset } of stretches) {
    const begins = from + offset;
    const once = expr.isFixedTime ? Math.max(begins, shown) : begins;
    if (expr.isFixedTime && shownBetween(expr, shown, begins).length > 0) due.push(from);
    for (const local of shownBetween(expr, once, to + offset)) if (due.at(-1) !== local - offset) due.push(local - offset);
    shown = Math.max(shown, to + offset);
  }
  return due;
}

// Every second or minute from one local time to before another that is meant.
function shownBetween(expr: Written, from: number, to: number): number[] {
  const step = expr.isByMinute ? 60_000 : 1000;
  const meant: number[] = [];
  for (let local = Math.ceil(from / step) * step; local < to; local += step) if (expr.matches(local)) meant.push(local);
  return meant;
}
