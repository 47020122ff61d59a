// How this node does: gathers what readiness.ts decides on, and tells in the log what begins to be wrong and what ends to be.

import { every, type Clock, type Loop } from '../clock.ts';
import type { ClockState } from './clock-guard.ts';
import type { Log } from '../observe/log.ts';
import { readinessOf, type QueueState, type Readiness, type Seen } from './readiness.ts';

export type HealthDeps = {
  readonly clock: Clock;
  readonly log: Log;
  /** Rejects when the database does not answer in a short time. */
  readonly look: () => Promise<{ readonly schema: 'ok' | 'older' | 'newer'; readonly ready: number; readonly oldestReadyMs: number }>;
  readonly clockState: () => { readonly state: ClockState; readonly aheadMs: number };
  readonly queue: () => QueueState;
  readonly loopLagMs: () => number;
  readonly isDraining: () => boolean;
  readonly slots: number;
  readonly busy: () => number;
};

export type Health = {
  /** How it stands now. Who asks while somebody else does gets the same answer, so that probes can't load the database. */
  readonly look: () => Promise<Readiness>;
  /** From now on it is not ready. */
  readonly stopping: () => void;
  readonly start: () => void;
  readonly stop: () => Promise<void>;
};

const everyMs = 5000;

/** Makes it; it looks by itself, for the log, once it is started. */
export function makeHealth(deps: HealthDeps): Health {
  let isStopping = false;
  let underWay: Promise<Readiness> | undefined;
  let told: readonly string[] = [];
  let loop: Loop | undefined;

  const gather = async (): Promise<Readiness> => {
    let fault: unknown;
    const seen = await seenBy(deps, (thrown) => (fault = thrown));
    const readiness = readinessOf({ ...seen, isStopping });
    const wrong = [...readiness.not_ready.filter((name) => name !== 'stopping'), ...readiness.degraded];
    const isKnown = readiness.checks.database.answers;
    // What only the database knows is as it was as long as that is away.
    const same = isKnown ? [] : told.filter((name) => name === 'schema' || name === 'backlog');
    tell(deps.log, told, [...wrong, ...same], { ...readiness.checks, database: { ...readiness.checks.database, err: fault } });
    told = [...wrong, ...same];
    return readiness;
  };

  const look = (): Promise<Readiness> => {
    underWay ??= gather().finally(() => (underWay = undefined));
    return underWay;
  };

  return {
    look,
    stopping: () => {
      isStopping = true;
    },
    start: () => {
      const step = async (): Promise<number> => {
        await look();
        return everyMs;
      };
      loop = every(deps.clock, step, { onFault: (fault) => deps.log.error({ err: fault }, 'health_look_failed') });
    },
    stop: async () => await loop?.stop(),
  };
}

async function seenBy(deps: HealthDeps, onFault: (fault: unknown) => void): Promise<Omit<Seen, 'isStopping'>> {
  const begun = deps.clock.monotonic();
  const answer = await deps.look().catch((fault: unknown) => {
    onFault(fault);
    return undefined;
  });
  return {
    database: answer && { ...answer, answeredMs: Math.round(deps.clock.monotonic() - begun) },
    isDraining: deps.isDraining(),
    queue: deps.queue(),
    loopLagMs: deps.loopLagMs(),
    clock: deps.clockState(),
    slots: deps.slots,
    busy: deps.busy(),
  };
}

/** One line for what begins, and one for what ends. */
function tell(log: Log, before: readonly string[], now: readonly string[], figures: Readonly<Record<string, object>>): void {
  for (const name of now) if (!before.includes(name)) log.warn({ degraded: name, ...figures[name] }, 'degraded');
  for (const name of before) if (!now.includes(name)) log.info({ degraded: name, ...figures[name] }, 'degraded_no_more');
}
