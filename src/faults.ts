// What is wrong with something that was written down, in words for whoever wrote it: where, what was expected, what came.
// Every text that is repeated to the reader passes through `show`, so nothing hostile reaches a terminal, a log or a page.

import { z } from 'zod';

export type FaultPath = readonly (string | number)[];

/** One thing that is wrong. `message` reads `expected …, got …`. */
export type Fault = { readonly path: FaultPath; readonly message: string };

// Whoever made a thousand mistakes is helped by the first ones.
const mostTold = 20;
const deepest = 32;

/** All faults as one line: `timeout: expected a duration such as "30s", got "30"; command.type: …`. */
export function describeFaults(faults: readonly Fault[]): string {
  const told = faults.slice(0, mostTold).map(describeFault);
  if (faults.length > mostTold) told.push(`and ${faults.length - mostTold} more`);
  return told.join('; ');
}

/** One fault with its place: `retry.delay: expected …`. A fault of the whole has no place to name. */
export function describeFault(fault: Fault): string {
  return fault.path.length === 0 ? fault.message : `${pathText(fault.path)}: ${fault.message}`;
}

/** A place as it is written in TOML: `jobs[1].retry.max_attempts`; a key that is no bare word is quoted. */
export function pathText(path: FaultPath): string {
  let text = '';
  for (const key of path) {
    if (typeof key === 'number') text += `[${key}]`;
    else text += (text === '' ? '' : '.') + (/^[\w-]{1,60}$/.test(key) ? key : show(key));
  }
  return text;
}

/** A value as it may be repeated to anybody: a text quoted, escaped and shortened, anything else by its kind. */
export function show(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return quoted(value);
    case 'number':
    case 'boolean':
    case 'bigint':
      return String(value).slice(0, 60);
    case 'undefined':
      return 'nothing';
    case 'object':
      if (value === null) return 'null';
      if (Array.isArray(value)) return 'a list';
      return value instanceof Date ? 'a date' : 'a table';
    case 'symbol':
    case 'function':
      break;
  }
  return `a ${typeof value}`;
}

/** The word that was probably meant, if one of the known ones is near. */
export function didYouMean(word: string, known: Iterable<string>): string | undefined {
  if (word.length > 60) return undefined;
  const asked = word.toLowerCase();
  let best: string | undefined;
  let bestDistance = Math.ceil(word.length / 2.5) + 1;
  for (const candidate of known) {
    const isBeginning = asked.length > 2 && candidate.toLowerCase().startsWith(asked);
    const distance = isBeginning ? 1 : editDistance(asked, candidate.toLowerCase());
    if (distance >= bestDistance) continue;
    best = candidate;
    bestDistance = distance;
  }
  return best;
}

/** The end of a message about a word that is not known: `; did you mean "retry"?`, or else which ones are. */
export function hintFor(word: string, known: readonly string[]): string {
  const near = didYouMean(word, known);
  if (near !== undefined) return `; did you mean ${show(near)}?`;
  return known.length === 0 ? '' : `; known: ${known.join(', ')}`;
}

/**
 * The faults that a schema found in an input. A schema says what it expected (`z.string('expected a name')`) and the value
 * that came is added here, except to its `custom` issues, which tell the whole themselves. One fault a place.
 */
export function faultsOf(error: z.ZodError, input: unknown, schema: z.ZodType): Fault[] {
  const faults = new Map<string, Fault>();
  const add = (path: FaultPath, message: string): void => {
    const place = JSON.stringify(path);
    if (!faults.has(place)) faults.set(place, { path, message });
  };
  for (const issue of error.issues) {
    const path = issue.path.map((key) => (typeof key === 'number' ? key : String(key)));
    if (issue.code === 'unrecognized_keys') {
      const known = knownKeys(schema, path);
      // A hint costs more than a fault: whoever sends a hundred thousand keys gets none for those that are not told.
      for (const key of issue.keys) add([...path, key], `unknown key${faults.size < mostTold ? hintFor(key, known) : ''}`);
    } else if (issue.code === 'custom') add(path, issue.message);
    else add(path, `${issue.message}, got ${show(valueAt(input, path))}`);
  }
  return [...faults.values()];
}

/**
 * The faults in the message of an Error that names its field first, as executors and expressions throw them: in `command`,
 * `command.target: expected …` and `target: expected …` are both a fault of `command.target`. Several are joined by "; ".
 */
export function faultsIn(message: string, path: FaultPath): Fault[] {
  const name = String(path.at(-1) ?? '');
  const parts = name === '' ? [message] : message.split(`; ${name}.`).map((part, index) => (index === 0 ? part : `${name}.${part}`));
  return parts.map((part) => {
    const named = /^([A-Za-z_][\w-]*(?:\.[\w-]+|\[[^\]]*\])*): (.+)$/s.exec(part);
    if (named?.[1] === undefined || named[2] === undefined) return { path, message: part };
    const keys = [...named[1].matchAll(/[\w-]+|"[^\]]*"/g)].map(([key]) => (/^\d+$/.test(key) ? Number(key) : key.replaceAll('"', '')));
    return { path: [...path, ...(keys[0] === name ? keys.slice(1) : keys)], message: named[2] };
  });
}

/**
 * What no schema needs to see, at any depth: texts that PostgreSQL cannot keep (NUL, half a surrogate pair), numbers that
 * JSON cannot, values that are no JSON at all, keys that change what an object is, and nesting without end.
 */
export function hostileFaults(input: unknown): Fault[] {
  const faults: Fault[] = [];
  const path: (string | number)[] = [];
  const enter = (key: string | number, value: unknown): void => {
    path.push(key);
    if (key === '__proto__' || whyHostile(key, 0) !== undefined) faults.push({ path: [...path], message: 'this key is not allowed' });
    else visit(value);
    path.pop();
  };
  const visit = (value: unknown): void => {
    if (faults.length > mostTold) return;
    const message = whyHostile(value, path.length);
    if (message !== undefined) faults.push({ path: [...path], message });
    else if (Array.isArray(value)) value.forEach((item, index) => enter(index, item));
    else if (isTable(value)) for (const key of Object.keys(value)) enter(key, value[key]);
  };
  visit(input);
  return faults;
}

/** A plain object, as JSON and TOML make them; no array, date or instance of a class. */
export function isTable(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

function whyHostile(value: unknown, depth: number): string | undefined {
  if (depth > deepest) return `expected at most ${deepest} levels of nesting`;
  if (typeof value === 'string') {
    if (value.includes('\0')) return 'expected a text without NUL';
    return value.isWellFormed() ? undefined : 'expected a text of whole characters, got half a surrogate pair';
  }
  if (typeof value === 'number') {
    return Number.isFinite(value) ? undefined : `expected a finite number, got ${show(value)}`;
  }
  if (value === null || value === undefined || typeof value === 'boolean') return undefined;
  if (Array.isArray(value) || isTable(value)) return undefined;
  return `expected a text, a number, true or false, a list or a table, got ${show(value)}`;
}

function quoted(text: string): string {
  const characters = Array.from(text.slice(0, 200));
  const shown = characters.slice(0, 60).map((character) => {
    if (character === '"' || character === '\\') return `\\${character}`;
    if (character === '\n') return '\\n';
    if (!/[\p{C}\p{Zl}\p{Zp}]/u.test(character)) return character;
    return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
  });
  return `"${shown.join('')}${characters.length > 60 ? '…' : ''}"`;
}

function valueAt(input: unknown, path: FaultPath): unknown {
  let value = input;
  for (const key of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    const entry = Object.getOwnPropertyDescriptor(value, key);
    value = entry?.value;
  }
  return value;
}

// Follows a path down a schema, through whatever is optional or has a default, to the table that has the keys.
function knownKeys(schema: z.ZodType, path: FaultPath): string[] {
  let at: z.core.$ZodType = schema;
  for (const key of [...path, undefined]) {
    while (at instanceof z.ZodOptional || at instanceof z.ZodDefault || at instanceof z.ZodPrefault) {
      at = at.def.innerType;
    }
    if (key === undefined) break;
    if (at instanceof z.ZodArray) at = at.element;
    else if (at instanceof z.ZodObject) {
      const { shape, def }: { shape: Record<string, z.core.$ZodType>; def: { catchall?: z.core.$ZodType | undefined } } = at;
      const next: z.core.$ZodType | undefined = (Object.hasOwn(shape, key) ? shape[key] : undefined) ?? def.catchall;
      if (next === undefined) return [];
      at = next;
    } else return [];
  }
  return at instanceof z.ZodObject ? Object.keys(at.shape) : [];
}

// Levenshtein's distance, where two neighbours changing places count as one.
function editDistance(from: string, to: string): number {
  const rows = [Array.from({ length: to.length + 1 }, (_, index) => index)];
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    for (let j = 1; j <= to.length; j++) {
      const at = (up: number, left: number): number => (up === 0 ? row : rows[i - up])?.[j - left] ?? Infinity;
      const same = from[i - 1] === to[j - 1];
      const swapped = from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1];
      row.push(Math.min(at(1, 0) + 1, at(0, 1) + 1, at(1, 1) + (same ? 0 : 1), swapped ? at(2, 2) + 1 : Infinity));
    }
    rows.push(row);
  }
  return rows[from.length]?.[to.length] ?? Infinity;
}
