// The run's Redis (setup.ts), shared by all files: each keeps to its prefix. And one of a test's own.

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { createInterface } from 'node:readline';
import { Redis } from 'ioredis';

/** Where Redis is, and what this file's names begin with. */
export function testRedis(): { url: string; prefix: string } {
  const url = process.env['BELFRY_TEST_REDIS_URL'];
  if (url === undefined) {
    throw new Error(
      'this test needs Redis: apt-get install redis-server or set BELFRY_TEST_REDIS_URL, and run with --test-global-setup=test/support/setup.ts',
    );
  }
  return { url, prefix: `test-${process.pid}` };
}

type Scope = { after(fn: () => Promise<void>): void };

export type RedisServer = {
  readonly url: string;
  /** Starts it on its port, with nothing in it. */
  readonly start: (...args: string[]) => Promise<void>;
  readonly kill: () => Promise<void>;
  /** Kills it and starts it again. */
  readonly restart: (...args: string[]) => Promise<void>;
  /** Takes connections and answers nothing, until `resume`. */
  readonly hang: () => void;
  readonly resume: () => void;
  /** Forgets all it holds (FLUSHALL). */
  readonly empty: () => Promise<void>;
  /** Asks it something, on a connection of its own. */
  readonly ask: (command: string, ...args: string[]) => Promise<unknown>;
};

// Which of them live: they go with this process, also when they hang.
const living = new Set<ChildProcess>();
process.on('exit', () => {
  for (const server of living) server.kill('SIGKILL');
});

/** A Redis of the test's own, which it may kill. */
export async function startRedis(scope: Scope): Promise<RedisServer> {
  const port = await freePort();
  let server = await start(port, []);
  const kill = async (): Promise<void> => {
    if (server.exitCode !== null || server.signalCode !== null) return;
    const exited = once(server, 'exit');
    server.kill('SIGKILL');
    await exited;
  };
  scope.after(kill);
  const url = `redis://127.0.0.1:${port}`;
  const startAgain = async (...args: string[]): Promise<void> => {
    server = await start(port, args);
  };
  const ask = async (command: string, ...args: string[]): Promise<unknown> => {
    const client = new Redis(url, { lazyConnect: true });
    try {
      await client.connect();
      return await client.call(command, ...args);
    } finally {
      client.disconnect();
    }
  };
  return {
    url,
    start: startAgain,
    kill,
    restart: async (...args) => {
      await kill();
      await startAgain(...args);
    },
    hang: () => void server.kill('SIGSTOP'),
    resume: () => void server.kill('SIGCONT'),
    empty: async () => void (await ask('FLUSHALL')),
    ask,
  };
}

async function start(port: number, more: readonly string[]): Promise<ChildProcess> {
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', ...more];
  const server = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'inherit'], cwd: tmpdir() });
  living.add(server);
  server.once('exit', () => living.delete(server));
  for await (const line of createInterface(server.stdout)) if (line.includes('Ready to accept connections')) break;
  server.stdout.resume();
  return server;
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}
