// The statements of upkeep: what waits, what shall be cancelled, what a node that is gone held, what is old.

import type { Database } from './database.ts';
import type { ClaimedRun } from './runs.ts';

/** The statements of upkeep. */
export function upkeepStatements({ sql }: Database) {
  // How far the search for what can be forgotten has come.
  let lookedUpTo = 0;

  return {
    /** Readies runs that waited for another run of their job which is no longer there. Served by unfinished_blocked. */
    unblock: async (): Promise<number> => {
      const rows = await sql`
        update belfry.unfinished set blocked = false
         where run_id = any (array(
                   select run_id from belfry.unfinished
                    where blocked and run_id = any (array(
                          select distinct on (b.job_id) b.run_id from belfry.unfinished b
                           where b.blocked
                             and (select true from belfry.unfinished o
                                   where o.job_id = b.job_id and o.state in ('running', 'retrying') limit 1) is null
                           order by b.job_id, b.run_id))
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
        select run_id, 'cancelled', 'replaced', node, failed_count, attempts, result, error, started_at, ${now} from gone
        returning run_id`;
      return rows.length;
    },

    /** Which runs that an incarnation holds shall be cancelled. Served by unfinished_to_cancel. */
    toCancel: async (owner: number): Promise<number[]> => {
      const rows = await sql<{ id: number }[]>`
        select run_id as id from belfry.unfinished where cancel_at is not null and owner = ${owner} and state = 'running'`;
      return rows.map((row) => row.id);
    },

    /** What an incarnation holds; asked when one has ended. Goes through all that is unfinished. */
    heldBy: async (owner: number): Promise<(ClaimedRun & { node: string; begunAt: Date })[]> =>
      await sql<(ClaimedRun & { node: string; begunAt: Date })[]>`
        with held as materialized (
            select run_id, epoch, attempt, node, begun_at from belfry.unfinished where owner = ${owner} and state = 'running'
        )
        select r.id, r.job_id as "jobId", r.job_name as "jobName", r.cause, r.due_at as "dueAt", r.command, r.policy, held.epoch,
               held.attempt, r.trace_id as "traceId", held.node, held.begun_at as "begunAt"
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
