// A burst that is larger than any queue: it drains at the rate that the machine has, and whoever asks meanwhile is answered.

import assert from 'node:assert/strict';
import { until, type Belfry } from '../support/belfry.ts';
import { fault } from '../support/faults.ts';
import { copies, withNoop } from '../support/many.ts';
import { execute } from '../support/postgres.ts';
import { testRedis } from '../support/redis.ts';
import { place, settledWell, startSeconds } from '../support/settled.ts';

const count = 100_000;

fault(
  {
    fault: 'a hundred thousand jobs due in one second',
    seen: 'each is recorded once and done once, as fast as the machine can; calls are answered meanwhile, and what is due every second goes on',
  },
  async (t) => {
    const at = await place(t, { env: { BELFRY_REDIS_URL: testRedis().url } });
    const belfry = await at.start({ config: `worker.concurrency = 500\n${await withNoop(at)}` });
    await startSeconds(at, belfry);
    await copies(at, belfry, count, { expr: '@yearly' }, `now() + interval '1 day'`);
    await execute(
      at.url,
      `update belfry.cursors set next_due_at = date_trunc('second', now()) where job_id in (select id from belfry.jobs where name like 'copy-%')`,
    );
    const begun = performance.now();
    const isOver = new AbortController();
    const asking = ask(belfry, isOver.signal);
    await until(async () => {
      const [done] = await execute(at.url, `select count(*)::integer as n from belfry.results where finished_at is not null`);
      return Number(done?.['n']) >= count || undefined;
    }, 150_000);
    isOver.abort();
    const seconds = (performance.now() - begun) / 1000;
    t.diagnostic(`${count} jobs of one second: ${Math.round(count / seconds)} a second`);
    const slowest = await asking;
    t.diagnostic(`/listJobRecord meanwhile: ${slowest.asked} times, ${Math.round(slowest.ms)} ms at most`);
    assert.ok(slowest.asked > 0 && slowest.ms < 10_000);
    await settledWell(at, belfry);

    const [ends] = await execute(
      at.url,
      `select count(*)::integer as rows, count(distinct job_id)::integer as jobs, count(distinct due_at)::integer as moments,
              count(*) filter (where state = 'succeeded' and attempt = 1)::integer as done
         from belfry.records where job_name like 'copy-%'`,
    );
    assert.deepEqual(ends, { rows: count, jobs: count, moments: 1, done: count });
  },
);

/** Asks for records again and again; answers how often, and how long it took at most. */
async function ask(belfry: Belfry, signal: AbortSignal): Promise<{ asked: number; ms: number }> {
  let [asked, ms] = [0, 0];
  while (!signal.aborted) {
    const begun = performance.now();
    await belfry.records({ size: 20 });
    ms = Math.max(ms, performance.now() - begun);
    asked++;
  }
  return { asked, ms };
}
