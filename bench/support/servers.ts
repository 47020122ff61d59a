// Private servers for a bench: a PostgreSQL and a Redis of its own, on free ports, gone afterwards.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { startEmbedded } from '../../src/embedded.ts';

export type Servers = { readonly databaseUrl: string; readonly redisUrl: string; readonly stop: () => Promise<void> };

export async function startServers(): Promise<Servers> {
  const dataDir = await mkdtemp(join(tmpdir(), 'belfry-bench-'));
  const embedded = await startEmbedded({ dataDir });
  const port = await freePort();
  const redis = spawn(
    'redis-server',
    ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', dataDir],
    { stdio: 'ignore' },
  );
  const redisUrl = `redis://127.0.0.1:${port}`;
  const client = new Redis(redisUrl, { retryStrategy: () => 50, maxRetriesPerRequest: null });
  client.on('error', () => undefined);
  await client.ping();
  client.disconnect();
  return {
    databaseUrl: embedded.url,
    redisUrl,
    stop: async () => {
      redis.kill();
      await once(redis, 'exit');
      await embedded.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}
