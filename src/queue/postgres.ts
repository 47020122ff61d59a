// Messages by BullMQ on PostgreSQL, for who has no Redis.

import { createPostgresBackend, runMigrations, withBackend } from 'bullmq';
import pg from 'pg';
import { seldom } from '../observe/log.ts';
import {
  consumerOf,
  messageName,
  messageOptions,
  patienceMs,
  queueName,
  remembering,
  watchSending,
  within,
  workerOptions,
  type Backend,
  type Message,
  type Options,
} from './transport.ts';

const { Queue, Worker } = withBackend(createPostgresBackend);

// A lane of its own has few messages: an idle one looks seldom (a NOTIFY wakes it) and keeps one connection.
const quietLane = { drainDelay: 30 };

/** Opens the queue. */
export async function openPostgres(options: Options): Promise<Backend> {
  const { databaseUrl, installation, clock, log } = options;
  const sending = watchSending(options, 'PostgreSQL');
  const onError = seldom(clock, (fault, others) => log.warn({ err: fault, ...others }, 'connection_failed'));
  const connection = (max: number) => ({
    connectionString: databaseUrl,
    max,
    connectionTimeoutMillis: patienceMs,
    query_timeout: 10_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
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

  // Connections that are not used for ten seconds end: a lane in which nothing is sent has none.
  const makeQueue = (lane: string) => {
    const queue = new Queue<Message>(queueName(installation, lane), {
      connection: connection(lane === '' ? 2 : 1),
      defaultJobOptions: messageOptions,
    });
    queue.on('error', onError);
    return queue;
  };
  const queues = new Map<string, ReturnType<typeof makeQueue>>();
  const queueOf = async (lane: string) => {
    const known = queues.get(lane);
    if (known) return known;
    // One that was made while PostgreSQL did not answer never recovers.
    const queue = makeQueue(lane);
    try {
      await within(patienceMs, queue.waitUntilReady(), 'PostgreSQL');
    } catch (fault) {
      queue.close().catch(onError);
      throw fault;
    }
    queues.set(lane, queue);
    return queue;
  };
  await queueOf('');

  return {
    kind: 'postgres',
    trouble: sending.trouble,
    send: async (messages, lane = '') => {
      try {
        const queue = await queueOf(lane);
        await queue.addBulk(messages.map((data) => ({ name: messageName, data })));
      } catch (fault) {
        sending.failed(fault);
        throw fault;
      }
      sending.worked();
    },
    consume: async (lane, take, fetchers) => {
      const { process, taking } = remembering(take);
      const worker = new Worker<Message>(queueName(installation, lane), process, {
        ...workerOptions,
        ...(lane === '' ? {} : quietLane),
        connection: connection(lane === '' ? 5 : 2),
        concurrency: fetchers,
      });
      worker.on('error', onError);
      const ready = worker.waitUntilReady();
      ready.catch(onError);
      await within(patienceMs, ready, 'PostgreSQL').catch(onError);
      return consumerOf({ worker, taking, onError, hangUp: () => undefined });
    },
    close: async () => {
      const closed = Promise.all([...queues.values()].map((queue) => queue.close()));
      await within(patienceMs, closed, 'PostgreSQL').catch(onError);
    },
  };
}
