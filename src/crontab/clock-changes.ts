// What an expression does on the days on which the clocks of its zone change, told beforehand. The rules are those of time.md
// ("Clock changes"); what is told is read off the schedule itself, so that it is what will happen.

import { parseExpression, type Schedule } from './expression.ts';
import { wall } from './moment.ts';
import { fieldsOf } from './spelled-out.ts';
import { calendarEnd, changesBetween, seek, zoneOf, type Change } from './zone.ts';

/** A change of the clocks that an expression meets. `gap`: local times that do not exist; `overlap`: ones that come twice. */
export type MetChange = {
  readonly at: Date;
  readonly kind: 'gap' | 'overlap';
  /** The local times between which clocks jump, as on the wall: `2026-03-08T02:00:00`. */
  readonly from: string;
  readonly to: string;
  /** The first of the expression's local times that it concerns, and how many there are. */
  readonly named: string;
  readonly count: number;
  /** `2026-03-08 02:30 does not exist: runs at 03:00`. */
  readonly sentence: string;
};

const year = 366 * 86_400_000;
const furthestYears = 30;

/** The next `most` changes of the zone's clocks after a moment that concern an expression; it must be one that can be read. */
export function metChanges(expr: string, timezone: string, seed: string, after: Date, most: number): MetChange[] {
  const fields = fieldsOf(expr, seed);
  if (fields === undefined) return [];
  const schedule = parseExpression(expr, timezone, seed);
  // In UTC the same fields answer with the local times that they name.
  const named = parseExpression(fields.join(' '), 'UTC', seed);
  const met: MetChange[] = [];
  let from = new Date(after.getTime() + 1000);
  for (let years = 0; years < furthestYears && met.length < most; years++) {
    const to = new Date(Math.min(from.getTime() + year, calendarEnd * 1000));
    for (const change of changesBetween(timezone, from, to)) {
      const found = met.length < most ? meet(change, timezone, schedule, named) : undefined;
      if (found) met.push(found);
    }
    from = to;
  }
  return met;
}

function meet(change: Change, timezone: string, schedule: Schedule, named: Schedule): MetChange | undefined {
  const at = change.at.getTime() / 1000;
  const isGap = change.after > change.before;
  const from = at + Math.min(change.before, change.after);
  const to = at + Math.max(change.before, change.after);
  const [before, end] = [new Date((from - 1) * 1000), new Date((to - 1) * 1000)];
  const count = named.count(before, end);
  const first = named.next(before);
  if (count === 0 || first === undefined) return undefined;
  const told = { change, timezone, schedule, named, from, to, count, first: first.getTime() / 1000 };
  const sentence = isGap ? gapSentence(told) : overlapSentence(told);
  return { at: change.at, kind: isGap ? 'gap' : 'overlap', from: wall(from), to: wall(to), named: wall(told.first), count, sentence };
}

type Told = {
  readonly change: Change;
  readonly timezone: string;
  readonly schedule: Schedule;
  readonly named: Schedule;
  readonly from: number;
  readonly to: number;
  readonly count: number;
  readonly first: number;
};

function gapSentence({ change, timezone, schedule, named, from, to, count, first }: Told): string {
  const next = schedule.next(new Date(change.at.getTime() - 1));
  const resumed = next && next.getTime() / 1000 + seek(zoneOf(timezone), next.getTime() / 1000);
  if (!schedule.isFixedTime) {
    const goesOn = resumed === undefined ? 'and never again' : `goes on at ${clock(resumed, from)}`;
    return `${clock(from)} to ${clock(to, from)} does not exist: not run in it, ${goesOn}`;
  }
  if (resumed === undefined) return `${clock(first)} does not exist`;
  const isDueAnyway = named.count(new Date((to - 1) * 1000), new Date(to * 1000)) > 0;
  const once = isDueAnyway ? ', as it does anyway' : '';
  if (count === 1) return `${clock(first)} does not exist: runs at ${clock(resumed, first)}${once}`;
  return `${clock(first)} and ${count - 1} more up to ${clock(to, first)} do not exist: runs once for all, at ${clock(resumed, first)}${once}`;
}

function overlapSentence({ schedule, from, to, count, first }: Told): string {
  if (!schedule.isFixedTime) return `${clock(from)} to ${clock(to, from)} comes twice: runs both times`;
  if (count === 1) return `${clock(first)} comes twice: runs the first time only`;
  return `${clock(first)} and ${count - 1} more up to ${clock(to, first)} come twice: each runs the first time only`;
}

// A local time to the minute, to the second where it has some; without its date when that is the same as of another.
function clock(local: number, beside?: number): string {
  const [date = '', time = ''] = wall(local).split('T');
  const short = time.endsWith(':00') ? time.slice(0, 5) : time;
  return beside !== undefined && wall(beside).startsWith(date) ? short : `${date} ${short}`;
}
