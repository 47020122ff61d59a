// The table of runs as the history checker reads it.

import { execute } from './postgres.ts';
import type { HistoryRun, Note } from './history.ts';

/** All runs, or those that are not at their end; in the order of their ids. */
export async function recordedRuns(url: string, which: 'all' | 'open' = 'all'): Promise<HistoryRun[]> {
  const rows = await execute(
    url,
    `select r.id, r.job_name, r.due_at, r.last_due_at, r.due_count, r.state, r.reason, r.catchup, r.attempts, r.ready_at, to_jsonb(u) as way
       from belfry.records r left join belfry.unfinished u on u.run_id = r.id
      where r.cause = 'schedule' ${which === 'open' ? 'and u.run_id is not null' : ''} order by r.id`,
  );
  return rows.map((row) => ({
    id: Number(row['id']),
    job: String(row['job_name']),
    dueAt: (row['due_at'] as Date).getTime(),
    lastDueAt: (row['last_due_at'] as Date | null)?.getTime(),
    dueCount: Number(row['due_count']),
    state: String(row['state']),
    reason: (row['reason'] as string | null) ?? undefined,
    catchup: row['catchup'] === true,
    attempts: (row['attempts'] as Note[] | null) ?? [],
    readyAt: (row['ready_at'] as Date | null)?.getTime(),
    ...(row['way'] === null ? {} : { way: JSON.stringify(row['way']) }),
  }));
}
