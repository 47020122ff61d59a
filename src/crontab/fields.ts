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

/** What a field came to. All but `any`, `varies` and `values` occur in the days only. */
export type Field = {
  /**
   * Whether it was `*` or `?`, and so leaves the day to the other field. A star with a step, as in every second day, does not:
   * whoever writes it restricts the day, and croner and cron-parser read it so. (Vixie's own cron goes by the first character
   * and takes it for a star, so that both fields must match: a crontab that relies on it says so here with a `+`.)
   */
  readonly any: boolean;
  /** Whether it has a `*`, a step or a range of `H`, and so is repeated rather than named. */
  readonly varies: boolean;
  readonly values: readonly number[];
  /** Day of month: `L` is 0, `L-3` is 3. */
  readonly fromEnd: readonly number[];
  /** Day of month: `15W` is 15. */
  readonly nearest: readonly number[];
  /** Day of month: `LW`. */
  readonly lastWorkday: boolean;
  /** Day of week: `5#2`, and `5L` with a sixth week. */
  readonly nth: readonly NthWeekday[];
};

export type NthWeekday = { readonly weekday: number; readonly week: number };

/** Says no to an item, telling what was expected. */
type Refuse = (expected: string) => never;

/** What an item of a list came to. */
type Item = Partial<Omit<Field, 'any' | 'varies'>>;

const months = 'january february march april may june july august september october november december';
const weekdays = 'sunday monday tuesday wednesday thursday friday saturday';

export const second: FieldKind = { name: 'second', least: 0, most: 59, names: [] };
export const minute: FieldKind = { name: 'minute', least: 0, most: 59, names: [] };
export const hour: FieldKind = { name: 'hour', least: 0, most: 23, names: [] };
export const dayOfMonth: FieldKind = { name: 'day of month', least: 1, most: 31, names: [] };
export const month: FieldKind = { name: 'month', least: 1, most: 12, names: months.split(' ') };
/** A 7 is Sunday like 0: the end of a range, but not of `5/2`, which ends with Saturday. */
export const dayOfWeek: FieldKind = { name: 'day of week', least: 0, most: 6, names: weekdays.split(' ') };
export const year: FieldKind = { name: 'year', least: 1970, most: 2099, names: [] };

/**
 * Reads one field: lists, ranges (also around the end: `22-2`), steps, names, `H`, and what only days can be. `column` is where
 * the field begins in the expression. Throws a Refusal that names the field, the item, its column and what was expected.
 */
export function parseField(kind: FieldKind, text: string, column: number, seed: string): Field {
  if (text === '*' || text === '?') return { ...nothing, any: true, varies: true, values: valuesBetween(kind, kind.least, kind.most, 1) };
  let at = column;
  const items = text.split(',').map((item) => {
    const start = at;
    at += item.length + 1;
    return readItem(kind, item, seed, (expected) => refuseItem(kind, item, start, expected));
  });
  return {
    any: false,
    varies: /[*?/(]/.test(text),
    values: items.flatMap(({ values }) => values ?? []),
    fromEnd: items.flatMap(({ fromEnd }) => fromEnd ?? []),
    nearest: items.flatMap(({ nearest }) => nearest ?? []),
    lastWorkday: items.some(({ lastWorkday }) => lastWorkday),
    nth: items.flatMap(({ nth }) => nth ?? []),
  };
}

/** Throws the Refusal of an item: which field, what was expected, what came, where, and what may have been meant. */
export function refuseItem(kind: FieldKind, item: string, column: number, expected: string, hint = ''): never {
  throw new Refusal('bad_input', `expr: ${kind.name}: ${expected}, got ${show(item)} at column ${column}${hint}`);
}

/** A number of 32 bits that is always the same for a text and spread evenly over texts (FNV-1a, then murmur3's finish). */
export function stableHash(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

const nothing = { fromEnd: [], nearest: [], lastWorkday: false, nth: [] };

function readItem(kind: FieldKind, item: string, seed: string, refuse: Refuse): Item {
  if (kind === dayOfMonth && /[LW]/i.test(item)) return readSpecialDay(item.toUpperCase(), refuse);
  if (kind === dayOfWeek && /L$|#/i.test(item)) return readNthWeekday(item, refuse);
  return { values: readValues(kind, item, seed, refuse) };
}

// L, L-3, LW, 15W.
function readSpecialDay(item: string, refuse: Refuse): Item {
  if (item === 'LW') return { lastWorkday: true };
  const back = /^L(?:-(\d{1,2}))?$/.exec(item);
  if (back !== null) {
    const days = Number(back[1] ?? 0);
    return days <= 30 && back[1] !== '0' ? { fromEnd: [days] } : refuse('expected L or L-1 to L-30');
  }
  const day = Number(/^(\d{1,2})W$/.exec(item)?.[1] ?? 0);
  return day >= 1 && day <= 31 ? { nearest: [day] } : refuse('expected 1-31, L, L-3, LW or 15W');
}

// 5L, FRI#2.
function readNthWeekday(item: string, refuse: Refuse): Item {
  const [name = '', week, ...rest] = item.split('#');
  if (week === undefined) {
    const weekday = numberOf(dayOfWeek, item.slice(0, -1)) ?? refuse('expected a weekday before L, as in 5L or FRIL');
    return { nth: [{ weekday: weekday % 7, week: 6 }] };
  }
  const weekday = numberOf(dayOfWeek, name) ?? refuse('expected a weekday before #, as in 5#2 or FRI#2');
  if (!/^[1-5]$/.test(week) || rest.length > 0) refuse('expected 1 to 5 after #, as in FRI#2');
  return { nth: [{ weekday: weekday % 7, week: Number(week) }] };
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
  if (kind === year && to !== undefined && to < from) refuse('expected a range from the earlier to the later year');
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
  if (kind === year) refuse(`expected ${rangeOf(kind)}`);
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

function rangeOf(kind: FieldKind): string {
  if (kind === dayOfWeek) return '0-7 or SUN-SAT';
  if (kind === month) return '1-12 or JAN-DEC';
  return `${kind.least}-${kind.most}`;
}
