// Runs as rows: made by hand, sent, claimed, recorded. Every change of state is one guarded statement: no row back is an
// answer, not an error.

import type { Policy, State } from '../runs/lifecycle.ts';
import { groupCommit, type Batched } from './batch.ts';
import type { Database } from './database.ts';

/** A run that this node holds from now on. */
export type ClaimedRun = {
  readonly id: number;
  readonly jobId: number;
  readonly jobName: string;
  readonly cause: string;
  readonly dueAt: Date;
  readonly command: Record<string, unknown>;
  readonly policy: Policy;
  readonly epoch: number;
  readonly attempt: number;
  readonly traceId: string;
};

/** One attempt as it is kept with its run. */
export type AttemptNote = {
  readonly attempt: number;
  readonly node: string;
  readonly started_at: string;
  readonly finished_at: string;
  readonly outcome: string;
  readonly exit_code?: number;
  readonly status?: number;
  readonly error?: string;
};

/** What a run came to, believed only of who held it with this epoch. */
export type RunRecord = {
  readonly id: number;
  readonly epoch: number;
  readonly state: Extract<State, 'succeeded' | 'failed' | 'cancelled' | 'retrying'>;
  readonly reason?: string;
  /** When it is ready again, of a run that is retried. */
  readonly readyAt?: Date;
  readonly finishedAt?: Date;
  readonly failed: boolean;
  readonly note: AttemptNote;
  readonly result?: Record<string, unknown>;
  readonly error?: string;
};

export type NewRun = {
  readonly jobId: number;
  readonly cause: 'manual';
  readonly dueAt: Date;
  readonly traceId: string;
  readonly evenIfBusy: boolean;
};

export type RunStore = ReturnType<typeof runStore>;

/** The statements about runs. */
export function runStore({ sql }: Database) {
  const records: Batched<RunRecord, boolean> = groupCommit(writeRecords, { most: 250 });
  const claims: Batched<Claim, ClaimedRun[]> = groupCommit(claimTogether, { most: 100 });

  return {
    /**
     * Makes a run by hand of a living job. Undefined: the job minds overlap and has a run that is not at its end.
     */
    insert: async (run: NewRun): Promise<{ id: number } | undefined> => {
      const [row] = await sql<{ id: number }[]>`
        insert into belfry.runs (job_id, job_name, cause, due_at, command, policy, overlap, ready_at, queued_at, trace_id)
        select j.id, j.name, ${run.cause}, ${run.dueAt}, j.command, j.policy,
               case when ${run.evenIfBusy} then 'allow' else j.overlap end, ${run.dueAt}, ${run.dueAt}, ${run.traceId}
          from belfry.jobs j
         where j.id = ${run.jobId} and j.deleted_at is null
           and (j.overlap <> 'skip' or ${run.evenIfBusy}
                or not exists (select from belfry.runs r where r.job_id = j.id and r.state in ('queued', 'running', 'retrying')))
        returning id`;
      return row;
    },

    /**
     * Marks as sent what is to be sent now: of the first `window` ready runs (live before catch-up, oldest first) those that
     * were never sent, or so long ago that their message must be lost: 15 s, doubled with every send up to 4 minutes.
     * Served by runs_ready; the window is what bounds both the scan and how much lies in the queue.
     */
    markSent: async (now: Date, window: number): Promise<number[]> => {
      const rows = await sql<{ id: number }[]>`
        with ahead as materialized (
            select id, sent_at, sends from belfry.runs
             where state in ('queued', 'retrying') and not blocked and ready_at <= ${now}
             order by catchup, ready_at, id
             limit ${window}
        ), due as materialized (
            select id, sent_at from ahead
             where sent_at is null or sent_at < ${now}::timestamptz - interval '15 seconds' * 2 ^ least(sends - 1, 4)
        )
        update belfry.runs r set sent_at = ${now}, sends = r.sends + 1
          from due
         where r.id = due.id
           and r.state in ('queued', 'retrying') and r.sent_at is not distinct from due.sent_at
        returning r.id`;
      return rows.map((row) => row.id).sort((a, b) => a - b);
    },

    /** The runs go back to where they were before they were sent. */
    unmarkSent: async (ids: readonly number[]): Promise<void> => {
      await sql`
        update belfry.runs set sent_at = null, sends = greatest(sends - 1, 0)
         where id = any (${ids}::bigint[]) and state in ('queued', 'retrying')`;
    },

    /** When the next run that is not ready yet will be. Served by runs_ready. */
    nextReadyAt: async (now: Date): Promise<Date | undefined> => {
      const [row] = await sql<{ at: Date | null }[]>`
        select least((select ready_at from belfry.runs where state in ('queued', 'retrying') and not blocked
                         and not catchup and ready_at > ${now} order by catchup, ready_at limit 1),
                     (select ready_at from belfry.runs where state in ('queued', 'retrying') and not blocked
                         and catchup     and ready_at > ${now} order by catchup, ready_at limit 1)) as at`;
      return row?.at ?? undefined;
    },

    /** Claims runs for a node's incarnation; answers those that are now running on it. Calls are joined. */
    claim: (claim: Claim): Promise<ClaimedRun[]> => claims.add(claim),

    /** Records what an attempt came to. False: it is not ours any more, and nothing was written. Calls are joined. */
    record: (record: RunRecord): Promise<boolean> => records.add(record),

    /** Readies runs that waited for another run of their job which is no longer there. Served by runs_blocked. */
    unblock: async (): Promise<number> => {
      const rows = await sql`
        update belfry.runs r set blocked = false
         where r.id in (select distinct on (b.job_id) b.id from belfry.runs b
                         where b.blocked and b.state in ('queued', 'retrying')
                           and not exists (select from belfry.runs o where o.job_id = b.job_id and o.state in ('running', 'retrying'))
                         order by b.job_id, b.id)
        returning r.id`;
      return rows.length;
    },

    /** Cancels what has not begun of the runs that shall be cancelled. */
    cancelWaiting: async (now: Date): Promise<number> => {
      const rows = await sql`
        update belfry.runs set state = 'cancelled', reason = 'replaced', finished_at = ${now}
         where cancel_at is not null and state in ('queued', 'retrying') returning id`;
      return rows.length;
    },

    /** Which runs that an incarnation holds shall be cancelled. Served by runs_to_cancel. */
    toCancel: async (owner: number): Promise<number[]> => {
      const rows = await sql<{ id: number }[]>`
        select id from belfry.runs where owner = ${owner} and state = 'running' and cancel_at is not null`;
      return rows.map((row) => row.id);
    },

    /** What an incarnation holds; asked when one has ended. Served by runs_unfinished. */
    heldBy: async (owner: number): Promise<(ClaimedRun & { node: string; begunAt: Date })[]> =>
      await sql<(ClaimedRun & { node: string; begunAt: Date })[]>`
        select ${claimed()}, r.node, r.begun_at as "begunAt" from belfry.runs r
         where r.owner = ${owner} and r.state = 'running' and r.state in ('queued', 'running', 'retrying') order by r.id`,

    /**
     * Forgets runs that ended before `before`, at most `limit` of them: the oldest rows are looked at, by id, so that a step
     * costs the same however many there are.
     */
    forget: async (before: Date, limit: number): Promise<number> => {
      const rows = await sql`
        delete from belfry.runs
         where id in (select id from (select id, finished_at from belfry.runs order by id limit ${limit}) as oldest
                       where finished_at < ${before})
        returning id`;
      return rows.length;
    },

    /** Resolves when nothing is waiting to be written. */
    idle: async (): Promise<void> => {
      await claims.idle();
      await records.idle();
    },
  };

  function claimed() {
    return sql.part`r.id, r.job_id as "jobId", r.job_name as "jobName", r.cause, r.due_at as "dueAt", r.command, r.policy, r.epoch,
               r.attempt, r.trace_id as "traceId"`;
  }

  async function claimTogether(wanted: readonly Claim[]): Promise<ClaimedRun[][]> {
    const [first] = wanted;
    if (!first) return [];
    const rows = await sql<ClaimedRun[]>`
      select ${claimed()}
        from belfry.claim_runs(${wanted.flatMap((each) => each.ids)}::bigint[], ${first.owner}::bigint, ${first.node}, ${first.now}) as r`;
    const byId = new Map(rows.map((row) => [row.id, row]));
    return wanted.map((each) =>
      each.ids.flatMap((id) => {
        const row = byId.get(id);
        byId.delete(id);
        return row ? [row] : [];
      }),
    );
  }

  async function writeRecords(written: readonly RunRecord[]): Promise<boolean[]> {
    const rows = await sql<{ id: number }[]>`
      with told as (
          select * from json_to_recordset(${JSON.stringify(written)}::text::json)
              as t("id" bigint, "epoch" integer, "state" text, "reason" text, "readyAt" timestamptz, "finishedAt" timestamptz,
                   "failed" boolean, "note" jsonb, "result" json, "error" text)
      ), recorded as (
          update belfry.runs r
             set state = told."state", reason = told."reason", ready_at = coalesce(told."readyAt", r.ready_at),
                 finished_at = told."finishedAt", failed_count = r.failed_count + told."failed"::integer,
                 attempts = r.attempts || told."note", result = told."result", error = told."error", owner = null
            from told
           where r.id = told."id" and r.epoch = told."epoch" and r.state = 'running'
          returning r.id, r.job_id, r.overlap, r.finished_at
      ), readied as (
          update belfry.runs b set blocked = false
           where b.id in (select min(w.id) from recorded join belfry.runs w on w.job_id = recorded.job_id
                           where recorded.overlap not in ('skip', 'allow') and recorded.finished_at is not null
                             and w.blocked and w.state in ('queued', 'retrying')
                           group by w.job_id)
      )
      select id from recorded`;
    const known = new Set(rows.map((row) => row.id));
    return written.map((each) => known.has(each.id));
  }
}

type Claim = { readonly ids: readonly number[]; readonly owner: number; readonly node: string; readonly now: Date };
