// Brings the database's schema to what this program knows, one numbered file after the other.

import { readMigrationFiles } from 'drizzle-orm/migrator';
import { Client } from 'pg';
import { messageOf, Refusal } from '../errors.ts';
import { connectionTo, hangUp } from './connection.ts';

type Migration = ReturnType<typeof readMigrationFiles>[number];

/**
 * Applies the migrations of `folder` (drizzle's format: meta/_journal.json and the .sql files it names) that the database has
 * not had, each in a transaction of its own together with its entry in belfry.__migrations: an end in the middle leaves
 * whole ones only. Of several processes that start at once one does it and the others wait. A database that has had others
 * than those of `folder` is a Refusal `conflict`.
 */
export async function migrate({ url, folder }: { readonly url: string; readonly folder: string }): Promise<{ applied: number }> {
  const known = readMigrationFiles({ migrationsFolder: folder });
  const client = new Client(connectionTo({ url, applicationName: 'belfry migration' }));
  // A connection that is lost rejects the statement under way; the event would end the process.
  client.on('error', () => {});
  await client.connect();
  try {
    await prepare(client);
    const had = await journal(client);
    refuseNewer(had, known);
    const missing = known.filter(({ folderMillis }) => !had.includes(folderMillis));
    for (const migration of missing) await apply(client, migration);
    return { applied: missing.length };
  } finally {
    await hangUp(client);
  }
}

/** Takes the lock, which lasts as long as the session, and makes sure of the journal. */
async function prepare(client: Client): Promise<void> {
  // Without it the statement of a migration that was killed goes on, and holds the lock, until its end. Not every server can.
  await client.query(`set client_connection_check_interval = '1s'`).catch(() => undefined);
  await client.query(`select pg_advisory_lock(hashtextextended('belfry migration', 0))`);
  const { rowCount } = await client.query(`select 1 from pg_namespace where nspname = 'belfry'`);
  // Not "if not exists": that needs the right to create schemas even where ours is there.
  if (rowCount === 0) await client.query('create schema belfry');
  await client.query('create table if not exists belfry.__migrations (id serial primary key, hash text not null, created_at bigint)');
}

async function journal(client: Client): Promise<number[]> {
  const { rows } = await client.query<{ created_at: number }>('select created_at from belfry.__migrations order by id');
  return rows.map((row) => row.created_at);
}

function refuseNewer(had: readonly number[], known: readonly Migration[]): void {
  if (had.every((when) => known.some(({ folderMillis }) => folderMillis === when))) return;
  throw new Refusal(
    'conflict',
    `database schema ${had.length} is newer than this Belfry knows (${known.length}): start the newer Belfry again, or restore the database from before it`,
  );
}

async function apply(client: Client, { sql, folderMillis, hash }: Migration): Promise<void> {
  try {
    await client.query('begin');
    for (const statement of sql) await client.query(statement);
    await client.query('insert into belfry.__migrations (hash, created_at) values ($1, $2)', [hash, folderMillis]);
    await client.query('commit');
  } catch (fault) {
    // The session ends now, and with it the transaction.
    throw new Error(
      `a migration failed and was undone (${new Date(folderMillis).toISOString()} in meta/_journal.json): ${messageOf(fault)}`,
      { cause: fault },
    );
  }
}
