// kill -9, of one process, of some, of everything.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { limitMs, processesOfRun, until, type Belfry } from '../support/belfry.ts';
import { fault } from '../support/faults.ts';
import { execute } from '../support/postgres.ts';
import { startRedis } from '../support/redis.ts';
import { startServer } from '../support/server.ts';
import { entered, linesOf, place, settledWell, startSeconds, worstLateness, type Place } from '../support/settled.ts';

const asleep = 'setsid sleep 1000 & sleep 1000';

describe('a kill -9', { timeout: 10 * limitMs, concurrency: 3 }, () => {
  fault(
    {
      fault: 'kill -9 of the only process while runs are on',
      seen: 'at the next start what it left is killed, its runs are `lost` or tried again as `on_lost` says, and what was due meanwhile is caught up with or written down as missed',
    },
    async (t) => {
      const at = await place(t);
      const killed = await at.start();
      await startSeconds(at, killed);
      const kept = await begin(at, killed, 'kept', asleep);
      const again = await begin(at, killed, 'again', `[ $BELFRY_ATTEMPT = 2 ] || { ${asleep}; }`, { on_lost: 'retry' });
      await killed.end('SIGKILL');

      const belfry = await at.start();
      const [lost, retried] = [await belfry.finished(kept), await belfry.finished(again)];
      assert.deepEqual([lost.state, lost.reason, lost.attempts.length], ['failed', 'lost', 1]);
      assert.deepEqual([retried.state, retried.attempts.map(({ outcome }) => outcome)], ['succeeded', ['lost', 'succeeded']]);
      await settledWell(at, belfry);
    },
  );

  fault(
    {
      fault: 'kill -9 of one of three crontab nodes',
      seen: 'the others fire every due time as before; none of a job of every second is missing, missed or late by more than a few seconds',
    },
    async (t) => {
      const at = await place(t);
      const duties = { BELFRY_DUTIES: 'web,crontab' };
      const worker = await at.start({ name: 'worker', env: { BELFRY_DUTIES: 'web,worker' } });
      const [one, two, three] = await Promise.all(['one', 'two', 'three'].map((name) => at.start({ name, env: duties })));
      assert.ok(one && two && three);
      await startSeconds(at, one);
      await two.end('SIGKILL');
      await one.records();
      await settledWell(at, one, three, worker);
      // What came due as the last of them stopped waits for a start.
      const states = await execute(
        at.url,
        `select distinct state, due_count from belfry.records where job_name = 'every-second' and state <> 'queued'`,
      );
      assert.deepEqual(states, [{ state: 'succeeded', due_count: 1 }]);
      const late = await worstLateness(at);
      t.diagnostic(`the latest run began ${late} ms after it was due`);
      assert.ok(late < 15_000, `${late} ms late`);
    },
  );

  fault(
    {
      fault: 'kill -9 of one of three workers with 20 runs on',
      seen: 'within lease + 30 seconds all 20 are `lost`, or done by the others where `on_lost = "retry"`; the others’ runs go on',
    },
    async (t) => {
      const at = await place(t, { config: 'worker.concurrency = 40' });
      // The first holds what it has begun; the others come after that.
      const killed = await at.start({ name: 'killed' });
      await startSeconds(at, killed);
      const runs: number[] = [];
      for (let index = 0; index < 20; index++) {
        const on_lost = index < 10 ? 'fail' : 'retry';
        runs.push(await begin(at, killed, `long-${index}`, '[ $BELFRY_ATTEMPT = 2 ] || sleep 1000', { on_lost }));
      }
      const others = await Promise.all(['one', 'two'].map((name) => at.start({ name })));
      await killed.end('SIGKILL');
      const since = performance.now();
      const [watching] = others;
      assert.ok(watching);
      await until(async () => (await unfinished(at, runs)) === 0 || undefined, 120_000);
      t.diagnostic(`settled after ${Math.round((performance.now() - since) / 1000)} s`);
      const ended = await Promise.all(runs.map((run) => watching.finished(run)));
      const told = ended.map(({ state, attempts }) => `${state} ${attempts.map(({ outcome }) => outcome).join()}`);
      assert.deepEqual(
        told,
        runs.map((_, index) => (index < 10 ? 'failed lost' : 'succeeded lost,succeeded')),
      );
      // On this one machine its commands outlive it; on its own they are killed at its next start.
      const back = await at.start({ name: 'killed' });
      await settledWell(at, ...others, back);
    },
  );

  fault(
    {
      fault: 'kill -9 of everything, Redis and PostgreSQL (immediate) included',
      seen: 'all of them started again, it is as if Belfry alone had been killed: nothing that was committed is gone, Redis may be empty',
    },
    async (t) => {
      const [server, redis] = [await startServer(t), await startRedis(t)];
      const at = await place(t, { url: await server.database(), env: { BELFRY_REDIS_URL: redis.url } });
      const killed = await at.start();
      await startSeconds(at, killed);
      const run = await begin(at, killed, 'long', asleep);
      await Promise.all([killed.end('SIGKILL'), server.stop('immediate'), redis.restart()]);
      await server.start();
      const belfry = await at.start();
      assert.equal((await belfry.finished(run)).reason, 'lost');
      await settledWell(at, belfry);
    },
  );

  fault(
    {
      fault: 'a job that kills its worker every time',
      seen: 'each kill spends an attempt: with `on_lost = "retry"` it has failed after `retry.max_attempts`, and is not begun again',
    },
    async (t) => {
      const at = await place(t);
      let belfry = await at.start();
      await startSeconds(at, belfry);
      const name = 'killer';
      const retry = { max_attempts: 3, delay: '10ms' };
      await belfry.create({ name, expr: '@yearly', on_lost: 'retry', retry, ...entered(at, `sleep 1000`) });
      const run = await belfry.trigger(name);
      for (let attempt = 1; attempt <= 3; attempt++) {
        await until(async () => (await linesOf(at.ledger)).includes(`${run} ${attempt}`) || undefined);
        await belfry.end('SIGKILL');
        belfry = await at.start();
      }
      const ended = await belfry.finished(run);
      assert.deepEqual(
        [ended.state, ended.reason, ended.attempts.map(({ outcome }) => outcome)],
        ['failed', 'lost', ['lost', 'lost', 'lost']],
      );
      await settledWell(at, belfry);
    },
  );
});

/** Makes a job and runs it; answers the run when its command is under way. */
async function begin(at: Place, belfry: Belfry, name: string, then: string, job: Record<string, unknown> = {}): Promise<number> {
  await belfry.create({ name, expr: '@yearly', retry: { max_attempts: 2, delay: '10ms' }, ...job, ...entered(at, then) });
  const run = await belfry.trigger(name);
  await until(
    () => [...at.homes.values()].flatMap((home) => processesOfRun(home, run)).find(({ name: program }) => program === 'sleep'),
    limitMs,
  );
  return run;
}

async function unfinished({ url }: Place, runs: readonly number[]): Promise<number> {
  return (await execute(url, `select 1 from belfry.unfinished where run_id in (${runs.join()})`)).length;
}
