// A schedule looked at before anybody relies on it: what it says, when it is due next, and what it does when clocks change.
// The command line, the API and the pages show the same. Pure.

import { metChanges, type MetChange } from './clock-changes.ts';
import { parseExpression, zoneIn } from './expression.ts';
import { inZone, relativeTo } from './moment.ts';
import { sentenceOf } from './sentence.ts';

export type Asked = {
  readonly expr: string;
  readonly timezone: string;
  /** The job's name, which decides what `H` and `@every` come to. */
  readonly name: string;
  /** Due times strictly after this. */
  readonly after: Date;
  /** How many, at most. */
  readonly most: number;
  readonly now: Date;
};

export type PreviewedTime = {
  readonly dueAt: Date;
  /** On the wall of the zone, with its offset: `2026-03-08T03:00:00-04:00`. */
  readonly local: string;
  /** As seen from now: `in 5 minutes`. */
  readonly relative: string;
};

export type Preview = {
  readonly expr: string;
  readonly timezone: string;
  readonly sentence: string;
  /** Fewer than were asked for when no more follow. */
  readonly times: readonly PreviewedTime[];
  /** The next two changes of the clocks that concern it. */
  readonly clockChanges: readonly MetChange[];
};

const clockChangesTold = 2;

/** The preview of an expression. Throws the Refusal of parseExpression. */
export function previewOf({ expr, timezone, name, after, most, now }: Asked): Preview {
  const schedule = parseExpression(expr, timezone, name);
  const times: PreviewedTime[] = [];
  for (let at = schedule.next(after); at && times.length < most; at = schedule.next(at)) {
    times.push({ dueAt: at, local: inZone(at, timezone), relative: relativeTo(now, at) });
  }
  const clockChanges = metChanges(expr, timezone, name, after, clockChangesTold);
  return { expr, timezone, sentence: sentenceOf(expr, name), times, clockChanges };
}

/** The zone that an expression is read in: the one named beside it, else the one in it, else the usual one. */
export function timezoneOf(expr: string, named: string | undefined, usual: string): string {
  return named ?? zoneIn(expr) ?? usual;
}
