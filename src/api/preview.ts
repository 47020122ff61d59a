// GET /v1/schedule/preview: what an expression says and when it would be due, before there is a job of it.

import { z } from 'zod';
import { readMoment } from '../crontab/moment.ts';
import { previewOf, timezoneOf } from '../crontab/preview.ts';
import { zoneName } from '../jobs/when.ts';
import { label, table, wholeNumber } from '../shapes.ts';
import { shaped } from './wire.ts';

const request = table({
  expr: z.string('expected an expression such as "30 2 * * *"'),
  timezone: zoneName().optional(),
  from: z.string().optional(),
  n: wholeNumber(1, 1000, true).default(10),
  name: label(200).optional(),
});

/**
 * Answers the query of a request made `now`: `expr`, `timezone`, `from` (due times after it), `n` (how many), `name` (of the job, for
 * `H` and `@every`). Throws a Refusal `bad_input` on what it can't read.
 */
export function previewFor(query: Record<string, string>, now: Date, defaultTimezone: string) {
  const { expr, timezone: named, from, n, name } = shaped(request, query);
  const timezone = timezoneOf(expr, named, defaultTimezone);
  const after = from === undefined ? now : readMoment(from, timezone, 'from');
  const preview = previewOf({ expr, timezone, name: name ?? '', after, most: n, now });
  return {
    expr,
    timezone,
    sentence: preview.sentence,
    times: preview.times.map(({ dueAt, local, relative }) => ({ due_at: dueAt, local, relative })),
    clock_changes: preview.clockChanges,
  };
}
