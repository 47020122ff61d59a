// Jobs that ask for a label or a node run there and nowhere else, as promptly as any other.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { folder, limitMs, startBelfry, until, type Belfry } from '../support/belfry.ts';
import { assertExactlyOnce, longestDelay, oneSecond, type Executed } from '../support/one-second.ts';
import { execute, testDatabase } from '../support/postgres.ts';
import { testRedis } from '../support/redis.ts';

describe('Jobs that ask for a place', { timeout: 3 * limitMs, concurrency: true }, () => {
  for (const kind of ['Redis', 'PostgreSQL'] as const) {
    test(`run there, with messages on ${kind}`, async (t) => {
      const { start, url, ledger } = await place(t, kind === 'Redis' ? { BELFRY_REDIS_URL: testRedis().url } : {});
      const one = await start('one', 'node.labels = ["gpu"]');
      const two = await start("Zoë's: two", '');
      const places = { anywhere: undefined, gpu: { label: 'gpu' }, two: { node: "Zoë's: two" }, nowhere: { label: 'quantum' } };
      await one.create(oneSecond(ledger));
      for (const [name, runOn] of Object.entries(places)) await one.create(silent(name, runOn));

      // The first in a lane may wait until it is listened to; from then on a message is there in no time.
      await until(async () => ((await executed(url, 'gpu')).length >= 8 && (await executed(url, 'two')).length >= 8 ? true : undefined));
      for (const [name, node] of [
        ['gpu', 'one'],
        ['two', "Zoë's: two"],
      ] as const) {
        const runs = await executed(url, name);
        assert.deepEqual([...new Set(runs.map((run) => run.node))], [node]);
        t.diagnostic(
          `${kind}, ${name}: the first after ${longestDelay(runs.slice(0, 1))} ms, the others within ${longestDelay(runs.slice(1))} ms`,
        );
      }
      assert.deepEqual(await executed(url, 'nowhere'), []);
      const silence = [...one.lines, ...two.lines].filter(({ msg }) => msg === 'queue_silent');
      assert.deepEqual(silence, []);
      for (const belfry of [one, two]) assert.equal((await belfry.end('SIGTERM')).code, 0, belfry.stderr());
      await assertExactlyOnce(url, ledger);
    });
  }
});

async function place(t: TestContext, env: Record<string, string>) {
  const { url } = await testDatabase(t, 'empty');
  const ledger = join(await folder(t), 'ledger');
  const start = async (name: string, config: string): Promise<Belfry> =>
    startBelfry({ cwd: await folder(t), config, env: { ...env, BELFRY_DATABASE_URL: url, BELFRY_NODE: name } });
  return { url, ledger, start };
}

function silent(name: string, runOn: unknown): Record<string, unknown> {
  return { name, expr: '* * * * * *', overlap: 'allow', command: { type: 'shell', target: 'true' }, ...(runOn ? { run_on: runOn } : {}) };
}

async function executed(url: string, name: string): Promise<(Executed & { readonly node: string })[]> {
  const rows = await execute(
    url,
    `select due_at as "dueAt", started_at as "startedAt", node from belfry.records where job_name = '${name}' and state = 'succeeded' order by due_at`,
  );
  return rows as (Executed & { node: string })[];
}
