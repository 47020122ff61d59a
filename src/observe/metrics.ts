// What can be counted and measured of a node, in the text that Prometheus reads.

import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import type { Degraded, Hindrance, Readiness } from '../node/readiness.ts';

/** An attempt that was recorded; as events tell it. */
export type AttemptSeen = {
  /** What its run came to by it. */
  readonly state: string;
  readonly attempt: number;
  /** The type of its command. */
  readonly type: string;
  readonly outcome: string;
  readonly tookMs: number;
  /** How long after its due time it began; of a run of the schedule. */
  readonly lateMs: number | undefined;
};

export type Metrics = {
  /** Counts an attempt. */
  readonly count: (attempt: AttemptSeen) => void;
  /** All of them as they stand now, as text of this content type. */
  readonly text: () => Promise<string>;
  readonly contentType: string;
};

// From what a busy machine takes anyway up to what nobody calls on time any more.
const delays = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300];
const lengths = [0.01, 0.1, 1, 10, 60, 600, 3600];

const what: Record<Degraded | Hindrance, true> = {
  database: true,
  stopping: true,
  draining: true,
  schema: true,
  queue: true,
  loop: true,
  clock: true,
  backlog: true,
};

/** Makes them; all begin at zero. */
export function makeMetrics(readiness: () => Promise<Readiness>): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });

  const attempts = new Counter({
    name: 'belfry_attempts_total',
    help: 'Attempts that this node has recorded, by type of command and outcome.',
    labelNames: ['type', 'outcome'],
    registers,
  });
  const ended = new Counter({
    name: 'belfry_runs_ended_total',
    help: 'Runs that have come to their end by an attempt of this node, by state.',
    labelNames: ['state'],
    registers,
  });
  const attemptSeconds = new Histogram({
    name: 'belfry_attempt_seconds',
    help: 'How long attempts took, by type of command.',
    labelNames: ['type'],
    buckets: lengths,
    registers,
  });
  const startDelay = new Histogram({
    name: 'belfry_start_delay_seconds',
    help: 'How long after their due time runs of the schedule began, those that were caught up included.',
    buckets: delays,
    registers,
  });
  const gauge = (name: string, help: string): Gauge => new Gauge({ name, help, registers });
  const waiting = gauge(
    'belfry_runs_waiting',
    'Runs of all nodes that could begin now and that no worker has taken (counted up to 10000).',
  );
  const oldest = gauge('belfry_runs_waiting_oldest_seconds', 'How long the first of them waits, of those that are not caught up.');
  const slots = gauge('belfry_worker_slots', 'How many runs this node takes at a time.');
  const busy = gauge('belfry_worker_busy', 'How many it has taken.');
  const ahead = gauge('belfry_clock_ahead_seconds', 'By how much the clock of this machine is ahead of the database’s.');
  const wrong = new Gauge({ name: 'belfry_degraded', help: '1 for what /readyz says is wrong here.', labelNames: ['what'], registers });

  const look = async (): Promise<void> => {
    const { checks, degraded, not_ready: notReady } = await readiness();
    slots.set(checks.worker.slots);
    busy.set(checks.worker.busy);
    ahead.set(checks.clock.ahead_ms / 1000);
    for (const name of Object.keys(what)) wrong.set({ what: name }, [...degraded, ...notReady].some((is) => is === name) ? 1 : 0);
    // What nobody knows is no number.
    waiting.set(checks.backlog.ready ?? Number.NaN);
    oldest.set((checks.backlog.oldest_ms ?? Number.NaN) / 1000);
  };

  return {
    count: ({ state, attempt, type, outcome, lateMs, tookMs }) => {
      attempts.inc({ type, outcome });
      attemptSeconds.observe({ type }, tookMs / 1000);
      if (attempt === 1 && lateMs !== undefined) startDelay.observe(lateMs / 1000);
      if (state !== 'retrying') ended.inc({ state });
    },
    contentType: registry.contentType,
    text: async () => {
      await look();
      return await registry.metrics();
    },
  };
}
