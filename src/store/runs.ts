// Runs as rows: sent, claimed, recorded, stopped. Every change of state is one guarded statement: no row back is an
// answer, not an error.

import type { Policy, State } from '../runs/lifecycle.ts';
import { blamesOneRow, groupCommit, type Batched } from './batch.ts';
import type { Database } from './database.ts';
import { makingStatements } from './making.ts';
import { oneOfEach } from './told.ts';
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
  /** The run that this one comes after. */
  readonly parentId: number | null;
};

/** A run at its end, as the one that comes after it is told. */
export type EndedRun = {
  readonly id: number;
  readonly jobName: string;
  readonly state: State;
  readonly result: Record<string, unknown> | null;
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

/**
 * What a run came to, believed only of who held it with this epoch. Nobody's word is written twice: told again, or told late of an
 * attempt that was given up as lost and not made again yet, it takes the place of what was written of that attempt.
 */
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
  /** Nobody saw how it ended: whoever did is believed instead. */
  readonly isGuess?: boolean;
};

export type RunStore = ReturnType<typeof runStore>;

/** The statements about runs. */
export function runStore(database: Database) {
  const { sql } = database;
  const records: Batched<RunRecord, boolean> = groupCommit(writeRecords, { most: 500 });
  const claims: Batched<Claim, ClaimedRun[]> = groupCommit(claimTogether, { most: 100 });

  return {
    ...makingStatements(database),

    /**
     * Marks as sent what is to be sent now into a lane: of the first `window` ready runs (live before catch-up, oldest first; of the latter
     * `mostCatchup` at most) those that were never sent, or so long ago that their message must be lost: 15 s, doubled with every
     * send up to 4 minutes. Served by unfinished_ready; the window is what bounds both the scan and how much lies in the queue.
     */
    markSent: async (now: Date, window: number, mostCatchup = window, lane = ''): Promise<number[]> => {
      const isToBeSent = sql.part`(sent_at is null or sent_at < ${now}::timestamptz - interval '15 seconds' * 2 ^ least(sends - 1, 4))`;
      const isReady = sql.part`lane = ${lane} and state in ('queued', 'retrying') and not blocked and ready_at <= ${now}`;
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

    /**
     * When the next run that is not ready yet will be, of those that any worker may take; and in which other lanes something waits, where
     * it may be ready at any time. Served by unfinished_ready and unfinished_in_lanes.
     */
    waiting: async (now: Date): Promise<{ readyAt: Date | undefined; lanes: readonly string[] }> => {
      const isNotYet = sql.part`lane = '' and state in ('queued', 'retrying') and not blocked and ready_at > ${now} order by catchup, ready_at limit 1`;
      const [row] = await sql<{ at: Date | null; lanes: string[] }[]>`
        select least((select ready_at from belfry.unfinished where not catchup and ${isNotYet}),
                     (select ready_at from belfry.unfinished where     catchup and ${isNotYet})) as at,
               array(select distinct lane from belfry.unfinished
                      where lane <> '' and state in ('queued', 'retrying') and not blocked) as lanes`;
      return { readyAt: row?.at ?? undefined, lanes: row?.lanes ?? [] };
    },

    /** Claims runs for a node's incarnation; answers those that are now running on it. Calls are joined. */
    claim: (claim: Claim): Promise<ClaimedRun[]> => claims.add(claim),

    /**
     * Records what an attempt came to. False: it is not ours any more, and nothing was written. Calls are joined. Words that
     * PostgreSQL refuses (NUL), or that are no JSON, are left out: how a run ended is kept whatever it said.
     */
    record: async (record: RunRecord): Promise<boolean> => {
      try {
        return await records.add(isJson(record.result) ? record : withoutWords(record));
      } catch (fault) {
        if (!blamesOneRow(fault)) throw fault;
        return await records.add(withoutWords(record));
      }
    },

    /** How a run ended; undefined: it has not, or there is none. */
    ended: async (id: number): Promise<EndedRun | undefined> => {
      const [row] = await sql<EndedRun[]>`
        select r.id, r.job_name as "jobName", e.state, e.result
          from belfry.runs r join belfry.results e on e.run_id = r.id and e.run_id = ${id} where r.id = ${id}`;
      return row;
    },

    /**
     * Stops a run wherever it is: one that has not begun is at its end at once, one that runs is told to its node. Undefined: there is
     * no such run, or it is at its end.
     */
    cancel: async (id: number, now: Date): Promise<'cancelled' | 'told' | undefined> => {
      // Claimed in between, it is neither what it was nor seen as what it is: the second look sees that.
      for (let looks = 0; looks < 3; looks++) {
        const [row] = await sql<{ gone: boolean; told: boolean; there: boolean }[]>`
          with gone as (
              delete from belfry.unfinished u where u.run_id = ${id} and u.state in ('queued', 'retrying')
              returning run_id, node, failed_count, attempts, result, error, started_at
          ), ended as (
              insert into belfry.results (run_id, state, reason, node, failed_count, attempts, result, error, started_at, finished_at)
              select run_id, 'cancelled', 'cancelled', node, failed_count, attempts, result, error, started_at, ${now} from gone
          ), told as (
              update belfry.unfinished u set cancel_at = coalesce(u.cancel_at, ${now}), cancel_reason = coalesce(u.cancel_reason, 'cancelled')
               where u.run_id = ${id} and u.state = 'running' returning run_id
          )
          select exists (select from gone) as gone, exists (select from told) as told,
                 exists (select from belfry.unfinished u where u.run_id = ${id}) as there`;
        if (row?.gone) return 'cancelled';
        if (row?.told) return 'told';
        if (!row?.there) return undefined;
      }
      return undefined;
    },

    /**
     * Ready runs of these lanes that have been ready since before `before`, whether sent or not: what a worker takes that hears
     * nothing from the queue. Of what is to be caught up with those that were sent before, and `mostCatchup` others. Served by unfinished_ready.
     */
    readySince: async (lanes: readonly string[], before: Date, limit: number, mostCatchup = limit): Promise<number[]> => {
      const isReady = sql.part`u.lane = served.lane and u.state in ('queued', 'retrying') and not u.blocked and u.ready_at <= ${before}
                                 and u.cancel_at is null`;
      const rows = await sql<{ id: number }[]>`
        select run_id as id
          from unnest(${lanes}::text[]) as served(lane)
         cross join lateral (
               (select u.run_id, u.catchup, u.ready_at from belfry.unfinished u
                 where not u.catchup and ${isReady} order by u.ready_at, u.run_id limit ${limit})
               union all
               select first.run_id, true, first.ready_at
                 from (select u.run_id, u.ready_at, u.sent_at, row_number() over (order by u.ready_at, u.run_id) as place from belfry.unfinished u
                        where u.catchup and ${isReady} order by u.ready_at, u.run_id limit ${limit}) as first
                where first.sent_at <= ${before} or first.place <= ${mostCatchup}::bigint) as ready
         order by ready.catchup, ready.ready_at, ready.run_id limit ${limit}`;
      return rows.map((row) => row.id);
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
    // What got ready for the last of them must not be refused because the first came before.
    const now = new Date(Math.max(...wanted.map((each) => each.now.getTime())));
    const rows = await sql<ClaimedRun[]>`
      select id, job_id as "jobId", job_name as "jobName", cause, due_at as "dueAt", command, policy, epoch, attempt,
             trace_id as "traceId", parent_id as "parentId"
        from belfry.claim_runs(${wanted.flatMap((each) => each.ids)}::bigint[], ${first.owner}::bigint, ${first.node}, ${now})`;
    const byId = new Map(rows.map((row) => [row.id, row]));
    return wanted.map((each) =>
      each.ids.flatMap((id) => {
        const row = byId.get(id);
        byId.delete(id);
        return row ? [row] : [];
      }),
    );
  }

  async function writeRecords(told: readonly RunRecord[]): Promise<boolean[]> {
    const { written, isWritten } = oneOfEach(told);
    const ids = written.map((each) => each.id);
    const isToldOf = sql.part`u.run_id = any (${ids}::bigint[]) and u.run_id = told."id" and u.epoch = told."epoch"
             and (u.state = 'running' or u.state = 'retrying' and not told."isGuess")`;
    // Of one that is tried again the last note, a failure, was of this attempt.
    const countBefore = sql.part`u.failed_count - (u.state = 'retrying')::integer`;
    const notesBefore = sql.part`case when u.state = 'retrying' then trim_array(u.attempts, 1) else u.attempts end`;
    const rows = await sql<{ id: number; epoch: number }[]>`
      with told as (
          select "id", "epoch", "state", "reason", to_timestamp("readyAt" / 1000) as "readyAt",
                 to_timestamp("finishedAt" / 1000) as "finishedAt", "failed", "note"::json as "note", nullif("result", 'null')::json as "result", "error",
                 "isGuess"
            from unnest(${ids}::bigint[], ${written.map((each) => each.epoch)}::integer[], ${written.map((each) => each.state)}::text[],
                        ${written.map((each) => each.reason ?? null)}::text[],
                        ${written.map((each) => each.readyAt?.getTime() ?? null)}::float8[],
                        ${written.map((each) => each.finishedAt?.getTime() ?? null)}::float8[],
                        ${written.map((each) => each.failed)}::boolean[],
                        string_to_array(${inLines(written.map((each) => each.note))}, e'\\n'),
                        string_to_array(${inLines(written.map((each) => each.result ?? null))}, e'\\n'),
                        ${written.map((each) => each.error ?? null)}::text[], ${written.map((each) => each.isGuess === true)}::boolean[])
              as t("id", "epoch", "state", "reason", "readyAt", "finishedAt", "failed", "note", "result", "error", "isGuess")
      ), ended as (
          delete from belfry.unfinished u
           using told
           where ${isToldOf} and told."state" <> 'retrying'
          returning told.*, u.node, u.started_at, ${countBefore} as failed_count, ${notesBefore} as attempts
      ), recorded as (
          insert into belfry.results (run_id, state, reason, node, failed_count, attempts, result, error, started_at, finished_at)
          select "id", "state", "reason", node, failed_count + "failed"::integer, attempts || "note", "result", "error", started_at, "finishedAt"
            from ended
      ), retried as (
          update belfry.unfinished u
             set state = 'retrying', ready_at = told."readyAt", owner = null, failed_count = ${countBefore} + told."failed"::integer,
                 attempts = ${notesBefore} || told."note", result = told."result", error = told."error"
            from told
           where ${isToldOf} and told."state" = 'retrying'
          returning u.run_id, u.epoch
      )
      select "id", "epoch" from ended union all select run_id, epoch from retried`;
    return isWritten(rows);
  }
}

/** JSON, a value a line: text that holds no line break of its own, and is split faster than an array's is read. */
function inLines(values: readonly unknown[]): string {
  return values.map((value) => JSON.stringify(value)).join('\n');
}

function isJson(value: unknown): boolean {
  try {
    JSON.stringify(value);
    return true;
  } catch {
    return false;
  }
}

type Claim = { readonly ids: readonly number[]; readonly owner: number; readonly node: string; readonly now: Date };

function withoutWords(record: RunRecord): RunRecord {
  const { error: _, ...note } = record.note;
  const error = 'what it said could not be stored';
  return { ...record, note, result: { err: error }, error };
}
