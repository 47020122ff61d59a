// The run's Redis (setup.ts), shared by all files: each keeps to its prefix. And one of a test's own.

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { createInterface } from 'node:readline';

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
  /** Kills it and starts it again on its port, with nothing in it. */
  readonly restart: () => Promise<void>;
  /** The two halves of that. */
  readonly kill: () => Promise<void>;
  readonly start: () => Promise<void>;
  /** Takes connections and answers nothing, until `resume`. */
  readonly hang: () => void;
  readonly resume: () => void;
  /** Forgets all it holds (FLUSHALL). */
  readonly empty: () => Promise<void>;
};

/** A Redis of the test's own, which it may kill. */
export async function startRedis(scope: Scope): Promise<RedisServer> {
  const port = await freePort();
  let server = await start(port);
  const kill = async (): Promise<void> => {
    if (server.exitCode !== null || server.signalCode !== null) return;
    const exited = once(server, 'exit');
    server.kill('SIGKILL');
    await exited;
  };
  scope.after(kill);
  // It goes with this process, also when it hangs.
  process.once('exit', () => void server.kill('SIGKILL'));
  const startAgain = async (): Promise<void> => {
    server = await start(port);
  };
  return {
    url: `redis://127.0.0.1:${port}`,
    restart: async () => {
      await kill();
      await startAgain();
    },
    kill,
    start: startAgain,
    hang: () => void server.kill('SIGSTOP'),
    resume: () => void server.kill('SIGCONT'),
    empty: async () => {
      const client = connect(port, '127.0.0.1');
      client.write('FLUSHALL\r\n');
      const [answer] = (await once(client, 'data')) as [Buffer];
      client.destroy();
      if (String(answer) !== '+OK\r\n') throw new Error(`FLUSHALL: ${String(answer)}`);
    },
  };
}

async function start(port: number): Promise<ChildProcess> {
  const server = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    cwd: tmpdir(),
  });
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
