// An hour in which nobody was up, with very many jobs: caught up with, and never at the cost of what is live.

import assert from 'node:assert/strict';
import { until } from '../support/belfry.ts';
import { fault } from '../support/faults.ts';
import { copies, withNoop } from '../support/many.ts';
import { execute } from '../support/postgres.ts';
import { everySecond, place, settledWell, startSeconds, type Place } from '../support/settled.ts';

const count = 10_000;

fault(
  {
    fault: 'an outage of an hour with 10 000 jobs a minute',
    seen: 'each job has one run for it and one row that counts the others; what is due when Belfry is back comes first, and live due times begin on time while the rest is caught up with',
  },
  async (t) => {
    const at = await place(t);
    // Faster than by default, where 10 000 runs take 100 seconds.
    const config = `crontab.catchup_rate = 500\n${await withNoop(at)}`;
    const stopped = await at.start({ config });
    await startSeconds(at, stopped);
    await copies(at, stopped, count, { expr: '* * * * *', overlap: 'allow' }, `now() + interval '1 day'`);
    await stopped.end('SIGTERM');
    // As if all that had been an hour ago.
    await execute(at.url, `update belfry.installation set last_tick_at = last_tick_at - interval '1 hour'`);
    await execute(
      at.url,
      `update belfry.cursors set next_due_at = (select date_trunc('minute', last_tick_at) from belfry.installation)
        where job_id in (select id from belfry.jobs where name like 'copy-%')`,
    );

    const belfry = await at.start({ config });
    const begun = performance.now();
    const back = await now(at);
    await until(async () => {
      const [done] = await execute(
        at.url,
        `select count(*)::integer as n from belfry.records where job_name like 'copy-%' and catchup and state = 'succeeded'`,
      );
      return Number(done?.['n']) >= count || undefined;
    }, 120_000);
    const caughtUp = await now(at);
    t.diagnostic(`caught up after ${Math.round((performance.now() - begun) / 1000)} s`);

    const [covered] = await execute(
      at.url,
      `select count(*)::integer as jobs, count(*) filter (where minutes <> rows_of_minutes)::integer as wrong, max(runs)::integer as most
         from (select sum(due_count) as rows_of_minutes, count(*) filter (where state = 'succeeded' and catchup) as runs,
                      extract(epoch from max(coalesce(last_due_at, due_at)) - min(due_at)) / 60 + 1 as minutes
                 from belfry.records where job_name like 'copy-%' group by job_id) as each`,
    );
    assert.deepEqual(covered, { jobs: count, wrong: 0, most: 1 });
    // But for the live minute of those 10 000, which is a burst of its own, as is the next, should it come meanwhile.
    const [live] = await execute(
      at.url,
      `with bursts as (
           select greatest(due_at, '${back}'::timestamptz) as begun, max(started_at) as over
             from belfry.records where job_name like 'copy-%' and not catchup and started_at is not null group by due_at
       )
       select count(*)::integer as runs, percentile_disc(0.99) within group (order by extract(epoch from started_at - due_at))::float as p99
         from belfry.records r
        where job_name = '${everySecond}' and not catchup and due_at > '${back}' and due_at < '${caughtUp}'
          and not exists (select from bursts where r.due_at between bursts.begun and bursts.over)`,
    );
    const p99 = Number(live?.['p99']);
    t.diagnostic(`live meanwhile: ${String(live?.['runs'])} runs, p99 begun ${p99} s after it was due`);
    assert.ok(Number(live?.['runs']) > 5 && p99 < 15, `${p99} s late`);
    await settledWell(at, belfry);
  },
);

async function now({ url }: Place): Promise<string> {
  const [row] = await execute(url, 'select now()::text as now');
  return String(row?.['now']);
}
