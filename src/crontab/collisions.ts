// How often schedules are due in a range of time, and how many at once. Counts by days of a kind instead of going through all
// due times, so that ten thousand jobs over a year take seconds. Pure.

import type { Schedule } from './expression.ts';
import type { JobSchedule } from './schedules.ts';
import { changesBetween, seek, zoneOf, type Change } from './zone.ts';

/** What can be counted: a schedule as it was written, or `several`, whose due times have no order that could be made use of. */
export type Countable = Schedule | (Pick<Schedule, 'next' | 'count'> & { readonly kind: 'several' });

/** Schedules that are due at the same moments are looked at once; `weight` says how many they are. */
export type Weighed = { readonly schedule: Countable; readonly timezone: string; readonly weight: number };

export type Collisions = {
  /** Of all schedules together. */
  readonly dueTimes: number;
  /** Seconds in which one is due, and in which several are. */
  readonly secondsWithOne: number;
  readonly secondsWithSeveral: number;
  /** The first of the seconds with the most due times; none when nothing is due. */
  readonly busiestSecond: Busiest | undefined;
  readonly busiestMinute: Busiest | undefined;
};

export type Busiest = { readonly at: Date; readonly dueTimes: number };

/** How many of the schedules let a run start in the second of a moment. */
export function countAt(schedules: readonly JobSchedule[], moment: Date): number {
  const second = Math.floor(moment.getTime() / 1000);
  return schedules.filter((schedule) => {
    // Spread, what starts in this second was due in it or before, and nothing was due between.
    const due = schedule.previous(new Date((second + 1) * 1000));
    return due !== undefined && !schedule.isBlackedOut(due) && Math.floor(schedule.readyAt(due).getTime() / 1000) === second;
  }).length;
}

const day = 86_400;
// Two bytes a second for so long a stretch, 63 MB.
const windowLength = 366 * day;

/** Counts the due times per second of [from, to), both whole minutes. */
export function collisionsOf(groups: readonly Weighed[], from: Date, to: Date): Collisions {
  const [first, last] = [from.getTime() / 1000, to.getTime() / 1000];
  const total = groups.reduce((sum, { weight }) => sum + weight, 0);
  const length = Math.min(windowLength, last - first);
  const tally = total < 65_536 ? new Uint16Array(length) : new Uint32Array(length);
  const sum = { dueTimes: 0, secondsWithOne: 0, secondsWithSeveral: 0, second: { at: 0, count: 0 }, minute: { at: 0, count: 0 } };
  for (let start = first; start < last; start += length) {
    const end = Math.min(start + length, last);
    tally.fill(0);
    for (const group of groups) addTo(tally, group, start, end);
    sumUp(tally.subarray(0, end - start), start, sum);
  }
  const { second, minute, ...counts } = sum;
  return { ...counts, busiestSecond: busiest(second), busiestMinute: busiest(minute) };
}

function busiest({ at, count }: { at: number; count: number }): Busiest | undefined {
  return count === 0 ? undefined : { at: new Date(at * 1000), dueTimes: count };
}

type Tally = Uint16Array | Uint32Array;

function addTo(tally: Tally, group: Weighed, start: number, end: number): void {
  if (group.schedule.kind === 'several')
    for (let at = nextOf(group.schedule, start); at < end; at = nextOf(group.schedule, at + 1)) add(tally, at - start, group.weight);
  else if (group.schedule.kind === 'every') addPeriod(tally, group, start, end);
  else addDays(tally, group, start, end);
}

function addPeriod(tally: Tally, { schedule, weight }: Weighed, start: number, end: number): void {
  const first = nextOf(schedule, start);
  const period = nextOf(schedule, first + 1) - first;
  for (let at = first; at < end; at += period) add(tally, at - start, weight);
}

// On a calm day of its zone (no change of the clocks on it or on the one before) a schedule is due at the same times as on any
// other calm day, or not at all. So once one of them was gone through, the others are copied from it.
function addDays(tally: Tally, { schedule, timezone, weight }: Weighed, start: number, end: number): void {
  const calm = calmDays(timezone, start, end);
  let ofDay: number[] | undefined;
  let at = nextOf(schedule, start);
  while (at < end) {
    const begun = calm(at);
    if (begun === undefined) {
      add(tally, at - start, weight);
      at = nextOf(schedule, at + 1);
      continue;
    }
    ofDay ??= timesOf(schedule, begun);
    const base = begun - start;
    for (const time of ofDay) add(tally, base + time, weight);
    at = nextOf(schedule, begun + day);
  }
}

function timesOf(schedule: Countable, begun: number): number[] {
  const times: number[] = [];
  for (let at = nextOf(schedule, begun); at < begun + day; at = nextOf(schedule, at + 1)) times.push(at - begun);
  return times;
}

/** Answers when the calm day of a moment began; undefined when it is not calm, or reaches out of the range. Moments must rise. */
function calmDays(timezone: string, start: number, end: number): (at: number) => number | undefined {
  const changes = changesBetween(timezone, new Date((start - 3 * day) * 1000), new Date((end + 3 * day) * 1000));
  const offsetBefore = changes[0]?.before ?? seek(zoneOf(timezone), start);
  let index = 0;
  return (at) => {
    while (secondOf(changes[index], Infinity) <= at) index++;
    const [last, next] = [changes[index - 1], changes[index]];
    const offset = last?.after ?? offsetBefore;
    const begun = Math.floor((at + offset) / day) * day - offset;
    const isClear = begun >= start && begun + day <= end;
    const isCalm = begun >= secondOf(last, -Infinity) + day && begun + day <= secondOf(next, Infinity);
    return isClear && isCalm ? begun : undefined;
  };
}

function secondOf(change: Change | undefined, otherwise: number): number {
  return change === undefined ? otherwise : change.at.getTime() / 1000;
}

function nextOf(schedule: Countable, from: number): number {
  const next = schedule.next(new Date((from - 1) * 1000));
  return next === undefined ? Infinity : next.getTime() / 1000;
}

function add(tally: Tally, index: number, weight: number): void {
  tally[index] = (tally[index] ?? 0) + weight;
}

type Peak = { at: number; count: number };
type Sum = { dueTimes: number; secondsWithOne: number; secondsWithSeveral: number; second: Peak; minute: Peak };

function sumUp(tally: Tally, start: number, sum: Sum): void {
  for (let minute = 0; minute < tally.length; minute += 60) {
    let inMinute = 0;
    for (let at = minute; at < minute + 60; at++) {
      const count = tally[at] ?? 0;
      if (count === 0) continue;
      inMinute += count;
      if (count === 1) sum.secondsWithOne++;
      else sum.secondsWithSeveral++;
      if (count > sum.second.count) sum.second = { at: start + at, count };
    }
    sum.dueTimes += inMinute;
    if (inMinute > sum.minute.count) sum.minute = { at: start + minute, count: inMinute };
  }
}
