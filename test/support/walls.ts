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
  const step = expr.isByMinute ? 60_000 : 1000;
  // Where the wall has been; what is behind it comes a second time, what is ahead of it is left out.
  let shown: number | undefined;
  for (const { from, to, offset } of stretches) {
    const begins = from + offset;
    if (expr.isFixedTime && shown !== undefined && shown < begins && somethingIn(expr, shown, begins, step)) due.push(from);
    for (let local = Math.ceil(begins / step) * step; local < to + offset; local += step) {
      if (expr.isFixedTime && shown !== undefined && local < shown) continue;
      if (expr.matches(local) && due.at(-1) !== local - offset) due.push(local - offset);
    }
    shown = Math.max(shown ?? 0, to + offset);
  }
  return due;
}

function somethingIn(expr: Written, from: number, to: number, step: number): boolean {
  for (let local = Math.ceil(from / step) * step; local < to; local += step) if (expr.matches(local)) return true;
  return false;
}
