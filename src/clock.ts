// The only source of time. A step takes `clock.now()` once and passes it on; `every` is the one background loop.

import { setTimeout as delay } from 'node:timers/promises';

export type Clock = {
  /** Wall-clock time. */
  readonly now: () => Date;
  /** Milliseconds that only go forward; for how long something took or has been silent. */
  readonly monotonic: () => number;
  /** Resolves after so many milliseconds, or at once (without throwing) when the signal aborts. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
};

// setTimeout beyond this many milliseconds fires at once.
const longestTimer = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => new Date(),
  monotonic: () => performance.now(),
  sleep: async (ms, signal) => {
    const wait = delay(Math.min(Math.max(ms, 0), longestTimer), undefined, { signal });
    await wait.catch(() => undefined);
  },
};

/** A bell: whoever waits in `rung` is woken by `ring`, also by a ring that came before it waited. */
export type Bell = {
  readonly ring: () => void;
  /** Waits for a ring, for `ms` at most, or until the signal aborts. */
  readonly rung: (ms: number, signal: AbortSignal) => Promise<void>;
};

/** Makes a bell on a clock. */
export function makeBell(clock: Clock): Bell {
  let pending = false;
  let wake = new AbortController();
  return {
    ring: () => {
      pending = true;
      wake.abort();
    },
    rung: async (ms, signal) => {
      if (!pending) await clock.sleep(ms, AbortSignal.any([signal, wake.signal]));
      pending = false;
      wake = new AbortController();
    },
  };
}

export type Loop = { readonly stop: () => Promise<void> };

/**
 * Does `step` again and again until stopped. A step answers how many milliseconds to wait for the next one; `bell` cuts the
 * wait short. A step that throws is told to `onFault` and tried again after a back-off of 100 ms to 5 s.
 */
export function every(
  clock: Clock,
  step: (signal: AbortSignal) => Promise<number>,
  options: { readonly onFault: (fault: unknown) => void; readonly bell?: Bell },
): Loop {
  const stopping = new AbortController();
  const { signal } = stopping;
  const run = async (): Promise<void> => {
    let faults = 0;
    while (!signal.aborted) {
      let wait: number;
      try {
        wait = await step(signal);
        faults = 0;
      } catch (fault) {
        if (signal.aborted) return;
        options.onFault(fault);
        wait = Math.min(100 * 2 ** faults++, 5000);
        // A bell that rings all the time must not turn a lasting fault into a busy loop.
        await clock.sleep(wait, signal);
        continue;
      }
      if (options.bell) await options.bell.rung(wait, signal);
      else await clock.sleep(wait, signal);
    }
  };
  const running = run();
  return {
    stop: async () => {
      stopping.abort();
      await running;
    },
  };
}
