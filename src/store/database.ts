// The connections to PostgreSQL that the stores share: statements with a deadline, LISTEN, named locks. An outage rejects what
// it hits and ends nothing: after it everything works again without help.
//
// The driver is pg. The postgres driver (3.4.9) ends the process or leaves a connection dead when the server goes away at a bad
// moment, and has no way to throw one connection away.

import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres';
import { DatabaseError, Pool, type Client, type ClientConfig, type PoolClient, type QueryConfig, type QueryResult } from 'pg';
import { connectionTo, endsConnection, openSession, within, type Plans } from './connection.ts';
import { makeListener, type Listener } from './listen.ts';
import { makeSql, type Sql } from './sql.ts';

export { awaitDatabase } from './await-database.ts';
export { migrate } from './migrate.ts';
export type { Part, Sql, SqlValue } from './sql.ts';

export type Database = {
  /** One statement by hand; see `Sql`. */
  readonly sql: Sql;
  /** Simple reads and writes with the tables of schema.ts. No transactions here either. */
  readonly orm: Omit<NodePgDatabase, 'transaction'>;
  /** Hears a channel; see `Listener`. */
  readonly listen: Listener['listen'];
  /**
   * Takes the lock of that name, held by a connection of its own. Undefined: somebody else holds it. `onLost` is called once
   * when the connection is lost and the lock with it.
   */
  readonly holdLock: (name: string, onLost: () => void) => Promise<Lock | undefined>;
  /** Waits for the statements under way and lets all connections go but those of locks, which their holders release. */
  readonly close: () => Promise<void>;
};

export type Lock = { release(): Promise<void> };

type Options = {
  readonly url: string;
  /** At most so many connections for statements (10); LISTEN and each lock have one more. */
  readonly maxConnections?: number;
  /** How the connections are called in pg_stat_activity. */
  readonly applicationName: string;
  readonly plans?: Plans;
  /** A statement that takes longer (30 000) rejects, waiting for a connection included, and its connection is thrown away. */
  readonly queryTimeoutMs?: number;
  /** Told of connections that were lost while nobody waited for them. */
  readonly onError?: (fault: unknown) => void;
};

type Query = QueryConfig<unknown[]>;

const mostTries = 5;

/** Makes the connections; none is opened before it is needed. */
export function openDatabase({
  url,
  maxConnections = 10,
  applicationName,
  plans,
  queryTimeoutMs = 30_000,
  onError = () => {},
}: Options): Database {
  // Our own deadline comes first, as a silent server keeps none. The server's ends what we have given up.
  const settings = connectionTo({ url, applicationName, plans, statementTimeoutMs: queryTimeoutMs + 1000 });
  const lasting = connectionTo({ url, applicationName });
  const pool = new Pool({ ...settings, max: maxConnections, connectionTimeoutMillis: Math.min(queryTimeoutMs, 10_000) });
  pool.on('error', onError);
  // A connection that dies while it is lent says so by an event too, which without an ear would end the process.
  pool.on('connect', (client) => client.on('error', () => {}));
  const listener = makeListener(lasting, onError);

  // What is run again has done nothing: each statement is a transaction of its own.
  async function run(query: Query, tries = 1): Promise<QueryResult<Record<string, unknown>>> {
    try {
      return await runOnce(query);
    } catch (fault) {
      if (tries >= mostTries || !(isPlanOutdated(fault) || isForOthers(fault))) throw fault;
      // Without a name it is prepared anew wherever it comes.
      const { name: _, ...unnamed } = query;
      return await run(isPlanOutdated(fault) ? unnamed : query, tries + 1);
    }
  }

  async function runOnce(query: Query): Promise<QueryResult<Record<string, unknown>>> {
    const begun = performance.now();
    const client = await pool.connect();
    try {
      const result = await within(queryTimeoutMs - (performance.now() - begun), client.query<Record<string, unknown>, unknown[]>(query));
      client.release();
      return result;
    } catch (fault) {
      if (endsConnection(fault) || isPlanOutdated(fault)) throwAway(client);
      else client.release();
      throw fault;
    }
  }

  return {
    sql: makeSql(async ({ name, text, values }) => (await run({ name, text, values: [...values] })).rows),
    // Of its client drizzle needs no more than this, outside transactions.
    orm: drizzle({ client: { query: (query: Query, values: unknown[]) => run({ ...query, values }) } as unknown as Client }),
    listen: listener.listen,
    holdLock: (name, onLost) => holdLock(lasting, name, onLost),
    close: async () => {
      await Promise.all([listener.close(), pool.end()]);
    },
  };
}

/** Cuts the connection, also one whose other end is silent: a statement that is still on its way must not be answered to the next. */
function throwAway(client: PoolClient): void {
  client.connection.stream.destroy();
  client.release(true);
}

/** Whether a prepared statement went out of date: a migration changed its tables, or the server forgot it. */
function isPlanOutdated(fault: unknown): boolean {
  return fault instanceof DatabaseError && (fault.routine === 'RevalidateCachedQuery' || fault.code === '26000');
}

/** Whether PostgreSQL ended a statement for the sake of others: to break a deadlock, or where it asks for it to be run again. */
function isForOthers(fault: unknown): boolean {
  return fault instanceof DatabaseError && /^40(P01|001)$/.test(fault.code ?? '');
}

async function holdLock(settings: ClientConfig, name: string, onLost: () => void): Promise<Lock | undefined> {
  let isHeld = false;
  const session = await openSession(settings, {
    lost: () => {
      if (isHeld) onLost();
    },
  });
  try {
    const rows = await session.query(`select 1 where pg_try_advisory_lock(hashtextextended('belfry lock ' || $1, 0))`, [name]);
    isHeld = rows.length > 0;
  } finally {
    if (!isHeld) await session.close();
  }
  return isHeld ? { release: session.close } : undefined;
}
