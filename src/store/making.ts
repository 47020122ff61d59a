// Runs that people ask for: by hand, again, and for due times of the past. Where they go stands in belfry.placements.

import type { Database } from './database.ts';

export type NewRun = {
  readonly jobId: number;
  readonly cause: 'manual';
  readonly dueAt: Date;
  readonly traceId: string;
  readonly evenIfBusy: boolean;
};

export type Backfill = {
  readonly jobId: number;
  readonly dueTimes: readonly Date[];
  readonly overlap: string;
  readonly onlyMissing: boolean;
  readonly traceId: string;
  readonly now: Date;
};

/** The statements that make runs which no tick makes. */
export function makingStatements({ sql }: Database) {
  return {
    /**
     * Makes a run by hand of a living job, or one for each node where it is to run on all. Empty: the job minds overlap and has a run
     * that is not at its end. One that replaces others has them stopped.
     */
    insert: async (run: NewRun): Promise<{ id: number }[]> =>
      await sql<{ id: number }[]>`
        with job as materialized (
            select j.id, j.name, j.command, j.policy, j.overlap = 'replace' and not ${run.evenIfBusy} as replaces,
                   case when ${run.evenIfBusy} then 'allow' else j.overlap end as overlap
              from belfry.jobs j
             where j.id = ${run.jobId} and j.deleted_at is null
               and (j.overlap <> 'skip' or ${run.evenIfBusy}
                    or (select true from belfry.unfinished u where u.job_id = j.id limit 1) is null)
        ), placed as materialized (
            select * from belfry.placements where job_id = ${run.jobId} and not is_nowhere
        ), replaced as (
            update belfry.unfinished u set cancel_at = ${run.dueAt}, cancel_reason = 'replaced'
              from job where u.job_id = job.id and job.replaces
        ), made as (
            insert into belfry.runs (job_id, job_name, cause, target, due_at, command, policy, overlap, queued_at, trace_id)
            select job.id, job.name, ${run.cause}, placed.target, ${run.dueAt}, job.command, job.policy, job.overlap, ${run.dueAt}, ${run.traceId}
              from job join placed on placed.job_id = job.id
            returning id, job_id, target, overlap, due_at
        ), begun as (
            insert into belfry.unfinished (run_id, job_id, overlap, ready_at, lane, cap_key, cap_max)
            select made.id, made.job_id, made.overlap, made.due_at, placed.lane, placed.cap_key, placed.cap_max
              from made join placed using (job_id, target)
        )
        select id from made order by id`,

    /**
     * Makes a run again, as it was: a new run of the same command that points at the old one. Undefined: there is no such run, it is
     * not at its end, or its job is gone.
     */
    rerun: async (id: number, traceId: string, now: Date): Promise<{ id: number } | undefined> => {
      const [row] = await sql<{ id: number }[]>`
        with made as (
            insert into belfry.runs (job_id, job_name, cause, target, due_at, command, policy, overlap, queued_at, rerun_of, trace_id)
            select r.job_id, r.job_name, 'rerun', r.target, r.due_at, r.command, r.policy, r.overlap, ${now}, r.id, ${traceId}
              from belfry.runs r
              join belfry.results e on e.run_id = r.id and e.run_id = ${id}
              join belfry.jobs j on j.id = r.job_id and (j.deleted_at is null) is true
             where r.id = ${id}
            returning id, job_id, target, overlap
        ), begun as (
            insert into belfry.unfinished (run_id, job_id, overlap, ready_at, lane, cap_key, cap_max)
            select made.id, made.job_id, made.overlap, ${now}, case when made.target = '' then placed.lane else 'node:' || made.target end,
                   placed.cap_key, placed.cap_max
              from made
              join (select * from belfry.placements where job_id = any (array(select job_id from made)) limit 1) as placed
                on placed.job_id = made.job_id
        )
        select id from made`;
      return row;
    },

    /**
     * Makes runs for due times of the past, in one statement; they give way to live ones. `onlyMissing`: not for those that were
     * run or are on their way. Answers how many were made. Served by runs_due_once and results_pk.
     */
    backfill: async ({ jobId, dueTimes, overlap, onlyMissing, traceId, now }: Backfill): Promise<number> => {
      const rows = await sql`
        with due as (
            select to_timestamp("at" / 1000) as at from unnest(${dueTimes.map((due) => due.getTime())}::float8[]) as d("at")
        ), placed as materialized (
            select * from belfry.placements where job_id = ${jobId} and not is_nowhere
        ), made as (
            insert into belfry.runs (job_id, job_name, cause, target, due_at, command, policy, overlap, catchup, queued_at, trace_id)
            select j.id, j.name, 'backfill', placed.target, due.at, j.command, j.policy, ${overlap}, true, ${now}, ${traceId}
              from belfry.jobs j join placed on placed.job_id = j.id cross join due
             where j.id = ${jobId} and j.deleted_at is null
               and not (${onlyMissing} and exists (
                       select from belfry.runs r
                        where r.job_id = j.id and r.due_at = due.at and r.cause in ('schedule', 'backfill')
                          and not exists (select from belfry.results e where e.run_id = r.id and e.state = 'skipped')))
             order by due.at
            returning id, job_id, target, overlap, due_at
        ), begun as (
            insert into belfry.unfinished (run_id, job_id, overlap, ready_at, catchup, lane, cap_key, cap_max)
            select made.id, made.job_id, made.overlap, made.due_at, true, placed.lane, placed.cap_key, placed.cap_max
              from made join placed using (job_id, target)
        )
        select id from made`;
      return rows.length;
    },
  };
}
