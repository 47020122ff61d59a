// Schemas of values as people write them in TOML and JSON, each saying what it expects: lengths of time, sizes, labels, numbers in a
// range, and the tables that hold them. What they are used for is said where they are used.

import { z } from 'zod';
import { hintFor, isTable, show } from './faults.ts';

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

// Control characters, halves of surrogate pairs, line and paragraph separators, and invisible format characters such as the
// right-to-left override. Joiners stay: Persian and emoji are written with them.
const unprintable = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]|(?![\u200c\u200d])\p{Cf}/u;
const unprintableInLines = /(?![\n\r\t])[\p{Cc}\p{Cs}]|(?![\u200c\u200d])\p{Cf}/u;

const lengthOfTime = new RegExp(
  /^(?=\d)(?:(N)d)?(?:(N)h)?(?:(N)m(?!s))?(?:(N)s)?(?:(N)ms)?$/.source.replaceAll('N', '\\d{1,15}(?:\\.\\d{1,9})?'),
);

const units: readonly (readonly [string, number])[] = [
  ['d', day],
  ['h', hour],
  ['m', minute],
  ['s', second],
  ['ms', 1],
];

/**
 * The milliseconds of a length of time as written: `"1h30m"`, `"500ms"`, `"1.5s"`; units d, h, m, s, ms, the greater first,
 * each at most once. `undefined` when it is none, or longer than 100 000 days.
 */
export function parseDuration(text: string): number | undefined {
  const parts = lengthOfTime.exec(text);
  if (parts === null) return undefined;
  const ms = units.reduce((sum, [, length], index) => sum + Number(parts[index + 1] ?? 0) * length, 0);
  return ms <= 100_000 * day ? Math.round(ms) : undefined;
}

/** A length of time the way `parseDuration` reads it: 5400000 is `1h30m`. */
export function formatDuration(ms: number): string {
  let rest = ms;
  let text = '';
  for (const [unit, length] of units) {
    const count = Math.floor(rest / length);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * length;
  }
  return text === '' ? '0s' : text;
}

/**
 * A length of time in milliseconds, between two given as text. A bare number says no unit and is refused, except 0 where
 * nothing is allowed, and except where `numbers` says that numbers are seconds.
 */
export function duration(shortest: string, longest: string, numbers: 'refused' | 'seconds' = 'refused') {
  const [least, most] = [parseDuration(shortest) ?? 0, parseDuration(longest) ?? 0];
  const expected = numbers === 'seconds' ? 'seconds or a duration' : 'a duration';
  return z.unknown().transform((value, context): number => {
    let ms = typeof value === 'string' ? parseDuration(value) : undefined;
    if (typeof value === 'number' && (numbers === 'seconds' || value === 0)) ms = Math.round(value * second);
    if (ms === undefined) return refuse(context, value, `expected ${expected} such as "30s"`);
    if (ms < least || ms > most) return refuse(context, value, `expected ${expected} from ${shortest} to ${longest}`);
    return ms;
  });
}

/** A number of bytes, as a number or as text: `"256KiB"`, `"1MiB"`. */
export function byteCount(least: number, most: number) {
  const factors: Record<string, number> = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };
  return z.unknown().transform((value, context): number => {
    const parts = typeof value === 'string' ? /^(\d{1,15})(B|KiB|MiB|GiB)$/.exec(value) : null;
    const bytes = parts === null ? value : Number(parts[1]) * (factors[parts[2] ?? ''] ?? NaN);
    if (typeof bytes !== 'number' || !Number.isSafeInteger(bytes)) {
      return refuse(context, value, 'expected a number of bytes such as 1048576, "256KiB" or "1MiB"');
    }
    if (bytes < least || bytes > most) return refuse(context, value, `expected from ${least} to ${most} bytes`);
    return bytes;
  });
}

/** One line of text that can be read as it looks: 1 to `most` characters, nothing invisible, no spaces at its ends. */
export function label(most: number) {
  const expected = `expected a text of 1 to ${most} characters`;
  return z.string(expected).superRefine((value, context) => {
    const length = Array.from(value).length;
    if (length === 0 || length > most) complain(context, value, length === 0 ? expected : `${expected} (this has ${length})`);
    else if (unprintable.test(value)) complain(context, value, 'expected no line breaks, control or invisible characters');
    else if (value.trim() !== value) complain(context, value, 'expected no spaces at the ends');
  });
}

/** Text of several lines, up to `most` characters. */
export function prose(most: number) {
  const expected = `expected a text of at most ${most} characters`;
  return z.string(expected).superRefine((value, context) => {
    if (Array.from(value).length > most) complain(context, value, expected);
    else if (unprintableInLines.test(value)) complain(context, value, 'expected no control or invisible characters');
  });
}

/** One of a few words. */
export function oneOf<const Word extends string>(...words: readonly Word[]) {
  const isWord = (value: unknown): value is Word => words.some((word) => word === value);
  const expected = `expected ${words
    .map(show)
    .join(', ')
    .replace(/, ([^,]*)$/, ' or $1')}`;
  return z.unknown().transform((value, context): Word => {
    if (isWord(value)) return value;
    refuse(context, value, expected, typeof value === 'string' ? nearest(value, words) : '');
    return z.NEVER;
  });
}

/** A whole number in a range. With `digits` also as a text of digits, as the scripts of the seed calls send them. */
export function wholeNumber(least: number, most: number, digits = false) {
  const expected = `expected a whole number from ${least} to ${most}`;
  return z.preprocess(digits ? fromDigits : asIs, z.int(expected).min(least, expected).max(most, expected));
}

/** A number in a range, whole or not. `digits` as in wholeNumber. */
export function decimal(least: number, most: number, digits = false) {
  const expected = `expected a number from ${least} to ${most}`;
  return z.preprocess(digits ? fromDigits : asIs, z.number(expected).min(least, expected).max(most, expected));
}

export function flag() {
  return z.boolean('expected true or false');
}

export function list<Item extends z.ZodType>(item: Item, most: number) {
  const expected = `expected a list of at most ${most}`;
  return z.array(item, expected).max(most, expected);
}

/** A table with these keys and no others. */
export function table<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'invalid_type' ? 'expected a table' : undefined),
  });
}

/**
 * A schema's `safeParse` for tables of which most keys are left out: it looks at the keys that are there, by a schema of these alone
 * that is made once, and knows what the others come to. What is wrong is told by the whole schema. Nothing in the schema may go by
 * the moment, or by more than one key. The defaults of what is left out are the same objects each time: not to be changed.
 */
export function parserOf<Schema extends z.ZodObject>(schema: Schema): (input: unknown) => z.ZodSafeParseResult<z.output<Schema>> {
  const needed = schema.safeParse({}).error?.issues.map(({ path: [key] }) => String(key)) ?? [];
  const leftOut = schema.omit(maskOf(needed)).parse({});
  const ofKeys = new Map<string, z.ZodObject>();

  const schemaOf = (input: unknown): z.ZodObject | undefined => {
    if (!isTable(input)) return undefined;
    const keys = Object.keys(input);
    const name = keys.join(' ');
    const known = ofKeys.get(name);
    // Whoever sends ever other keys is not to fill the memory.
    if (known !== undefined || ofKeys.size >= mostSchemas || !keys.every((key) => Object.hasOwn(schema.shape, key))) return known;
    const made = schema.pick(maskOf([...needed, ...keys]));
    ofKeys.set(name, made);
    return made;
  };

  return (input) => {
    const parsed = schemaOf(input)?.safeParse(input);
    // The door where the parts of a table are believed to be the whole.
    return parsed?.success === true ? { success: true, data: { ...leftOut, ...parsed.data } as z.output<Schema> } : schema.safeParse(input);
  };
}

const mostSchemas = 100;

function maskOf(keys: readonly string[]): Record<string, true> {
  return Object.fromEntries(keys.map((key) => [key, true]));
}

/** Adds an issue that tells the whole: what was expected and what came. For use in a transform: returns what zod ignores. */
export function refuse(context: z.core.$RefinementCtx, value: unknown, expected: string, hint = ''): never {
  complain(context, value, expected, hint);
  return z.NEVER;
}

function complain(context: z.core.$RefinementCtx, value: unknown, expected: string, hint = ''): void {
  context.addIssue({ code: 'custom', message: `${expected}, got ${show(value)}${hint}`, input: value });
}

function nearest(value: string, words: readonly string[]): string {
  const hint = hintFor(value, words);
  return hint.startsWith('; did') ? hint : '';
}

function fromDigits(value: unknown): unknown {
  return typeof value === 'string' && /^\d{1,15}(\.\d{1,15})?$/.test(value) ? Number(value) : value;
}

function asIs(value: unknown): unknown {
  return value;
}
