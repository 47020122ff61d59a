// Jobs as rows: made, changed, found due, and moved on together with the runs that they fire.

import { and, asc, eq, getTableColumns, gt, isNull, or, sql as drizzleSql, type SQL } from 'drizzle-orm';
import { groupCommit, type Batched } from './batch.ts';
import type { Database, Part } from './database.ts';
import { cursors, jobs } from './schema.ts';
import { arrayText } from './sql.ts';
import { tickStatements } from './ticks.ts';

/** A row of `jobs`; `nextDueAt` is its next due time. */
export type JobRow = typeof jobs.$inferSelect;

/** What is written down of a job: the columns of its definition, and what they come to. */
export type WrittenJob = Pick<
  JobRow,
  | 'name'
  | 'remark'
  | 'expr'
  | 'timezone'
  | 'enabled'
  | 'command'
  | 'retry'
  | 'timeoutMs'
  | 'log'
  | 'onLost'
  | 'overlap'
  | 'misfire'
  | 'catchupWindowMs'
  | 'maxCatchup'
  | 'blackouts'
  | 'startsAt'
  | 'endsAt'
  | 'maxRuns'
  | 'spreadMs'
  | 'pauseAfterFailures'
  | 'runOn'
  | 'afterJobs'
  | 'afterOn'
  | 'concurrency'
  | 'concurrencyKey'
  | 'maxQueued'
  | 'source'
  | 'configId'
  | 'traceId'
  | 'policy'
  | 'nextDueAt'
>;

/** What a row that was written by hand comes to. */
export type WorkedOut = Pick<WrittenJob, 'command' | 'policy' | 'timezone' | 'nextDueAt' | 'traceId'>;

export type DueAgain = Pick<JobRow, 'name' | 'expr' | 'blackouts' | 'startsAt' | 'endsAt' | 'spreadMs'> & { readonly timezone: string };

/** An edit of the moment `at`. Unless `evenIfDue` it is not made where it would drop a due time up to then that nobody has dealt with. */
export type Edit = { readonly at: Date; readonly evenIfDue: boolean };

export type JobStore = ReturnType<typeof jobStore>;

/** The statements about jobs. */
export function jobStore(database: Database) {
  const { sql, orm } = database;
  const dropsNothing = ({ at, evenIfDue }: Edit): Part =>
    sql.part`(${evenIfDue} or not exists (select from belfry.cursors c where c.job_id = jobs.id and c.next_due_at <= ${at}))`;
  const inserts: Batched<WrittenJob, number | undefined> = groupCommit(
    async (written) => {
      // Where it is null for all, the list is empty: what `unnest` runs out of is null.
      const all = <K extends keyof WrittenJob>(column: K) =>
        written.every((job) => job[column] === null) ? [] : written.map((job) => job[column]);
      const json = (column: 'command' | 'retry' | 'policy') =>
        written.map((job) => (job[column] === null ? null : JSON.stringify(job[column])));
      const lists = (column: 'blackouts' | 'afterJobs') => written.map((job) => arrayText(job[column]));
      const rows = await sql<{ id: number; name: string }[]>`
        insert into belfry.jobs (name, remark, expr, timezone, enabled, command, retry, timeout_ms, log, on_lost, overlap, misfire,
                                 catchup_window_ms, max_catchup, blackouts, starts_at, ends_at, max_runs, spread_ms, pause_after_failures,
                                 run_on, after_jobs, after_on, concurrency, concurrency_key, max_queued, source, config_id, trace_id, policy, next_due_at, ended_at)
        select w.*,
               -- Worked out, and never due: it is at its end from the beginning.
               case when policy is not null and next_due_at is null then now() end
          -- In the order of the columns above. A list a column costs a third less than JSON a row.
          from (select unnest(${all('name')}::text[]),
                       unnest(${all('remark')}::text[]),
                       unnest(${all('expr')}::text[]),
                       unnest(${all('timezone')}::text[]),
                       unnest(${all('enabled')}::boolean[]),
                       unnest(${json('command')}::jsonb[]),
                       unnest(${json('retry')}::jsonb[]),
                       unnest(${all('timeoutMs')}::bigint[]),
                       unnest(${all('log')}::boolean[]),
                       unnest(${all('onLost')}::text[]),
                       unnest(${all('overlap')}::text[]),
                       unnest(${all('misfire')}::text[]),
                       unnest(${all('catchupWindowMs')}::bigint[]),
                       unnest(${all('maxCatchup')}::integer[]),
                       unnest(${lists('blackouts')}::text[])::text[],
                       unnest(${all('startsAt')}::timestamptz[]),
                       unnest(${all('endsAt')}::timestamptz[]),
                       unnest(${all('maxRuns')}::integer[]),
                       unnest(${all('spreadMs')}::bigint[]),
                       unnest(${all('pauseAfterFailures')}::integer[]),
                       unnest(${all('runOn')}::text[]),
                       unnest(${lists('afterJobs')}::text[])::text[],
                       unnest(${all('afterOn')}::text[]),
                       unnest(${all('concurrency')}::integer[]),
                       unnest(${all('concurrencyKey')}::text[]),
                       unnest(${all('maxQueued')}::integer[]),
                       unnest(${all('source')}::text[]),
                       unnest(${all('configId')}::text[]),
                       unnest(${all('traceId')}::text[]),
                       unnest(${json('policy')}::json[]) as policy,
                       unnest(${all('nextDueAt')}::timestamptz[]) as next_due_at) as w
            on conflict (name) where deleted_at is null do nothing
        returning id, name`;
      const idOf = new Map(rows.map((row) => [row.name, row.id]));
      // Of two with one name in the same statement the first has it.
      return written.map(({ name }) => {
        const id = idOf.get(name);
        idOf.delete(name);
        return id;
      });
    },
    { most: 500, atOnce: 2 },
  );

  return {
    /** Writes a job down; answers its id, or undefined when the name is taken. */
    insert: (job: WrittenJob): Promise<number | undefined> => inserts.add(job),

    /**
     * Changes a job to what is written. Where that says something else about when, its due time counts from now; else its cursor stays.
     * Answers whether it was changed.
     */
    update: async (id: number, job: WrittenJob, { at, evenIfDue }: Edit): Promise<boolean> => {
      const rows = await orm
        .update(jobs)
        .set({ ...job, ...goingOn(job, keepsCursor(job)), revision: next(jobs.revision), fault: null, updatedAt: at })
        .where(and(eq(jobs.id, id), isNull(jobs.deletedAt), evenIfDue ? undefined : or(keepsCursor(job), notDueBy(at))))
        .returning({ id: jobs.id });
      return rows.length > 0;
    },

    /** The living job of that name. */
    byName: async (name: string): Promise<JobRow | undefined> => {
      const rows = await orm
        .select(jobNow)
        .from(jobs)
        .where(and(eq(jobs.name, name), isNull(jobs.deletedAt)))
        .limit(1);
      return rows[0];
    },

    /** Living jobs in order of name, after a name (a cursor). */
    list: (after: string, limit: number): Promise<JobRow[]> =>
      orm
        .select(jobNow)
        .from(jobs)
        .where(and(isNull(jobs.deletedAt), gt(jobs.name, after)))
        .orderBy(asc(jobs.name))
        .limit(limit),

    /** What living jobs say about when, of those that are due again; at most `limit`. */
    due: async (limit: number): Promise<DueAgain[]> =>
      await sql<DueAgain[]>`
        select name, expr, timezone, blackouts, starts_at as "startsAt", ends_at as "endsAt", spread_ms as "spreadMs"
          from belfry.jobs
         where enabled and deleted_at is null and ended_at is null and next_due_at is not null and timezone is not null
         limit ${limit}`,

    /** The living jobs that a file owns. */
    ofFile: (configId: string): Promise<JobRow[]> =>
      orm
        .select(jobNow)
        .from(jobs)
        .where(and(eq(jobs.configId, configId), isNull(jobs.deletedAt))),

    /** Soft: runs stay, the name is free. Answers whether it was deleted. */
    remove: async (id: number, edit: Edit): Promise<boolean> => {
      const rows = await sql`
        update belfry.jobs set deleted_at = now(), revision = revision + 1, updated_at = ${edit.at}
         where id = ${id} and deleted_at is null and ${dropsNothing(edit)} returning id`;
      return rows.length > 0;
    },

    /** Off: no due times. On: it goes on from `nextDueAt`, never into the past. Answers whether it was switched. */
    setEnabled: async (id: number, enabled: boolean, nextDueAt: Date | undefined, edit: Edit): Promise<boolean> => {
      const rows = await sql`
        update belfry.jobs
           set enabled = ${enabled}, next_due_at = ${nextDueAt ?? null}::timestamptz, ended_at = null, fault = null,
               revision = revision + 1, updated_at = ${edit.at}
         where id = ${id} and deleted_at is null and enabled <> ${enabled} and ${dropsNothing(edit)} returning id`;
      return rows.length > 0;
    },

    /** Its due times are written down and not run from now on; answers whether there is such a job. A paused one stays as it is. */
    pause: async (name: string, note: string | null, now: Date): Promise<boolean> => {
      const rows = await sql`
        update belfry.jobs
           set paused_at = coalesce(paused_at, ${now}), pause_note = case when paused_at is null then ${note} else pause_note end
         where name = ${name} and deleted_at is null returning id`;
      return rows.length > 0;
    },

    /** It goes on from now. */
    resume: async (name: string): Promise<boolean> => {
      const rows = await sql`
        update belfry.jobs set paused_at = null, pause_note = null where name = ${name} and deleted_at is null returning id`;
      return rows.length > 0;
    },

    /** Pauses a job whose last `failures` runs have all failed; what was skipped is none of them. Served by runs_of_job and results_pk. */
    pauseIfFailing: async (id: number, failures: number, now: Date): Promise<boolean> => {
      const rows = await sql`
        update belfry.jobs j
           set paused_at = ${now}, pause_note = ${`${failures} failed ${failures === 1 ? 'run' : 'runs in a row'}`}
         where j.id = ${id} and j.paused_at is null and j.deleted_at is null
           and (select count(*) filter (where state = 'failed')
                  from (select (select e.state from belfry.results e where e.run_id = r.id) as state
                          from belfry.runs r
                         where r.job_name = j.name and r.job_id = j.id
                           and (select e.state from belfry.results e where e.run_id = r.id) in ('succeeded', 'failed', 'cancelled')
                         order by r.id desc
                         limit ${failures}) as last) = ${failures}
        returning j.id`;
      return rows.length > 0;
    },

    /** Switches a job off that cannot be: its fault stays on it. Guarded by the revision that was looked at. */
    disableFaulty: async (id: number, revision: number, fault: string): Promise<void> => {
      await sql`
        update belfry.jobs set enabled = false, fault = ${fault}, revision = revision + 1, updated_at = now()
         where id = ${id} and revision = ${revision} and deleted_at is null`;
    },

    /** Writes what a row made by hand comes to: its command and policy in full and its first due time. */
    workOut: async (id: number, revision: number, job: WorkedOut): Promise<void> => {
      await orm
        .update(jobs)
        .set({ ...job, ...goingOn(job, drizzleSql`true`), revision: next(jobs.revision) })
        .where(and(eq(jobs.id, id), eq(jobs.revision, revision), isNull(jobs.deletedAt)));
    },

    ...tickStatements(database),
  };
}

// A row as it is now: `nextDueAt` is where its cursor stands, not where it began.
const jobNow = {
  ...getTableColumns(jobs),
  nextDueAt: drizzleSql<Date | null>`(select c.next_due_at from ${cursors} c where c.job_id = ${jobs}.id)`.mapWith(cursors.nextDueAt),
};

function notDueBy(at: Date) {
  return drizzleSql`not exists (select from ${cursors} c where c.job_id = ${jobs}.id and c.next_due_at <= ${at.toISOString()}::timestamptz)`;
}

/** Whether a job will be due when it is now: what the trigger jobs_changed goes by. */
function keepsCursor({ name, expr, timezone, enabled, startsAt, endsAt }: WrittenJob): SQL {
  return drizzleSql`(${jobs.name}, ${jobs.expr}, ${jobs.timezone}, ${jobs.enabled}, ${jobs.startsAt}, ${jobs.endsAt}) is not distinct from
    (${name}::text, ${expr}::text, ${timezone}::text, ${enabled}::boolean, ${startsAt?.toISOString() ?? null}::timestamptz, ${endsAt?.toISOString() ?? null}::timestamptz)`;
}

/** From when a job is due again. What is worked out and has no due time is at its end, unless it keeps a cursor. */
function goingOn({ nextDueAt }: Pick<WrittenJob, 'nextDueAt'>, keeps: SQL) {
  if (nextDueAt !== null) return { endedAt: null };
  const kept = drizzleSql<Date | null>`(select c.next_due_at from ${cursors} c where c.job_id = ${jobs}.id and ${keeps})`;
  return { nextDueAt: kept, endedAt: drizzleSql<Date | null>`case when ${kept} is null then now() end` };
}

function next(column: typeof jobs.revision) {
  return drizzleSql<number>`${column} + 1`;
}
