// What the whole test run shares, started once before the first file and ended after the last: a PostgreSQL with a migrated
// template database, and a Redis. Test processes find them by environment variables.

import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from 'pg';
import { startEmbedded } from '../../src/embedded.ts';
import { migrate } from '../../src/store/database.ts';

const { env } = process;
const migrations = fileURLToPath(new URL('../../migrations', import.meta.url));
const endings: (() => Promise<void> | void)[] = [];

/** Runs before all files. What a caller has set already (BELFRY_TEST_DATABASE_URL, BELFRY_TEST_REDIS_URL) is used and left running. */
export async function globalSetup(): Promise<void> {
  try {
    await prepareRedis();
    await preparePostgres();
  } catch (fault) {
    await globalTeardown();
    throw fault;
  }
}

/** Ends what was started, the last first. */
export async function globalTeardown(): Promise<void> {
  for (let end = endings.pop(); end; end = endings.pop()) await end();
}

async function preparePostgres(): Promise<void> {
  env['BELFRY_TEST_DATABASE_URL'] ??= await startPostgres();
  const url = env['BELFRY_TEST_DATABASE_URL'];
  const template = `belfry_template_${process.pid}`;
  await execute(url, `create database ${template}`);
  endings.push(() => execute(url, `drop database if exists ${template} with (force)`));
  const templateUrl = new URL(url);
  templateUrl.pathname = `/${template}`;
  // A checkout without migrations has tests that need none.
  if (existsSync(join(migrations, 'meta/_journal.json'))) await migrate({ url: templateUrl.href, folder: migrations });
  env['BELFRY_TEST_TEMPLATE'] = template;
}

async function startPostgres(): Promise<string> {
  const server = await startEmbedded({ dataDir: temporary('belfry-test-postgres-') });
  endings.push(() => server.stop());
  // The tests' data need not outlive a power cut.
  await execute(server.url, 'alter system set fsync = off', 'alter system set full_page_writes = off', 'select pg_reload_conf()');
  return server.url;
}

async function execute(url: string, ...statements: string[]): Promise<void> {
  const client = new Client(url);
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}

async function prepareRedis(): Promise<void> {
  const url = env['BELFRY_TEST_REDIS_URL'] ?? (await startRedis());
  if (url !== undefined) env['BELFRY_TEST_REDIS_URL'] = url;
}

// Redis ends when the pipe on its watcher's input does: with this process, however that ends.
const watch = `
  exec 3<&0
  redis-server "$@" & server=$!
  ( read -r _ <&3; kill -KILL "$server" ) >/dev/null 2>&1 &
  wait "$server"`;

async function startRedis(): Promise<string | undefined> {
  const port = await freePort();
  const args = [
    '--port',
    String(port),
    '--bind',
    '127.0.0.1',
    '--save',
    '',
    '--appendonly',
    'no',
    '--dir',
    temporary('belfry-test-redis-'),
  ];
  // A session of its own: a terminal's Ctrl-C is for the tests, which may still need it.
  const server = spawn('/bin/sh', ['-c', watch, 'sh', ...args], { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  const exited = once(server, 'exit');
  endings.push(async () => {
    server.stdin.end();
    await exited;
  });
  const said = await wordsOf(server);
  if (said.includes('Ready to accept connections')) return `redis://127.0.0.1:${port}`;
  const [code] = (await exited) as [number | null];
  if (code !== 127) throw new Error(`redis-server did not start: ${said}`);
  if (env['CI'] !== undefined) throw new Error('redis-server is missing, and CI has to test with it: apt-get install redis-server');
  console.error(
    '\n*** redis-server is missing: what needs Redis will fail. apt-get install redis-server, or set BELFRY_TEST_REDIS_URL ***\n',
  );
  return undefined;
}

/** What it writes until it is ready or ends. */
async function wordsOf({ stdout, stderr }: ChildProcessWithoutNullStreams): Promise<string> {
  let said = '';
  stderr.on('data', (chunk) => (said += String(chunk)));
  for await (const chunk of stdout.iterator({ destroyOnReturn: false })) {
    said += String(chunk);
    if (said.includes('Ready to accept connections')) break;
  }
  stdout.resume();
  return said;
}

/** A folder that goes at the end; others may enter it, as PostgreSQL's user must. */
function temporary(prefix: string): string {
  const made = mkdtempSync(join(tmpdir(), prefix));
  chmodSync(made, 0o755);
  endings.push(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((closed) => server.close(closed));
  return port;
}
