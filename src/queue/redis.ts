// Messages by BullMQ on Redis or Valkey. Redis is speed, never truth: it may be away, now or later, and is used again when it
// is back.

import { createRedisBackend, withBackend } from 'bullmq';
import { Redis } from 'ioredis';
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

const { Queue, Worker } = withBackend(createRedisBackend);

const retryStrategy = (times: number): number => Math.min(times * 100, 2000);
// A Redis that hangs is given up before the look for runs that wait for it.
const sendingMs = 3000;

/** Opens the queue, and waits some seconds for Redis to be there. */
export async function openRedis(options: Options, url: string): Promise<Backend> {
  const { installation, clock, log } = options;
  const sending = watchSending(options, masked(url));
  const onError = seldom(clock, (fault, others) => log.warn({ err: fault, ...others }, 'connection_failed'));

  // A producer must not wait: by default an add hangs while Redis is down and lands whenever it is back.
  const producing = new Redis(url, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 1,
    autoResendUnfulfilledCommands: false,
    commandTimeout: patienceMs,
    lazyConnect: true,
    retryStrategy,
  });
  let isClosing = false;
  const hungUp = new Error('Redis has hung up');
  let lastFault: unknown = hungUp;
  // The first of a connection says why; what comes after it is but the hanging up.
  let isFirst = true;
  producing.on('connecting', () => {
    isFirst = true;
  });
  producing.on('error', (fault) => {
    if (isFirst) lastFault = explained(fault);
    isFirst = false;
    onError(fault);
  });
  producing.on('close', () => {
    if (!isClosing) sending.failed(lastFault);
  });
  producing.on('ready', () => {
    lastFault = hungUp;
    sending.worked();
  });
  await within(patienceMs, producing.connect(), 'Redis').catch((fault: unknown) => {
    sending.failed(producing.status === 'connect' ? fault : lastFault);
  });

  const makeQueue = (lane: string) => {
    const queue = new Queue<Message>(queueName(installation, lane), {
      connection: producing,
      defaultJobOptions: messageOptions,
      skipVersionCheck: true,
    });
    queue.on('error', onError);
    return queue;
  };
  const queues = new Map<string, ReturnType<typeof makeQueue>>();
  const queueOf = (lane: string) => {
    const queue = queues.get(lane) ?? makeQueue(lane);
    queues.set(lane, queue);
    return queue;
  };

  return {
    kind: 'redis',
    trouble: sending.trouble,
    send: async (messages, lane = '') => {
      try {
        if (producing.status !== 'ready') throw lastFault;
        const added = queueOf(lane).addBulk(messages.map((data) => ({ name: messageName, data })));
        await within(sendingMs, added, 'Redis').catch((fault: unknown) => {
          added.catch(onError);
          // A silent connection is given up; until another is there, the next try need not wait.
          if (producing.status === 'ready' && isSilence(fault)) producing.disconnect(true);
          throw fault;
        });
      } catch (fault) {
        sending.failed(fault);
        throw fault;
      }
      sending.worked();
    },
    consume: async (lane, take, fetchers) => {
      const connection = new Redis(url, { maxRetriesPerRequest: null, retryStrategy });
      connection.on('error', onError);
      const { process, taking } = remembering(take);
      const worker = new Worker<Message>(queueName(installation, lane), process, {
        ...workerOptions,
        connection,
        concurrency: fetchers,
        skipVersionCheck: true,
      });
      worker.on('error', onError);
      const ready = worker.waitUntilReady();
      // With Redis away it is ready when that is back.
      if (sending.trouble()) ready.catch(onError);
      else await within(patienceMs, ready, 'Redis').catch(onError);
      return consumerOf({ worker, taking, onError, hangUp: () => connection.disconnect() });
    },
    close: async () => {
      isClosing = true;
      const closed = Promise.all([...queues.values()].map((queue) => queue.close()));
      await within(patienceMs, closed, 'Redis').catch(onError);
      producing.disconnect();
    },
  };
}

/** A server that speaks something else is told of by the byte that was none of Redis'. */
function explained(fault: Error): Error {
  if (!fault.message.includes('RESP type')) return fault;
  return new Error('expected a Redis or Valkey server, something else answers', { cause: fault });
}

function isSilence(fault: unknown): boolean {
  return fault instanceof Error && /timed out|did not answer/.test(fault.message);
}

function masked(url: string): string {
  return url.replace(/\/\/[^@/]*@/, '//***@');
}
