// GET /v1/schedule/preview: what an expression says and when it would be due, before there is a job of it.

import { z } from 'zod';
import { readMoment } from '../crontab/moment.ts';
import { previewOf, timezoneOf } from '../crontab/preview.ts';
import { zoneName } from '../jobs/when.ts';
import { label, table, wholeNumber } from '../shapes.ts';
import { countAt } from '../crontab/collisions.ts';
import type { JobSchedule, Scheduled } from '../crontab/schedules.ts';
import { shaped } from './wire.ts';

const request = table({
  expr: z.string('expected an expression such as "30 2 * * *"'),
  timezone: zoneName().optional(),
  from: z.string().optional(),
  n: wholeNumber(1, 1000, true).default(10),
  name: label(200).optional(),
});

type Deps = {
  readonly defaultTimezone: string;
  readonly jobs: { readonly due: (limit: number) => Promise<readonly Scheduled[]> };
  readonly scheduleOf: (job: Scheduled) => JobSchedule;
};

// So many jobs are looked at for what is due beside, at so many of the times: some 50 ms.
const mostJobs = 10_000;
const mostTimes = 10;

/**
 * Answers the query of a request made `now`: `expr`, `timezone`, `from` (due times after it), `n` (how many), `name` (of the job, for
 * `H` and `@every`). Of the first ten times it tells how many other jobs start in that second. Throws a Refusal `bad_input` on what it can't read.
 */
export async function previewFor(deps: Deps, query: Record<string, string>, now: Date) {
  const { expr, timezone: named, from, n, name } = shaped(request, query);
  const timezone = timezoneOf(expr, named, deps.defaultTimezone);
  const after = from === undefined ? now : readMoment(from, timezone, 'from');
  const preview = previewOf({ expr, timezone, name: name ?? '', after, most: n, now });
  const others = (await deps.jobs.due(mostJobs)).filter((job) => job.name !== name).map(deps.scheduleOf);
  return {
    expr,
    timezone,
    sentence: preview.sentence,
    times: preview.times.map(({ dueAt, local, relative }, index) => ({
      due_at: dueAt,
      local,
      relative,
      ...(index < mostTimes ? { others: countAt(others, dueAt) } : {}),
    })),
    clock_changes: preview.clockChanges,
  };
}
