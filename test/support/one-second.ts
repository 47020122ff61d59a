// A job of every second, and what must be true of it whatever happens: each due time has one record, and was run once by the
// account of the commands themselves.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { limitMs, until } from './belfry.ts';
import { execute } from './postgres.ts';

export type Executed = { readonly dueAt: Date; readonly startedAt: Date };

/** A job of every second that appends each due time to a file. */
export function oneSecond(ledger: string): Record<string, unknown> {
  return {
    name: 'one-second',
    expr: '* * * * * *',
    overlap: 'allow',
    command: { type: 'shell', target: `echo $BELFRY_DUE_AT >> ${ledger}` },
  };
}

/** The runs of due times from a moment on that have succeeded, oldest first, when there are so many and each before them has. */
export function executedSince(url: string, from: Date, count: number): Promise<Executed[]> {
  return until(
    async () => {
      const rows = await execute(
        url,
        `select due_at as "dueAt", started_at as "startedAt", state = 'succeeded' as ok
           from belfry.records where job_name = 'one-second' and due_at >= '${from.toISOString()}' order by due_at, id limit ${count}`,
      );
      return rows.length >= count && rows.every(({ ok }) => ok) ? (rows as Executed[]) : undefined;
    },
    1000 * count + limitMs,
  );
}

/** The greatest of the delays from due to start, in milliseconds. */
export function longestDelay(runs: readonly Executed[]): number {
  return Math.max(0, ...runs.map(({ dueAt, startedAt }) => startedAt.getTime() - dueAt.getTime()));
}

/** Fails unless every due time up to now has exactly one record, and the file names each of them once. */
export async function assertExactlyOnce(url: string, ledger: string): Promise<void> {
  const [row] = await execute(url, `select count(*)::integer as n, min(due_at) as first from belfry.records where job_name = 'one-second'`);
  const runs = await executedSince(url, row?.['first'] as Date, Number(row?.['n']));
  const dueTimes = runs.map(({ dueAt }) => dueAt.toISOString());
  const first = Date.parse(dueTimes[0] ?? '');
  assert.deepEqual(
    dueTimes,
    dueTimes.map((_, index) => new Date(first + 1000 * index).toISOString()),
    'no gap, none twice',
  );
  const lines = (await readFile(ledger, 'utf8')).trimEnd().split('\n');
  assert.deepEqual(lines.filter((line) => line <= (dueTimes.at(-1) ?? '')).toSorted(), dueTimes, 'by the account of the commands');
}
