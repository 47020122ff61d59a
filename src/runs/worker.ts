// The worker duty: so many slots, and the runs in them. It claims what the queue tells of, as far as it has slots, and lets
// `perform` do each; it can stop one, or all of them.

import type { Bell, Clock } from '../clock.ts';
import type { StopReason } from '../executors/executor.ts';
import type { ClaimedRun } from '../store/runs.ts';
import { takeOut } from '../under-way.ts';

type Deps = {
  readonly clock: Clock;
  readonly slots: number;
  /** Who claims: this node's name and its incarnation. */
  readonly me: () => { readonly name: string; readonly incarnation: number };
  readonly runs: {
    readonly claim: (claim: { ids: readonly number[]; owner: number; node: string; now: Date }) => Promise<readonly ClaimedRun[]>;
    readonly unmarkSent: (ids: readonly number[]) => Promise<void>;
  };
  /** Does one attempt and records it; never rejects. */
  readonly perform: (run: ClaimedRun, signal: AbortSignal) => Promise<void>;
  /** Told when room was made in the queue. */
  readonly dispatch: Bell;
};

export type Worker = {
  /** Claims and starts runs; answers when there is a free slot again, or at once when the worker is stopping. */
  readonly take: (ids: readonly number[]) => Promise<void>;
  readonly busy: () => number;
  /** The runs in the slots. */
  readonly running: () => readonly number[];
  /** Whether a claim of this run is on its way. */
  readonly isClaiming: (id: number) => boolean;
  /** Tells attempts to stop; unknown ids are passed over. */
  readonly cancel: (ids: readonly number[]) => void;
  /** Tells all attempts to stop, because this node shall hold them no longer. */
  readonly interruptAll: () => void;
  /** Takes nothing until told otherwise; what runs goes on. */
  readonly hold: (isHeld: boolean) => void;
  /** Takes nothing more; answers when all attempts are at their end, which after `graceMs` they are told to come to. */
  readonly stop: (graceMs: number, atOnce: AbortSignal) => Promise<void>;
};

type Attempt = { readonly id: number; readonly stop: AbortController; readonly ended: Promise<void> };
type Claim = { readonly ids: readonly number[]; readonly ended: Promise<void> };

// So long a message may wait for a slot before its runs are given back for others to take.
const patienceMs = 250;

/** Makes the slots; nothing runs until something is taken. */
export function makeWorker(deps: Deps): Worker {
  const attempts: Attempt[] = [];
  const claims: Claim[] = [];
  const stopping = new AbortController();
  let interrupted = false;
  // How often all was told to stop: a claim that was under way meanwhile belongs to it.
  let interruptions = 0;
  let isHeld = false;
  let taken = 0;
  let free = deps.slots;
  let waiting: (() => void)[] = [];

  const release = (count: number): void => {
    free += count;
    const woken = waiting;
    waiting = [];
    for (const wake of woken) wake();
  };

  /** How many runs may be taken now. */
  const room = (): number => (isHeld ? 0 : free);

  /** Whether there is room, now or within `ms`. */
  const slotWithin = async (ms: number): Promise<boolean> => {
    const patience = new AbortController();
    const signal = AbortSignal.any([stopping.signal, patience.signal]);
    const tired = deps.clock.sleep(ms, signal);
    while (room() === 0 && !signal.aborted) {
      const freed = new Promise<'freed'>((resolve) => waiting.push(() => resolve('freed')));
      if ((await Promise.race([freed, tired])) !== 'freed') break;
      // Runs that were recorded together end one after another: wait for the last of them, and claim for all.
      await new Promise((resolve) => setImmediate(resolve));
    }
    patience.abort();
    return room() > 0 && !stopping.signal.aborted;
  };

  const start = (run: ClaimedRun, isInterrupted: boolean): void => {
    const stop = new AbortController();
    if (isInterrupted) stop.abort('interrupted' satisfies StopReason);
    const ended = deps.perform(run, stop.signal).finally(() => {
      takeOut(attempts, attempt);
      release(1);
    });
    const attempt: Attempt = { id: run.id, stop, ended };
    attempts.push(attempt);
  };

  const claim = (ids: readonly number[]): Promise<void> => {
    const ended = claimAndStart(ids).finally(() => takeOut(claims, claiming));
    const claiming: Claim = { ids, ended };
    claims.push(claiming);
    return ended;
  };

  const claimAndStart = async (ids: readonly number[]): Promise<void> => {
    free -= ids.length;
    const before = interruptions;
    let claimed: readonly ClaimedRun[] = [];
    try {
      const { name, incarnation } = deps.me();
      claimed = await deps.runs.claim({ ids, owner: incarnation, node: name, now: deps.clock.now() });
    } finally {
      release(ids.length - claimed.length);
    }
    for (const run of claimed) start(run, interrupted || interruptions !== before);
    // What lies in the queue are four times the slots of all: half of ours taken, there is room for more.
    taken += claimed.length;
    if (taken < 2 * deps.slots) return;
    taken = 0;
    deps.dispatch.ring();
  };

  const interruptAll = (): void => {
    interruptions++;
    for (const { stop } of attempts) stop.abort('interrupted' satisfies StopReason);
  };

  return {
    take: async (ids) => {
      let rest = ids;
      while (rest.length > 0 && (room() > 0 || (!isHeld && (await slotWithin(patienceMs)))) && !stopping.signal.aborted) {
        const now = rest.slice(0, room());
        rest = rest.slice(now.length);
        await claim(now);
      }
      if (rest.length > 0) {
        await deps.runs.unmarkSent(rest);
        deps.dispatch.ring();
      }
      while (room() === 0 && !stopping.signal.aborted) await slotWithin(60_000);
    },
    busy: () => deps.slots - free,
    running: () => attempts.map(({ id }) => id),
    isClaiming: (id) => claims.some(({ ids }) => ids.includes(id)),
    cancel: (ids) => {
      for (const { id, stop } of attempts) if (ids.includes(id)) stop.abort('cancelled' satisfies StopReason);
    },
    interruptAll,
    hold: (held) => {
      isHeld = held;
      release(0);
    },
    stop: async (graceMs, atOnce) => {
      stopping.abort();
      release(0);
      const over = new AbortController();
      const deadline = AbortSignal.any([atOnce, over.signal]);
      const allEnded = (async () => {
        while (attempts.length + claims.length > 0) {
          await Promise.allSettled([...claims, ...attempts].map(({ ended }) => ended));
        }
        over.abort();
      })();
      await deps.clock.sleep(graceMs, deadline);
      interrupted = true;
      interruptAll();
      await allEnded;
    },
  };
}
