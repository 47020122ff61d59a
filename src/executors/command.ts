// Reads a command as written down: a zod schema says what is allowed, this file says what was wrong, all of it at once, in
// words that name the field, what was expected and what came.

import { inspect } from 'node:util';
import { z } from 'zod';
import { didYouMean } from '../faults.ts';
import { parserOf } from '../shapes.ts';

// Whoever made a hundred mistakes is helped by the first ones.
const mostTold = 20;

/**
 * Makes what parses a command by its schema. That throws one Error with every fault, joined by "; ", each beginning with the path from
 * the job on: `command.env.PATH: expected …, got …`. `faultsBetween` finds what only shows between fields.
 */
export function commandReader<Shape extends z.core.$ZodLooseShape>(
  schema: z.ZodObject<Shape, z.core.$strict>,
  faultsBetween: (command: Record<string, unknown>) => readonly string[],
): (command: Record<string, unknown>) => z.infer<typeof schema> {
  const parse = parserOf(schema);
  const known = Object.keys(schema.shape);
  return (command) => {
    const read = parse(command);
    const faults = [...(read.error?.issues ?? []).flatMap((issue) => describeIssue(issue, known)), ...faultsBetween(command)];
    if (read.success && faults.length === 0) return read.data;
    throw new Error(faults.join('; '));
  };
}

/** A field for which one question decides. `shownAs` replaces the value where it may be a secret. */
export function field<T>(what: string, isRight: (value: unknown) => boolean, shownAs: (value: unknown) => string = shown) {
  return z.custom<T>(isRight, { error: (issue) => `expected ${what}, got ${shownAs(issue.input)}` });
}

/** Texts by name, such as headers; each entry that `faultOf` finds wrong is told under its own name. */
export function texts(what: string, faultOf: (name: string, value: unknown) => string | undefined) {
  return field<Record<string, string>>(what, isPlainObject).superRefine((entries, context) => {
    if (!isPlainObject(entries)) return;
    for (const [name, value] of Object.entries(entries)) {
      const message = faultOf(name, value);
      if (message !== undefined) context.addIssue({ code: 'custom', path: [name], message });
    }
  });
}

export function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A text that can be stored and handed to a program: without NUL and lone surrogates, its UTF-8 within the limit. */
export function isText(value: unknown, maxBytes: number): value is string {
  return typeof value === 'string' && value.isWellFormed() && !value.includes('\0') && Buffer.byteLength(value) <= maxBytes;
}

/** A value in a message: short, on one line. */
export function shown(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value !== 'string') return inspect(value);
  if (value.length > 60) return `${JSON.stringify(value.slice(0, 40))}… (${value.length} characters)`;
  return JSON.stringify(value);
}

/** The same for what may be a secret. */
export function shownAsSecret(value: unknown): string {
  return typeof value === 'string' ? `a text of ${value.length} characters` : shown(value);
}

function describeIssue(issue: z.core.$ZodIssue, known: readonly string[]): string[] {
  if (issue.code !== 'unrecognized_keys') return [`${pathText(issue.path)}: ${issue.message}`];
  return issue.keys.slice(0, mostTold).map((key) => {
    const near = didYouMean(key, known);
    const hint = near === undefined ? '' : `; did you mean ${JSON.stringify(near)}?`;
    return `${pathText([key])}: expected one of ${known.join(', ')}, got an unknown key${hint}`;
  });
}

function pathText(path: readonly PropertyKey[]): string {
  const steps = path.map((step) => {
    if (typeof step === 'number') return `[${step}]`;
    const name = String(step);
    return /^[\w-]{1,64}$/.test(name) ? `.${name}` : `[${shown(name)}]`;
  });
  return `command${steps.join('')}`;
}
