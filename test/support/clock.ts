// A clock that stands still until it is set.

import type { Bell, Clock } from '../../src/clock.ts';

export type StandingClock = Clock & {
  /** Lets time go on: wall clock and monotonic time together; whoever slept until then wakes. */
  readonly pass: (ms: number) => void;
  /** Puts the wall clock to a moment; monotonic time and sleepers know nothing of it. */
  readonly set: (now: Date) => void;
  /** Resolves when somebody sleeps, or somebody sleeps for so many milliseconds; now, or from some time on. */
  readonly asleep: (ms?: number) => Promise<void>;
};

type Sleeper = { readonly ms: number; readonly until: number; readonly wake: () => void };

/** Makes one. */
export function standingClock(start = new Date('2100-01-01T12:00:00Z')): StandingClock {
  let wall = start.getTime();
  let monotonic = 0;
  const sleepers = new Set<Sleeper>();
  const watchers = new Set<() => void>();
  return {
    now: () => new Date(wall),
    monotonic: () => monotonic,
    sleep: (ms, signal) =>
      new Promise((resolve) => {
        const wake = (): void => {
          sleepers.delete(sleeper);
          signal.removeEventListener('abort', wake);
          resolve();
        };
        const sleeper = { ms, until: monotonic + ms, wake };
        if (ms <= 0 || signal.aborted) return resolve();
        sleepers.add(sleeper);
        signal.addEventListener('abort', wake);
        for (const look of watchers) look();
      }),
    pass: (ms) => {
      wall += ms;
      monotonic += ms;
      for (const { until, wake } of sleepers) if (until <= monotonic) wake();
    },
    set: (now) => {
      wall = now.getTime();
    },
    asleep: (ms) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (![...sleepers].some((each) => ms === undefined || each.ms === ms)) return;
          watchers.delete(look);
          resolve();
        };
        watchers.add(look);
        look();
      }),
  };
}

/** Whether a bell on this clock was rung since somebody waited for it last. */
export async function hasRung(bell: Bell, clock: StandingClock): Promise<boolean> {
  const over = new AbortController();
  const rung = bell.rung(1, over.signal).then(() => true);
  const hasNot = clock.asleep(1).then(() => false);
  const answer = await Promise.race([rung, hasNot]);
  over.abort();
  return answer;
}
