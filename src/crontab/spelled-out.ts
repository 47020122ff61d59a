// An expression as it was written → the same with nothing left to look up: its zone taken off, words such as `@daily` put
// into fields, `H` put into the numbers that it comes to. For those who explain an expression; what it means is said in expression.ts.

import { withoutZone, words } from './expression.ts';
import { dayOfMonth, dayOfWeek, hour, minute, month, parseField, second, year, type FieldKind } from './fields.ts';

/** The seven kinds of field, in the order in which they are written. */
export const kindsOfField: readonly FieldKind[] = [second, minute, hour, dayOfMonth, month, dayOfWeek, year];

/**
 * The seven fields of an expression that parseExpression took, seconds first and years last, each without `H`; or, of `@every`
 * and `@at`, undefined.
 */
export function fieldsOf(expr: string, seed: string): string[] | undefined {
  const text = withoutZone(expr);
  const fields = (words[text] ?? text).split(/[ \t]+/);
  if (text.startsWith('@') && words[text] === undefined) return undefined;
  if (fields.length === 5) fields.unshift('0');
  if (fields.length === 6) fields.push('*');
  return kindsOfField.map((kind, index) => withoutHash(kind, fields[index] ?? '*', seed));
}

/** Whether a job's name decides when it is due. */
export function isSpread(expr: string): boolean {
  return /(^|[ \t,+])H/i.test(withoutZone(expr)) || expr.includes('@every');
}

function withoutHash(kind: FieldKind, field: string, seed: string): string {
  const plus = field.startsWith('+') ? '+' : '';
  const items = field.slice(plus.length).split(',');
  return plus + items.map((item) => (/^H/i.test(item) ? rangeText(parseField(kind, item, 0, seed).values) : item)).join(',');
}

// What `H` comes to is evenly spaced; written as a range it stays within the length of an expression.
function rangeText(values: readonly number[]): string {
  const [first = 0, following] = values;
  return following === undefined ? String(first) : `${first}-${values.at(-1) ?? following}/${following - first}`;
}
