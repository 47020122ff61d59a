// Runs as rows: made by hand, sent, claimed, recorded. Every change of state is one guarded statement: no row back is an
// answer, not an error.

import type { Policy, State } from '../runs/lifecycle.ts';
import { blamesOneRow, groupCommit, type Batched } from './batch.ts';
import type { Database } from './database.ts';
import { upkeepStatements } from './upkeep.ts';

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

export type Backfill = {
  readonly jobId: number;
  readonly dueTimes: readonly Date[];
  readonly overlap: string;
  readonly onlyMissing: boolean;
  readonly traceId: string;
  readonly now: Date;
};

export type RunStore = ReturnType<typeof runStore>;

/** The statements about runs. */
export function runStore(database: Database) {
  const { sql } = database;
  const records: Batched<RunRecord, boolean> = groupCommit(writeRecords, { most: 500 });
  const claims: Batched<Claim, ClaimedRun[]> = groupCommit(claimTogether, { most: 100 });

  return {
    /**
     * Makes a run by hand of a living job. Undefined: the job minds overlap and has a run that is not at its end.
     */
    insert: async (run: NewRun): Promise<{ id: number } | undefined> => {
      const [row] = await sql<{ id: number }[]>`
        with made as (
            insert into belfry.runs (job_id, job_name, cause, due_at, command, policy, overlap, queued_at, trace_id)
            select j.id, j.name, ${run.cause}, ${run.dueAt}, j.command, j.policy,
                   case when ${run.evenIfBusy} then 'allow' else j.overlap end, ${run.dueAt}, ${run.traceId}
              from belfry.jobs j
             where j.id = ${run.jobId} and j.deleted_at is null
               and (j.overlap <> 'skip' or ${run.evenIfBusy}
                    or (select true from belfry.unfinished u where u.job_id = j.id limit 1) is null)
            returning id, job_id, overlap, due_at
        ), begun as (
            insert into belfry.unfinished (run_id, job_id, overlap, ready_at) select id, job_id, overlap, due_at from made
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
        ), made as (
            insert into belfry.runs (job_id, job_name, cause, due_at, command, policy, overlap, catchup, queued_at, trace_id)
            select j.id, j.name, 'backfill', due.at, j.command, j.policy, ${overlap}, true, ${now}, ${traceId}
              from belfry.jobs j cross join due
             where j.id = ${jobId} and j.deleted_at is null
               and not (${onlyMissing} and exists (
                       select from belfry.runs r
                        where r.job_id = j.id and r.due_at = due.at and r.cause in ('schedule', 'backfill')
                          and not exists (select from belfry.results e where e.run_id = r.id and e.state = 'skipped')))
             order by due.at
            returning id, job_id, overlap, due_at
        ), begun as (
            insert into belfry.unfinished (run_id, job_id, overlap, ready_at, catchup) select id, job_id, overlap, due_at, true from made
        )
        select id from made`;
      return rows.length;
    },

    /**
     * Marks as sent what is to be sent now: of the first `window` ready runs (live before catch-up, oldest first; of the latter
     * `mostCatchup` at most) those that were never sent, or so long ago that their message must be lost: 15 s, doubled with every
     * send up to 4 minutes. Served by unfinished_ready; the window is what bounds both the scan and how much lies in the queue.
     */
    markSent: async (now: Date, window: number, mostCatchup = window): Promise<number[]> => {
      const isToBeSent = sql.part`(sent_at is null or sent_at < ${now}::timestamptz - interval '15 seconds' * 2 ^ least(sends - 1, 4))`;
      const isReady = sql.part`state in ('queued', 'retrying') and not blocked and ready_at <= ${now}`;
      const rows = await sql<{ id: number }[]>`
        with live as materialized (
            select run_id, sent_at, sends from belfry.unfinished
             where not catchup and ${isReady} order by ready_at, run_id limit ${window}
        ), ahead as materialized (
            select * from live
            union all
            (select run_id, sent_at, sends from belfry.unfinished
              where catchup and ${isReady} order by ready_at, run_id
              limit greatest(0, least(${mostCatchup}::bigint, ${window}::bigint - (select count(*) from live))))
        )
        update belfry.unfinished u set sent_at = ${now}, sends = u.sends + 1
         where u.run_id = any (array(
                   select run_id from belfry.unfinished
                    where run_id = any (array(select run_id from ahead where ${isToBeSent}))
                      and state in ('queued', 'retrying') and ${isToBeSent}
                      for no key update skip locked))
        returning u.run_id as id`;
      return rows.map((row) => row.id).sort((a, b) => a - b);
    },

    /** The runs go back to where they were before they were sent. */
    unmarkSent: async (ids: readonly number[]): Promise<void> => {
      await sql`
        update belfry.unfinished set sent_at = null, sends = greatest(sends - 1, 0)
         where run_id = any (array(
                   select run_id from belfry.unfinished where run_id = any (${ids}::bigint[]) and state in ('queued', 'retrying')
                      for no key update skip locked))`;
    },

    /** When the next run that is not ready yet will be. Served by unfinished_ready. */
    nextReadyAt: async (now: Date): Promise<Date | undefined> => {
      const [row] = await sql<{ at: Date | null }[]>`
        select least((select ready_at from belfry.unfinished where state in ('queued', 'retrying') and not blocked
                         and not catchup and ready_at > ${now} order by catchup, ready_at limit 1),
                     (select ready_at from belfry.unfinished where state in ('queued', 'retrying') and not blocked
                         and catchup     and ready_at > ${now} order by catchup, ready_at limit 1)) as at`;
      return row?.at ?? undefined;
    },

    /** Claims runs for a node's incarnation; answers those that are now running on it. Calls are joined. */
    claim: (claim: Claim): Promise<ClaimedRun[]> => claims.add(claim),

    /**
     * Records what an attempt came to. False: it is not ours any more, and nothing was written. Calls are joined. Words that
     * PostgreSQL refuses (NUL) are left out: how a run ended is kept whatever it said.
     */
    record: async (record: RunRecord): Promise<boolean> => {
      try {
        return await records.add(record);
      } catch (fault) {
        if (!blamesOneRow(fault)) throw fault;
        return await records.add(withoutWords(record));
      }
    },

    ...upkeepStatements(database),

    /** Resolves when nothing is waiting to be written. */
    idle: async (): Promise<void> => {
      await claims.idle();
      await records.idle();
    },
  };

  async function claimTogether(wanted: readonly Claim[]): Promise<ClaimedRun[][]> {
    const [first] = wanted;
    if (!first) return [];
    const rows = await sql<ClaimedRun[]>`
      select id, job_id as "jobId", job_name as "jobName", cause, due_at as "dueAt", command, policy, epoch, attempt,
             trace_id as "traceId"
        from belfry.claim_runs(${wanted.flatMap((each) => each.ids)}::bigint[], ${first.owner}::bigint, ${first.node}, ${first.now})`;
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
    const ids = written.map((each) => each.id);
    const rows = await sql<{ id: number }[]>`
      with told as (
          select "id", "epoch", "state", "reason", to_timestamp("readyAt" / 1000) as "readyAt",
                 to_timestamp("finishedAt" / 1000) as "finishedAt", "failed", "note"::json as "note", nullif("result", 'null')::json as "result", "error"
            from unnest(${ids}::bigint[], ${written.map((each) => each.epoch)}::integer[], ${written.map((each) => each.state)}::text[],
                        ${written.map((each) => each.reason ?? null)}::text[],
                        ${written.map((each) => each.readyAt?.getTime() ?? null)}::float8[],
                        ${written.map((each) => each.finishedAt?.getTime() ?? null)}::float8[],
                        ${written.map((each) => each.failed)}::boolean[],
                        string_to_array(${inLines(written.map((each) => each.note))}, e'\\n'),
                        string_to_array(${inLines(written.map((each) => each.result ?? null))}, e'\\n'),
                        ${written.map((each) => each.error ?? null)}::text[])
              as t("id", "epoch", "state", "reason", "readyAt", "finishedAt", "failed", "note", "result", "error")
      ), ended as (
          delete from belfry.unfinished u
           using told
           where u.run_id = any (${ids}::bigint[]) and u.run_id = told."id" and u.epoch = told."epoch" and u.state = 'running'
             and told."state" <> 'retrying'
          returning told.*, u.job_id, u.overlap, u.node, u.started_at, u.failed_count, u.attempts
      ), recorded as (
          insert into belfry.results (run_id, state, reason, node, failed_count, attempts, result, error, started_at, finished_at)
          select "id", "state", "reason", node, failed_count + "failed"::integer, attempts || "note", "result", "error", started_at, "finishedAt"
            from ended
      ), retried as (
          update belfry.unfinished u
             set state = 'retrying', ready_at = told."readyAt", owner = null, failed_count = u.failed_count + told."failed"::integer,
                 attempts = u.attempts || told."note", result = told."result", error = told."error"
            from told
           where u.run_id = any (${ids}::bigint[]) and u.run_id = told."id" and u.epoch = told."epoch" and u.state = 'running'
             and told."state" = 'retrying'
          returning u.run_id
      ), readied as (
          update belfry.unfinished b set blocked = false
           where b.run_id = any (array(
                     select n.run_id from belfry.unfinished n
                      where n.blocked and n.run_id = any (array(
                            select min(w.run_id) from belfry.unfinished w
                             where w.blocked and w.job_id = any (array(select job_id from ended where overlap not in ('skip', 'allow')))
                             group by w.job_id))
                        for no key update skip locked))
      )
      select "id" from ended union all select run_id from retried`;
    const known = new Set(rows.map((row) => row.id));
    return written.map((each) => known.has(each.id));
  }
}

/** JSON, a value a line: text that holds no line break of its own, and is split faster than an array's is read. */
function inLines(values: readonly unknown[]): string {
  return values.map((value) => JSON.stringify(value)).join('\n');
}

type Claim = { readonly ids: readonly number[]; readonly owner: number; readonly node: string; readonly now: Date };

function withoutWords(record: RunRecord): RunRecord {
  const { error: _, ...note } = record.note;
  const error = 'what it said could not be stored';
  return { ...record, note, result: { err: error }, error };
}
