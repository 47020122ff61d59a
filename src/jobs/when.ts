// The part of a definition that says when: its shapes, and what is wrong with it as a whole. Pure.

import { z } from 'zod';
import { parseBlackout } from '../crontab/blackout.ts';
import { parseExpression, zoneIn } from '../crontab/expression.ts';
import { rememberSchedules } from '../crontab/schedules.ts';
import { isTimezone, zoneExpected } from '../crontab/zone.ts';
import { Refusal } from '../errors.ts';
import { faultsIn, isTable, type Fault } from '../faults.ts';
import { list, refuse } from '../shapes.ts';

const mostExpressions = 20;
const mostBlackouts = 200;

const expressionExpected = 'expected an expression such as "0 */5 * * * *"';

/** One expression or a list of them; each is told where it is wrong. */
export function expressions() {
  // Which zone it is in does not change whether it can be read, so it is told together with all other faults.
  const readable = z.string(expressionExpected).superRefine((expr, context) => {
    // In a row an empty text stands for none; nobody writes one.
    const wrong =
      expr === '' ? whyNot(() => parseExpression(expr, 'UTC', '')) : whyNoSchedule({ expr, timezone: zoneIn(expr) ?? 'UTC', name: '' });
    if (wrong !== undefined) context.addIssue({ code: 'custom', message: wrong.message, input: expr });
  });
  const several = list(readable, mostExpressions).min(1, expressionExpected);
  return z.unknown().transform((value, context): readonly string[] => {
    const isList = Array.isArray(value);
    const parsed = isList ? several.safeParse(value) : readable.safeParse(value);
    if (parsed.success) return typeof parsed.data === 'string' ? [parsed.data] : parsed.data;
    for (const issue of parsed.error.issues) context.addIssue({ ...issue, input: issue.input ?? value } as never);
    return z.NEVER;
  });
}

/** The name of a time zone, as `timezone` of a job and of [crontab] have it. */
export function zoneName() {
  return z.string(`expected ${zoneExpected}`).superRefine((zone, context) => {
    if (!isTimezone(zone)) refuse(context, zone, `expected ${zoneExpected}`);
  });
}

/** Dates and expressions at which a job is not run: its `except`. */
export function blackouts() {
  const readable = z.string('expected a date such as "2026-12-24" or an expression').superRefine((text, context) => {
    const wrong = whyNot(() => parseBlackout(text, zoneIn(text) ?? 'UTC'));
    if (wrong !== undefined) context.addIssue({ code: 'custom', message: wrong.message, input: text });
  });
  return list(readable, mostBlackouts);
}

/** A moment as RFC 3339 has it, with its offset: a local time may come twice or never. */
export function moment() {
  const expected = 'expected a moment with its offset such as "2030-01-23T09:00:00+01:00"';
  return z.unknown().transform((value, context): Date => {
    const isMoment = typeof value === 'string' && z.iso.datetime({ offset: true }).safeParse(value).success;
    return isMoment ? new Date(value) : refuse(context, value, expected);
  });
}

/** A job that comes after others needs no expression; any other does. */
export function missingExpression(input: unknown): Fault[] {
  const isThere = !isTable(input) || input['expr'] !== undefined || (input['after'] !== undefined && input['after'] !== '');
  return isThere ? [] : [{ path: ['expr'], message: `${expressionExpected}, got nothing` }];
}

type Written = {
  readonly name: string;
  readonly expr: readonly string[];
  readonly except: readonly string[];
  readonly starts_at?: Date | undefined;
  readonly ends_at?: Date | undefined;
};

/** What is wrong with the expressions in the zone of the job, and with the times between which it is due. */
export function scheduleFaults({ name, expr, except, starts_at: startsAt, ends_at: endsAt }: Written, timezone: string): Fault[] {
  const wrong =
    whyNoSchedule({ name, expr: expr.join('\n'), timezone }) ?? whyNot(() => except.map((text) => parseBlackout(text, timezone)));
  if (wrong !== undefined) return [wrong];
  if (startsAt === undefined || endsAt === undefined || startsAt < endsAt) return [];
  return [{ path: ['ends_at'], message: `expected a moment after starts_at, ${startsAt.toISOString()}, got "${endsAt.toISOString()}"` }];
}

// What was read before needs no second reading; many jobs share an expression.
const readSchedule = rememberSchedules(1000);

function whyNoSchedule(job: { readonly name: string; readonly expr: string; readonly timezone: string }): Fault | undefined {
  return whyNot(() => readSchedule(job));
}

function whyNot(read: () => unknown): Fault | undefined {
  try {
    read();
    return undefined;
  } catch (thrown) {
    if (!(thrown instanceof Refusal)) throw thrown;
    return faultsIn(thrown.message, [])[0];
  }
}
