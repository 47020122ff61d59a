// Upkeep puts right what crashes leave, and forgets what is old: runs of nodes that are gone, runs that wait for nothing,
// rows past their keeping.

import { every, type Clock, type Loop } from '../clock.ts';
import type { Log } from '../observe/log.ts';
import type { NodeRow } from '../store/nodes.ts';
import type { ClaimedRun, RunRecord } from '../store/runs.ts';
import { lanesOf } from './lanes.ts';
import { decide } from './lifecycle.ts';
import { pauseIfFailing, type PausingDeps } from './pausing.ts';
import { recordOf } from './perform.ts';

type Deps = {
  readonly clock: Clock;
  readonly log: Log;
  readonly runs: {
    readonly heldBy: (owner: number) => Promise<readonly (ClaimedRun & { readonly node: string; readonly begunAt: Date })[]>;
    readonly record: (record: RunRecord) => Promise<boolean>;
    readonly unblock: () => Promise<number>;
    readonly cancelWaiting: (now: Date) => Promise<number>;
    readonly skipUnserved: (served: readonly string[], now: Date) => Promise<number>;
    readonly forget: (before: Date, limit: number) => Promise<number>;
  };
  readonly jobs: PausingDeps['jobs'];
  readonly nodes: {
    readonly unsettled: () => Promise<readonly number[]>;
    readonly markSettled: (incarnation: number) => Promise<void>;
  };
  /** Nothing is forgotten by a clock that may be wrong. */
  readonly isClockRight: () => boolean;
  /** Who lives, as last seen. */
  readonly living: () => readonly Pick<NodeRow, 'name' | 'duties' | 'labels'>[];
  /** Records the results of a node that wait in files here; see the spool. */
  readonly replay: (node: string) => Promise<unknown>;
  /** How long a run is kept after its end; undefined: for ever. */
  readonly retentionMs: number | undefined;
};

const everyMs = 1000;
const forgottenAtOnce = 1000;
const unservedEveryMs = 10_000;
// Where all start again, those that serve a lane have so long to come.
const othersComeWithinMs = 60_000;

/** Keeps the house until stopped: every second what waits, and the retention in small steps; now and then what waits for nobody. */
export function startUpkeep(deps: Deps): Loop {
  const onFault = (fault: unknown): void => deps.log.error({ err: fault }, 'upkeep_failed');
  const since = deps.clock.monotonic();
  const unserved = async (): Promise<number> => {
    const waitMs = since + othersComeWithinMs - deps.clock.monotonic();
    return waitMs > 0 ? waitMs : await skipUnserved(deps);
  };
  const loops = [every(deps.clock, () => upkeep(deps), { onFault }), every(deps.clock, unserved, { onFault })];
  return { stop: async () => void (await Promise.all(loops.map((loop) => loop.stop()))) };
}

/** Skips what waits for too long in a lane that no living worker serves; who drains will come back. Answers as `upkeep` does. */
export async function skipUnserved(deps: Pick<Deps, 'clock' | 'log' | 'runs' | 'living'>): Promise<number> {
  const workers = deps.living().filter((node) => node.duties.includes('worker'));
  const served = [...new Set(workers.flatMap(lanesOf))];
  const skipped = await deps.runs.skipUnserved(served, deps.clock.now());
  if (skipped > 0) deps.log.warn({ runs: skipped }, 'skipped_unserved');
  return skipped > 0 ? everyMs : unservedEveryMs;
}

/** Does it once; answers how many milliseconds the next time may wait. */
export async function upkeep(deps: Omit<Deps, 'living'>): Promise<number> {
  const now = deps.clock.now();
  await deps.runs.cancelWaiting(now);
  await deps.runs.unblock();
  for (const incarnation of await deps.nodes.unsettled()) await settle(deps, incarnation);
  if (deps.retentionMs !== undefined && deps.isClockRight()) {
    const before = new Date(now.getTime() - deps.retentionMs);
    if ((await deps.runs.forget(before, forgottenAtOnce)) > 0) return 100;
  }
  return everyMs;
}

/**
 * Settles the runs of an incarnation that has ended: what is known of their attempts is recorded; where nobody knows, `on_lost`
 * decides. Answers how many were lost.
 */
export async function settle(
  deps: Pick<Deps, 'clock' | 'log' | 'runs' | 'jobs' | 'nodes' | 'replay'>,
  incarnation: number,
): Promise<number> {
  const held = await deps.runs.heldBy(incarnation);
  for (const node of new Set(held.map((run) => run.node))) await deps.replay(node);
  const lost = await Promise.all(held.map((run) => settleOne(deps, run)));
  await deps.nodes.markSettled(incarnation);
  return lost.filter(Boolean).length;
}

async function settleOne(
  deps: Pick<Deps, 'clock' | 'log' | 'runs' | 'jobs'>,
  run: ClaimedRun & { node: string; begunAt: Date },
): Promise<boolean> {
  const now = deps.clock.now();
  const error = `lost: ${run.node} went away while it ran`;
  const result = { outcome: 'lost', known: false, error, result: { err: error } } as const;
  const verdict = decide(run, result, now);
  const note = {
    attempt: run.attempt,
    node: run.node,
    started_at: run.begunAt.toISOString(),
    finished_at: now.toISOString(),
    outcome: result.outcome,
    error,
  };
  if (!(await deps.runs.record({ ...recordOf(run, result, verdict, note, now), isGuess: true }))) return false;
  deps.log.warn({ trace_id: run.traceId, job: run.jobName, run: run.id, attempt: run.attempt, state: verdict.state, error }, 'lost_job');
  await pauseIfFailing(deps, run, verdict);
  return true;
}
