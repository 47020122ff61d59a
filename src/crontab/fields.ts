// The fields of a cron expression: the text of one field → the numbers it names. Knows no calendar and no time zone.

import { Refusal } from '../errors.ts';
import { show } from '../faults.ts';

/** What one field may hold. */
export type FieldKind = {
  readonly name: string;
  readonly least: number;
  readonly most: number;
  /** Full names of the values from `least` on; their first three letters will do. */
  readonly names: readonly string[];
};

/** What a field came to. `last` and `nth` occur in the days only. */
export type Field = {
  /** Whether it was `*` or `?`, and so says nothing about the day (Vixie's rule asks). */
  readonly any: boolean;
  /** Each once, in order. */
  readonly values: readonly number[];
  /** Day of month: `L`, the last day. */
  readonly lastDay: boolean;
  /** Day of week: `5L`, the last Friday. */
  readonly lastWeekdays: readonly number[];
  /** Day of week: `5#2`, the second Friday. */
  readonly nth?: { readonly weekday: number; readonly week: number };
};

/** Says no to an item, telling what was expected. */
type Refuse = (expected: string) => never;

const months = 'january february march april may june july august september october november december';
const weekdays = 'sunday monday tuesday wednesday thursday friday saturday';

export const second: FieldKind = { name: 'second', least: 0, most: 59, names: [] };
export const minute: FieldKind = { name: 'minute', least: 0, most: 59, names: [] };
export const hour: FieldKind = { name: 'hour', least: 0, most: 23, names: [] };
export const dayOfMonth: FieldKind = { name: 'day of month', least: 1, most: 31, names: [] };
export const month: FieldKind = { name: 'month', least: 1, most: 12, names: months.split(' ') };
export const dayOfWeek: FieldKind = { name: 'day of week', least: 0, most: 6, names: weekdays.split(' ') };

/**
 * Reads one field: lists, ranges (also around the end: `22-2`), steps, names, `H`, `L`, `5L`, `5#2`. `column` is where the
 * field begins in the expression. Throws a Refusal that names the field, the item, its column and what was expected.
 */
export function parseField(kind: FieldKind, text: string, column: number, seed: string): Field {
  let at = column;
  const items = text.split(',').map((item, _, all) => {
    const start = at;
    at += item.length + 1;
    const refuse = (expected: string): never => refuseItem(kind, item, start, expected);
    const found = readSpecial(kind, item, refuse) ?? { values: readValues(kind, item, seed, refuse) };
    if (found.nth !== undefined && all.length > 1) refuse('expected # to stand alone, lists of it are not understood yet');
    return found;
  });
  const nth = items[0]?.nth;
  return {
    any: text === '*' || text === '?',
    values: inOrder(items.flatMap(({ values }) => values ?? [])),
    lastDay: items.some(({ lastDay }) => lastDay),
    lastWeekdays: inOrder(items.flatMap(({ lastWeekdays }) => lastWeekdays ?? [])),
    ...(nth === undefined ? {} : { nth }),
  };
}

/** A number of 32 bits that is always the same for a text and spread evenly over texts (FNV-1a, then murmur3's finish). */
export function stableHash(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

// What only a day can be: L, 5L, 5#2.
function readSpecial(kind: FieldKind, item: string, refuse: Refuse): Partial<Field> | undefined {
  if (kind === dayOfMonth) return item.toUpperCase() === 'L' ? { lastDay: true } : undefined;
  const parts = kind === dayOfWeek ? /^(.+)(?:L|#(.*))$/i.exec(item) : null;
  if (parts?.[1] === undefined) return undefined;
  const weekday = (numberOf(kind, parts[1]) ?? refuse('expected a weekday before L or #, as in 5L or FRI#2')) % 7;
  if (parts[2] === undefined) return { lastWeekdays: [weekday] };
  if (!/^[1-5]$/.test(parts[2])) refuse('expected 1 to 5 after #, as in FRI#2');
  return { nth: { weekday, week: Number(parts[2]) } };
}

function readValues(kind: FieldKind, item: string, seed: string, refuse: Refuse): number[] {
  const [base = '', stepText, ...tooMany] = item.split('/');
  if (tooMany.length > 0) refuse(`expected ${rangeOf(kind)}`);
  const step = stepText === undefined ? undefined : readStep(kind, stepText, refuse);
  if (/^H/i.test(base)) return hashedValues(kind, base, step, seed, refuse);
  if (base === '*' || base === '?') return valuesBetween(kind, kind.least, kind.most, step ?? 1);
  return readRange(kind, base, step, refuse);
}

// 5, 5/10, 5-20, 5-20/10.
function readRange(kind: FieldKind, base: string, step: number | undefined, refuse: Refuse): number[] {
  const [from = NaN, to, ...rest] = base.split('-').map((text) => numberOf(kind, text) ?? refuse(`expected ${rangeOf(kind)}`));
  if (rest.length > 0) refuse(`expected ${rangeOf(kind)}`);
  if (to !== undefined) return valuesBetween(kind, from, to, step ?? 1);
  const start = kind === dayOfWeek ? from % 7 : from;
  return step === undefined ? [start] : valuesBetween(kind, start, kind.most, step);
}

function readStep(kind: FieldKind, text: string, refuse: Refuse): number {
  const most = kind.most - kind.least + 1;
  const step = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  return step >= 1 && step <= most ? step : refuse(`expected a step from 1 to ${most} after the /`);
}

// From … to, around the end where `to` is before `from`: FRI-MON, 22-2, NOV-FEB.
function valuesBetween(kind: FieldKind, from: number, to: number, step: number): number[] {
  const size = kind.most - kind.least + 1;
  const values: number[] = [];
  for (let value = from; value <= (to < from ? to + size : to); value += step) {
    values.push(kind.least + ((value - kind.least) % size));
  }
  return values;
}

// H: a place of this job's own. The days stop at 28, so that every month has it.
function hashedValues(kind: FieldKind, base: string, step: number | undefined, seed: string, refuse: Refuse): number[] {
  const parts = /^H(?:\((\d{1,4})-(\d{1,4})\))?$/i.exec(base) ?? refuse('expected H, H/15, H(0-29) or H(0-29)/10');
  const from = Number(parts[1] ?? kind.least);
  const to = Number(parts[2] ?? (kind === dayOfMonth ? 28 : kind.most));
  if (from > to || from < kind.least || to > kind.most) refuse(`expected a range within ${kind.least}-${kind.most} after H`);
  const hash = stableHash(`${seed}\0${kind.name}`);
  const size = to - from + 1;
  if (step === undefined) return [from + (hash % size)];
  return valuesBetween(kind, from + (hash % Math.min(step, size)), to, step);
}

function numberOf(kind: FieldKind, text: string): number | undefined {
  if (/^\d{1,4}$/.test(text)) {
    const value = Number(text);
    const isSunday = kind === dayOfWeek && value === 7;
    return (value >= kind.least && value <= kind.most) || isSunday ? value : undefined;
  }
  const word = text.toLowerCase();
  const index = kind.names.findIndex((name) => name === word || name.slice(0, 3) === word);
  return index < 0 ? undefined : kind.least + index;
}

function inOrder(values: readonly number[]): number[] {
  return [...new Set(values)].sort((a, b) => a - b);
}

function rangeOf(kind: FieldKind): string {
  if (kind === dayOfWeek) return '0-7 or SUN-SAT';
  if (kind === month) return '1-12 or JAN-DEC';
  return `${kind.least}-${kind.most}`;
}

function refuseItem(kind: FieldKind, item: string, column: number, expected: string): never {
  let hint = '';
  if (kind === dayOfMonth && /[LW]/i.test(item)) hint = ' (L-3, LW and 15W are not understood yet)';
  if (kind === dayOfWeek && item.startsWith('+')) hint = ' (+ is not understood yet)';
  if (kind === dayOfWeek && /^(19|20)\d\d$/.test(item)) {
    hint = ' (six fields begin with the second and end with the day of week; years are not understood yet)';
  }
  throw new Refusal('bad_input', `expr: ${kind.name}: ${expected}, got ${show(item)} at column ${column}${hint}`);
}
