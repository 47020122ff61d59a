// The words after `belfry next`, read by node:util and told in our own words: what was expected, what came, what was meant.

import { parseArgs } from 'node:util';
import { Refusal } from '../errors.ts';
import { hintFor, show } from '../faults.ts';

/** The options of a sub-command by their long names; `value` says what one takes, for its help and faults; none: it is a switch. */
export type Options = Readonly<Record<string, { readonly short?: string; readonly value?: string; readonly help: string }>>;

export type Arguments = {
  readonly positionals: readonly string[];
  /** The value of an option. The last one given counts. */
  readonly value: (name: string) => string | undefined;
  readonly isSet: (name: string) => boolean;
};

/** Every sub-command has it. */
export const helpOption = { help: { short: 'h', help: 'this text' } } as const satisfies Options;

/** Reads the arguments of a sub-command. Throws a Refusal `bad_input` on what it does not know. */
export function readArguments(args: readonly string[], options: Options, mostPositionals: number): Arguments {
  const { tokens } = parseArgs({
    args: [...args],
    options: Object.fromEntries(
      Object.entries(options).map(([name, { short, value }]) => [
        name,
        { type: value === undefined ? ('boolean' as const) : ('string' as const), ...(short === undefined ? {} : { short }) },
      ]),
    ),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const positionals: string[] = [];
  const values = new Map<string, string>();
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value);
    if (token.kind === 'option') values.set(token.name, valueOf(token, options));
  }
  const [extra] = positionals.slice(mostPositionals);
  if (extra !== undefined) {
    const hint = mostPositionals === 0 ? '' : ' (an expression needs quotes around it)';
    throw new Refusal('bad_input', `expected ${mostPositionals === 0 ? 'no more words' : 'one word'}, got ${show(extra)} as well${hint}`);
  }
  return { positionals, value: (name) => values.get(name), isSet: (name) => values.has(name) };
}

function valueOf(
  token: { readonly name: string; readonly rawName: string; readonly value?: string | undefined },
  options: Options,
): string {
  const option = Object.hasOwn(options, token.name) ? options[token.name] : undefined;
  if (option === undefined) {
    const known = Object.keys(options).map((name) => `--${name}`);
    throw new Refusal('bad_input', `unknown option ${show(token.rawName)}${hintFor(token.rawName, known)}`);
  }
  if (option.value === undefined && token.value !== undefined) {
    throw new Refusal('bad_input', `${token.rawName}: expected no value, got ${show(token.value)}`);
  }
  if (option.value !== undefined && (token.value === undefined || token.value === '')) {
    throw new Refusal('bad_input', `${token.rawName}: expected ${option.value} after it, got nothing`);
  }
  return token.value ?? '';
}

/** `-o json` or text. Throws a Refusal on another word. */
export function wantsJson(given: Arguments): boolean {
  const format = given.value('output') ?? 'text';
  if (format !== 'json' && format !== 'text') {
    throw new Refusal('bad_input', `--output: expected "text" or "json", got ${show(format)}${hintFor(format, ['text', 'json'])}`);
  }
  return format === 'json';
}

/** A whole number within a range. */
export function numberOf(given: Arguments, name: string, least: number, most: number): number | undefined {
  const text = given.value(name);
  if (text === undefined) return undefined;
  const number = /^\d{1,9}$/.test(text) ? Number(text) : NaN;
  if (number >= least && number <= most) return number;
  throw new Refusal('bad_input', `--${name}: expected a whole number from ${least} to ${most}, got ${show(text)}`);
}

export const outputOption = {
  output: { short: 'o', value: 'text or json', help: 'how it is told; text is the default' },
} as const satisfies Options;
