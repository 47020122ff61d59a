// A cron expression and a time zone → a schedule that answers when it is due. The grammar is all ours: of what time.md asks for,
// cron-parser knows no year, no W, no lists of #, no ranges around the end and no words, and it refuses `1,1`.

import { Refusal } from '../errors.ts';
import { hintFor, show } from '../faults.ts';
import { parseDuration } from '../shapes.ts';
import type { Pattern, SpecialDays } from './pattern.ts';
import { dayOfMonth, dayOfWeek, hour, minute, month, parseField, refuseItem, second, stableHash, year } from './fields.ts';
import type { Field, FieldKind } from './fields.ts';
import { atSchedule, cronSchedule, everySchedule, isEverDue } from './schedule.ts';
import type { Schedule } from './schedule.ts';
import { calendarEnd, isTimezone, zoneExpected, zoneOf } from './zone.ts';
import type { Zone } from './zone.ts';

export type { Schedule } from './schedule.ts';

const longestExpression = 256;

/** Words for whole expressions, and the fields that they stand for. */
export const words: Readonly<Record<string, string>> = {
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
  '@monthly': '0 0 1 * *',
  '@weekly': '0 0 * * 0',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@hourly': '0 * * * *',
};

/**
 * Reads an expression of 5, 6 or 7 fields, a word such as `@daily`, `@every 5m`, or `@at` a moment; `CRON_TZ=Zone` or `TZ=Zone`
 * may stand before it and must then be the same zone. `seed` is the job's name: it decides what `H` is and where in its period
 * `@every` falls. Throws a Refusal that names the field, what was expected and what came. What is due in no year of the
 * calendar is refused; what was due in the past only is not, for this knows no now: its `next` answers none.
 */
export function parseExpression(expr: string, timezone: string, seed: string): Schedule {
  if (expr.length > longestExpression) {
    return refuse(`expected at most ${longestExpression} characters, got ${expr.length}`);
  }
  const zone = zoneOf(timezone);
  const { zone: own, text } = splitZone(expr);
  if (own !== undefined && !isTimezone(own)) return refuse(`expected ${zoneExpected} before the fields, got ${show(own)}`);
  if (own !== undefined && own.toLowerCase() !== timezone.toLowerCase()) {
    return refuse(`expected the time zone of the job, ${show(timezone)}, got ${show(own)}`);
  }
  if (!text.startsWith('@')) return fromFields(text, expr.replace(/[ \t]+$/, '').length - text.length, zone, seed);
  const [word = ''] = text.split(/[ \t]/, 1);
  const rest = trim(text.slice(word.length));
  if (word === '@every') return everyPeriod(rest, seed);
  if (word === '@at') return once(rest);
  const fields = Object.hasOwn(words, text) ? words[text] : undefined;
  return fields === undefined ? refuseWord(text) : fromFields(fields, 0, zone, seed);
}

/** The zone named in an expression by `CRON_TZ=` or `TZ=`. */
export function zoneIn(expr: string): string | undefined {
  return splitZone(expr).zone;
}

/** An expression without the `CRON_TZ=Zone` or `TZ=Zone` before it. */
export function withoutZone(expr: string): string {
  return splitZone(expr).text;
}

function splitZone(expr: string): { zone?: string; text: string } {
  const parts = /^[ \t]*(?:CRON_)?TZ=([^ \t]*)(.*)$/s.exec(expr);
  if (parts?.[1] === undefined || parts[2] === undefined) return { text: trim(expr) };
  return { zone: parts[1], text: trim(parts[2]) };
}

// Only what is a space to cron; a line break or a no-break space is a mistake that shall be told.
function trim(text: string): string {
  return text.replace(/^[ \t]+|[ \t]+$/g, '');
}

// Its phase comes from the name, so that a thousand jobs `@every 1m` do not fire in one second, and stays over restarts.
function everyPeriod(text: string, seed: string): Schedule {
  const period = parseDuration(text);
  if (period === undefined || period < 1000 || period % 1000 !== 0) {
    return refuse(`expected @every and a duration of whole seconds such as 5m or 1h30m, got ${show(text)}`);
  }
  return everySchedule(period / 1000, stableHash(seed) % (period / 1000));
}

// RFC 3339, to the second, and with an offset: a local time may come twice or never.
function once(text: string): Schedule {
  const expected = 'expected @at and a moment with its offset such as 2030-01-23T09:00:00+01:00';
  const parts = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d(?::\d\d)?)(Z|[+-](?:0\d|1[0-4]):[0-5]\d)$/i.exec(text);
  if (parts === null) return refuse(`${expected}, got ${show(text)}`);
  const written = `${parts[1]}T${parts[2]?.padEnd(8, ':00')}`;
  const local = new Date(`${written}Z`);
  // Date.parse takes the 30th of February for the 2nd of March, and 24:00 for the next day.
  if (Number.isNaN(local.getTime()) || !local.toISOString().startsWith(written)) return refuse(`${expected}, got ${show(text)}`);
  const moment = Date.parse(`${written}${parts[3]?.toUpperCase()}`) / 1000;
  if (moment < 0 || moment >= calendarEnd) return refuse(`expected @at and a moment from 1970 to 2199, got ${show(text)}`);
  return atSchedule(moment);
}

type Token = { readonly text: string; readonly column: number };

function fromFields(text: string, offset: number, zone: Zone, seed: string): Schedule {
  const tokens = [...text.matchAll(/[^ \t]+/g)].map((match) => ({ text: match[0], column: offset + match.index + 1 }));
  if (tokens.length < 5 || tokens.length > 7) {
    const shapes = '5 fields (minute hour day-of-month month day-of-week), 6 (second first) or 7 (second first, year last)';
    return refuse(`expected ${shapes}, got ${show(text)}`);
  }
  refuseYearOfSix(tokens);
  const fields = tokens.length === 5 ? [{ text: '0', column: 0 }, ...tokens] : tokens;
  const [seconds, minutes, hours, days, monthsOfYear, weekdays, years] = fields;
  const read = (kind: FieldKind, token: Token | undefined): Field => parseField(kind, token?.text ?? '*', token?.column ?? 0, seed);
  const both = weekdays?.text.startsWith('+') === true;
  const named = both ? { text: weekdays.text.slice(1), column: weekdays.column + 1 } : weekdays;
  const minuteField = read(minute, minutes);
  const hourField = read(hour, hours);
  const pattern = patternOf(
    { seconds: read(second, seconds), minutes: minuteField, hours: hourField },
    { days: read(dayOfMonth, days), months: read(month, monthsOfYear), weekdays: read(dayOfWeek, named), both },
    years === undefined ? undefined : read(year, years),
  );
  const isFixedTime = !minuteField.varies && !hourField.varies;
  if (!isEverDue(pattern, zone, isFixedTime)) return refuse(`${show(text)} never fires: there is no such day in these months and years`);
  return cronSchedule(pattern, zone, isFixedTime);
}

// Some tools read six fields with the year last. Told before anything else: their other fields are one place off.
function refuseYearOfSix(tokens: readonly Token[]): void {
  const last = tokens.at(-1);
  if (tokens.length === 7 || last === undefined || !/(?<!\d)(19|20)\d\d(?!\d)/.test(last.text)) return;
  const hint = ' (six fields begin with the second and have no year; a year needs seven: second first, year last)';
  refuseItem(dayOfWeek, last.text, last.column, 'expected 0-7 or SUN-SAT', hint);
}

type Times = { readonly seconds: Field; readonly minutes: Field; readonly hours: Field };
type Days = { readonly days: Field; readonly months: Field; readonly weekdays: Field; readonly both: boolean };

function patternOf({ seconds, minutes, hours }: Times, { days, months, weekdays, both }: Days, years: Field | undefined): Pattern {
  return {
    secondsLow: bits(seconds.values, 0),
    secondsHigh: bits(seconds.values, 32),
    minutesLow: bits(minutes.values, 0),
    minutesHigh: bits(minutes.values, 32),
    hours: bits(hours.values, 0),
    days: bits(days.values, 1),
    months: bits(months.values, 0),
    weekdays: bits(
      weekdays.values.map((day) => day % 7),
      0,
    ),
    // Vixie's rule: two fields that both restrict the day unite.
    either: !both && !days.any && !weekdays.any,
    special: specialOf(days, weekdays),
    years: years === undefined || years.any ? undefined : yearsOf(years),
  };
}

function specialOf({ fromEnd, nearest, lastWorkday }: Field, { nth }: Field): SpecialDays | undefined {
  if (fromEnd.length === 0 && nearest.length === 0 && !lastWorkday && nth.length === 0) return undefined;
  const ofWeeks = (first: number, last: number): number[] =>
    nth.filter(({ week }) => week >= first && week <= last).map(({ weekday, week }) => weekday + 7 * (week - first));
  return {
    fromEnd: bits(fromEnd, 0),
    nearest: bits(nearest, 1) | (lastWorkday ? 1 << 31 : 0),
    weeks: bits(ofWeeks(1, 4), 0),
    lastWeeks: bits(ofWeeks(5, 6), 0),
  };
}

// No longer than it has to be: most name years of our time.
function yearsOf({ values }: Field): number[] {
  const count = Math.floor((Math.max(...values) - 1970) / 32) + 1;
  return Array.from({ length: count }, (_, word) => bits(values, 1970 + 32 * word));
}

// A bit for each of the 32 values from `least` on.
function bits(values: readonly number[], least: number): number {
  let mask = 0;
  for (const value of values) if (value >= least && value < least + 32) mask |= 1 << (value - least);
  return mask;
}

function refuseWord(text: string): never {
  if (text === '@reboot') {
    return refuse('@reboot is not understood: Belfry has no boot of a machine to wait for; say when, as in "@hourly"');
  }
  const known = [...Object.keys(words), '@every', '@at'];
  return refuse(`expected five to seven fields, a word such as "@daily", @every or @at, got ${show(text)}${hintFor(text, known)}`);
}

function refuse(message: string): never {
  throw new Refusal('bad_input', `expr: ${message}`);
}
