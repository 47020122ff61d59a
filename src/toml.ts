// TOML with places: what a document holds, and in which line and column each key stands, so that a fault can point there.
// The library reads; the places are ours, for it tells none of a document that is right.

import { parse, TomlError } from 'smol-toml';
import { messageOf } from './errors.ts';
import type { FaultPath } from './faults.ts';

/** Both count from 1. */
export type Place = { readonly line: number; readonly column: number };

export type Toml = {
  readonly table: Record<string, unknown>;
  /** Where a key stands; of a key that is not there, its nearest parent that is. */
  readonly placeOf: (path: FaultPath) => Place | undefined;
};

/** The text is no TOML. */
export class TomlFault extends Error {
  override readonly name = 'TomlFault';
  readonly place: Place | undefined;

  constructor(message: string, place: Place | undefined) {
    super(message);
    this.place = place;
  }
}

/** Reads a document; throws a TomlFault. */
export function readToml(text: string): Toml {
  const table = parseText(text);
  const offsets = keyOffsets(text);
  return {
    table,
    placeOf: (path) => {
      for (let length = path.length; length > 0; length--) {
        const offset = offsets.get(JSON.stringify(path.slice(0, length)));
        if (offset !== undefined) return placeAt(text, offset);
      }
      return undefined;
    },
  };
}

function parseText(text: string): Record<string, unknown> {
  try {
    return parse(text);
  } catch (thrown) {
    if (!(thrown instanceof TomlError)) throw new TomlFault(messageOf(thrown), undefined);
    // Below its first line the library quotes the document, which may hold a password.
    const message = (thrown.message.split('\n')[0] ?? '').replace('Invalid TOML document: ', '');
    throw new TomlFault(message, { line: thrown.line, column: thrown.column });
  }
}

function placeAt(text: string, offset: number): Place {
  const before = text.slice(0, offset);
  return { line: before.split('\n').length, column: offset - before.lastIndexOf('\n') };
}

/** What the document was read up to, and what was found so far. */
type Scan = { readonly text: string; at: number; readonly offsets: Map<string, number> };

// Walks over a document that is known to be right, so it need not refuse anything, only find the keys.
function keyOffsets(text: string): Map<string, number> {
  const scan: Scan = { text, at: 0, offsets: new Map() };
  const lengths = new Map<string, number>();
  let table: FaultPath = [];
  for (skipBlank(scan); scan.at < text.length; skipBlank(scan)) {
    if (text[scan.at] === '[') table = readHeader(scan, lengths);
    else readEntry(scan, table);
  }
  return scan.offsets;
}

// [a.b] or [[a.b]]: the path of the table, where every list of tables on the way means its last one.
function readHeader(scan: Scan, lengths: Map<string, number>): FaultPath {
  const start = scan.at;
  const isList = scan.text.startsWith('[[', start);
  scan.at += isList ? 2 : 1;
  const keys = readKeys(scan);
  scan.at += isList ? 2 : 1;
  const path: (string | number)[] = [];
  for (const [index, key] of keys.entries()) {
    path.push(key);
    remember(scan, path, start);
    const place = JSON.stringify(path);
    const length = lengths.get(place);
    if (isList && index === keys.length - 1) {
      lengths.set(place, (length ?? 0) + 1);
      path.push(length ?? 0);
    } else if (length !== undefined) path.push(length - 1);
    remember(scan, path, start);
  }
  return path;
}

function readEntry(scan: Scan, table: FaultPath): void {
  const start = scan.at;
  const path = [...table];
  for (const key of readKeys(scan)) {
    path.push(key);
    remember(scan, path, start);
  }
  scan.at++; // =
  readValue(scan, path);
}

// Up to and without what follows the keys: = or ].
function readKeys(scan: Scan): string[] {
  const keys: string[] = [];
  for (;;) {
    skipSpaces(scan);
    const start = scan.at;
    const quote = scan.text[start];
    if (quote === '"' || quote === "'") {
      skipText(scan);
      keys.push(unquote(scan.text.slice(start, scan.at)));
    } else {
      scan.at = endOf(/[A-Za-z0-9_-]*/y, scan);
      keys.push(scan.text.slice(start, scan.at));
    }
    skipSpaces(scan);
    if (scan.text[scan.at] !== '.') return keys;
    scan.at++;
  }
}

function readValue(scan: Scan, path: FaultPath): void {
  skipBlank(scan);
  switch (scan.text[scan.at] ?? '') {
    case '"':
    case "'":
      return skipText(scan);
    case '[':
      return readItems(scan, ']', (index) => {
        remember(scan, [...path, index], scan.at);
        readValue(scan, [...path, index]);
      });
    case '{':
      return readItems(scan, '}', () => readEntry(scan, path));
    default:
      scan.at = endOf(/[^,\]}\n#]*/y, scan);
  }
}

function readItems(scan: Scan, end: string, readItem: (index: number) => void): void {
  scan.at++;
  for (let index = 0; ; index++) {
    skipBlank(scan);
    if (scan.at >= scan.text.length || scan.text[scan.at] === end) break;
    readItem(index);
    skipBlank(scan);
    if (scan.text[scan.at] === ',') scan.at++;
  }
  scan.at++;
}

// A text in any of the four notations, from its opening quotes to behind its closing ones.
function skipText(scan: Scan): void {
  const quote = scan.text[scan.at] ?? '';
  const triple = quote.repeat(3);
  const isLong = scan.text.startsWith(triple, scan.at);
  const end = isLong ? triple : quote;
  scan.at += end.length;
  while (scan.at < scan.text.length && !scan.text.startsWith(end, scan.at)) {
    scan.at += quote === '"' && scan.text[scan.at] === '\\' ? 2 : 1;
  }
  scan.at += end.length;
  // A long text may end with one or two quotes of its own before the closing three.
  if (isLong) while (scan.text[scan.at] === quote) scan.at++;
}

function unquote(text: string): string {
  if (text.startsWith("'")) return text.slice(1, -1);
  try {
    const { key } = parse(`key = ${text}`);
    return typeof key === 'string' ? key : text;
  } catch {
    return text;
  }
}

function remember(scan: Scan, path: FaultPath, offset: number): void {
  const key = JSON.stringify(path);
  if (!scan.offsets.has(key)) scan.offsets.set(key, offset);
}

function skipSpaces(scan: Scan): void {
  scan.at = endOf(/[ \t]*/y, scan);
}

function skipBlank(scan: Scan): void {
  scan.at = endOf(/(?:[ \t\r\n]|#[^\n]*)*/y, scan);
}

function endOf(pattern: RegExp, scan: Scan): number {
  pattern.lastIndex = scan.at;
  pattern.test(scan.text);
  return pattern.lastIndex;
}
