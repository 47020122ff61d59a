// Two processes on one database: every due time is recorded once and executed once, whoever ticks and whoever works.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { folder, limitMs, startBelfry, startRefused, until, type Belfry } from '../support/belfry.ts';
import { oneSecond } from '../support/one-second.ts';
import { execute, testDatabase } from '../support/postgres.ts';
import { testRedis } from '../support/redis.ts';

// By hand: BELFRY_TEST_SECONDS=180.
const seconds = Number(process.env['BELFRY_TEST_SECONDS'] ?? 20);

describe('two Belfrys on one database', { timeout: 1000 * seconds + 3 * limitMs }, () => {
  test('record and execute every due time of a one-second job once, with Redis', async (t) => {
    const { start, url, ledger } = await place(t, { BELFRY_REDIS_URL: testRedis().url });
    const both = [await start('one'), await start('two')] as const;
    await both[0].create(oneSecond(ledger));
    const dueTimes = await executed(url, seconds);
    assert.deepEqual(dueTimes, unbroken(dueTimes));
    assert.deepEqual(await linesOf(ledger, dueTimes), dueTimes, 'by the account of the commands themselves');
    assert.deepEqual(await arrived(both, dueTimes), dueTimes, 'each is told by the one node that fired it');
    const nodes = await execute(url, `select distinct node from belfry.results where node is not null order by node`);
    assert.deepEqual(nodes, [{ node: 'one' }, { node: 'two' }], 'both have worked');
  });

  test('do so without Redis too, and when one of them is killed the due times go on without a gap', async (t) => {
    const { start, url, ledger } = await place(t, {});
    const [one, two] = [await start('one'), await start('two')];
    await one.create(oneSecond(ledger));
    const before = await executed(url, Math.ceil(seconds / 4));
    assert.deepEqual(before, unbroken(before));
    assert.deepEqual(await linesOf(ledger, before), before);

    await two.end('SIGKILL');
    const after = await recorded(url, (await recorded(url)).length + Math.ceil(seconds / 4));
    assert.deepEqual(after, unbroken(after));
    const lines = await linesOf(ledger, after);
    assert.deepEqual(lines, [...new Set(lines)], 'none was executed twice');
  });

  test('are refused, the second of them, when they have one name', async (t) => {
    const { start, options } = await place(t, {});
    const first = await start('bell');
    const { code, stderr } = await startRefused(await options('bell'));
    assert.equal(code, 1);
    const advice = 'is running on this database already; give this one a name of its own (BELFRY_NODE)';
    assert.equal(stderr, `belfry: node.name: a Belfry named "bell" ${advice}\n`);
    assert.equal((await fetch(`${first.address}/ping`)).status, 200, 'the first goes on');
  });
});

/** One database for Belfrys in folders of their own, and a file that their commands write to. */
async function place(t: TestContext, env: Record<string, string>) {
  const { url } = await testDatabase(t, 'empty');
  const ledger = join(await folder(t), 'ledger');
  const options = async (name: string) => ({ cwd: await folder(t), env: { ...env, BELFRY_DATABASE_URL: url, BELFRY_NODE: name } });
  return { url, ledger, options, start: async (name: string): Promise<Belfry> => startBelfry(await options(name)) };
}

/** The due times of the first runs, one for each row, when there are so many. */
function recorded(url: string, count = 0, condition = 'true'): Promise<string[]> {
  return until(
    async () => {
      const rows = await execute(url, `select due_at, ${condition} as ok from belfry.records order by due_at, id limit ${count || 'all'}`);
      return rows.length >= count && rows.every(({ ok }) => ok) ? rows.map(({ due_at }) => (due_at as Date).toISOString()) : undefined;
    },
    1000 * count + limitMs,
  );
}

/** The same when they have all succeeded. */
function executed(url: string, count: number): Promise<string[]> {
  return recorded(url, count, `state = 'succeeded'`);
}

/** So many seconds in a row, from the first of these on. */
function unbroken([first = '', ...others]: readonly string[]): string[] {
  return [0, ...others].map((_, index) => new Date(Date.parse(first) + 1000 * index).toISOString());
}

/** What the commands wrote down, up to the last of these due times. */
async function linesOf(ledger: string, dueTimes: readonly string[]): Promise<string[]> {
  return upTo(dueTimes, (await readFile(ledger, 'utf8')).trimEnd().split('\n'));
}

/** What the nodes say that they fired, up to the last of these due times; their logs may take a moment to come here. */
function arrived(nodes: readonly Belfry[], dueTimes: readonly string[]): Promise<string[]> {
  return until(() => {
    const fired = nodes.flatMap(({ lines }) => lines).filter(({ msg }) => msg === 'arrived_job');
    const found = upTo(
      dueTimes,
      fired.map((line) => String(line['due_at'])),
    );
    return found.length >= dueTimes.length ? found : undefined;
  });
}

function upTo(dueTimes: readonly string[], moments: readonly string[]): string[] {
  return moments.filter((moment) => moment <= (dueTimes.at(-1) ?? '')).toSorted();
}
