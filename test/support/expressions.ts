// Expressions made at random, each with a matcher of its own that knows what it means without having read it: the second
// opinion of the property tests. A local time is the milliseconds a clock on the wall would have counted since 1970.

import * as fc from 'fast-check';

export type Written = {
  /** What fast-check tells of it. */
  readonly [fc.toStringMethod]: () => string;
  readonly text: string;
  /** Whether a clock on the wall that shows this is meant. */
  readonly matches: (local: number) => boolean;
  /** Whether it names hour and minute. */
  readonly isFixedTime: boolean;
  /** Whether all of its due times are at the full minute. */
  readonly isByMinute: boolean;
  /** Whether croner reads it too, and the same. */
  readonly isCroners: boolean;
};

type Part = {
  readonly text: string;
  readonly has: (value: number, date: Date) => boolean;
  /** Has a star or a step. */
  readonly varies: boolean;
  readonly isCroners: boolean;
};

const none = { varies: false, isCroners: true };
const months = 'JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC'.split(' ');
const weekdays = 'SUN MON TUE WED THU FRI SAT'.split(' ');

/** Of five fields; like the others, more often than not about what a wall shows that is `near`. */
export function fiveFields(near: Date): fc.Arbitrary<Written> {
  return fc.tuple(fc.constant(single('0', 0)), ...common(near)).map((parts) => written(parts, undefined, 5));
}

/** Of six fields, seconds first. */
export function sixFields(near: Date): fc.Arbitrary<Written> {
  return fc.tuple(clock(59, near.getUTCSeconds()), ...common(near)).map((parts) => written(parts, undefined, 6));
}

/** Of seven fields, years last. */
export function sevenFields(near: Date): fc.Arbitrary<Written> {
  const about = near.getUTCFullYear();
  const year = fc.integer({ min: Math.max(1970, about - 2), max: Math.min(2099, about + 3) });
  const years = fc.oneof(
    fc.constant(star('*')),
    year.map((value) => single(String(value), value)),
    fc.tuple(year, fc.integer({ min: 0, max: 5 })).map(([from, size]) => range(from, Math.min(2099, from + size), 1, 1970, 2099)),
    fc.tuple(year, fc.integer({ min: 1, max: 9 })).map(([from, step]) => open(from, step, 2099)),
  );
  const all = fc.tuple(clock(59, near.getUTCSeconds()), ...common(near), years);
  return all.map(([second, minute, hour, day, month, weekday, which]) => written([second, minute, hour, day, month, weekday], which, 7));
}

function common(near: Date) {
  const days = daysOfMonth(near.getUTCDate());
  return [
    clock(59, near.getUTCMinutes()),
    clock(23, near.getUTCHours()),
    days,
    monthsOfYear(near.getUTCMonth() + 1),
    daysOfWeek(),
  ] as const;
}

function clock(most: number, near: number): fc.Arbitrary<Part> {
  const few = fc.uniqueArray(number(0, most, near), { minLength: 1, maxLength: 3 }).map(either);
  return fc.oneof(
    { weight: 2, arbitrary: fc.constant(star('*')) },
    { weight: 5, arbitrary: few },
    { weight: 3, arbitrary: mixed(0, most, near) },
  );
}

function monthsOfYear(near: number): fc.Arbitrary<Part> {
  const named = someValue(1, 12, near).map((month) => single(months[month - 1] ?? '', month));
  return fc.oneof(
    { weight: 5, arbitrary: fc.constant(star('*')) },
    { weight: 1, arbitrary: named },
    { weight: 1, arbitrary: mixed(1, 12, near) },
  );
}

function daysOfMonth(near: number): fc.Arbitrary<Part> {
  const special = fc.oneof(
    fc.constant<Part>({ ...none, text: 'L', has: (day, date) => day === lengthOfMonth(date) }),
    fc.integer({ min: 1, max: 9 }).map<Part>((back) => ({
      ...none,
      isCroners: false,
      text: `L-${back}`,
      has: (day, date) => day === lengthOfMonth(date) - back,
    })),
    someValue(1, 31, near).map<Part>((about) => ({
      ...none,
      text: `${about}W`,
      has: (day, date) => about <= lengthOfMonth(date) && day === nearestWorkday(about, date),
    })),
  );
  const lastWorkday: Part = { ...none, text: 'LW', has: (day, date) => day === nearestWorkday(lengthOfMonth(date), date) };
  return fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(star('*'), star('?')) },
    { weight: 2, arbitrary: mixed(1, 31, near) },
    { weight: 1, arbitrary: fc.array(fc.oneof(special, number(1, 31, near)), { minLength: 1, maxLength: 3 }).map(either) },
    { weight: 1, arbitrary: fc.constant(lastWorkday) },
  );
}

function daysOfWeek(): fc.Arbitrary<Part> {
  const plain = fc.integer({ min: 0, max: 7 });
  const spelt = fc
    .tuple(plain, fc.boolean())
    .map(([day, inWords]) => ({ day: day % 7, text: inWords ? (weekdays[day % 7] ?? '') : `${day}` }));
  const items = fc.oneof(
    spelt.map<Part>(({ day, text }) => ({ ...none, text, has: (_, date) => date.getUTCDay() === day })),
    spelt.map<Part>(({ day, text }) => ({
      ...none,
      text: `${text}L`,
      has: (_, date) => date.getUTCDay() === day && date.getUTCDate() + 7 > lengthOfMonth(date),
    })),
    fc.tuple(spelt, fc.integer({ min: 1, max: 5 })).map<Part>(([{ day, text }, week]) => ({
      ...none,
      text: `${text}#${week}`,
      has: (_, date) => date.getUTCDay() === day && Math.ceil(date.getUTCDate() / 7) === week,
    })),
  );
  const list = fc.array(items, { minLength: 1, maxLength: 3 }).map(either);
  const somehow = fc.oneof(list, mixed(0, 6, 0));
  return fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(star('*'), star('?')) },
    { weight: 2, arbitrary: somehow },
    { weight: 1, arbitrary: somehow.map((part) => ({ ...part, text: `+${part.text}` })) },
  );
}

// Ranges, also around the end, and steps.
function mixed(least: number, most: number, near: number): fc.Arbitrary<Part> {
  const some = someValue(least, most, near);
  const step = fc.integer({ min: 1, max: most - least + 1 });
  return fc.oneof(
    fc.tuple(some, some).map(([from, to]) => range(from, to, 1, least, most)),
    fc.tuple(some, some, step).map(([from, to, by]) => range(from, to, by, least, most)),
    step.map((by) => ({ ...star(`*/${by}`), has: (shown: number) => (shown - least) % by === 0 })),
    fc.tuple(some, step).map(([from, by]) => open(from, by, most)),
  );
}

function number(least: number, most: number, near: number): fc.Arbitrary<Part> {
  return someValue(least, most, near).map((some) => single(String(some), some));
}

function someValue(least: number, most: number, near: number): fc.Arbitrary<number> {
  const about = fc.integer({ min: Math.max(least, near - 1), max: Math.min(most, near + 1) });
  return fc.oneof({ weight: 2, arbitrary: about }, { weight: 1, arbitrary: fc.integer({ min: least, max: most }) });
}

function star(text: string): Part {
  return { text, has: () => true, varies: true, isCroners: true };
}

function single(text: string, value: number): Part {
  return { ...none, text, has: (shown) => shown === value };
}

function range(from: number, to: number, step: number, least: number, most: number): Part {
  const size = most - least + 1;
  const length = to < from ? to + size - from : to - from;
  return {
    text: step === 1 ? `${from}-${to}` : `${from}-${to}/${step}`,
    has: (shown) => {
      const away = (shown - from + size) % size;
      return away <= length && away % step === 0;
    },
    varies: step !== 1,
    isCroners: from <= to,
  };
}

function open(from: number, step: number, most: number): Part {
  const has = (shown: number): boolean => shown >= from && shown <= most && (shown - from) % step === 0;
  return { text: `${from}/${step}`, has, varies: true, isCroners: true };
}

function either(parts: readonly Part[]): Part {
  return {
    text: parts.map(({ text }) => text).join(','),
    has: (value, date) => parts.some((part) => part.has(value, date)),
    varies: parts.some((part) => part.varies),
    isCroners: parts.every((part) => part.isCroners),
  };
}

function written(parts: readonly [Part, Part, Part, Part, Part, Part], years: Part | undefined, count: 5 | 6 | 7): Written {
  const [second, minute, hour, day, month, weekday] = parts;
  const all = years === undefined ? parts : [...parts, years];
  const isFree = ({ text }: Part): boolean => text === '*' || text === '?';
  const both = weekday.text.startsWith('+') || isFree(day) || isFree(weekday);
  const isFixedTime = !minute.varies && !hour.varies;
  const text = (count === 5 ? all.slice(1) : all).map((part) => part.text).join(' ');
  return {
    [fc.toStringMethod]: () => text,
    text,
    matches: (local) => {
      const date = new Date(local);
      if (!second.has(date.getUTCSeconds(), date) || !minute.has(date.getUTCMinutes(), date)) return false;
      if (!hour.has(date.getUTCHours(), date) || !month.has(date.getUTCMonth() + 1, date)) return false;
      if (years !== undefined && !years.has(date.getUTCFullYear(), date)) return false;
      const isDay = day.has(date.getUTCDate(), date);
      const isWeekday = weekday.has(date.getUTCDay(), date);
      return both ? isDay && isWeekday : isDay || isWeekday;
    },
    isFixedTime,
    isByMinute: count === 5,
    // croner asks the seconds too whether an expression is fixed-time.
    isCroners: all.every((part) => part.isCroners) && !(isFixedTime && second.varies),
  };
}

function lengthOfMonth(date: Date): number {
  return new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 0)).getUTCDate();
}

function nearestWorkday(day: number, date: Date): number {
  const isWorkday = (other: number): boolean => {
    const weekday = new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), other)).getUTCDay();
    return other >= 1 && other <= lengthOfMonth(date) && weekday !== 0 && weekday !== 6;
  };
  return [0, -1, 1, -2, 2].map((away) => day + away).find(isWorkday) ?? NaN;
}
