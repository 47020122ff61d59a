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

/**
 * To be called when all have stopped: fails unless every due time has exactly one record and has succeeded, and the file names each of
 * them once. What came due as the last of them stopped may wait for the next start.
 */
export async function assertExactlyOnce(url: string, ledger: string): Promise<void> {
  const rows = await execute(url, `select due_at, state from belfry.records where job_name = 'one-second' order by due_at, id`);
  const runs = rows.slice(0, rows.findLastIndex(({ state }) => state !== 'queued') + 1);
  assert.deepEqual(
    runs.filter(({ state }) => state !== 'succeeded'),
    [],
    'each is done',
  );
  const dueTimes = runs.map((run) => (run['due_at'] as Date).toISOString());
  const first = Date.parse(dueTimes[0] ?? '');
  assert.deepEqual(
    dueTimes,
    dueTimes.map((_, index) => new Date(first + 1000 * index).toISOString()),
    'no gap, none twice',
  );
  const lines = (await readFile(ledger, 'utf8')).trimEnd().split('\n');
  assert.deepEqual(lines.filter((line) => line <= (dueTimes.at(-1) ?? '')).toSorted(), dueTimes, 'by the account of the commands');
}
