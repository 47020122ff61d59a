// What a set of jobs would do in a range of time if all went well: how often each would be due, and when many are at once. The
// same schedules that the ticker asks, under a clock of its own. Pure.

import { collisionsOf, type Busiest, type Collisions, type Countable, type Weighed } from './collisions.ts';
import { parseExpression } from './expression.ts';
import { isPlain, rememberSchedules, type JobSchedule, type Scheduled } from './schedules.ts';
import { fieldsOf } from './spelled-out.ts';

type Job = Scheduled & { readonly enabled: boolean; readonly maxRuns?: number };

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
  const [before, last] = [secondBefore(start), secondBefore(end)];
  const scheduled = jobs.map((job) => ({
    job,
    schedule: isPlain(job) ? parseExpression(job.expr, job.timezone, job.name) : startsOf(scheduleOf(job), job.maxRuns, before),
  }));
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

type Starting = { readonly job: Job; readonly schedule: Countable };

/** When the runs of a job start, after what is blacked out is left out and the others are spread; gone through one by one. */
function startsOf(schedule: JobSchedule, maxRuns: number | undefined, before: Date): Countable {
  const startOf = (due: Date): Date => new Date(Math.floor(schedule.readyAt(due).getTime() / 1000) * 1000);
  const next = (after: Date): Date | undefined => {
    // Spread, a start may be after a moment that its due time is not.
    const late = schedule.previous(new Date(after.getTime() + 1));
    let due = late && startOf(late) > after ? late : schedule.next(after);
    while (due && schedule.isBlackedOut(due)) due = schedule.next(due);
    return due && startOf(due);
  };
  let end = new Date(8.64e15);
  let start = next(before);
  for (let runs = 1; start && maxRuns !== undefined && runs <= maxRuns; runs++) [end, start] = [start, next(start)];
  const within = (after: Date): Date | undefined => {
    const found = next(after);
    return found && found <= end ? found : undefined;
  };
  const count = (after: Date, upTo: Date): number => {
    let found = 0;
    for (let each = within(after); each && each <= upTo; each = within(each)) found++;
    return found;
  };
  return { kind: 'several', next: within, count };
}

// Whatever is due at the same moments in one group, however it is written: a thousand jobs `H * * * *` are sixty groups.
function grouped(due: readonly Starting[]): Weighed[] {
  const groups = new Map<string, Weighed>();
  for (const { job, schedule } of due) {
    const key = keyOf(job, schedule);
    groups.set(key, { schedule, timezone: job.timezone, weight: (groups.get(key)?.weight ?? 0) + 1 });
  }
  return [...groups.values()];
}

function keyOf({ name, expr, timezone }: Job, schedule: Countable): string {
  if (schedule.kind === 'several') return name;
  const fields = fieldsOf(expr, name);
  if (fields !== undefined) return `${timezone} ${schedule.isFixedTime} ${fields.join(' ')}`;
  const first = schedule.next(new Date(0));
  return `${schedule.kind} ${first?.getTime()} ${first && schedule.next(first)?.getTime()}`;
}

function peakOf(busiest: Busiest, due: readonly Starting[], lengthMs: number): Peak {
  const before = secondBefore(busiest.at);
  const last = secondBefore(new Date(busiest.at.getTime() + lengthMs));
  const names = due.filter(({ schedule }) => schedule.count(before, last) > 0).map(({ job }) => job.name);
  return { ...busiest, jobs: names.slice(0, mostNamed), moreJobs: Math.max(0, names.length - mostNamed) };
}

function secondBefore(moment: Date): Date {
  return new Date(moment.getTime() - 1000);
}
