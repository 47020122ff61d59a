// This node lives: it raises its beat, sees who else does, and calls lost whose beat stood still for a whole lease of our own
// time and unbroken reading. No clock is compared, and a database outage loses nobody.

import { every, type Clock, type Loop } from './clock.ts';
import type { Log } from './observe/log.ts';
import type { NewNode, NodeRow } from './store/nodes.ts';

type Deps = {
  readonly clock: Clock;
  readonly log: Log;
  readonly nodes: {
    readonly register: (node: NewNode) => Promise<number>;
    readonly beat: (incarnation: number, busy: number) => Promise<boolean>;
    readonly living: () => Promise<readonly NodeRow[]>;
    readonly end: (incarnation: number, reason: 'stopped' | 'lost' | 'replaced', seenBeat?: number) => Promise<boolean>;
  };
  readonly self: NewNode;
  readonly busy: () => number;
  /** Somebody called us lost: what we hold is not ours any more. */
  readonly onLost: () => void;
};

export type Heartbeat = {
  readonly incarnation: () => number;
  /** What the living workers take in all, as last seen. */
  readonly capacity: () => { readonly workers: number; readonly slots: number };
  readonly living: () => readonly NodeRow[];
  /** When the last beat that was answered was sent, in monotonic milliseconds. */
  readonly lastBeatAt: () => number;
  readonly start: () => void;
  readonly stop: () => Promise<void>;
};

const everyMs = 10_000;
export const leaseMs = 60_000;
// A reading that comes later than this after the one before says nothing about what happened between them.
const unbrokenMs = 3 * everyMs;

/**
 * Writes this node down as living. Earlier incarnations of its name are over, since one name is held by one process at a time:
 * `replaced` is asked to put each right before the node takes up work.
 */
export async function makeHeartbeat(deps: Deps, replaced: (incarnation: number) => Promise<void>): Promise<Heartbeat> {
  let incarnation = await deps.nodes.register(deps.self);
  let others = await deps.nodes.living();
  for (const node of others) {
    if (node.name !== deps.self.name || node.incarnation === incarnation) continue;
    await deps.nodes.end(node.incarnation, 'replaced');
    await replaced(node.incarnation);
  }
  others = await deps.nodes.living();

  const seen = new Map<number, { beat: number; since: number }>();
  let readAt = deps.clock.monotonic();
  let lastBeatAt = readAt;
  let loop: Loop | undefined;

  const step = async (): Promise<number> => {
    const sentAt = deps.clock.monotonic();
    if (!(await deps.nodes.beat(incarnation, deps.busy()))) {
      deps.log.error({ incarnation }, 'called_lost');
      deps.onLost();
      incarnation = await deps.nodes.register(deps.self);
    }
    lastBeatAt = sentAt;
    others = await deps.nodes.living();
    const now = deps.clock.monotonic();
    if (now - readAt > unbrokenMs) seen.clear();
    readAt = now;
    for (const node of others) await watch(node, now);
    return everyMs;
  };

  const watch = async (node: NodeRow, now: number): Promise<void> => {
    const before = seen.get(node.incarnation);
    if (node.incarnation === incarnation || !before || before.beat !== node.beat) {
      seen.set(node.incarnation, { beat: node.beat, since: now });
    } else if (now - before.since >= leaseMs && (await deps.nodes.end(node.incarnation, 'lost', node.beat))) {
      // Its runs are settled by upkeep, which looks for ended nodes that still hold some.
      deps.log.warn({ lost: node.name, incarnation: node.incarnation }, 'node_lost');
    }
  };

  return {
    incarnation: () => incarnation,
    capacity: () => {
      const workers = others.filter((node) => node.duties.includes('worker'));
      return { workers: workers.length, slots: workers.reduce((sum, node) => sum + node.slots, 0) };
    },
    living: () => others,
    lastBeatAt: () => lastBeatAt,
    start: () => {
      loop = every(deps.clock, step, { onFault: (fault) => deps.log.error({ err: fault }, 'heartbeat_failed') });
    },
    stop: async () => {
      await loop?.stop();
      await deps.nodes.end(incarnation, 'stopped');
    },
  };
}
