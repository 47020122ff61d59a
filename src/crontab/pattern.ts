// When the clock on a wall shows what an expression names, by bit masks and without a Date. Local times are whole seconds
// since 1970-01-01T00:00 on that wall; of time zones it knows nothing.

import { bitFrom, bitUpTo, highest, lowest, ones, onesBefore } from './bits.ts';
import { civilOf, dateOf, dayOf, lengthOf, monthOf, weekdayOf, yearOf } from './calendar.ts';

/** The fields of an expression, a bit for each value. Small, because there is one for each job. */
export type Pattern = {
  readonly secondsLow: number;
  /** Bit 0 is second 32. */
  readonly secondsHigh: number;
  readonly minutesLow: number;
  readonly minutesHigh: number;
  readonly hours: number;
  /** Bit 0 is the 1st. */
  readonly days: number;
  /** Bit 1 is January. */
  readonly months: number;
  /** Bit 0 is Sunday. */
  readonly weekdays: number;
  /** Whether a day is named by either of its two fields; else by both. */
  readonly either: boolean;
  readonly special: SpecialDays | undefined;
  /** In words of 32 bits from 1970 on; undefined: every year. */
  readonly years: readonly number[] | undefined;
};

/** The days that are another number in every month. */
export type SpecialDays = {
  /** `L` is bit 0, `L-3` is bit 3. */
  readonly fromEnd: number;
  /** `15W` is bit 14, `LW` is bit 31. */
  readonly nearest: number;
  /** Seven bits for each of the first four weeks: `5#2` is bit 12. */
  readonly weeks: number;
  /** The same of the fifth and of the last: `5L` is bit 12. */
  readonly lastWeeks: number;
};

const daySeconds = 86_400;
// Local time is up to a day off from UTC, whose years are 1970 to 2199.
const firstYear = 1969;
const lastYear = 2200;

/** The first local time from `from` on that matches; Infinity when there is none in the calendar. */
export function matchFrom(pattern: Pattern, from: number): number {
  const date = Math.floor(from / daySeconds);
  const civil = civilOf(date);
  let year = yearOf(civil);
  let month = monthOf(civil);
  const day = dayOf(civil);
  if (hasMonth(pattern, year, month)) {
    const first = date - day + 1;
    const days = daysOfMonth(pattern, year, month, first);
    if ((days >>> (day - 1)) & 1) {
      const time = timeFrom(pattern, from - date * daySeconds);
      if (time >= 0) return date * daySeconds + time;
    }
    const later = days & (-1 << day) & 0x7fffffff;
    if (later !== 0) return (first + lowest(later)) * daySeconds + timeFrom(pattern, 0);
  }
  for (;;) {
    month = bitFrom(pattern.months, 0, month + 1);
    if (month > 12) {
      month = bitFrom(pattern.months, 0, 1);
      if (++year > lastYear) return Infinity;
    }
    if (!hasYear(pattern, year)) {
      month = 12;
      continue;
    }
    const first = dateOf(year, month);
    const days = daysOfMonth(pattern, year, month, first);
    if (days !== 0) return (first + lowest(days)) * daySeconds + timeFrom(pattern, 0);
  }
}

/** The last local time up to `to` that matches; -Infinity when there is none in the calendar. */
export function matchUpTo(pattern: Pattern, to: number): number {
  const date = Math.floor(to / daySeconds);
  const civil = civilOf(date);
  let year = yearOf(civil);
  let month = monthOf(civil);
  const day = dayOf(civil);
  if (hasMonth(pattern, year, month)) {
    const first = date - day + 1;
    const days = daysOfMonth(pattern, year, month, first);
    if ((days >>> (day - 1)) & 1) {
      const time = timeUpTo(pattern, to - date * daySeconds);
      if (time >= 0) return date * daySeconds + time;
    }
    const earlier = days & ((1 << (day - 1)) - 1);
    if (earlier !== 0) return (first + highest(earlier)) * daySeconds + timeUpTo(pattern, daySeconds - 1);
  }
  for (;;) {
    month = bitUpTo(pattern.months, 0, month - 1);
    if (month < 1) {
      month = bitUpTo(pattern.months, 0, 12);
      if (--year < firstYear) return -Infinity;
    }
    if (!hasYear(pattern, year)) {
      month = 1;
      continue;
    }
    const first = dateOf(year, month);
    const days = daysOfMonth(pattern, year, month, first);
    if (days !== 0) return (first + highest(days)) * daySeconds + timeUpTo(pattern, daySeconds - 1);
  }
}

/** How many local times match from `from` to before `to`, without going through them. */
export function countMatches(pattern: Pattern, from: number, to: number): number {
  if (to <= from) return 0;
  const dates = [Math.floor(from / daySeconds), Math.floor(to / daySeconds)] as const;
  const [begun, ended] = dates.map((date, index) => {
    const time = (index === 0 ? from : to) - date * daySeconds;
    return countDays(pattern, date, date + 1) * timesBefore(pattern, time);
  });
  return countDays(pattern, ...dates) * timesBefore(pattern, daySeconds) - (begun ?? 0) + (ended ?? 0);
}

// The dates from `from` to before `to` that are named.
function countDays(pattern: Pattern, from: number, to: number): number {
  let count = 0;
  for (let first = from - dayOf(civilOf(from)) + 1; first < to;) {
    const civil = civilOf(first);
    const [year, month] = [yearOf(civil), monthOf(civil)];
    if (hasMonth(pattern, year, month)) {
      let days = daysOfMonth(pattern, year, month, first);
      if (first < from) days &= -1 << (from - first);
      if (to - first < 31) days &= (1 << (to - first)) - 1;
      count += ones(days);
    }
    first += lengthOf(year, month);
  }
  return count;
}

// The times of day before one of them; before the 86400th second: all of a day.
function timesBefore({ secondsLow, secondsHigh, minutesLow, minutesHigh, hours }: Pattern, time: number): number {
  const hour = (time / 3600) | 0;
  const minute = ((time % 3600) / 60) | 0;
  const inMinute = ones(secondsLow) + ones(secondsHigh);
  const inHour = (ones(minutesLow) + ones(minutesHigh)) * inMinute;
  let count = onesBefore(hours, 0, hour) * inHour;
  if ((hours >>> hour) & 1) {
    count += onesBefore(minutesLow, minutesHigh, minute) * inMinute;
    if (bitFrom(minutesLow, minutesHigh, minute) === minute) count += onesBefore(secondsLow, secondsHigh, time % 60);
  }
  return count;
}

function hasYear({ years }: Pattern, year: number): boolean {
  if (years === undefined) return true;
  return year >= 1970 && (((years[(year - 1970) >> 5] ?? 0) >>> ((year - 1970) & 31)) & 1) === 1;
}

function hasMonth(pattern: Pattern, year: number, month: number): boolean {
  return ((pattern.months >>> month) & 1) === 1 && hasYear(pattern, year);
}

// The days of a month that the expression names; `first` is the date of the first one.
function daysOfMonth(pattern: Pattern, year: number, month: number, first: number): number {
  const weekday = weekdayOf(first);
  const length = lengthOf(year, month);
  let days = pattern.days;
  let weekdays = everyWeek(pattern.weekdays, weekday);
  if (pattern.special !== undefined) {
    days |= specialDays(pattern.special, weekday, length);
    weekdays |= specialWeekdays(pattern.special, weekday, length);
  }
  return (pattern.either ? days | weekdays : days & weekdays) & (0x7fffffff >>> (31 - length));
}

// `weekday` is that of the 1st.
function everyWeek(weekdays: number, weekday: number): number {
  const week = ((weekdays >>> weekday) | (weekdays << (7 - weekday))) & 0x7f;
  return week | (week << 7) | (week << 14) | (week << 21) | (week << 28);
}

function specialDays(special: SpecialDays, weekday: number, length: number): number {
  let days = 0;
  for (let back = special.fromEnd; back !== 0; back &= back - 1) {
    const day = length - lowest(back);
    if (day >= 1) days |= 1 << (day - 1);
  }
  for (let near = special.nearest; near !== 0; near &= near - 1) {
    // The last working day is the one nearest to the last: within the month it can only be before it.
    const day = near === 1 << 31 ? length : lowest(near) + 1;
    if (day <= length) days |= 1 << (nearestWorkday(day, weekday, length) - 1);
  }
  return days;
}

// Monday to Friday, and never in another month (Quartz).
function nearestWorkday(day: number, weekdayOfFirst: number, length: number): number {
  const weekday = (weekdayOfFirst + day - 1) % 7;
  if (weekday === 6) return day === 1 ? 3 : day - 1;
  if (weekday === 0) return day === length ? day - 2 : day + 1;
  return day;
}

function specialWeekdays({ weeks, lastWeeks }: SpecialDays, weekday: number, length: number): number {
  let days = everyWeek(lastWeeks & 0x7f, weekday) & (0x7f << 28);
  days |= everyWeek((lastWeeks >>> 7) & 0x7f, weekday) & (0x7f << (length - 7));
  for (let begin = 0; begin < 28; begin += 7) days |= everyWeek((weeks >>> begin) & 0x7f, weekday) & (0x7f << begin);
  return days;
}

// The first time of day from `from` on; -1: none.
function timeFrom(pattern: Pattern, from: number): number {
  const { secondsLow, secondsHigh, minutesLow, minutesHigh, hours } = pattern;
  const hour = (from / 3600) | 0;
  if ((hours >>> hour) & 1) {
    const minute = ((from - hour * 3600) / 60) | 0;
    let next = bitFrom(minutesLow, minutesHigh, minute);
    if (next === minute) {
      const second = bitFrom(secondsLow, secondsHigh, from - hour * 3600 - minute * 60);
      if (second < 60) return hour * 3600 + minute * 60 + second;
      next = bitFrom(minutesLow, minutesHigh, minute + 1);
    }
    if (next < 60) return hour * 3600 + next * 60 + bitFrom(secondsLow, secondsHigh, 0);
  }
  const next = bitFrom(hours, 0, hour + 1);
  return next > 23 ? -1 : next * 3600 + bitFrom(minutesLow, minutesHigh, 0) * 60 + bitFrom(secondsLow, secondsHigh, 0);
}

// The last time of day up to `to`; -1: none.
function timeUpTo(pattern: Pattern, to: number): number {
  const { secondsLow, secondsHigh, minutesLow, minutesHigh, hours } = pattern;
  const hour = (to / 3600) | 0;
  if ((hours >>> hour) & 1) {
    const minute = ((to - hour * 3600) / 60) | 0;
    let last = bitUpTo(minutesLow, minutesHigh, minute);
    if (last === minute) {
      const second = bitUpTo(secondsLow, secondsHigh, to - hour * 3600 - minute * 60);
      if (second >= 0) return hour * 3600 + minute * 60 + second;
      last = bitUpTo(minutesLow, minutesHigh, minute - 1);
    }
    if (last >= 0) return hour * 3600 + last * 60 + bitUpTo(secondsLow, secondsHigh, 59);
  }
  const last = bitUpTo(hours, 0, hour - 1);
  return last < 0 ? -1 : last * 3600 + bitUpTo(minutesLow, minutesHigh, 59) * 60 + bitUpTo(secondsLow, secondsHigh, 59);
}
