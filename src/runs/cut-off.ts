// `on_cut_off = "kill"`: a node that can't tell that it lives is called lost in the end, and its runs may begin elsewhere. It ends its
// own before that, so that none of them ever runs twice at a time.

import { every, type Clock, type Loop } from '../clock.ts';
import { leaseMs } from '../node/heartbeat.ts';
import type { Log } from '../observe/log.ts';

type Deps = {
  readonly clock: Clock;
  readonly log: Log;
  /** When the last beat that was answered was sent, in monotonic milliseconds: from then on at the earliest others count the lease. */
  readonly lastBeatAt: () => number;
  /** Tells all attempts to stop. */
  readonly interruptAll: () => void;
  /** Ends what is left of them, whatever it does about it. */
  readonly killAll: () => Promise<unknown>;
};

// So long before the lease is over attempts are told to stop, and so long before it they are killed, whatever their kill_grace is.
const stopBeforeMs = 20_000;
const killBeforeMs = 5000;
const lookMs = 1000;

/** Watches until stopped. */
export function startCutOffWatch(deps: Deps): Loop {
  let told = -1;
  return every(
    deps.clock,
    async () => {
      const lastBeatAt = deps.lastBeatAt();
      const leftMs = leaseMs - (deps.clock.monotonic() - lastBeatAt);
      if (leftMs > stopBeforeMs) return Math.min(leftMs - stopBeforeMs, lookMs);
      if (told !== lastBeatAt) deps.log.error({ lease_left_ms: Math.round(leftMs) }, 'cut_off');
      told = lastBeatAt;
      deps.interruptAll();
      if (leftMs <= killBeforeMs) await deps.killAll();
      return lookMs;
    },
    { onFault: (fault) => deps.log.error({ err: fault }, 'cut_off_failed') },
  );
}
