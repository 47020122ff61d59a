// The statements of upkeep: what waits, what shall be cancelled, what a node that is gone held, what is old.

import type { Database } from './database.ts';
import type { ClaimedRun, RunRecord } from './runs.ts';

/** The statements of upkeep. */
export function upkeepStatements({ sql }: Database) {
  // How far the search for what can be forgotten has come.
  let lookedUpTo = 0;

  return {
    /**
     * Readies runs that waited for other runs where there is room now, of each job and each cap the first: what the ends of runs
     * ready is told of here only where an end and a claim crossed. What is tried again waits for others, not for itself, and has its
     * place among those that share. Served by unfinished_blocked, unfinished_of_job and unfinished_capped.
     */
    unblock: async (): Promise<number> => {
      const rows = await sql`
        update belfry.unfinished set blocked = false
         where run_id = any (array(
                   select run_id from belfry.unfinished
                    where blocked and run_id = any (array(
                          select distinct on (b.job_id, b.lane) b.run_id from belfry.unfinished b
                           where b.blocked
                             and (b.overlap = 'allow' or (select true from belfry.unfinished o
                                   where o.job_id = b.job_id and o.lane = b.lane and o.run_id <> b.run_id
                                     and o.state in ('running', 'retrying') limit 1) is null)
                             and (b.cap_key is null or b.state = 'retrying' or b.cap_max > (select count(*) from belfry.unfinished o
                                   where o.cap_key is not null and o.cap_key = b.cap_key and o.state in ('running', 'retrying')))
                           order by b.job_id, b.lane, b.run_id))
                      for no key update skip locked))
        returning run_id`;
      return rows.length;
    },

    /** Cancels what has not begun of the runs that shall be cancelled. Served by unfinished_to_cancel. */
    cancelWaiting: async (now: Date): Promise<number> => {
      const rows = await sql`
        with gone as (
            delete from belfry.unfinished
             where run_id = any (array(
                       select run_id from belfry.unfinished where cancel_at is not null and state in ('queued', 'retrying')
                          for update skip locked))
            returning *
        )
        insert into belfry.results (run_id, state, reason, node, failed_count, attempts, result, error, started_at, finished_at)
        select run_id, 'cancelled', coalesce(cancel_reason, 'replaced'), node, failed_count, attempts, result, error, started_at, ${now} from gone
        returning run_id`;
      return rows.length;
    },

    /** Which runs that an incarnation holds shall be cancelled. Served by unfinished_to_cancel. */
    toCancel: async (owner: number): Promise<number[]> => {
      const rows = await sql<{ id: number }[]>`
        select run_id as id from belfry.unfinished where cancel_at is not null and owner = ${owner} and state = 'running'`;
      return rows.map((row) => row.id);
    },

    /** Which runs an incarnation holds, with their epochs. Goes through all that is unfinished. */
    idsHeldBy: async (owner: number): Promise<{ id: number; epoch: number }[]> =>
      await sql<{ id: number; epoch: number }[]>`
        select run_id as id, epoch from belfry.unfinished where owner = ${owner} and state = 'running'`,

    /**
     * Gives back what an incarnation holds and does not know: the answer to its claim got lost. The attempt was not made and does not
     * count. Answers those that it still held with that epoch.
     */
    giveBack: async (owner: number, held: readonly { readonly id: number; readonly epoch: number }[]): Promise<number[]> => {
      const ids = held.map(({ id }) => id);
      const rows = await sql<{ id: number }[]>`
        update belfry.unfinished u
           set state = case when u.attempt > 1 then 'retrying' else 'queued' end, attempt = u.attempt - 1, epoch = u.epoch + 1,
               owner = null, sent_at = null, sends = 0, begun_at = null, started_at = case when u.attempt > 1 then u.started_at end
          from unnest(${ids}::bigint[], ${held.map(({ epoch }) => epoch)}::integer[]) as given (id, epoch)
         where u.run_id = any (${ids}::bigint[]) and u.run_id = given.id and u.epoch = given.epoch and u.owner = ${owner} and u.state = 'running'
        returning u.run_id as id`;
      return rows.map((row) => row.id);
    },

    /** Whether just this attempt, as it is told here, stands with its run. */
    isRecorded: async ({ id, note }: RunRecord): Promise<boolean> => {
      const { attempt, node, started_at, finished_at, outcome } = note;
      const rows = await sql`
        select from (select attempts from belfry.results where run_id = ${id} union all select attempts from belfry.unfinished where run_id = ${id}) as r
         where exists (select from unnest(r.attempts) as told (note)
                        where told.note::jsonb @> ${JSON.stringify({ attempt, node, started_at, finished_at, outcome })}::jsonb)`;
      return rows.length > 0;
    },

    /**
     * Writes down as skipped (`no_node`) what waits in a lane that nobody serves for longer than its job's catch-up window (an hour, where
     * it says none), counted from when it was ready or a worker of that lane last lived, whichever was later: it may have waited for its
     * turn until then. What was tried already is cancelled. Served by unfinished_in_lanes.
     */
    skipUnserved: async (served: readonly string[], now: Date): Promise<number> => {
      const isUnserved = sql.part`u.lane <> '' and u.lane <> all (${served}::text[]) and u.state in ('queued', 'retrying')`;
      const rows = await sql`
        with waiting as materialized (
            select u.lane, u.job_id, min(u.ready_at) as since from belfry.unfinished u where ${isUnserved} group by u.lane, u.job_id
        ), workers as materialized (
            select name, labels, coalesce(ended_at, ${now}) as lived_at from belfry.nodes
             where 'worker' = any (duties) and exists (select from waiting)
        ), lived as (
            select lane, max(lived_at) as lived_at
              from (select 'node:' || name as lane, lived_at from workers
                    union all
                    select 'label:' || label, lived_at from workers cross join unnest(labels) as label) as l
             group by lane
        ), overdue as materialized (
            select lane, job_id, before
              from (select w.*, l.lived_at, ${now}::timestamptz - interval '1 millisecond' * coalesce(j.catchup_window_ms, 3600000) as before
                      from waiting w
                      left join lived l on l.lane = w.lane
                      left join (select id, catchup_window_ms from belfry.jobs where id = any (array(select job_id from waiting)) offset 0) j
                        on j.id = w.job_id) as w
             where greatest(since, lived_at) < before
        ), late as materialized (
            select u.run_id
              from belfry.unfinished u join overdue o on o.lane = u.lane and o.job_id = u.job_id
             where ${isUnserved} and u.lane = any (array(select lane from overdue)) and u.ready_at < o.before
             limit 1000
        ), gone as (
            delete from belfry.unfinished
             where run_id = any (array(
                       select run_id from belfry.unfinished
                        where run_id = any (array(select run_id from late)) and state in ('queued', 'retrying') for update skip locked))
            returning run_id, state, node, failed_count, attempts, result, error, started_at
        )
        insert into belfry.results (run_id, state, reason, node, failed_count, attempts, result, error, started_at, finished_at)
        select run_id, case state when 'queued' then 'skipped' else 'cancelled' end, 'no_node', node, failed_count, attempts, result, error, started_at, ${now} from gone
        returning run_id`;
      return rows.length;
    },

    /** What an incarnation holds; asked when one has ended. Goes through all that is unfinished. */
    heldBy: async (owner: number): Promise<(ClaimedRun & { node: string; begunAt: Date })[]> =>
      await sql<(ClaimedRun & { node: string; begunAt: Date })[]>`
        with held as materialized (
            select run_id, epoch, attempt, node, begun_at from belfry.unfinished where owner = ${owner} and state = 'running'
        )
        select r.id, r.job_id as "jobId", r.job_name as "jobName", r.cause, r.due_at as "dueAt", r.command, r.policy, held.epoch,
               held.attempt, r.trace_id as "traceId", r.parent_id as "parentId", held.node, held.begun_at as "begunAt"
          from belfry.runs r join held on held.run_id = r.id
         where r.id = any (array(select run_id from held)) order by r.id`,

    /**
     * Forgets runs that ended before `before`: of the next `limit` rows by id those that did, so that a step costs the same
     * however many there are. It begins again with the oldest once it has come to rows that were made after `before`.
     */
    forget: async (before: Date, limit: number): Promise<number> => {
      const [step] = await sql<{ forgotten: number; upTo: number | null; isYoung: boolean }[]>`
        with looked as materialized (
            select id, queued_at from belfry.runs where id > ${lookedUpTo} order by id limit ${limit}
        ), old as (
            delete from belfry.results where run_id = any (array(select id from looked)) and finished_at < ${before} returning run_id
        ), gone as (
            delete from belfry.runs where id = any (array(select run_id from old)) returning id
        )
        select (select count(*) from gone) as forgotten, (select max(id) from looked) as "upTo",
               coalesce((select max(queued_at) from looked) >= ${before}, true) as "isYoung"`;
      lookedUpTo = step === undefined || step.isYoung ? 0 : (step.upTo ?? 0);
      return step?.forgotten ?? 0;
    },
  };
}
