// What it takes to make and change jobs, on a clock that stands still.

import { makeBell } from '../../src/clock.ts';
import { rememberSchedules } from '../../src/crontab/schedules.ts';
import { standingClock } from './clock.ts';
import { noon, type Stores } from './jobs.ts';
import { kinds } from './kinds.ts';
import { keptLog } from './log.ts';

/** What a node knows that makes and changes jobs, at `now`; `scheduleOf` and traces of its own. */
export function managingOn({ jobs }: Pick<Stores, 'jobs'>, now = noon) {
  const clock = standingClock(now);
  const { log, lines, messages } = keptLog();
  let traces = 0;
  const newTraceId = (): string => `trace ${++traces}`;
  const dispatch = makeBell(clock);
  const deps = { clock, log, kinds, defaultTimezone: 'UTC', scheduleOf: rememberSchedules(), newTraceId, jobs, dispatch };
  return { deps, clock, lines, messages };
}
