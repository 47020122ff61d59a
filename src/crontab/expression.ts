// A cron expression and a time zone → a schedule that answers when it is due next. The grammar is ours (fields.ts); the
// calendar is cron-parser's for now, kept behind Schedule.

import { CronExpressionParser } from 'cron-parser';
import type { CronExpression } from 'cron-parser';
import { Refusal } from '../errors.ts';
import { hintFor, show } from '../faults.ts';
import { parseDuration } from '../shapes.ts';
import { dayOfMonth, dayOfWeek, hour, minute, month, parseField, second, stableHash } from './fields.ts';
import type { Field, FieldKind } from './fields.ts';

export type Schedule = {
  /** The first due time strictly after a moment; none when there is no other. Always a whole second. Never throws. */
  readonly next: (after: Date) => Date | undefined;
};

const longestExpression = 256;

const words: Record<string, string> = {
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
  '@monthly': '0 0 1 * *',
  '@weekly': '0 0 * * 0',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@hourly': '0 * * * *',
};

/**
 * Reads an expression of 5 or 6 fields, a word such as `@daily`, or `@every 5m`; `CRON_TZ=Zone` or `TZ=Zone` may stand before
 * it and must then be the same zone. `seed` is the job's name: it decides what `H` is and where in its period `@every` falls.
 * Throws a Refusal that names the field, what was expected and what came.
 */
export function parseExpression(expr: string, timezone: string, seed: string): Schedule {
  if (expr.length > longestExpression) {
    return refuse(`expected at most ${longestExpression} characters, got ${expr.length}`);
  }
  if (!isTimezone(timezone)) {
    throw new Refusal('bad_input', `timezone: expected ${zoneExpected}, got ${show(timezone)}`);
  }
  const { zone, text } = splitZone(expr);
  if (zone !== undefined && !isTimezone(zone)) return refuse(`expected ${zoneExpected} before the fields, got ${show(zone)}`);
  if (zone !== undefined && zone.toLowerCase() !== timezone.toLowerCase()) {
    return refuse(`expected the time zone of the job, ${show(timezone)}, got ${show(zone)}`);
  }
  const [word = ''] = text.split(' ', 1);
  if (word === '@every') return everyPeriod(text.slice(word.length).trim(), seed);
  if (!word.startsWith('@')) return fromFields(text, expr.indexOf(text), timezone, seed);
  const fields = Object.hasOwn(words, text) ? words[text] : undefined;
  return fields === undefined ? refuseWord(text) : fromFields(fields, 0, timezone, seed);
}

/** The zone named in an expression by `CRON_TZ=` or `TZ=`. */
export function zoneIn(expr: string): string | undefined {
  return splitZone(expr).zone;
}

export const zoneExpected = 'an IANA time zone such as "Europe/Berlin" or "UTC"';

/** Whether it is the name of a time zone in the IANA database; an offset such as `+01:00` is none. */
export function isTimezone(name: string): boolean {
  if (zones.has(name)) return true;
  if (!/^[A-Za-z][A-Za-z0-9_+-]*(\/[A-Za-z0-9_+-]+)*$/.test(name) || name.length > 64) return false;
  try {
    new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions();
  } catch {
    return false;
  }
  if (zones.size < 1000) zones.add(name);
  return true;
}

// Those that were looked up before; of all the ways to write them the first thousand.
const zones = new Set<string>();

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
  const phase = (stableHash(seed) % (period / 1000)) * 1000;
  return {
    next: (after) => {
      const due = phase + (Math.floor((after.getTime() - phase) / period) + 1) * period;
      return isWithinCalendar(due) ? new Date(due) : undefined;
    },
  };
}

type Fields = Record<'second' | 'minute' | 'hour' | 'dayOfMonth' | 'month' | 'dayOfWeek', Field>;

function fromFields(text: string, offset: number, timezone: string, seed: string): Schedule {
  const fields = readFields(text, offset, seed);
  if (neverFires(fields)) return refuse(`${show(text)} never fires: no such day in these months`);
  return scheduleOf(fields, timezone);
}

function readFields(text: string, offset: number, seed: string): Fields {
  const found = [...text.matchAll(/[^ \t]+/g)].map((match) => ({ text: match[0], column: offset + match.index + 1 }));
  if (found.length === 7) {
    refuse(`expected 5 fields, or 6 with the second first, got 7 (a year is not understood yet) in ${show(text)}`);
  }
  if (found.length !== 5 && found.length !== 6) {
    refuse(`expected 5 fields (minute hour day-of-month month day-of-week) or 6 (second first), got ${show(text)}`);
  }
  if (found.length === 5) found.unshift({ text: '0', column: 0 });
  const read = (index: number, kind: FieldKind): Field => parseField(kind, found[index]?.text ?? '', found[index]?.column ?? 0, seed);
  return {
    second: read(0, second),
    minute: read(1, minute),
    hour: read(2, hour),
    dayOfMonth: read(3, dayOfMonth),
    month: read(4, month),
    dayOfWeek: read(5, dayOfWeek),
  };
}

// With both days restricted either may match, and every month has each weekday; so only the day of month can miss.
function neverFires(fields: Fields): boolean {
  if (!fields.dayOfWeek.any || fields.dayOfMonth.lastDay) return false;
  const longest = Math.max(...fields.month.values.map((value) => [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][value - 1] ?? 0));
  return fields.dayOfMonth.values.every((day) => day > longest);
}

function scheduleOf(fields: Fields, timezone: string): Schedule {
  const text = [fields.second, fields.minute, fields.hour, fields.dayOfMonth, fields.month, fields.dayOfWeek].map(written).join(' ');
  // Made when first asked: an expression that is only checked needs none.
  let made: CronExpression | undefined;
  const engine = (): CronExpression => (made ??= CronExpressionParser.parse(text, { tz: timezone, currentDate: new Date(0) }));
  const ask = (after: Date): Date | undefined => {
    try {
      engine().reset(after);
      const due = engine().next().toDate();
      return due > after ? due : undefined;
    } catch {
      return undefined;
    }
  };
  return {
    next: (after) => {
      if (!isWithinCalendar(after.getTime())) return undefined;
      const due = ask(after);
      if (due !== undefined) return due;
      // cron-parser gives up, or answers with the past, around some clock changes (Lord Howe's half hours): look ourselves
      // at every minute of the two days around, then ask again behind them.
      return scan(after, fields.second.values, (at) => engine().includesDate(at)) ?? ask(new Date(after.getTime() + scanned));
    },
  };
}

const scanned = 48 * 3_600_000;

function scan(after: Date, seconds: readonly number[], matches: (at: Date) => boolean): Date | undefined {
  const start = Math.floor(after.getTime() / 60_000) * 60_000;
  for (let base = start; base <= start + scanned; base += 60_000) {
    const due = seconds.map((value) => base + value * 1000).find((at) => at > after.getTime());
    if (due !== undefined && matches(new Date(due))) return new Date(due);
  }
  return undefined;
}

// Plain lists, which is where cron-parser is right: it knows no ranges around the end and refuses `1,1`.
function written(field: Field): string {
  if (field.any) return '*';
  if (field.nth !== undefined) return `${field.nth.weekday}#${field.nth.week}`;
  return [...field.values, ...(field.lastDay ? ['L'] : []), ...field.lastWeekdays.map((day) => `${day}L`)].join(',');
}

function isWithinCalendar(ms: number): boolean {
  return ms > Date.UTC(1900) && ms < Date.UTC(9999);
}

function refuseWord(text: string): never {
  if (text === '@reboot') {
    return refuse('@reboot is not understood: Belfry has no boot of a machine to wait for; say when, as in "@hourly"');
  }
  return refuse(`expected five or six fields, @every or a word, got ${show(text)}${hintFor(text, [...Object.keys(words), '@every'])}`);
}

function refuse(message: string): never {
  throw new Refusal('bad_input', `expr: ${message}`);
}
