// What a node says of its health. Pure: what was seen goes in, the answer of /readyz comes out.

import type { ClockState } from './clock-guard.ts';

/** How the queue does. `silent`: it takes messages and none comes back. */
export type QueueState = 'ok' | 'silent' | 'unavailable';

/** What was seen of a node. */
export type Seen = {
  readonly isStopping: boolean;
  /** It was told to take nothing more. */
  readonly isDraining: boolean;
  /** Undefined: the database did not answer in time. */
  readonly database:
    | { readonly answeredMs: number; readonly schema: 'ok' | 'older' | 'newer'; readonly ready: number; readonly oldestReadyMs: number }
    | undefined;
  readonly queue: QueueState;
  readonly loopLagMs: number;
  readonly clock: { readonly state: ClockState; readonly aheadMs: number };
  readonly slots: number;
  readonly busy: number;
};

/** What can be wrong: with work going on all the same, or not. */
export type Degraded = 'schema' | 'queue' | 'loop' | 'clock' | 'backlog';
export type Hindrance = 'database' | 'stopping' | 'draining';

/** The answer of /readyz, word for word. `null` is what could not be seen. */
export type Readiness = {
  readonly status: 'ready' | 'degraded' | 'not_ready';
  readonly degraded: readonly Degraded[];
  readonly not_ready: readonly Hindrance[];
  readonly checks: {
    readonly database: { readonly answers: boolean; readonly ms: number | null };
    readonly schema: { readonly state: 'ok' | 'older' | 'newer' | null };
    readonly queue: { readonly state: QueueState };
    readonly loop: { readonly worst_ms: number };
    readonly clock: { readonly state: ClockState; readonly ahead_ms: number };
    readonly backlog: { readonly ready: number | null; readonly is_more: boolean; readonly oldest_ms: number | null };
    readonly worker: { readonly slots: number; readonly busy: number };
  };
};

/** Kept from its work for longer, the event loop makes everything else late. */
const loopLagMs = 1000;
/** Runs that wait longer to begin, or more of them, are a backlog. */
const backlogMs = 60_000;
const backlogRuns = 10_000;

/** Decides. */
export function readinessOf(seen: Seen): Readiness {
  const hindrances = hindrancesOf(seen);
  const degraded = degradedOf(seen);
  return {
    status: statusOf(hindrances, degraded),
    degraded,
    not_ready: hindrances,
    checks: checksOf(seen),
  };
}

function statusOf(hindrances: readonly Hindrance[], degraded: readonly Degraded[]): Readiness['status'] {
  if (hindrances.length > 0) return 'not_ready';
  return degraded.length > 0 ? 'degraded' : 'ready';
}

function hindrancesOf({ database, isStopping, isDraining }: Seen): Hindrance[] {
  const isSo: Record<Hindrance, boolean> = { database: database === undefined, stopping: isStopping, draining: isDraining };
  return namesOf(isSo);
}

function degradedOf({ database, queue, loopLagMs: lagMs, clock }: Seen): Degraded[] {
  const isSo: Record<Degraded, boolean> = {
    schema: database !== undefined && database.schema !== 'ok',
    queue: queue !== 'ok',
    loop: lagMs > loopLagMs,
    clock: clock.state !== 'right',
    backlog: database !== undefined && (database.oldestReadyMs > backlogMs || database.ready > backlogRuns),
  };
  return namesOf(isSo);
}

function checksOf({ database, queue, loopLagMs: lagMs, clock, slots, busy }: Seen): Readiness['checks'] {
  const ready = database && Math.min(database.ready, backlogRuns);
  return {
    database: { answers: database !== undefined, ms: database?.answeredMs ?? null },
    schema: { state: database?.schema ?? null },
    queue: { state: queue },
    loop: { worst_ms: lagMs },
    clock: { state: clock.state, ahead_ms: clock.aheadMs },
    backlog: {
      ready: ready ?? null,
      is_more: database !== undefined && database.ready > backlogRuns,
      oldest_ms: database ? Math.round(database.oldestReadyMs) : null,
    },
    worker: { slots, busy },
  };
}

function namesOf<Name extends string>(isSo: Record<Name, boolean>): Name[] {
  return (Object.keys(isSo) as Name[]).filter((name) => isSo[name]);
}
