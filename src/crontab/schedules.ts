// Schedules that were parsed before: many jobs share an expression, and asking one costs less than reading its text again.

import { parseExpression, type Schedule } from './expression.ts';

type Scheduled = { readonly name: string; readonly expr: string; readonly timezone: string };

/** Parses a job's expression, or answers what was parsed for one like it. Keeps the last `most`. Throws as parseExpression. */
export function rememberSchedules(most = 10_000): (job: Scheduled) => Schedule {
  const known = new Map<string, Schedule>();
  return (job) => {
    // Where the job's name decides (`H`, `@every`), only the same job shares.
    const seed = /H|@every/i.test(job.expr) ? job.name : '';
    const key = `${job.timezone}\n${job.expr}\n${seed}`;
    const found = known.get(key);
    if (found) return found;
    const schedule = parseExpression(job.expr, job.timezone, job.name);
    const oldest = known.size >= most ? known.keys().next().value : undefined;
    if (oldest !== undefined) known.delete(oldest);
    known.set(key, schedule);
    return schedule;
  };
}
