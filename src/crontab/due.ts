// From a job's cursor and the time to what shall be fired. Pure.

import type { Schedule } from './expression.ts';

/** What of a job decides on its due times. */
export type DueJob = {
  /** The cursor: the first due time that nobody has dealt with. */
  readonly nextDueAt: Date;
  readonly misfire: 'skip' | 'once' | 'all';
  readonly overlap: string;
  readonly catchupWindowMs: number | undefined;
  readonly maxCatchup: number;
};

/** A time in which no node looked: a due time in it was missed, one outside of it is at worst late by our own load. */
export type Gap = { readonly from: Date; readonly to: Date };

/** A due time to be written down; `reason` where it is not run. One row may stand for several. */
export type DueTime = {
  readonly dueAt: Date;
  readonly lastDueAt?: Date;
  readonly dueCount: number;
  readonly reason?: 'missed';
  readonly catchup: boolean;
  readonly overlap?: 'wait_all';
};

export type Expansion = {
  readonly fires: readonly DueTime[];
  /** The new cursor; undefined: the schedule names no further time. */
  readonly next: Date | undefined;
};

// So many due times are walked in one go; a cursor that is further behind is moved on by the next tick.
const longestWalk = 2000;

/** Expands all due times from the cursor to `now` by the job's misfire policy, and says where the cursor goes. */
export function expand(job: DueJob, schedule: Schedule, now: Date, gap: Gap | undefined): Expansion {
  const live: Date[] = [];
  const missed: Date[] = [];
  let cursor: Date | undefined = job.nextDueAt;
  for (let walked = 0; cursor && cursor <= now && walked < longestWalk; walked++) {
    (isMissed(cursor, gap) ? missed : live).push(cursor);
    cursor = schedule.next(cursor);
  }
  // The latest missed one is caught up only when no further missed one follows.
  const goesOn = cursor !== undefined && cursor <= now && isMissed(cursor, gap);
  const { caughtUp, dropped } = judge(job, missed, goesOn, schedule, now);
  return {
    fires: [
      ...inOneRow(dropped),
      ...caughtUp.map((dueAt) => ({
        dueAt,
        dueCount: 1,
        catchup: true,
        // Asked for one by one, they run one after another and do not push each other aside.
        ...(job.misfire === 'all' && job.overlap === 'skip' ? { overlap: 'wait_all' as const } : {}),
      })),
      ...live.map((dueAt) => ({ dueAt, dueCount: 1, catchup: false })),
    ],
    next: cursor,
  };
}

function isMissed(dueAt: Date, gap: Gap | undefined): boolean {
  return gap !== undefined && dueAt > gap.from && dueAt <= gap.to;
}

function judge(job: DueJob, missed: readonly Date[], goesOn: boolean, schedule: Schedule, now: Date) {
  const latest = missed.at(-1);
  if (!latest || job.misfire === 'skip') return { caughtUp: [], dropped: missed };
  const since = new Date(now.getTime() - catchupWindowMs(job, latest, schedule));
  const most = job.misfire === 'all' ? job.maxCatchup : goesOn ? 0 : 1;
  const caughtUp = most === 0 ? [] : missed.slice(-most).filter((dueAt) => dueAt >= since);
  return { caughtUp, dropped: missed.slice(0, missed.length - caughtUp.length) };
}

const hourMs = 3_600_000;

/** As the job says, or the greater of an hour and one interval, at most a day. */
function catchupWindowMs(job: DueJob, dueAt: Date, schedule: Schedule): number {
  if (job.catchupWindowMs !== undefined) return job.catchupWindowMs;
  const following = schedule.next(dueAt);
  const interval = following ? following.getTime() - dueAt.getTime() : hourMs;
  return Math.min(Math.max(hourMs, interval), 24 * hourMs);
}

function inOneRow(dropped: readonly Date[]): DueTime[] {
  const [first] = dropped;
  const last = dropped.at(-1);
  if (!first || !last) return [];
  const row = { dueAt: first, dueCount: dropped.length, reason: 'missed' as const, catchup: false };
  return [dropped.length > 1 ? { ...row, lastDueAt: last } : row];
}
