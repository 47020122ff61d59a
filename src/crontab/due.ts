// From a job's cursor and the time to what shall be fired. Pure.

import type { JobSchedule } from './schedules.ts';

/** What of a job, beside its schedule, decides on its due times. */
export type DueJob = {
  /** The cursor: the first due time that nobody has dealt with. */
  readonly nextDueAt: Date;
  readonly misfire: 'skip' | 'once' | 'all';
  readonly overlap: string;
  readonly catchupWindowMs: number | undefined;
  readonly maxCatchup: number;
  /** A paused job's due times are written down and not run. */
  readonly isPaused: boolean;
  /** How many runs it may still have; undefined: any number. */
  readonly runsLeft: number | undefined;
};

/** A time in which no node looked: a due time in it was missed, one outside of it is at worst late by our own load. */
export type Gap = { readonly from: Date; readonly to: Date };

/** Why a due time is written down and not run. */
export type SkipReason = 'missed' | 'blackout' | 'paused';

/** A due time to be written down; `reason` where it is not run. One row may stand for several. */
export type DueTime = {
  readonly dueAt: Date;
  readonly lastDueAt?: Date;
  readonly dueCount: number;
  readonly reason?: SkipReason;
  readonly catchup: boolean;
  readonly overlap?: 'wait_all';
  /** When it may start, where that is later than its due time. */
  readonly readyAt?: Date;
};

export type Expansion = {
  readonly fires: readonly DueTime[];
  /** The new cursor; undefined: the schedule names no further time, or the job has had its runs. */
  readonly next: Date | undefined;
};

// So many due times are walked in one go; a cursor that is further behind is moved on by the next tick.
const longestWalk = 2000;

/** Expands all due times from the cursor to `now` by the job's policies, and says where the cursor goes. */
export function expand(job: DueJob, schedule: JobSchedule, now: Date, gap: Gap | undefined): Expansion {
  if (job.isPaused) return pausedUpTo(job.nextDueAt, schedule, now);
  const fires: DueTime[] = [];
  let cursor: Date | undefined = job.nextDueAt;
  while (cursor && cursor <= now && fires.length < longestWalk) {
    if (gap && cursor > gap.from && cursor <= gap.to) {
      const missed: Expansion = schedule.hasBlackouts
        ? walkMissed(job, schedule, cursor, gap.to, now)
        : missedUpTo(job, schedule, cursor, gap.to, now);
      fires.push(...missed.fires);
      cursor = missed.next;
    } else {
      fires.push(liveAt(schedule, cursor));
      cursor = schedule.next(cursor);
    }
  }
  return withinLimit(job.runsLeft, fires, cursor);
}

function liveAt(schedule: JobSchedule, dueAt: Date): DueTime {
  if (schedule.isBlackedOut(dueAt)) return { dueAt, dueCount: 1, reason: 'blackout', catchup: false };
  const readyAt = schedule.readyAt(dueAt);
  return { dueAt, dueCount: 1, catchup: false, ...(readyAt > dueAt ? { readyAt } : {}) };
}

function pausedUpTo(first: Date, schedule: JobSchedule, now: Date): Expansion {
  if (first > now) return { fires: [], next: first };
  return { fires: [rowOf('paused', first, latestUpTo(schedule, first, now), countUpTo(schedule, first, now))], next: schedule.next(now) };
}

/** All that were missed, without going through them: how many, which was the last, and those few that are caught up. */
function missedUpTo(job: DueJob, schedule: JobSchedule, first: Date, end: Date, now: Date): Expansion {
  const latest = latestUpTo(schedule, first, end);
  const since = new Date(now.getTime() - catchupWindowMs(job, latest, schedule));
  const most = mostCaughtUp(job);
  const caughtUp: Date[] = [];
  let each: Date | undefined = latest;
  for (; each && each >= first && each >= since && caughtUp.length < most; each = schedule.previous(each)) caughtUp.unshift(each);
  const dropped = countUpTo(schedule, first, end) - caughtUp.length;
  return {
    fires: [...(dropped > 0 ? [rowOf('missed', first, each ?? first, dropped)] : []), ...caughtUp.map((dueAt) => caughtUpAt(job, dueAt))],
    next: schedule.next(end),
  };
}

/** The same where each has to be looked at: what was blacked out was not missed. */
function walkMissed(job: DueJob, schedule: JobSchedule, first: Date, end: Date, now: Date): Expansion {
  const walked: Date[] = [];
  let cursor: Date | undefined = first;
  for (; cursor && cursor <= end && walked.length < longestWalk; cursor = schedule.next(cursor)) walked.push(cursor);
  const blackedOut = new Set(walked.filter((dueAt) => schedule.isBlackedOut(dueAt)));
  const missed = walked.filter((dueAt) => !blackedOut.has(dueAt));
  // The latest missed one is caught up only when no further missed one can follow.
  const goesOn = cursor !== undefined && cursor <= end;
  const since = new Date(now.getTime() - catchupWindowMs(job, missed.at(-1) ?? first, schedule));
  const most = goesOn && job.misfire === 'once' ? 0 : mostCaughtUp(job);
  const caughtUp = new Set(most === 0 ? [] : missed.slice(-most).filter((dueAt) => dueAt >= since));
  const fires: DueTime[] = [];
  for (const dueAt of walked) {
    if (caughtUp.has(dueAt)) fires.push(caughtUpAt(job, dueAt));
    else addToRow(fires, dueAt, blackedOut.has(dueAt) ? 'blackout' : 'missed');
  }
  return { fires, next: cursor };
}

function addToRow(fires: DueTime[], dueAt: Date, reason: SkipReason): void {
  const last = fires.at(-1);
  if (last?.reason === reason) fires[fires.length - 1] = rowOf(reason, last.dueAt, dueAt, last.dueCount + 1);
  else fires.push(rowOf(reason, dueAt, dueAt, 1));
}

function caughtUpAt(job: DueJob, dueAt: Date): DueTime {
  // Asked for one by one, they run one after another and do not push each other aside.
  const waits = job.misfire === 'all' && job.overlap === 'skip';
  return { dueAt, dueCount: 1, catchup: true, ...(waits ? { overlap: 'wait_all' as const } : {}) };
}

function rowOf(reason: SkipReason, dueAt: Date, lastDueAt: Date, dueCount: number): DueTime {
  return { dueAt, dueCount, reason, catchup: false, ...(dueCount > 1 ? { lastDueAt } : {}) };
}

function mostCaughtUp({ misfire, maxCatchup }: DueJob): number {
  return { skip: 0, once: 1, all: maxCatchup }[misfire];
}

const hourMs = 3_600_000;

/** As the job says, or the greater of an hour and one interval, at most a day. */
function catchupWindowMs(job: DueJob, dueAt: Date, schedule: JobSchedule): number {
  if (job.catchupWindowMs !== undefined) return job.catchupWindowMs;
  const following = schedule.next(dueAt);
  const interval = following ? following.getTime() - dueAt.getTime() : hourMs;
  return Math.min(Math.max(hourMs, interval), 24 * hourMs);
}

/** The last due time up to a moment; the cursor itself is one, whatever the schedule says today. */
function latestUpTo(schedule: JobSchedule, first: Date, end: Date): Date {
  const latest = schedule.previous(new Date(end.getTime() + 1));
  return latest && latest > first ? latest : first;
}

function countUpTo(schedule: JobSchedule, first: Date, end: Date): number {
  return 1 + schedule.count(first, end);
}

/** No more runs than are left; what was skipped is none. With the last of them the job is at its end. */
function withinLimit(runsLeft: number | undefined, fires: readonly DueTime[], next: Date | undefined): Expansion {
  if (runsLeft === undefined) return { fires, next };
  const kept: DueTime[] = [];
  let left = runsLeft;
  for (const fire of fires) {
    if (left <= 0) break;
    kept.push(fire);
    if (fire.reason === undefined) left--;
  }
  return { fires: kept, next: left > 0 ? next : undefined };
}
