// All that a job says about when: its expressions, which unite, from when to when, when not, and how far it is spread.

import { isBlackedOutBy } from './blackout.ts';
import { parseExpression, type Schedule } from './expression.ts';
import { stableHash } from './fields.ts';

/** What of a job its schedule is made of. */
export type Scheduled = {
  readonly name: string;
  /** One expression a line. */
  readonly expr: string;
  readonly timezone: string;
  /** Dates and expressions at which it is not run, as `parseBlackout` reads them. */
  readonly blackouts?: readonly string[];
  readonly startsAt?: Date | null;
  readonly endsAt?: Date | null;
  readonly spreadMs?: number | null;
};

export type JobSchedule = Pick<Schedule, 'next' | 'previous' | 'count'> & {
  readonly hasBlackouts: boolean;
  readonly isBlackedOut: (dueAt: Date) => boolean;
  /** When a run may start: `spread` later than its due time by a stable part of itself, never past the next due time. */
  readonly readyAt: (dueAt: Date) => Date;
};

/** The expressions in the text of a job: one a line; none of a job that runs after others only. */
export function expressionsIn(expr: string): string[] {
  return expr === '' ? [] : expr.split('\n');
}

/** Whether one expression is all that a job says about when. */
export function isPlain(job: Scheduled & { readonly maxRuns?: number | null }): boolean {
  const isBound = Boolean(job.startsAt) || Boolean(job.endsAt) || Boolean(job.maxRuns);
  return !isBound && !job.spreadMs && !job.blackouts?.length && !job.expr.includes('\n');
}

/** Puts a job's schedule together of what was parsed before. Keeps the last `most` expressions. Throws as parseExpression. */
export function rememberSchedules(most = 10_000): (job: Scheduled) => JobSchedule {
  const parse = rememberExpressions(most);
  return (job) => {
    const { name, timezone } = job;
    const expressions = expressionsIn(job.expr).map((expr) => parse({ name, expr, timezone }));
    const [first] = expressions;
    if (!first) return neverDue;
    if (isPlain(job)) return first;
    if (expressions.length === 1) return changed(first, job);
    return changed(unite(expressions), job);
  };
}

/** Times as a job narrows, blacks out and spreads them. */
function changed(named: Times, { name, timezone, blackouts = [], startsAt, endsAt, spreadMs }: Scheduled): JobSchedule {
  const times = within(named, startsAt ?? undefined, endsAt ?? undefined);
  const isIn = blackouts.map((text) => isBlackedOutBy(text, timezone));
  const offset = spreadMs ? stableHash(name) % spreadMs : 0;
  return {
    ...times,
    hasBlackouts: isIn.length > 0,
    isBlackedOut: (dueAt) => isIn.some((blackout) => blackout(dueAt)),
    readyAt: (dueAt) => (offset === 0 ? dueAt : spreadBy(offset, dueAt, times.next(dueAt))),
  };
}

/** Many jobs share an expression, and asking one costs less than reading its text again. */
function rememberExpressions(most: number): (job: { name: string; expr: string; timezone: string }) => JobSchedule {
  const known = new Map<string, JobSchedule>();
  return ({ name, expr, timezone }) => {
    const shared = `${timezone}\n${expr}`;
    const own = `${shared}\n${name}`;
    const found = known.get(shared) ?? known.get(own);
    if (found) return found;
    const schedule = { ...parseExpression(expr, timezone, name), hasBlackouts: false, isBlackedOut: never, readyAt: atOnce };
    const oldest = known.size >= most ? known.keys().next().value : undefined;
    if (oldest !== undefined) known.delete(oldest);
    // Where the job's name decides (`H`, `@every`), only the same job shares.
    known.set(/H|@every/i.test(expr) ? own : shared, schedule);
    return schedule;
  };
}

const neverDue: JobSchedule = {
  next: () => undefined,
  previous: () => undefined,
  count: () => 0,
  hasBlackouts: false,
  isBlackedOut: never,
  readyAt: atOnce,
};

function never(): boolean {
  return false;
}

function atOnce(dueAt: Date): Date {
  return dueAt;
}

type Times = Pick<Schedule, 'next' | 'previous' | 'count'>;

/** Due whenever one of them is; what several name is one due time. */
function unite(schedules: readonly Times[]): Times {
  const next = (after: Date): Date | undefined => earliest(schedules.map((each) => each.next(after)));
  return {
    next,
    previous: (before) => latest(schedules.map((each) => each.previous(before))),
    // Gone through: what several of them name shall count once.
    count: (after, upTo) => {
      let count = 0;
      for (let due = next(after); due && due <= upTo; due = next(due)) count++;
      return count;
    },
  };
}

/** Only due times from `startsAt` to `endsAt`, both included. */
function within(times: Times, startsAt: Date | undefined, endsAt: Date | undefined): Times {
  if (!startsAt && !endsAt) return times;
  const isWithin = (due: Date | undefined): due is Date =>
    due !== undefined && (!startsAt || due >= startsAt) && (!endsAt || due <= endsAt);
  const before = startsAt && new Date(startsAt.getTime() - 1);
  const after = endsAt && new Date(endsAt.getTime() + 1);
  const only = (due: Date | undefined): Date | undefined => (isWithin(due) ? due : undefined);
  return {
    next: (moment) => only(times.next(before && before > moment ? before : moment)),
    previous: (moment) => only(times.previous(after && after < moment ? after : moment)),
    count: (from, upTo) => {
      const begin = before && before > from ? before : from;
      const end = endsAt && endsAt < upTo ? endsAt : upTo;
      return begin < end ? times.count(begin, end) : 0;
    },
  };
}

function spreadBy(offsetMs: number, dueAt: Date, next: Date | undefined): Date {
  const longest = next ? next.getTime() - dueAt.getTime() - 1 : offsetMs;
  return new Date(dueAt.getTime() + Math.min(offsetMs, longest));
}

function earliest(dates: readonly (Date | undefined)[]): Date | undefined {
  return dates.reduce((found, each) => (each && (!found || each < found) ? each : found), undefined);
}

function latest(dates: readonly (Date | undefined)[]): Date | undefined {
  return dates.reduce((found, each) => (each && (!found || each > found) ? each : found), undefined);
}
