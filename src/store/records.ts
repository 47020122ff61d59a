// What happened, for whoever asks: runs read newest first.

import { and, desc, eq, gte, inArray, lt, type SQL } from 'drizzle-orm';
import type { State } from '../runs/lifecycle.ts';
import type { Database } from './database.ts';
import { records, results, unfinished } from './schema.ts';

/** A run as people see it, wherever it is. */
export type RunRow = typeof records.$inferSelect;

export type RunFilter = {
  readonly name?: string | undefined;
  readonly state?: State | undefined;
  /** By the time a run was queued, from (inclusive) and to (exclusive). */
  readonly from?: Date | undefined;
  readonly to?: Date | undefined;
  /** Only runs with a smaller id: the way to deep pages, at the same cost as the first. */
  readonly before?: number | undefined;
};

export type RecordStore = ReturnType<typeof recordStore>;

/** The reading statements about runs. Served by runs_pk, runs_of_job, results_pk, results_not_well, unfinished_pk and runs_by_time. */
export function recordStore({ orm }: Database) {
  return {
    /** Runs newest first. */
    list: (filter: RunFilter, page: { readonly limit: number; readonly offset: number }): Promise<RunRow[]> =>
      orm
        .select()
        .from(records)
        .where(and(...conditions(orm, filter)))
        .orderBy(desc(records.id))
        .limit(page.limit)
        .offset(page.offset),

    byId: async (id: number): Promise<RunRow | undefined> => {
      const rows = await orm.select().from(records).where(eq(records.id, id)).limit(1);
      return rows[0];
    },
  };
}

function conditions(orm: Database['orm'], { name, state, from, to, before }: RunFilter): SQL[] {
  return [
    ...(name === undefined ? [] : [eq(records.jobName, name)]),
    ...(state === undefined ? [] : [inArray(records.id, inState(orm, state))]),
    ...(from === undefined ? [] : [gte(records.queuedAt, from)]),
    ...(to === undefined ? [] : [lt(records.queuedAt, to)]),
    ...(before === undefined ? [] : [lt(records.id, before)]),
  ];
}

/** The view's own `state` comes from two tables, and so from no index. */
function inState(orm: Database['orm'], state: State) {
  const isOnItsWay = state === 'queued' || state === 'running' || state === 'retrying';
  return isOnItsWay
    ? orm.select({ id: unfinished.runId }).from(unfinished).where(eq(unfinished.state, state))
    : orm.select({ id: results.runId }).from(results).where(eq(results.state, state));
}
