// A node that performs attempts, with an executor that does what the test says.

import type { AttemptRequest, AttemptResult } from '../../src/executors/executor.ts';
import { beginWork } from '../../src/observe/tracing.ts';
import { makeEvents, type RunEvent } from '../../src/runs/events.ts';
import type { Spool } from '../../src/runs/spool.ts';
import { standingClock } from './clock.ts';
import { afterAll, type Stores } from './jobs.ts';
import { executorOf } from './kinds.ts';
import { keptLog } from './log.ts';

/** What makes such nodes, whose executor of type `noop` does this. */
export function performersOn(stores: Stores) {
  const recordAtLast: Spool['record'] = async (_run, record) => ((await stores.runs.record(record)) ? 'recorded' : 'too_late');

  return (execute: (request: AttemptRequest) => Promise<AttemptResult>) => {
    const clock = standingClock(afterAll);
    const { log, lines, messages } = keptLog();
    const events = makeEvents();
    const told: RunEvent[] = [];
    events.on((event) => told.push(event));
    const deps = {
      clock,
      log,
      kinds: new Map([['noop', executorOf('noop', execute)]]),
      me: () => ({ name: 'node a', marker: 'the marker' }),
      killGraceMs: 10_000,
      beginWork,
      jobs: stores.jobs,
      previous: stores.runs.ended,
      recordAtLast,
      unrecorded: new Set<string>(),
      events,
    };
    return { deps, clock, lines, messages, told };
  };
}
