// What carries the messages: BullMQ on Redis (or Valkey) where one is configured, else on PostgreSQL. Nothing in a message is
// believed but the ids of runs; either may lose all of them and no run is lost.

import { createPostgresBackend, createRedisBackend, runMigrations, withBackend } from 'bullmq';
import { Redis } from 'ioredis';
import pg from 'pg';
import { messageOf, Refusal } from '../errors.ts';

/** What lies in the queue: the ids of one or more runs. */
export type Message = { readonly runs: readonly number[] };

/** The way of messages from producers to consumers. */
export type Backend = {
  readonly kind: 'redis' | 'postgres';
  /** Puts messages into the queue; rejects within seconds when it can't. */
  readonly send: (messages: readonly Message[]) => Promise<void>;
  /** Hands each message to `take`, at most `fetchers` at a time, until closed. */
  readonly consume: (take: (message: Message) => Promise<void>, fetchers: number) => Promise<Consumer>;
  readonly close: () => Promise<void>;
};

export type Consumer = { readonly close: () => Promise<void> };

type Options = {
  readonly redisUrl: string | undefined;
  readonly databaseUrl: string;
  /** Names this installation: two on one Redis do not meet. */
  readonly installation: string;
  readonly onError: (fault: unknown) => void;
};

// Retries, priorities and delays are ours: a message is one push, gone once its runs are claimed.
const messageOptions = { attempts: 1, removeOnComplete: true, removeOnFail: true };
// Locks are no safety device here (the claim in PostgreSQL is), so they may be long.
const workerOptions = { runRetryDelay: 1000, lockDuration: 60_000, stalledInterval: 60_000, maxStalledCount: 1 };
const messageName = 'runs';

/** Opens the queue. Refusal `unavailable` when its server does not answer. */
export async function openBackend(options: Options): Promise<Backend> {
  return options.redisUrl === undefined ? await openPostgres(options) : await openRedis(options, options.redisUrl);
}

async function openRedis({ installation, onError }: Options, url: string): Promise<Backend> {
  const { Queue, Worker } = withBackend(createRedisBackend);
  const name = `belfry-${installation}`;
  // A producer must not wait: by default an add hangs while Redis is down and lands whenever it is back.
  const producing = new Redis(url, { enableOfflineQueue: false, maxRetriesPerRequest: 1, commandTimeout: 5000, lazyConnect: true });
  producing.on('error', onError);
  try {
    await producing.connect();
    await producing.ping();
  } catch (fault) {
    producing.disconnect();
    throw new Refusal('unavailable', `redis.url: expected a Redis or Valkey server, ${masked(url)} does not answer (${messageOf(fault)})`);
  }
  const queue = new Queue<Message>(name, { connection: producing, defaultJobOptions: messageOptions });
  queue.on('error', onError);
  await queue.waitUntilReady();
  return {
    kind: 'redis',
    send: async (messages) => {
      await queue.addBulk(messages.map((data) => ({ name: messageName, data })));
    },
    consume: async (take, fetchers) => {
      const connection = new Redis(url, { maxRetriesPerRequest: null });
      connection.on('error', onError);
      const worker = new Worker<Message>(name, ({ data }) => take(data), { ...workerOptions, connection, concurrency: fetchers });
      worker.on('error', onError);
      await worker.waitUntilReady();
      return {
        close: async () => {
          await worker.close();
          connection.disconnect();
        },
      };
    },
    close: async () => {
      await queue.close();
      producing.disconnect();
    },
  };
}

async function openPostgres({ databaseUrl, installation, onError }: Options): Promise<Backend> {
  const { Queue, Worker } = withBackend(createPostgresBackend);
  const name = `belfry-${installation}`;
  const connection = (max: number) => ({
    connectionString: databaseUrl,
    max,
    connectionTimeoutMillis: 5000,
    query_timeout: 10_000,
    keepAlive: true,
  });
  // Several nodes may start at once: BullMQ's migration holds a lock of its own.
  const client = new pg.Client({ connectionString: databaseUrl });
  client.on('error', onError);
  await client.connect();
  try {
    await runMigrations(client);
  } finally {
    await client.end();
  }
  const queue = new Queue<Message>(name, { connection: connection(2), defaultJobOptions: messageOptions });
  queue.on('error', onError);
  await queue.waitUntilReady();
  return {
    kind: 'postgres',
    send: async (messages) => {
      await queue.addBulk(messages.map((data) => ({ name: messageName, data })));
    },
    consume: async (take, fetchers) => {
      const worker = new Worker<Message>(name, ({ data }) => take(data), {
        ...workerOptions,
        connection: connection(5),
        concurrency: fetchers,
      });
      worker.on('error', onError);
      await worker.waitUntilReady();
      return { close: () => worker.close() };
    },
    close: () => queue.close(),
  };
}

function masked(url: string): string {
  return url.replace(/\/\/[^@/]*@/, '//***@');
}
