// A schedule whose due times a test says itself.

import type { JobSchedule } from '../../src/crontab/schedules.ts';

/** Due at these times, which are in order. */
export function scheduleAt(...times: readonly Date[]): JobSchedule {
  return {
    next: (after) => times.find((time) => time > after),
    previous: (before) => times.findLast((time) => time < before),
    count: (after, upTo) => times.filter((time) => time > after && time <= upTo).length,
    hasBlackouts: false,
    isBlackedOut: () => false,
    readyAt: (dueAt) => dueAt,
  };
}
