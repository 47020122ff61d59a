// How long the event loop was kept from its work: by a computation, a process that was stopped, a machine that is overloaded.

import { monitorEventLoopDelay } from 'node:perf_hooks';
import { every, type Clock } from '../clock.ts';

export type LoopLag = {
  /** The longest that it was kept, within about the last minute. */
  readonly worstMs: () => number;
  readonly stop: () => Promise<void>;
};

const resolutionMs = 20;
const everyMs = 10_000;
const kept = 6;

/** Watches the event loop of this process until stopped. */
export function watchLoopLag(clock: Clock): LoopLag {
  const histogram = monitorEventLoopDelay({ resolution: resolutionMs });
  histogram.enable();
  const now = (): number => Math.max(0, histogram.max / 1e6 - resolutionMs);
  const worst: number[] = [];
  const step = (): Promise<number> => {
    worst.push(now());
    if (worst.length > kept) worst.shift();
    histogram.reset();
    return Promise.resolve(everyMs);
  };
  const loop = every(clock, step, { onFault: () => undefined });
  return {
    worstMs: () => Math.round(Math.max(now(), ...worst)),
    stop: async () => {
      histogram.disable();
      await loop.stop();
    },
  };
}
