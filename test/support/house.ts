// The house that upkeep keeps, on a clock that stands still.

import type { NodeRow } from '../../src/store/nodes.ts';
import { standingClock } from './clock.ts';
import { seconds, type Stores } from './jobs.ts';
import { keptLog } from './log.ts';

type Given = {
  /** Another node's connections. */
  readonly on?: Stores;
  readonly retentionMs?: number;
  readonly living?: readonly NodeRow[];
};

/** What upkeep needs, at two hours past noon. */
export function housesOn(stores: Stores) {
  return ({ on = stores, retentionMs, living = [] }: Given = {}) => {
    const clock = standingClock(seconds(7200));
    const { log, lines, messages } = keptLog();
    const { runs, jobs, nodes } = on;
    const replay = (): Promise<void> => Promise.resolve();
    const deps = { clock, log, runs, jobs, nodes, isClockRight: () => true, replay, retentionMs, living: () => living };
    return { deps, clock, lines, messages };
  };
}
