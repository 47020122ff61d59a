// A database of its own for a test file, cloned from the migrated template of the run (setup.ts).

import { Client } from 'pg';

type Scope = { after(fn: () => Promise<void>): void };

let made = 0;

/**
 * A fresh database with Belfry's tables, or an empty one; dropped after the scope, whoever is still connected. At the top of a
 * file the scope is node:test itself: `const { url } = await testDatabase(test)`.
 */
export async function testDatabase(scope: Scope, from: 'migrated' | 'empty' = 'migrated'): Promise<{ url: string }> {
  const server = given('BELFRY_TEST_DATABASE_URL');
  const name = `belfry_test_${process.pid}_${++made}`;
  await execute(server, `create database ${name} template ${from === 'migrated' ? given('BELFRY_TEST_TEMPLATE') : 'template0'}`);
  scope.after(async () => {
    await execute(server, `drop database if exists ${name} with (force)`);
  });
  const url = new URL(server);
  url.pathname = `/${name}`;
  // Copies of one installation would share a queue, and end each other's leftovers.
  if (from === 'migrated') await execute(url.href, 'update belfry.installation set id = substr(md5(random()::text), 1, 12)');
  return { url: url.href };
}

/** Runs a statement on a connection that is only for it, as a test's own hand beside the code under test. */
export async function execute(url: string, statement: string): Promise<Record<string, unknown>[]> {
  const client = new Client(url);
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(statement)).rows;
  } finally {
    await client.end();
  }
}

function given(name: string): string {
  const value = process.env[name];
  if (value === undefined)
    throw new Error(`${name} is not set: run the tests with --test-global-setup=test/support/setup.ts (npm test does)`);
  return value;
}
