// The two statements of a tick: the look for what is due, and the firing of it.

import { inArray } from 'drizzle-orm';
import type { Database } from './database.ts';
import { jobs } from './schema.ts';

type JobRow = typeof jobs.$inferSelect;

/** What a tick needs of a job that is due. */
export type DueRow = Pick<
  JobRow,
  | 'id'
  | 'name'
  | 'expr'
  | 'blackouts'
  | 'startsAt'
  | 'endsAt'
  | 'spreadMs'
  | 'revision'
  | 'misfire'
  | 'overlap'
  | 'catchupWindowMs'
  | 'maxCatchup'
> & {
  readonly timezone: string;
  readonly isPaused: boolean;
  /** How many runs it may still have; none: any number. */
  readonly runsLeft: number | null;
  readonly nextDueAt: Date;
};

/** A look at what is due, on the database's clock. */
export type DueLook = {
  readonly now: Date;
  /** The last time in which no node ticked, if ever: due times in it were missed. */
  readonly gap: { readonly from: Date; readonly to: Date } | undefined;
  /** What is due, the earliest first. */
  readonly due: readonly DueRow[];
  /** Rows that were written by hand and not worked out yet. */
  readonly unknown: readonly JobRow[];
  /** The earliest due time still to come. */
  readonly nextAt: Date | undefined;
};

/** A job's cursor moved from where it was seen, and what fires on the way. `next` undefined: it is never due again. */
export type Move = {
  readonly jobId: number;
  readonly revision: number;
  readonly seen: Date;
  readonly next: Date | undefined;
  readonly fires: readonly Fire[];
};

/** A due time to be written down as a run; with a reason it is one that is not run. */
export type Fire = {
  readonly dueAt: Date;
  readonly lastDueAt?: Date | undefined;
  readonly dueCount: number;
  readonly reason?: 'missed' | 'blackout' | 'paused' | undefined;
  readonly catchup: boolean;
  /** When it may start, where that is later than its due time. */
  readonly readyAt?: Date | undefined;
  /** Instead of the job's own policy: runs caught up one after another wait for each other. */
  readonly overlap?: 'wait_all' | undefined;
};

/** Of one job: to be run, which of them it is. */
function turnsOf(fires: readonly Fire[]): number[] {
  let turn = 0;
  return fires.map((fire) => (fire.reason === undefined ? turn++ : turn));
}

export type Fired = {
  readonly id: number;
  readonly jobId: number;
  readonly jobName: string;
  readonly dueAt: Date;
  readonly state: string;
  readonly reason: string | null;
  readonly traceId: string;
};

/** The statements of a tick. */
export function tickStatements({ sql, orm }: Database) {
  // Of a due job, joined to its cursor.
  const dueColumns = sql.part`
    j.id, j.name, j.expr, j.timezone, j.blackouts, j.starts_at as "startsAt", j.ends_at as "endsAt", j.spread_ms as "spreadMs",
    j.revision, j.misfire, j.overlap, j.catchup_window_ms as "catchupWindowMs", j.max_catchup as "maxCatchup",
    j.paused_at is not null as "isPaused", j.max_runs - due.fired as "runsLeft", due.next_due_at as "nextDueAt"`;
  const wasWorkedOut = sql.part`(j.timezone is not null and j.policy is not null and j.trace_id is not null)`;
  // Edited by hand since it keeps its cursor, but is to be worked out again first.
  const isWorkedOut = sql.part`(${wasWorkedOut} and j.next_due_at is not null) as "isWorkedOut"`;

  return { look, lookAt, fire };

  /** Looks for due jobs and leaves the mark that somebody looked. At most `limit` of each kind. Served by cursors_due and jobs_unknown. */
  async function look(limit: number): Promise<DueLook> {
    const due = await sql<(DueRow & { isWorkedOut: boolean })[]>`
      with due as materialized (
          select job_id, revision, next_due_at, fired from belfry.cursors where next_due_at <= now() order by next_due_at limit ${limit}
      )
      select ${dueColumns}, ${isWorkedOut}
        from due
        -- By their ids and nothing else (offset 0 keeps it so): an index of living jobs would be gone through from end to end.
        join (select * from belfry.jobs where id = any (array(select job_id from due)) offset 0) j
          on j.id = due.job_id and j.revision = due.revision
       where j.enabled and j.deleted_at is null
       order by due.next_due_at`;
    // Read after the look: whatever was due before it has been seen, and `now` is not before any of them.
    const [tick] = await sql<{ now: Date; gapFrom: Date | null; gapTo: Date | null; nextAt: Date | null; newIds: number[] }[]>`
      with before as (
          select last_tick_at < now() - interval '5 seconds' as was_silent, last_tick_at > now() + interval '1 hour' as went_back, last_tick_at
            from belfry.installation
      )
      update belfry.installation i
         -- A clock that was put back over an hour was wrong before, and so was what was written by it.
         set last_tick_at = case when before.went_back then now() else greatest(now(), i.last_tick_at) end,
             -- What is left of an earlier gap stays missed.
             gap_from = case when before.went_back then null
                             when not before.was_silent then i.gap_from
                             when i.gap_to >= (select min(next_due_at) from belfry.cursors) then i.gap_from
                             else before.last_tick_at end,
             gap_to   = case when before.went_back then null when before.was_silent then now() - interval '5 seconds' else i.gap_to end
        from before
      returning now() as now, i.gap_from as "gapFrom", i.gap_to as "gapTo",
                (select min(next_due_at) from belfry.cursors where next_due_at > now()) as "nextAt",
                array(select id from belfry.jobs
                       where enabled and deleted_at is null and ended_at is null and next_due_at is null limit ${limit}) as "newIds"`;
    if (!tick) throw new Error('the table belfry.installation has lost its row');
    const byHand = [...tick.newIds, ...due.filter((job) => !job.isWorkedOut).map((job) => job.id)];
    const unknown = byHand.length === 0 ? [] : await orm.select().from(jobs).where(inArray(jobs.id, byHand));
    return {
      now: tick.now,
      gap: tick.gapFrom && tick.gapTo ? { from: tick.gapFrom, to: tick.gapTo } : undefined,
      due: due.filter((job) => job.isWorkedOut),
      unknown,
      nextAt: tick.nextAt ?? undefined,
    };
  }

  /** One job, if it is due by `now`. Leaves no mark: it looks at no other. */
  async function lookAt(id: number, now: Date): Promise<(DueRow & { isWorkedOut: boolean }) | undefined> {
    const [found] = await sql<(DueRow & { isWorkedOut: boolean })[]>`
      select ${dueColumns}, ${isWorkedOut}
        from belfry.cursors due
        join belfry.jobs j on j.id = due.job_id and j.revision = due.revision
       where due.job_id = ${id} and due.next_due_at <= ${now} and j.enabled and j.deleted_at is null and ${wasWorkedOut}`;
    return found;
  }

  /**
   * The tick itself: moves the cursors that are still where they were seen and writes the runs of those that moved, in one
   * statement. Of several nodes that try, one wins each job; a due time has one run, whatever happens.
   */
  async function fire(given: readonly Move[], now: Date): Promise<Fired[]> {
    // In order of id, as nodes that fire at once lock the rows: none waits for one that waits for it.
    const moves = given.toSorted((a, b) => a.jobId - b.jobId);
    const ids = moves.map((move) => move.jobId);
    const fires = moves.flatMap((move) => move.fires.map((each) => ({ jobId: move.jobId, ...each })));
    const turns = moves.flatMap((move) => turnsOf(move.fires));
    return await sql<Fired[]>`
      with move as (
          select "jobId", "revision", to_timestamp("seen" / 1000) as "seen", to_timestamp("next" / 1000) as "next", "fired"
            from unnest(${ids}::bigint[], ${moves.map((move) => move.revision)}::integer[],
                        ${moves.map((move) => move.seen.getTime())}::float8[], ${moves.map((move) => move.next?.getTime() ?? null)}::float8[],
                        ${moves.map((move) => move.fires.filter((each) => each.reason === undefined).length)}::integer[])
              as m("jobId", "revision", "seen", "next", "fired")
      ), due as (
          select "jobId", to_timestamp("dueAt" / 1000) as "dueAt", to_timestamp("lastDueAt" / 1000) as "lastDueAt", "dueCount", "reason",
                 "catchup", "overlap", to_timestamp("readyAt" / 1000) as "readyAt", "turn"
            from unnest(${fires.map((each) => each.jobId)}::bigint[], ${fires.map((each) => each.dueAt.getTime())}::float8[],
                        ${fires.map((each) => each.lastDueAt?.getTime() ?? null)}::float8[],
                        ${fires.map((each) => each.dueCount)}::integer[], ${fires.map((each) => each.reason ?? null)}::text[],
                        ${fires.map((each) => each.catchup)}::boolean[], ${fires.map((each) => each.overlap ?? null)}::text[],
                        ${fires.map((each) => each.readyAt?.getTime() ?? null)}::float8[], ${turns}::integer[])
              as d("jobId", "dueAt", "lastDueAt", "dueCount", "reason", "catchup", "overlap", "readyAt", "turn")
      ), busy as (
          select job_id, lane, count(*) as others from belfry.unfinished where job_id = any (${ids}::bigint[]) group by job_id, lane
      ), moved as (
          update belfry.cursors c set next_due_at = move."next", fired = c.fired + move."fired"
            from move
           where c.job_id = any (${ids}::bigint[]) and c.job_id = move."jobId" and c.revision = move."revision"
             and date_trunc('milliseconds', c.next_due_at) = move."seen" and move."next" is not null
          returning c.job_id, c.revision
      ), ending as materialized (
          -- Before their cursors, as an edit locks them.
          select id from belfry.jobs where id = any (${moves.filter((move) => !move.next).map((move) => move.jobId)}::bigint[]) for no key update
      ), over as (
          delete from belfry.cursors c
           using move join ending on ending.id = move."jobId"
           where c.job_id = any (${ids}::bigint[]) and c.job_id = move."jobId" and c.revision = move."revision"
             and date_trunc('milliseconds', c.next_due_at) = move."seen" and move."next" is null
          returning c.job_id, c.revision
      ), ended as (
          update belfry.jobs set ended_at = ${now} where id = any (array(select job_id from over))
      ), due_jobs as materialized (
          select j.id, j.name, j.command, j.policy, j.overlap, j.trace_id, j.max_queued, j.run_on <> '' or j.concurrency is not null as is_placed
            from (select * from moved union all select * from over) as stepped
            join (select * from belfry.jobs where id = any (${ids}::bigint[]) offset 0) j
              on j.id = stepped.job_id and j.revision = stepped.revision
           where j.enabled and j.deleted_at is null
      ), placed as materialized (
          -- Of the few that say where or how many at a time.
          select * from belfry.placements where job_id = any (array(select id from due_jobs where is_placed))
      ), planned as materialized (
          select due_jobs.id as job_id, due_jobs.name, due_jobs.command, due_jobs.policy, due_jobs.trace_id, due."dueAt", due."lastDueAt", due."dueCount",
                 due."catchup", due."readyAt", coalesce(due."overlap", due_jobs.overlap) as overlap,
                 coalesce(placed.target, '') as target, coalesce(placed.lane, '') as lane, placed.cap_key, placed.cap_max, due_jobs.is_placed,
                 case when due."reason" is not null then due."reason"
                      when placed.is_nowhere then 'no_node'
                      else belfry.refused_by(coalesce(due."overlap", due_jobs.overlap), coalesce(busy.others, 0) + due."turn", due_jobs.max_queued)
                 end as reason
            from due_jobs
            join due on due."jobId" = due_jobs.id
            left join placed on placed.job_id = due_jobs.id
            left join busy on busy.job_id = due_jobs.id and busy.lane = coalesce(placed.lane, '')
      ), replaced as (
          update belfry.unfinished u
             set cancel_at = ${now}, cancel_reason = 'replaced'
            from planned
           where u.job_id = any (${ids}::bigint[]) and u.job_id = planned.job_id and u.lane = planned.lane
             and planned.overlap = 'replace' and planned.reason is null
      ), made as (
          insert into belfry.runs (job_id, job_name, target, due_at, last_due_at, due_count, command, policy, overlap, catchup, queued_at, trace_id)
          select job_id, name, target, "dueAt", "lastDueAt", "dueCount", command, policy, overlap, "catchup", ${now}, trace_id
            from planned
           -- Ids in the order of due times: those that wait get their turn in it.
           order by "dueAt", job_id
          on conflict (job_id, due_at, target) where cause = 'schedule' do nothing
          returning id, job_id, job_name, target, due_at, overlap, catchup, trace_id
      ), told as materialized (
          -- Few are refused, put off or sent to a place, so that this join is against next to nothing.
          select made.*, other.reason, coalesce(other."readyAt", made.due_at) as ready_at, coalesce(other.lane, '') as lane, other.cap_key, other.cap_max
            from made
            left join (select job_id, target, "dueAt", reason, "readyAt", lane, cap_key, cap_max
                         from planned where reason is not null or "readyAt" is not null or is_placed) as other
              on other.job_id = made.job_id and other."dueAt" = made.due_at and other.target = made.target
      ), begun as (
          insert into belfry.unfinished (run_id, job_id, overlap, ready_at, catchup, lane, cap_key, cap_max)
          select id, job_id, overlap, ready_at, catchup, lane, cap_key, cap_max from told where reason is null
      ), skipped as (
          insert into belfry.results (run_id, state, reason, finished_at)
          select id, 'skipped', reason, ${now} from told where reason is not null
      )
      select id, job_id as "jobId", job_name as "jobName", due_at as "dueAt", case when reason is null then 'queued' else 'skipped' end as state,
             reason, trace_id as "traceId"
        from told`;
  }
}
