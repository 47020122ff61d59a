// What was started, to be stopped in reverse.

export type Stops = {
  readonly add: (stop: (atOnce: AbortSignal) => Promise<void>) => void;
  readonly run: (atOnce: AbortSignal) => Promise<void>;
};

/** What was started last stops first; one that fails does not keep the others. */
export function makeStops(): Stops {
  const stops: ((atOnce: AbortSignal) => Promise<void>)[] = [];
  return {
    add: (stop) => void stops.push(stop),
    run: async (atOnce) => {
      const faults: unknown[] = [];
      for (let stop = stops.pop(); stop; stop = stops.pop()) await stop(atOnce).catch((fault: unknown) => faults.push(fault));
      if (faults.length > 0) throw new AggregateError(faults, 'not everything could be stopped');
    },
  };
}

/** Does it when the signal aborts, or at once when it has. */
export function onceAborted(signal: AbortSignal, act: () => Promise<void>): void {
  if (signal.aborted) void act();
  else signal.addEventListener('abort', () => void act(), { once: true });
}
