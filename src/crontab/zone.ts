// A time zone as a table of its offset changes, read out of Intl once, so that no step from one due time to the next asks
// Intl or makes a Date. All moments and offsets in here are whole seconds; a local time is written as the seconds that a
// clock on the wall would have counted since 1970-01-01T00:00 on that wall.

import { Refusal } from '../errors.ts';
import { show } from '../faults.ts';

/**
 * The table of a zone and the stretch of it that was looked at last: from `start` to before `end` the zone is `offset` ahead
 * of UTC, and `before` it was so just before `start`. `seek` moves it. At the edges of a chunk a stretch may end without a
 * change: then the next one's `before` is its `offset`, and nothing comes of it.
 */
export type Zone = {
  readonly name: string;
  readonly chunks: (Chunk | undefined)[];
  start: number;
  end: number;
  offset: number;
  before: number;
};

/** A change of the clocks: at `at` they go from `before` to `after` seconds ahead of UTC. */
export type Change = { readonly at: Date; readonly before: number; readonly after: number };

// `starts` are the moments of change and first of all the chunk's own beginning; `offsets` has one more, what was before.
type Chunk = { readonly starts: Float64Array; readonly offsets: Int32Array };

/** Due times are reckoned from 1970 to before this moment, 2200-01-01T00:00:00Z. */
export const calendarEnd = 7_258_118_400;

export const zoneExpected = 'an IANA time zone such as "Europe/Berlin" or "UTC"';

// The shortest time between two changes since 1970 is a week less an hour (Gaza and Hebron around Ramadan, Brazil in 2000;
// tzdata 2026c), so that looking every six days overlooks none.
const day = 86_400;
const stride = 6 * day;
// One chunk is a bit less than 17 years and takes some 2 ms to make; most zones never need a second one.
const stridesInChunk = 1024;
const chunkLength = stride * stridesInChunk;

const zones = new Map<string, Zone>();

/** Whether it is the name of a time zone in the IANA database; an offset such as `+01:00` is none. */
export function isTimezone(name: string): boolean {
  return find(name) !== undefined;
}

/** The zone of a name, in whatever case. Throws a Refusal where there is none. */
export function zoneOf(name: string): Zone {
  const zone = find(name);
  if (zone === undefined) throw new Refusal('bad_input', `timezone: expected ${zoneExpected}, got ${show(name)}`);
  return zone;
}

/** Moves the zone's stretch to where `utc` is, which has to be within the calendar. Answers the offset there. */
export function seek(zone: Zone, utc: number): number {
  if (utc >= zone.start && utc < zone.end) return zone.offset;
  const index = Math.floor(utc / chunkLength);
  const { starts, offsets } = (zone.chunks[index] ??= readChunk(zone.name, index * chunkLength));
  let low = 0;
  let high = starts.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((starts[middle] ?? 0) <= utc) low = middle;
    else high = middle;
  }
  zone.start = starts[low] ?? 0;
  zone.end = starts[high] ?? (index + 1) * chunkLength;
  zone.before = offsets[low] ?? 0;
  zone.offset = offsets[low + 1] ?? 0;
  return zone.offset;
}

/**
 * The moment of a local time: of one that comes twice the first, of one that does not exist the first after the gap.
 * Infinity or -Infinity where that is beyond the calendar. Leaves the zone's stretch there.
 */
export function firstMoment(zone: Zone, local: number): number {
  // The offset looked at last is at most a day or so off; from there it is a step or none.
  seek(zone, inCalendar(local - zone.offset));
  while (local >= zone.end + zone.offset) {
    if (zone.end >= calendarEnd) return Infinity;
    seek(zone, zone.end);
  }
  while (local < zone.start + zone.before && zone.start > 0) seek(zone, zone.start - 1);
  const utc = local - zone.offset;
  if (utc < 0 || utc >= calendarEnd) return utc < 0 ? -Infinity : Infinity;
  return Math.max(zone.start, utc);
}

/** The changes of a zone's clocks from one moment to before another. */
export function changesBetween(timezone: string, from: Date, to: Date): Change[] {
  const zone = zoneOf(timezone);
  const changes: Change[] = [];
  const last = Math.min(to.getTime() / 1000, calendarEnd);
  let utc = Math.max(Math.ceil(from.getTime() / 1000), 0);
  while (utc < last) {
    seek(zone, utc);
    if (zone.start === utc && zone.before !== zone.offset) {
      changes.push({ at: new Date(utc * 1000), before: zone.before, after: zone.offset });
    }
    utc = zone.end;
  }
  return changes;
}

function inCalendar(utc: number): number {
  return Math.min(Math.max(utc, 0), calendarEnd - 1);
}

// Kept under the spelling it was asked for, of which there are many, and in small letters, of which there are some hundred.
function find(name: string): Zone | undefined {
  const known = zones.get(name);
  if (known !== undefined) return known;
  if (name.length > 64 || !/^[A-Za-z][A-Za-z0-9_+-]*(\/[A-Za-z0-9_+-]+)*$/.test(name)) return undefined;
  const key = name.toLowerCase();
  let zone = zones.get(key);
  if (zone === undefined) {
    if (!isKnownToIntl(name)) return undefined;
    zone = { name, chunks: [], start: 0, end: 0, offset: 0, before: 0 };
    zones.set(key, zone);
  }
  if (zones.size < 2000) zones.set(name, zone);
  return zone;
}

function isKnownToIntl(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en-US', { timeZone: name }).resolvedOptions();
    return true;
  } catch {
    return false;
  }
}

function readChunk(name: string, from: number): Chunk {
  // The shortest text in which Intl tells the offset to the second: `40 GMT-00:44:30`.
  const format = new Intl.DateTimeFormat('en-US', { timeZone: name, second: 'numeric', timeZoneName: 'longOffset' });
  const offsetAt = (utc: number): number => readOffset(format.format(utc * 1000));
  let offset = offsetAt(from);
  const starts = [from];
  const offsets = [offsetAt(from - 1), offset];
  for (let utc = from + stride; utc <= from + chunkLength; utc += stride) {
    // The last look is just before the next chunk, which tells itself what changes at its beginning.
    const last = Math.min(utc, from + chunkLength - 1);
    const found = offsetAt(last);
    if (found === offset) continue;
    starts.push(firstOther(offsetAt, offset, utc - stride, last));
    offsets.push(found);
    offset = found;
  }
  return { starts: Float64Array.from(starts), offsets: Int32Array.from(offsets) };
}

// The first second of (same, other] that has another offset than `offset`. Almost all changes are at a quarter of an hour.
function firstOther(offsetAt: (utc: number) => number, offset: number, same: number, other: number): number {
  for (const grain of [900, 1]) {
    while (other - same > grain) {
      const middle = Math.floor((same + other) / 2 / grain) * grain;
      if (middle <= same) break;
      if (offsetAt(middle) === offset) same = middle;
      else other = middle;
    }
    if (offsetAt(other - 1) === offset) return other;
  }
  return other;
}

function readOffset(text: string): number {
  const at = text.indexOf('GMT') + 3;
  if (at >= text.length) return 0;
  const [hours = 0, minutes = 0, seconds = 0] = text
    .slice(at + 1)
    .split(':', 3)
    .map(Number);
  const size = hours * 3600 + minutes * 60 + seconds;
  return text[at] === '+' ? size : -size;
}
