// What a node asks the database about its health, on connections that no work holds up, and with a deadline of its own.

import { readMigrationFiles } from 'drizzle-orm/migrator';
import { openDatabase } from './database.ts';

/** What the database says of itself. */
export type Vitals = {
  /** Whether its schema is what this program was made for; another version of Belfry may have changed it in the meantime. */
  readonly schema: 'ok' | 'older' | 'newer';
  /** Runs that could begin now and that nobody has taken; at most `mostCounted` are counted. */
  readonly ready: number;
  /** How long the first of them is ready, of those that are not made up for: those may take their time. */
  readonly oldestReadyMs: number;
};

/** Backlogs are counted up to here, so that the count costs the same however long they are. */
export const mostCounted = 10_001;

const deadlineMs = 2000;

type Options = { readonly url: string; readonly applicationName: string; readonly onError: (fault: unknown) => void };

/** Makes the connections (two at most, and none before the first question) and the questions, which a sudden backlog must not slow down. */
export function openVitals(options: Options, migrationsFolder: string) {
  const database = openDatabase({ ...options, maxConnections: 2, queryTimeoutMs: deadlineMs, plans: 'by_index' });
  const { sql } = database;
  const known = readMigrationFiles({ migrationsFolder }).map(({ folderMillis }) => folderMillis);

  return {
    /** The database's clock, at the moment of the answer. */
    now: async (): Promise<Date> => {
      const [row] = await sql<{ now: Date }[]>`select clock_timestamp() as now`;
      if (!row) throw new Error('the database did not say what time it is');
      return row.now;
    },

    /** How it stands. Rejects when there is no answer within two seconds. Served by unfinished_ready and unfinished_in_lanes. */
    look: async (): Promise<Vitals> => {
      const [row] = await sql<{ schema: Vitals['schema']; ready: number; oldestReadyMs: number }[]>`
        with lanes as materialized (
            select '' as lane
             union
            select lane from (select lane from belfry.unfinished where lane <> '' limit ${mostCounted}) as waiting
        ), ready as materialized (
            select r.ready_at, c.catchup
              from lanes
             cross join (values (false), (true)) as c(catchup)
             cross join lateral (
                   select u.ready_at from belfry.unfinished u
                    where u.lane = lanes.lane and u.catchup = c.catchup and not u.blocked and u.state in ('queued', 'retrying') and u.ready_at <= now()
                    order by u.ready_at limit ${mostCounted}) as r
        ), had as materialized (
            select created_at = any (${known}::bigint[]) as is_known from belfry.__migrations
        )
        select case when exists (select from had where not is_known) then 'newer'
                    when (select count(*) from had) < ${known.length}::integer then 'older' else 'ok' end as schema,
               least((select count(*) from ready), ${mostCounted}::bigint) as ready,
               coalesce(extract(epoch from now() - (select min(ready_at) from ready where not catchup)) * 1000, 0)::float8 as "oldestReadyMs"`;
      if (!row) throw new Error('the database did not say how it stands');
      return row;
    },

    close: (): Promise<void> => database.close(),
  };
}
