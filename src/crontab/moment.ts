// Moments as people read and write them: in a time zone with its offset, and from now. Pure.

import { Refusal } from '../errors.ts';
import { show } from '../faults.ts';
import { calendarEnd, firstMoment, seek, zoneOf } from './zone.ts';

const day = 86_400;

/** A moment as a clock on the wall of a zone shows it, with its offset: `2026-03-08T03:00:00-04:00`. From 1970 to 2199. */
export function inZone(moment: Date, timezone: string): string {
  const utc = Math.floor(moment.getTime() / 1000);
  const offset = seek(zoneOf(timezone), utc);
  const size = Math.abs(offset);
  const parts = [size / 3600, (size / 60) % 60, ...(size % 60 === 0 ? [] : [size % 60])];
  return `${wall(utc + offset)}${offset < 0 ? '-' : '+'}${parts.map((part) => String(Math.floor(part)).padStart(2, '0')).join(':')}`;
}

/** What a clock on the wall shows, of its seconds since 1970: `2026-03-08T03:00:00`. */
export function wall(local: number): string {
  return new Date(local * 1000).toISOString().slice(0, 19);
}

/** How far a moment is from another, in its two greatest units: `in 2 days 3 hours`, `5 minutes ago`, `now`. */
export function relativeTo(now: Date, moment: Date): string {
  const seconds = Math.round((moment.getTime() - now.getTime()) / 1000);
  if (seconds === 0) return 'now';
  let rest = Math.abs(seconds);
  const parts: string[] = [];
  for (const [name, length] of [
    ['year', 365 * day],
    ['day', day],
    ['hour', 3600],
    ['minute', 60],
    ['second', 1],
  ] as const) {
    const count = Math.floor(rest / length);
    rest -= count * length;
    if (count > 0) parts.push(`${count} ${name}${count > 1 ? 's' : ''}`);
    // After the greatest unit only its neighbour says something.
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return seconds > 0 ? `in ${parts.join(' ')}` : `${parts.join(' ')} ago`;
}

const expected = 'expected a moment such as 2026-03-08T02:30:00Z, 2026-03-08T02:30-05:00 or 2026-03-08';

/**
 * Reads a moment. Without an offset it is what a clock on the wall of the zone shows; without a time it is midnight. Throws a
 * Refusal that begins with `name`.
 */
export function readMoment(text: string, timezone: string, name: string): Date {
  const parts = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(\.\d{1,9})?(Z|[+-](?:0\d|1[0-4]):?[0-5]\d)?)?$/i.exec(text);
  const written = `${parts?.[1]}T${(parts?.[2] ?? '00:00').padEnd(8, ':00')}`;
  const local = Date.parse(`${written}Z`);
  // Date.parse takes the 30th of February for the 2nd of March.
  const exists = parts !== null && !Number.isNaN(local) && new Date(local).toISOString().startsWith(written);
  if (!exists) throw new Refusal('bad_input', `${name}: ${expected}, got ${show(text)}`);
  const moment = momentOf(local / 1000, parts[4], timezone);
  if (!(moment >= 0 && moment < calendarEnd))
    throw new Refusal('bad_input', `${name}: expected a moment from 1970 to 2199, got ${show(text)}`);
  return new Date(moment * 1000 + Math.floor(Number(`0${parts[3] ?? ''}`) * 1000));
}

function momentOf(local: number, offset: string | undefined, timezone: string): number {
  if (offset === undefined) return firstMoment(zoneOf(timezone), local);
  if (offset.toUpperCase() === 'Z') return local;
  const minutes = Number(offset.slice(1, 3)) * 60 + Number(offset.slice(-2));
  return local - (offset.startsWith('-') ? -1 : 1) * minutes * 60;
}
