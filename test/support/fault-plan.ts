// Which faults come when, decided beforehand by a seed: the same seed makes the same plan. Pure.

export type FaultKind =
  | 'killed'
  | 'terminated'
  | 'paused'
  | 'called lost'
  | 'cut'
  | 'refused'
  | 'blackholed'
  | 'delayed'
  | 'unanswered'
  | 'redis killed'
  | 'redis emptied'
  | 'redis hung'
  | 'postgres crashed'
  | 'backends terminated';

export type Fault = {
  readonly kind: FaultKind;
  /** A node, one of its wires (`worker-1/redis`), or a server. Faults of one target do not meet, those of several do. */
  readonly target: string;
  /** Milliseconds from the begin of the plan, and how long it lasts. */
  readonly atMs: number;
  readonly forMs: number;
};

/** How often of so many, on what (all nodes of a duty at once, for one), and how long at least and at most. */
type Sort = {
  readonly kind: FaultKind;
  readonly weight: number;
  readonly on: 'node' | 'worker' | 'duty' | 'wire' | 'wire of work' | 'redis' | 'postgres';
  readonly ms: readonly [number, number];
};

const sorts: readonly Sort[] = [
  { kind: 'killed', weight: 5, on: 'node', ms: [0, 3000] },
  { kind: 'killed', weight: 1, on: 'duty', ms: [3000, 12_000] },
  { kind: 'terminated', weight: 2, on: 'node', ms: [0, 2000] },
  { kind: 'paused', weight: 3, on: 'node', ms: [500, 8000] },
  { kind: 'cut', weight: 2, on: 'wire', ms: [0, 0] },
  { kind: 'refused', weight: 2, on: 'wire', ms: [1000, 6000] },
  { kind: 'blackholed', weight: 3, on: 'wire', ms: [2000, 12_000] },
  { kind: 'unanswered', weight: 1, on: 'wire', ms: [500, 5000] },
  { kind: 'unanswered', weight: 2, on: 'wire of work', ms: [500, 5000] },
  { kind: 'delayed', weight: 1, on: 'wire', ms: [3000, 10_000] },
  { kind: 'redis killed', weight: 1, on: 'redis', ms: [0, 6000] },
  { kind: 'redis emptied', weight: 2, on: 'redis', ms: [0, 0] },
  { kind: 'redis hung', weight: 2, on: 'redis', ms: [1000, 12_000] },
  { kind: 'postgres crashed', weight: 1, on: 'postgres', ms: [0, 10_000] },
  { kind: 'backends terminated', weight: 2, on: 'postgres', ms: [0, 0] },
];

// A fault is due every so often; of those that are paused beyond their lease there are few, as each takes that long.
const everyMs = 2500;
const calledLost: Sort = { kind: 'called lost', weight: 0, on: 'worker', ms: [65_000, 80_000] };
const longEnoughForLost = 120_000;
const lastUnansweredMs = 2000;

export type Random = () => number;

/** Numbers in [0, 1) that are the same for the same seed (mulberry32). */
export function randomOf(seed: number): Random {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Faults for so many milliseconds; none begins later. Every kind comes in turn, as often as its weight says. A plan of some
 * minutes has nodes in it that are paused for longer than their lease. In the end no worker hears what came of its claims.
 */
export function planFaults(random: Random, lastsMs: number, nodes: readonly string[]): Fault[] {
  const workers = nodes.filter((node) => dutyOf(node) === 'worker');
  const targets = {
    node: nodes,
    worker: workers,
    duty: [...new Set(nodes.map(dutyOf))],
    wire: nodes.flatMap((node) => [`${node}/postgres`, `${node}/redis`]),
    // What claims and results go over.
    'wire of work': workers.map((node) => `${node}/postgres`),
    redis: ['redis'],
    postgres: ['postgres'],
  };
  const busyUntil = new Map<string, number>();
  const faults: Fault[] = [];
  const add = ({ kind, on, ms: [least, most] }: Sort, atMs: number): boolean => {
    const isFree = (target: string): boolean => (busyUntil.get(target) ?? 0) <= atMs;
    const all = (target: string): string[] => (on === 'duty' ? nodes.filter((node) => dutyOf(node) === target) : [target]);
    const free = targets[on].filter((target) => all(target).every(isFree));
    const chosen = free[Math.floor(random() * free.length)];
    if (chosen === undefined) return false;
    const forMs = Math.round(least + random() * (most - least));
    for (const target of all(chosen)) {
      busyUntil.set(target, atMs + forMs + 1000);
      faults.push({ kind, target, atMs, forMs });
    }
    return true;
  };
  let lostAgainMs = 20_000;
  let bag: Sort[] = [];
  for (let at = random() * everyMs; at < lastsMs; at += everyMs * (0.5 + random())) {
    const atMs = Math.round(at);
    if (lastsMs >= longEnoughForLost && atMs >= lostAgainMs && atMs + calledLost.ms[1] < lastsMs && add(calledLost, atMs))
      lostAgainMs = atMs + 240_000;
    if (bag.length === 0)
      bag = shuffled(
        random,
        sorts.flatMap((sort) => Array<Sort>(sort.weight).fill(sort)),
      );
    const sort = bag.find((each) => add(each, atMs));
    if (sort) bag.splice(bag.indexOf(sort), 1);
  }
  // Nobody is started again after these: what they leave has to be put right by who lives.
  for (const target of targets['wire of work']) faults.push({ kind: 'unanswered', target, atMs: lastsMs, forMs: lastUnansweredMs });
  return faults;
}

/** What nodes of one kind have in common: `worker` of `worker-1`. */
function dutyOf(node: string): string {
  return node.replace(/-\d+$/, '');
}

function shuffled<T>(random: Random, items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, place: random() }))
    .sort((a, b) => a.place - b.place)
    .map(({ item }) => item);
}
