// When a job is not run although it is due: whole days of its time zone, or whatever an expression names. Pure.

import { Refusal } from '../errors.ts';
import { show } from '../faults.ts';
import { parseExpression, withoutZone } from './expression.ts';
import { seek, zoneOf } from './zone.ts';

/** Whether a due time is blacked out. */
export type Blackout = (dueAt: Date) => boolean;

const known = new Map<string, Blackout>();
const mostKnown = 1000;

/** As `parseBlackout`, remembered: many jobs share their holidays. */
export function isBlackedOutBy(text: string, timezone: string): Blackout {
  const key = `${timezone}\n${text}`;
  const found = known.get(key);
  if (found) return found;
  if (known.size >= mostKnown) known.clear();
  const blackout = parseBlackout(text, timezone);
  known.set(key, blackout);
  return blackout;
}

const expected = 'expected a date such as "2026-12-24", two of them as "2026-12-24/2027-01-01", or an expression';

/**
 * Reads a date, a range of dates (both included), or an expression, in a time zone. An expression without seconds blacks out
 * the whole of each minute that it names. Throws a Refusal `bad_input`.
 */
export function parseBlackout(text: string, timezone: string): Blackout {
  const dates = /^(\d{4}-\d\d-\d\d)(?:\/(\d{4}-\d\d-\d\d))?$/.exec(text);
  if (dates?.[1] !== undefined) return daysBetween(text, dates[1], dates[2] ?? dates[1], timezone);
  const schedule = parseExpression(text, timezone, '');
  if (schedule.kind === 'every') throw new Refusal('bad_input', `${expected}, got ${show(text)}`);
  const unitMs = isInMinutes(text) ? 60_000 : 1000;
  return (dueAt) => {
    const begin = Math.floor(dueAt.getTime() / unitMs) * unitMs;
    return schedule.next(new Date(begin - 1))?.getTime() === begin;
  };
}

function daysBetween(text: string, first: string, last: string, timezone: string): Blackout {
  const [from, to] = [dayOf(first), dayOf(last)];
  if (from === undefined || to === undefined || to < from) throw new Refusal('bad_input', `${expected}, got ${show(text)}`);
  const zone = zoneOf(timezone);
  return (dueAt) => {
    const utc = Math.floor(dueAt.getTime() / 1000);
    const day = Math.floor((utc + seek(zone, utc)) / 86_400);
    return day >= from && day <= to;
  };
}

function dayOf(date: string): number | undefined {
  const ms = Date.parse(`${date}T00:00:00Z`);
  // Date.parse takes the 30th of February for the 2nd of March.
  return Number.isNaN(ms) || !new Date(ms).toISOString().startsWith(date) ? undefined : ms / 86_400_000;
}

function isInMinutes(expr: string): boolean {
  return withoutZone(expr).split(/[ \t]+/).length <= 5;
}
