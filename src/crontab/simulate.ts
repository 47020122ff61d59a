// What a set of jobs would do in a range of time if all went well: how often each would be due, and when many are at once. The
// same schedules that the ticker asks, under a clock of its own. Pure.

import { collisionsOf, type Busiest, type Collisions, type Weighed } from './collisions.ts';
import type { Schedule } from './expression.ts';
import { rememberSchedules } from './schedules.ts';
import { fieldsOf } from './written.ts';

type Job = { readonly name: string; readonly expr: string; readonly timezone: string; readonly enabled: boolean };

/** A moment with many due times, and whose they are, of which the first few are named. */
export type Peak = Busiest & { readonly jobs: readonly string[]; readonly moreJobs: number };

export type Simulation = Omit<Collisions, 'busiestSecond' | 'busiestMinute'> & {
  readonly from: Date;
  readonly to: Date;
  readonly jobs: readonly SimulatedJob[];
  readonly busiestSecond: Peak | undefined;
  readonly busiestMinute: Peak | undefined;
};

export type SimulatedJob = Job & {
  /** How many due times it has in the range; a disabled job has none. */
  readonly dueTimes: number;
  readonly first: Date | undefined;
};

const minuteMs = 60_000;
const mostNamed = 10;

/** Simulates [from, to), each taken down to its full minute. Throws the Refusal of an expression that can't be read. */
export function simulate(jobs: readonly Job[], from: Date, to: Date): Simulation {
  const [start, end] = [from, to].map((moment) => new Date(Math.floor(moment.getTime() / minuteMs) * minuteMs)) as [Date, Date];
  const scheduleOf = rememberSchedules();
  const scheduled = jobs.map((job) => ({ job, schedule: scheduleOf(job) }));
  const [before, last] = [secondBefore(start), secondBefore(end)];
  const simulated = scheduled.map(({ job, schedule }) => {
    const dueTimes = job.enabled ? schedule.count(before, last) : 0;
    return { ...job, dueTimes, first: dueTimes > 0 ? schedule.next(before) : undefined };
  });
  const due = scheduled.filter((_, index) => (simulated[index]?.dueTimes ?? 0) > 0);
  const { busiestSecond, busiestMinute, ...counts } = collisionsOf(grouped(due), start, end);
  return {
    ...counts,
    from: start,
    to: end,
    jobs: simulated,
    busiestSecond: busiestSecond && peakOf(busiestSecond, due, 1000),
    busiestMinute: busiestMinute && peakOf(busiestMinute, due, minuteMs),
  };
}

type Scheduled = { readonly job: Job; readonly schedule: Schedule };

// Whatever is due at the same moments in one group, however it is written: a thousand jobs `H * * * *` are sixty groups.
function grouped(due: readonly Scheduled[]): Weighed[] {
  const groups = new Map<string, Weighed>();
  for (const { job, schedule } of due) {
    const key = keyOf(job, schedule);
    groups.set(key, { schedule, timezone: job.timezone, weight: (groups.get(key)?.weight ?? 0) + 1 });
  }
  return [...groups.values()];
}

function keyOf({ name, expr, timezone }: Job, schedule: Schedule): string {
  const fields = fieldsOf(expr, name);
  if (fields !== undefined) return `${timezone} ${schedule.isFixedTime} ${fields.join(' ')}`;
  const first = schedule.next(new Date(0));
  return `${schedule.kind} ${first?.getTime()} ${first && schedule.next(first)?.getTime()}`;
}

function peakOf(busiest: Busiest, due: readonly Scheduled[], lengthMs: number): Peak {
  const before = secondBefore(busiest.at);
  const last = secondBefore(new Date(busiest.at.getTime() + lengthMs));
  const names = due.filter(({ schedule }) => schedule.count(before, last) > 0).map(({ job }) => job.name);
  return { ...busiest, jobs: names.slice(0, mostNamed), moreJobs: Math.max(0, names.length - mostNamed) };
}

function secondBefore(moment: Date): Date {
  return new Date(moment.getTime() - 1000);
}
