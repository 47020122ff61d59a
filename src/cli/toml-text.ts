// A job as a [[jobs]] table of config.toml. smol-toml writes TOML too, but tables within tables on lines of their own, which a
// person would not.

import { isTable } from '../faults.ts';

/** The text of a job, its simple fields first, and a table each for command and environment. */
export function jobInToml(job: Readonly<Record<string, unknown>>): string {
  return `[[jobs]]\n${linesOf(job, ['jobs']).join('\n')}\n`;
}

function linesOf(table: Readonly<Record<string, unknown>>, path: readonly string[]): string[] {
  const entries = Object.entries(table);
  const simple = entries.flatMap(([key, value]) => (isTable(value) ? [] : [`${keyText(key)} = ${valueText(value)}`]));
  const tables = entries.flatMap(([key, value]) => {
    if (!isTable(value)) return [];
    const inner = [...path, keyText(key)];
    return [`[${inner.join('.')}]`, ...linesOf(value, inner)];
  });
  return [...simple, ...tables];
}

function keyText(key: string): string {
  return /^[\w-]+$/.test(key) ? key : quoted(key);
}

function valueText(value: unknown): string {
  return typeof value === 'string' ? quoted(value) : String(value);
}

// A literal text reads best where quotes or backslashes are in it. What JSON escapes, TOML understands, and it wants DEL escaped too.
function quoted(text: string): string {
  // oxlint-disable-next-line no-control-regex
  if (/["\\]/.test(text) && !/['\u0000-\u001f\u007f]/.test(text)) return `'${text}'`;
  return JSON.stringify(text).replaceAll('\u007f', '\\u007f');
}
