// What was started, to be stopped in reverse.

import type { Clock } from './clock.ts';
import type { Log } from './observe/log.ts';

type Stop = (atOnce: AbortSignal) => Promise<unknown>;

export type Stops = {
  readonly add: (stop: Stop) => void;
  /**
   * Adds one that takes leave of a server, which may be away and need not hear of it: all of these together are waited for 5 seconds
   * at most, and what goes wrong is logged.
   */
  readonly addLeave: (stop: Stop) => void;
  readonly run: (atOnce: AbortSignal) => Promise<void>;
};

const leaveMs = 5000;

/** What was started last stops first; one that fails does not keep the others. */
export function makeStops({ clock, log }: { readonly clock: Clock; readonly log: Log }): Stops {
  const stops: Stop[] = [];
  const ended = new AbortController();
  let leftMs = leaveMs;

  const leave = async (stop: Stop, atOnce: AbortSignal): Promise<void> => {
    const begun = clock.monotonic();
    const left = stop(atOnce).catch((fault: unknown) => log.warn({ err: fault }, 'left_untold'));
    await Promise.race([left, clock.sleep(leftMs, ended.signal)]);
    leftMs -= clock.monotonic() - begun;
  };

  return {
    add: (stop) => void stops.push(stop),
    addLeave: (stop) => void stops.push((atOnce) => leave(stop, atOnce)),
    run: async (atOnce) => {
      const faults: unknown[] = [];
      for (let stop = stops.pop(); stop; stop = stops.pop()) await stop(atOnce).catch((fault: unknown) => faults.push(fault));
      ended.abort();
      if (faults.length > 0) throw new AggregateError(faults, 'not everything could be stopped');
    },
  };
}

/** Does it when the signal aborts, or at once when it has. */
export function onceAborted(signal: AbortSignal, act: () => Promise<void>): void {
  if (signal.aborted) void act();
  else signal.addEventListener('abort', () => void act(), { once: true });
}
