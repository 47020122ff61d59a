// The pulse of a node: a thread of its own raises the beat on a connection of its own, so that neither a busy event loop nor a
// busy pool keeps it waiting. It beats for a main thread that lives: without a sign of that for two minutes it falls silent.

import { once } from 'node:events';
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';

/** What the main thread says of itself: whose beat it is, and how many slots are taken. */
export type Sign = { readonly incarnation: number; readonly busy: number };

export type PulseEvents = {
  /** A beat was answered that was sent so many milliseconds ago. */
  readonly beaten: (agoMs: number) => void;
  /** This incarnation has ended, whoever said so; told again until there is a sign of another. */
  readonly lost: (incarnation: number) => void;
  /** Told once when it can't beat any more, which it goes on trying, and when the thread ended, which is started anew. */
  readonly failed: (fault: unknown) => void;
};

export type Pulse = {
  /** A sign of life, to be given about every second; for another incarnation than the last it beats at once. */
  readonly live: (sign: Sign) => void;
  /** Resolves when the last beat has been raised and the connection is gone. */
  readonly stop: () => Promise<void>;
};

type Options = {
  readonly url: string;
  readonly applicationName: string;
  readonly everyMs?: number;
  /** So long without a sign of life, and it falls silent. */
  readonly silentAfterMs?: number;
};

export type ThreadOptions = Required<Options> & { readonly sign: Sign };
export type ToThread = Sign | 'stop';
/** `beaten` is when the beat was sent, by the clock that all threads of a process share. */
export type FromThread = { readonly beaten: bigint } | { readonly lost: number } | { readonly failed: string };

const beatEveryMs = 10_000;
const deafAfterMs = 120_000;
const anewAfterMs = 1000;
const stopWithinMs = 2000;

// Of the source as of what is built from it: a URL is nothing that the compiler rewrites.
const threadUrl = new URL(`./pulse-thread${extname(import.meta.url)}`, import.meta.url);

/** Starts the thread, which beats at once. */
export function startPulse(
  { url, applicationName, everyMs = beatEveryMs, silentAfterMs = deafAfterMs }: Options,
  first: Sign,
  { beaten, lost, failed }: PulseEvents,
): Pulse {
  let sign = first;
  let isStopping = false;
  let anew: NodeJS.Timeout | undefined;
  let thread = begin();

  function begin(): Worker {
    const given: ThreadOptions = { url, applicationName, everyMs, silentAfterMs, sign };
    const begun = new Worker(threadUrl, { workerData: given });
    begun.on('message', (said: FromThread) => {
      if ('beaten' in said) beaten(Number(process.hrtime.bigint() - said.beaten) / 1e6);
      else if ('lost' in said) lost(said.lost);
      else failed(new Error(said.failed));
    });
    begun.on('error', failed);
    begun.on('exit', (code) => {
      if (isStopping) return;
      failed(new Error(`the thread of the heartbeat ended (${code})`));
      anew = setTimeout(() => (thread = begin()), anewAfterMs);
    });
    return begun;
  }

  const tell = (message: ToThread): void => thread.postMessage(message, []);
  return {
    live: (latest) => {
      sign = latest;
      tell(sign);
    },
    stop: async () => {
      isStopping = true;
      clearTimeout(anew);
      // Of one that has ended already nothing comes any more; `terminate` answers all the same.
      const ended = once(thread, 'exit');
      tell('stop');
      const late = setTimeout(() => void thread.terminate(), stopWithinMs);
      if (thread.threadId !== -1) await ended;
      clearTimeout(late);
    },
  };
}
