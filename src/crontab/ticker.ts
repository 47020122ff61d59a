// A tick: one look for due jobs, and the firing of them. Every node with the crontab duty ticks; there is no leader.

import type { Bell, Clock, Loop } from '../clock.ts';
import { every } from '../clock.ts';
import type { JobRow } from '../store/jobs.ts';
import type { DueLook, DueRow, Fired, Move } from '../store/ticks.ts';
import { Refusal } from '../errors.ts';
import type { Log } from '../observe/log.ts';
import { expand } from './due.ts';
import type { JobSchedule } from './schedules.ts';

type Deps = {
  readonly clock: Clock;
  readonly log: Log;
  /** Looks whether what is due may be decided here: our clock and the database's agree, and neither has just jumped. */
  readonly isClockRight: () => Promise<boolean>;
  readonly jobs: {
    readonly look: (limit: number) => Promise<DueLook>;
    readonly lookAt: (id: number, now: Date) => Promise<(DueRow & { readonly isWorkedOut: boolean }) | undefined>;
    readonly fire: (moves: readonly Move[], now: Date) => Promise<readonly Fired[]>;
    /** Switches off a job whose row can't be understood any more. */
    readonly disableFaulty: (id: number, revision: number, fault: string) => Promise<void>;
  };
  /** Works out a row that was written by hand; a bad one is switched off with its fault on it. */
  readonly workOut: (job: JobRow, now: Date) => Promise<void>;
  readonly scheduleOf: (job: DueRow) => JobSchedule;
  /** Told when runs are waiting to be sent. */
  readonly dispatch: Bell;
};

/** What it takes to fire a job. */
export type Firing = Pick<Deps, 'log' | 'scheduleOf' | 'dispatch'> & { readonly jobs: Omit<Deps['jobs'], 'look'> };

// Jobs taken by one tick. More than that are due: the next tick follows at once and takes twice as many, so that the first runs
// of a burst begin while the others are written down.
const leastAtOnce = 250;
const mostAtOnce = 2000;
// As a look has it, which finds a gap where nobody looked for longer.
const inTimeMs = 5000;
// Nobody sleeps longer than this: polling makes sure what NOTIFY makes prompt.
const longestSleepMs = 1000;

/** Ticks until stopped; `bell` wakes it. */
export function startTicker(deps: Deps, bell: Bell): Loop {
  let limit = leastAtOnce;
  const tickOn = async (): Promise<number> => {
    const waitMs = await tick(deps, limit);
    limit = waitMs > 0 ? leastAtOnce : Math.min(2 * limit, mostAtOnce);
    return waitMs;
  };
  return every(deps.clock, tickOn, { bell, onFault: (fault) => deps.log.error({ err: fault }, 'tick_failed') });
}

/** Looks once, fires what is due of at most `limit` jobs, if the clocks are right; answers how many milliseconds the next look may wait. */
export async function tick(deps: Deps, limit = mostAtOnce): Promise<number> {
  // Before the look, which writes down that somebody ticked: time in which nobody could is missed.
  if (!(await deps.isClockRight())) return longestSleepMs;
  const look = await deps.jobs.look(limit);
  for (const job of look.unknown) await deps.workOut(job, look.now);
  const moves: Move[] = [];
  for (const job of look.due) {
    const move = await moveOf(deps, job, look);
    if (move) moves.push(move);
  }
  if (moves.length > 0) await fire(deps, moves, look.now);
  if (look.due.length >= limit || look.unknown.length > 0 || moves.some((move) => isDue(move, look.now))) return 0;
  return sleepUntil(earliest(look.nextAt, moves), look.now);
}

/**
 * Fires what one job that is about to be edited is due for by `now`, so that nothing is dropped with its cursor. What nobody dealt
 * with in time is written down as missed and never caught up: that would run what was just edited away.
 */
export async function fireOverdue(deps: Firing, id: number, now: Date): Promise<void> {
  for (let due = await deps.jobs.lookAt(id, now); due; due = await deps.jobs.lookAt(id, now)) {
    // What was edited by hand since is not run unchecked.
    const to = due.isWorkedOut ? new Date(now.getTime() - inTimeMs) : now;
    const move = await moveOf(deps, { ...due, misfire: 'skip' }, { now, gap: { from: new Date(0), to } });
    if (move) await fire(deps, [move], now);
  }
}

async function fire(deps: Firing, moves: readonly Move[], now: Date): Promise<void> {
  const fired = await deps.jobs.fire(moves, now);
  if (fired.some((run) => run.state === 'queued')) deps.dispatch.ring();
  for (const run of fired) tell(deps.log, run);
}

async function moveOf(deps: Firing, job: DueRow, look: Pick<DueLook, 'now' | 'gap'>): Promise<Move | undefined> {
  let schedule: JobSchedule;
  try {
    schedule = deps.scheduleOf(job);
  } catch (fault) {
    if (!(fault instanceof Refusal)) throw fault;
    await deps.jobs.disableFaulty(job.id, job.revision, fault.message);
    return undefined;
  }
  const { fires, next } = expand(dueJob(job), schedule, look.now, look.gap);
  return { jobId: job.id, revision: job.revision, seen: job.nextDueAt, next, fires };
}

function dueJob(job: DueRow) {
  return {
    nextDueAt: job.nextDueAt,
    misfire: job.misfire,
    overlap: job.overlap,
    catchupWindowMs: job.catchupWindowMs ?? undefined,
    maxCatchup: job.maxCatchup,
    isPaused: job.isPaused,
    runsLeft: job.runsLeft ?? undefined,
  };
}

function tell(log: Log, run: Fired): void {
  const fields = { trace_id: run.traceId, job: run.jobName, run: run.id, due_at: run.dueAt.toISOString() };
  if (run.state === 'skipped') log.info({ ...fields, reason: run.reason }, 'skipped_job');
  else log.info(fields, 'arrived_job');
}

function isDue(move: Move, now: Date): boolean {
  return move.next !== undefined && move.next <= now;
}

function earliest(nextAt: Date | undefined, moves: readonly Move[]): number {
  return Math.min(nextAt?.getTime() ?? Infinity, ...moves.map((move) => move.next?.getTime() ?? Infinity));
}

function sleepUntil(at: number, now: Date): number {
  return Math.min(Math.max(at - now.getTime(), 0), longestSleepMs);
}
