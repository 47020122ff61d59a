// What every way of messages has in common: what it carries and offers, what its queues are called, and how long it may take.
// Nothing in a message is believed but the ids of runs; any of them may get lost and no run is lost.

import { createHash } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { messageOf } from '../errors.ts';
import type { Log } from '../observe/log.ts';
import { takeOut } from '../under-way.ts';

/** What lies in the queue: the ids of one or more runs. */
export type Message = { readonly runs: readonly number[] };

export type Take = (message: Message) => Promise<void>;

/** The way of messages from producers to consumers. */
export type Backend = {
  readonly kind: 'redis' | 'postgres';
  /** Puts messages into the queue of a lane; rejects within seconds when it can't. */
  readonly send: (messages: readonly Message[], lane?: string) => Promise<void>;
  /** Hands each message of a lane to `take`, at most `fetchers` at a time, until closed. */
  readonly consume: (lane: string, take: Take, fetchers: number) => Promise<Consumer>;
  /** What keeps messages from being sent, as far as is known. */
  readonly trouble: () => Trouble | undefined;
  readonly close: () => Promise<void>;
};

export type Consumer = {
  /** Fetches no more, and waits for what is being taken; not for a server that does not answer. */
  readonly close: () => Promise<void>;
  /** Fetches no more and hangs up at once; what is being taken goes on. */
  readonly drop: () => void;
};

export type Trouble = { readonly since: Date; readonly reason: string };

export type Options = {
  readonly redisUrl: string | undefined;
  readonly databaseUrl: string;
  /** Names this installation: two on one Redis do not meet. */
  readonly installation: string;
  readonly clock: Clock;
  readonly log: Log;
};

// Retries, priorities and delays are ours: a message is one push, gone once its runs are claimed.
export const messageOptions = { attempts: 1, removeOnComplete: true, removeOnFail: true };
// Locks are no safety device here (the claim in PostgreSQL is), so they may be long.
export const workerOptions = { runRetryDelay: 1000, lockDuration: 60_000, stalledInterval: 60_000, maxStalledCount: 1 };
export const messageName = 'runs';

/** So long a server may take to be there, and to take messages. */
export const patienceMs = 5000;
const closingMs = 2000;

/** What the queue of a lane is called: the lane in words where they are safe for every server, else their digest. */
export function queueName(installation: string, lane: string): string {
  const name = `belfry-${installation}`;
  if (lane === '') return name;
  const words = lane.replace(':', '-');
  return /^[A-Za-z0-9_.-]{1,60}$/.test(words)
    ? `${name}-${words}`
    : `${name}-lane_${createHash('sha256').update(lane).digest('hex').slice(0, 32)}`;
}

/** Knows whether messages can be sent, and tells when that changes. */
export function watchSending({ clock, log }: Pick<Options, 'clock' | 'log'>, queue: string) {
  let trouble: Trouble | undefined;
  return {
    trouble: () => trouble,
    failed: (fault: unknown): void => {
      if (trouble) return;
      trouble = { since: clock.now(), reason: reasonOf(fault) };
      log.warn({ queue, reason: trouble.reason }, 'queue_unavailable');
    },
    worked: (): void => {
      if (!trouble) return;
      log.info({ queue, away_ms: clock.now().getTime() - trouble.since.getTime() }, 'queue_available');
      trouble = undefined;
    },
  };
}

/** Of several addresses that were tried Node tells in an error without a message. */
function reasonOf(fault: unknown): string {
  const inside: unknown = fault instanceof AggregateError && fault.message === '' ? fault.errors[0] : fault;
  return messageOf(inside);
}

/** What the promise comes to; rejects when that takes longer than `ms`. */
export async function within<T>(ms: number, work: Promise<T>, who: string): Promise<T> {
  const over = Promise.withResolvers<never>();
  const timer = setTimeout(() => over.reject(new Error(`${who} did not answer within ${ms} ms`)), ms);
  try {
    return await Promise.race([work, over.promise]);
  } finally {
    clearTimeout(timer);
  }
}

type Listening = {
  readonly worker: { readonly close: (force?: boolean) => Promise<void>; readonly waitUntilReady: () => Promise<void> };
  readonly taking: readonly Promise<void>[];
  readonly hangUp: () => void;
  readonly onError: (fault: unknown) => void;
};

/** Makes a consumer of a BullMQ worker; `taking` is what is being taken just now. */
export function consumerOf({ worker, taking, hangUp, onError }: Listening): Consumer {
  return {
    close: async () => {
      const closed = worker.close();
      while (taking.length > 0) await Promise.allSettled(taking);
      await within(closingMs, closed, 'the queue').catch(onError);
      closed.catch(onError);
      hangUp();
    },
    drop: () => {
      worker.close(true).catch(onError);
      hangUp();
    },
  };
}

/** A processor that remembers what it is at. */
export function remembering(take: Take): {
  readonly process: (job: { data: Message }) => Promise<void>;
  readonly taking: readonly Promise<void>[];
} {
  const taking: Promise<void>[] = [];
  return {
    taking,
    process: async ({ data }) => {
      const took = take(data);
      taking.push(took);
      try {
        await took;
      } finally {
        takeOut(taking, took);
      }
    },
  };
}
