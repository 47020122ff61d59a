// The numbers of a cron expression in words, each phrase true however odd the numbers are. Pure.

import type { Field, NthWeekday } from './fields.ts';

const weekdays = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const months = 'January February March April May June July August September October November December'.split(' ');
const ordinals = ['', 'first', 'second', 'third', 'fourth', 'fifth', 'last'];

// So many times of a day are named one by one.
const mostNamed = 6;

/** When in a day: `At 02:00 and 02:30`, or `At second 0 of minutes 0, 7, 14 … 56 of every hour`. */
export function timesInWords(seconds: readonly number[], minutes: readonly number[], hours: readonly number[]): string {
  const [ss, mm, hh] = [ordered(seconds), ordered(minutes), ordered(hours)];
  if (ss.length === 1 && mm.length * hh.length <= mostNamed) {
    const tail = ss[0] === 0 ? '' : `:${two(ss[0])}`;
    return `At ${anded(hh.flatMap((hour) => mm.map((minute) => `${two(hour)}:${two(minute)}${tail}`)))}`;
  }
  const within = [part('minute', mm, 60), part('hour', hh, 24)];
  if (ss.length === 60) return `Every second of ${within.join(' of ')}`;
  if (ss.length === 1 && ss[0] === 0) return mm.length === 60 ? `Every minute of ${within[1]}` : `At ${within.join(' of ')}`;
  return `At ${[part('second', ss, 60), ...within].join(' of ')}`;
}

/** On which days, by the two fields that say so. */
export function daysInWords(days: Field, weekday: Field, both: boolean): string {
  const date = days.any ? [] : [anded(datesInWords(days))];
  const named = weekday.any ? [] : [anded(weekdaysInWords(weekday))];
  const [onDate] = date;
  const [onWeekday] = named;
  if (onDate !== undefined && onWeekday !== undefined) {
    return both ? `on ${onDate}, and of these days only on ${onWeekday}` : `on ${onDate}, and also on ${onWeekday}`;
  }
  return onDate !== undefined || onWeekday !== undefined ? `on ${onDate ?? onWeekday}` : 'every day';
}

/** In which months; nothing where it is all of them. */
export function monthsInWords(values: readonly number[]): string[] {
  const found = ordered(values);
  return found.length === 12 ? [] : [`in ${anded(found.map((month) => months[month - 1] ?? ''))}`];
}

/** In which years. */
export function yearsInWords(values: readonly number[]): string[] {
  return [`in ${inShort(ordered(values))}`];
}

function datesInWords(days: Field): string[] {
  const dates = ordered(days.values);
  const workday = 'Monday to Friday';
  return [
    ...(dates.length === 0 ? [] : [`${dates.length > 1 ? 'days' : 'day'} ${inShort(dates)} of the month`]),
    ...ordered(days.nearest).map((day) => `the weekday (${workday}) nearest day ${day} of the month`),
    ...(days.lastWorkday ? [`the last weekday (${workday}) of the month`] : []),
    ...ordered(days.fromEnd).map((back) =>
      back === 0 ? 'the last day of the month' : `the day ${back} ${back > 1 ? 'days' : 'day'} before the last of the month`,
    ),
  ];
}

function weekdaysInWords({ values, nth }: Field): string[] {
  const names = ordered(values.map((day) => day % 7)).map((day) => weekdays[day] ?? '');
  const nthInWords = ({ weekday, week }: NthWeekday): string => `the ${ordinals[week] ?? ''} ${weekdays[weekday] ?? ''} of the month`;
  return [...names, ...new Set(nth.map(nthInWords))];
}

function part(name: string, values: readonly number[], all: number): string {
  if (values.length === all) return `every ${name}`;
  return `${name}${values.length > 1 ? 's' : ''} ${inShort(values)}`;
}

// Numbers as they are, and long rows of them by their beginning and end: `0–30`, `0, 7, 14 … 56`.
function inShort(values: readonly number[]): string {
  const [first = 0, second = 0, third = 0] = values;
  const last = values.at(-1) ?? 0;
  const step = second - first;
  const isEven = values.length > 3 && values.every((value, index) => value === first + index * step);
  if (isEven) return step === 1 ? `${first}–${last}` : `${first}, ${second}, ${third} … ${last}`;
  return anded(values.map(String));
}

function anded(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}

function ordered(values: readonly number[]): number[] {
  return [...new Set(values)].sort((a, b) => a - b);
}

function two(value: number | undefined): string {
  return String(value ?? 0).padStart(2, '0');
}
