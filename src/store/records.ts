// What happened, for whoever asks: runs read newest first.

import { and, desc, eq, gte, lt, type SQL } from 'drizzle-orm';
import type { State } from '../runs/lifecycle.ts';
import type { Database } from './database.ts';
import { runs } from './schema.ts';

/** A row of `runs`. */
export type RunRow = typeof runs.$inferSelect;

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

/** The reading statements about runs. Served by runs_pk, runs_of_job, runs_not_well, runs_unfinished and runs_by_time. */
export function recordStore({ orm }: Database) {
  return {
    /** Runs newest first. */
    list: (filter: RunFilter, page: { readonly limit: number; readonly offset: number }): Promise<RunRow[]> =>
      orm.select().from(runs).where(and(...conditions(filter))).orderBy(desc(runs.id)).limit(page.limit).offset(page.offset),

    byId: async (id: number): Promise<RunRow | undefined> => {
      const rows = await orm.select().from(runs).where(eq(runs.id, id)).limit(1);
      return rows[0];
    },
  };
}

function conditions({ name, state, from, to, before }: RunFilter): SQL[] {
  return [
    ...(name === undefined ? [] : [eq(runs.jobName, name)]),
    ...(state === undefined ? [] : [eq(runs.state, state)]),
    ...(from === undefined ? [] : [gte(runs.queuedAt, from)]),
    ...(to === undefined ? [] : [lt(runs.queuedAt, to)]),
    ...(before === undefined ? [] : [lt(runs.id, before)]),
  ];
}
