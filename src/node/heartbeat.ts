// This node lives: a pulse raises its beat; here it sees who else does, and calls lost whose beat stood still for a whole lease
// of our own time and unbroken reading. No clock is compared, and a database outage loses nobody.

import { every, makeBell, type Clock, type Loop } from '../clock.ts';
import type { Log } from '../observe/log.ts';
import { lanesOf } from '../runs/lanes.ts';
import type { NewNode, NodeRow } from '../store/nodes.ts';
import type { Pulse, PulseEvents, Sign } from '../store/pulse.ts';

type Deps = {
  readonly clock: Clock;
  readonly log: Log;
  readonly nodes: {
    readonly register: (node: NewNode, before?: number) => Promise<number>;
    readonly living: () => Promise<readonly NodeRow[]>;
    readonly end: (incarnation: number, reason: 'stopped' | 'lost' | 'replaced', seenBeat?: number) => Promise<boolean>;
  };
  readonly startPulse: (first: Sign, events: PulseEvents) => Pulse;
  readonly self: NewNode;
  readonly busy: () => number;
  /** Somebody called us lost: what we hold is not ours any more. */
  readonly onLost: () => void;
  /** We shall take nothing more, or may take again. */
  readonly onDrain: (isDraining: boolean) => void;
};

export type Heartbeat = {
  readonly incarnation: () => number;
  /** What the living workers that serve a lane take in all, as last seen; those that take nothing more are left out. */
  readonly capacity: (lane?: string) => { readonly workers: number; readonly slots: number };
  readonly living: () => readonly NodeRow[];
  /** Looks at once, as something about nodes has changed. */
  readonly look: () => void;
  /** When the last beat that was answered was sent, or this incarnation was about to be written down, in monotonic milliseconds. */
  readonly lastBeatAt: () => number;
  readonly start: () => void;
  /** Beats no more. */
  readonly stop: () => Promise<void>;
  /** Writes this node down as stopped: from then on others settle what it still holds. */
  readonly end: () => Promise<void>;
};

const everyMs = 10_000;
export const leaseMs = 60_000;
// A reading that comes later than this after the one before says nothing about what happened between them.
const unbrokenMs = 3 * everyMs;
const signEveryMs = 1000;

/**
 * Writes this node down as living. Earlier incarnations of its name are over, since one name is held by one process at a time:
 * `takeOver` is asked to put each right before the node takes up work: what it knows of their runs it has to tell before it ends them,
 * as from then on others settle them.
 */
export async function makeHeartbeat(
  deps: Deps,
  takeOver: (incarnation: number, end: () => Promise<unknown>) => Promise<void>,
): Promise<Heartbeat> {
  // Others count the lease from when they see the row: never before this, be it written slowly.
  let lastBeatAt = deps.clock.monotonic();
  let incarnation = await deps.nodes.register(deps.self);
  let others = await deps.nodes.living();
  for (const node of others) {
    if (node.name !== deps.self.name || node.incarnation === incarnation) continue;
    await takeOver(node.incarnation, () => deps.nodes.end(node.incarnation, 'replaced'));
  }
  others = await deps.nodes.living();

  const seen = new Map<number, { beat: number; since: number }>();
  const bell = makeBell(deps.clock);
  let readAt = deps.clock.monotonic();
  let isLost = false;
  let isDraining = false;
  let pulse: Pulse | undefined;
  let loops: Loop[] = [];

  const calledLost = (which: number): void => {
    if (isLost || which !== incarnation) return;
    isLost = true;
    deps.log.error({ incarnation }, 'called_lost');
    deps.onLost();
    bell.ring();
  };

  const sign = (): Sign => ({ incarnation, busy: deps.busy() });

  const step = async (): Promise<number> => {
    others = await deps.nodes.living();
    if (isLost || !others.some(isMe)) {
      calledLost(incarnation);
      const beganAt = deps.clock.monotonic();
      incarnation = await deps.nodes.register(deps.self, incarnation);
      lastBeatAt = beganAt;
      isLost = false;
      pulse?.live(sign());
      others = await deps.nodes.living();
    }
    const now = deps.clock.monotonic();
    if (now - readAt > unbrokenMs) seen.clear();
    readAt = now;
    for (const node of others) await watch(node, now);
    drainAsTold();
    return everyMs;
  };

  const isMe = (node: NodeRow): boolean => node.incarnation === incarnation;

  const watch = async (node: NodeRow, now: number): Promise<void> => {
    const before = seen.get(node.incarnation);
    if (isMe(node) || !before || before.beat !== node.beat) {
      seen.set(node.incarnation, { beat: node.beat, since: now });
    } else if (now - before.since >= leaseMs && (await deps.nodes.end(node.incarnation, 'lost', node.beat))) {
      // Its runs are settled by upkeep, which looks for ended nodes that still hold some.
      deps.log.warn({ lost: node.name, incarnation: node.incarnation }, 'node_lost');
    }
  };

  const drainAsTold = (): void => {
    const me = others.find(isMe);
    if (!me || me.isDraining === isDraining) return;
    isDraining = me.isDraining;
    deps.onDrain(isDraining);
    deps.log.info(isDraining ? 'takes_nothing_more' : 'takes_again');
  };

  return {
    incarnation: () => incarnation,
    capacity: (lane = '') => {
      const workers = others.filter((node) => node.duties.includes('worker') && !node.isDraining && lanesOf(node).includes(lane));
      return { workers: workers.length, slots: workers.reduce((sum, node) => sum + node.slots, 0) };
    },
    living: () => others,
    look: bell.ring,
    lastBeatAt: () => lastBeatAt,
    start: () => {
      pulse = deps.startPulse(sign(), {
        // One of the incarnation before, told late, takes nothing away from the lease of this one.
        beaten: (agoMs) => (lastBeatAt = Math.max(lastBeatAt, deps.clock.monotonic() - agoMs)),
        lost: calledLost,
        failed: (fault) => deps.log.error({ err: fault }, 'beat_failed'),
      });
      const living = async (): Promise<number> => {
        pulse?.live(sign());
        return signEveryMs;
      };
      const onFault = (fault: unknown): void => deps.log.error({ err: fault }, 'heartbeat_failed');
      loops = [every(deps.clock, step, { bell, onFault }), every(deps.clock, living, { onFault })];
    },
    stop: async () => {
      await Promise.all(loops.map((loop) => loop.stop()));
      await pulse?.stop();
    },
    end: async () => void (await deps.nodes.end(incarnation, 'stopped')),
  };
}
