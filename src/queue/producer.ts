// Pushes ready runs into the queue, lane by lane: first sends and all repairs in one statement, since the rows are the truth and
// the message only wakes. A message that is lost is sent again; one that comes twice claims nothing.

import { every, type Bell, type Clock, type Loop } from '../clock.ts';
import { seldom, type Log } from '../observe/log.ts';
import type { Message } from './transport.ts';

type Deps = {
  readonly clock: Clock;
  readonly log: Log;
  readonly runs: {
    readonly markSent: (now: Date, window: number, mostCatchup?: number, lane?: string) => Promise<readonly number[]>;
    readonly unmarkSent: (ids: readonly number[]) => Promise<void>;
    readonly waiting: (now: Date) => Promise<{ readyAt: Date | undefined; lanes: readonly string[] }>;
  };
  readonly send: (messages: readonly Message[], lane: string) => Promise<void>;
  /** How many living workers there are that serve a lane, and how many runs they take at a time in all. */
  readonly capacity: (lane: string) => { readonly workers: number; readonly slots: number };
  /** So many runs a second may be sent to catch up, less what is live. */
  readonly catchupPerSecond: number;
  /** Told in which lanes beside the one for all something waits. */
  readonly lanesWaiting: (lanes: readonly string[]) => void;
};

/** A worker fetches so many messages at a time. */
export const fetchersPerWorker = 8;

const longestSleepMs = 1000;
const mostInMessage = 100;

/** Dispatches until stopped; `bell` wakes it. */
export function startProducer(deps: Deps, bell: Bell): Loop {
  let allowance = deps.catchupPerSecond;
  let at = deps.clock.monotonic();
  const dispatchOn = async (): Promise<number> => {
    const elapsedMs = deps.clock.monotonic() - at;
    at += elapsedMs;
    allowance = Math.min(deps.catchupPerSecond, allowance + (deps.catchupPerSecond * elapsedMs) / 1000);
    const { sent, waitMs } = await dispatch(deps, Math.floor(allowance));
    allowance = Math.max(0, allowance - sent);
    return waitMs;
  };
  return every(deps.clock, dispatchOn, {
    bell,
    onFault: seldom(deps.clock, (fault, others) => deps.log.error({ err: fault, ...others }, 'dispatch_failed')),
  });
}

/** Sends what is ready, as far as it may lie in the queue; answers how many, and how many milliseconds the next look may wait. */
export async function dispatch(deps: Deps, mostCatchup?: number): Promise<{ sent: number; waitMs: number }> {
  const now = deps.clock.now();
  let sent = await dispatchLane(deps, '', now, mostCatchup);
  if (sent === undefined) return { sent: 0, waitMs: longestSleepMs };
  const { readyAt, lanes } = await deps.runs.waiting(now);
  if (lanes.length > 0) {
    deps.lanesWaiting(lanes);
    for (const lane of lanes) {
      const rest = mostCatchup === undefined ? undefined : Math.max(0, mostCatchup - sent);
      sent += (await dispatchLane(deps, lane, now, rest)) ?? 0;
    }
  }
  const waitMs = Math.min(longestSleepMs, Math.max(0, (readyAt?.getTime() ?? Infinity) - deps.clock.now().getTime()));
  return { sent, waitMs };
}

/** Sends what is ready in one lane; answers how many, nothing when nobody serves it. */
async function dispatchLane(deps: Deps, lane: string, now: Date, mostCatchup: number | undefined): Promise<number | undefined> {
  const { workers, slots } = deps.capacity(lane);
  if (workers === 0) return undefined;
  const ids = await deps.runs.markSent(now, 4 * slots, mostCatchup, lane);
  if (ids.length === 0) return 0;
  try {
    await deps.send(inMessages(ids, workers), lane);
  } catch (fault) {
    await deps.runs.unmarkSent(ids);
    throw fault;
  }
  return ids.length;
}

/** One run in a message when few are due, up to some dozens in a burst. */
export function inMessages(ids: readonly number[], workers: number): Message[] {
  const each = Math.min(mostInMessage, Math.ceil(ids.length / (2 * fetchersPerWorker * workers)));
  return Array.from({ length: Math.ceil(ids.length / each) }, (_, index) => ({ runs: ids.slice(index * each, (index + 1) * each) }));
}
