// Without the queue nothing stops: when runs that this node may take stay ready for seconds while it has free slots and no
// message comes, it claims them straight from PostgreSQL, and has the queue listened to anew. Where messages come, however
// long the backlog is, it does nothing but look.

import { every, type Clock, type Loop } from '../clock.ts';
import type { QueueState } from '../node/readiness.ts';
import type { Log } from '../observe/log.ts';

type Deps = {
  readonly clock: Clock;
  readonly log: Log;
  readonly runs: {
    readonly readySince: (lanes: readonly string[], before: Date, limit: number, mostCatchup: number) => Promise<readonly number[]>;
  };
  /** What this node may run now; none: it takes nothing. */
  readonly lanes: () => readonly string[];
  readonly freeSlots: () => number;
  /** Claims and starts runs, and answers when there is a free slot again. */
  readonly take: (ids: readonly number[]) => Promise<void>;
  /** Has the queue listened to anew, on new connections. */
  readonly relisten: () => void;
  /** What keeps messages from being sent, as far as is known. */
  readonly trouble: () => { readonly since: Date; readonly reason: string } | undefined;
  /** So many runs a second this node may take to catch up. */
  readonly catchupPerSecond: () => number;
};

/** How the queue does, since when, and why as far as is known. */
export type QueueSeen = { readonly state: QueueState; readonly since: Date; readonly reason?: string };

export type Fallback = Loop & {
  /** A message has come. */
  readonly heard: () => void;
  readonly state: () => QueueSeen;
};

const lookMs = 1000;
const silentLookMs = 500;
// Quiet for so long, with runs that are ready: seen at one look as old as two seconds, and at the next still there.
const quietMs = 3000;
const readyForMs = 2000;
// In silence that is known. A message, if they come again, is faster.
const readyInSilenceMs = 1000;
const mostAtOnce = 500;
const firstRelistenMs = 10_000;
const longestRelistenMs = 60_000;
// Nothing has waited for so long: whether messages come is not known, and there is nothing to worry about.
const calmMs = 60_000;

/** Looks until stopped. */
export function startFallback(deps: Deps): Fallback {
  const { clock, log } = deps;
  let quietSince = clock.monotonic();
  let stateSince = clock.now();
  let seen: ReadonlySet<number> = new Set();
  let silence: { readonly begun: number; taken: number; waitedAt: number } | undefined;
  let relistened = { at: -Infinity, againMs: firstRelistenMs };
  let catchup = { allowed: 0, at: clock.monotonic() };
  // Looks one right after the other, and what was taken in them.
  let pass: { readonly begun: number; readonly tried: ReadonlySet<number> } | undefined;

  const allowedToCatchUp = (): number => {
    const now = clock.monotonic();
    const rate = deps.catchupPerSecond();
    const allowed = Math.min(Math.max(rate, 1), catchup.allowed + (rate * (now - catchup.at)) / 1000);
    catchup = { allowed: allowed - Math.floor(allowed), at: now };
    return Math.floor(allowed);
  };
  const readySince = (ms: number, limit: number, mostCatchup: number) =>
    deps.runs.readySince(deps.lanes(), new Date(clock.now().getTime() - ms), limit, mostCatchup);

  const end = (event: 'queue_heard' | 'queue_calm'): void => {
    if (!silence) return;
    log.info({ silent_ms: Math.round(clock.monotonic() - silence.begun), taken: silence.taken }, event);
    silence = undefined;
    stateSince = clock.now();
  };

  /** Whether runs wait for messages that do not come. */
  const isSilent = async (): Promise<boolean> => {
    const before = seen;
    seen = new Set();
    if (clock.monotonic() - quietSince < readyForMs) return false;
    // Nobody sends what is to be caught up with while it can't be sent.
    seen = new Set(await readySince(readyForMs, 100, deps.trouble() ? 1 : 0));
    return [...seen].some((id) => before.has(id)) && clock.monotonic() - quietSince >= quietMs;
  };

  const relisten = (): void => {
    const now = clock.monotonic();
    if (now - relistened.at < relistened.againMs) return;
    relistened = { at: now, againMs: Math.min(relistened.againMs * 2, longestRelistenMs) };
    deps.relisten();
  };

  const look = async (): Promise<number> => {
    const free = deps.freeSlots();
    if (free === 0 || deps.lanes().length === 0) {
      quietSince = clock.monotonic();
      seen = new Set();
      return lookMs;
    }
    if (!silence) {
      if (!(await isSilent())) return lookMs;
      silence = { begun: clock.monotonic(), taken: 0, waitedAt: clock.monotonic() };
      stateSince = clock.now();
      relistened = { ...relistened, againMs: firstRelistenMs };
      log.warn({ waiting: seen.size, reason: deps.trouble()?.reason }, 'queue_silent');
    }
    return await takeStraight(silence, free);
  };

  const takeStraight = async (during: NonNullable<typeof silence>, free: number): Promise<number> => {
    const limit = Math.min(free, mostAtOnce);
    const { begun, tried } = pass ?? { begun: clock.monotonic(), tried: new Set<number>() };
    const ready = await readySince(readyInSilenceMs, limit + tried.size, allowedToCatchUp());
    // Ready still, it could not be claimed: it must hide nothing that can, and make nobody look for ever.
    const refused = ready.filter((id) => tried.has(id));
    const ids = ready.filter((id) => !tried.has(id)).slice(0, limit);
    const isOver = ids.length < limit || (refused.length > 0 && clock.monotonic() - begun >= lookMs);
    pass = isOver ? undefined : { begun, tried: new Set([...refused, ...ids]) };
    if (ready.length === 0) {
      if (!deps.trouble() && clock.monotonic() - during.waitedAt >= calmMs) end('queue_calm');
      return silentLookMs;
    }
    during.waitedAt = clock.monotonic();
    during.taken += ids.length;
    relisten();
    if (ids.length > 0) await deps.take(ids);
    return isOver ? silentLookMs : 0;
  };

  const loop = every(clock, look, { onFault: (fault) => log.error({ err: fault }, 'fallback_failed') });
  return {
    ...loop,
    heard: () => {
      quietSince = clock.monotonic();
      end('queue_heard');
    },
    state: () => {
      const trouble = deps.trouble();
      if (trouble) return { state: 'unavailable', ...trouble };
      return { state: silence ? 'silent' : 'ok', since: stateSince };
    },
  };
}
