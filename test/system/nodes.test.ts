// Nodes as those see them who look after them: one is kept from taking work, and each has its name to itself.

import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import { folder, limitMs, processesOf, startBelfry, startRefused, until, type Belfry } from '../support/belfry.ts';
import { fault } from '../support/faults.ts';
import { execute, testDatabase } from '../support/postgres.ts';
import { startProxy } from '../support/proxy.ts';

const everySecond = { name: 'every-second', expr: '* * * * * *', overlap: 'allow', command: { type: 'shell', target: 'true' } };
const long = { name: 'long', expr: '@yearly', command: { type: 'shell', target: 'sleep 1000' } };

describe('a node that is drained', { timeout: 3 * limitMs }, () => {
  test('takes nothing more and lets go on what runs; another one works meanwhile, and it again when it is undrained', async (t) => {
    const { url } = await testDatabase(t, 'empty');
    const one = await start(t, url, 'one');
    await one.create(long);
    const run = await one.trigger('long');
    await until(async () => (await stateOf(url, run)) === 'running' || undefined);
    const two = await start(t, url, 'two');
    await two.call('/v1/nodes/one/drain');
    await one.logged(({ msg }) => msg === 'takes_nothing_more');
    await two.create(everySecond);
    const begun = await until(async () => {
      const records = await two.records({ name: 'every-second', state: 'succeeded' });
      return records.length >= 5 ? records : undefined;
    });
    assert.deepEqual([...new Set(begun.map(({ node }) => node))], ['two']);
    assert.equal(await stateOf(url, run), 'running');

    await two.call('/v1/nodes/two/drain');
    await two.call('/v1/nodes/one/undrain');
    await one.logged(({ msg }) => msg === 'takes_again');
    await two.logged(({ msg }) => msg === 'takes_nothing_more');
    await until(
      async () =>
        (await two.records({ name: 'every-second' })).some(({ node, state }) => node === 'one' && state === 'succeeded') || undefined,
    );
  });
});

describe('a node whose name lock is lost', { timeout: 3 * limitMs }, () => {
  test('takes it again, and goes on', async (t) => {
    const { url } = await testDatabase(t, 'empty');
    const node = await start(t, url, 'bell');
    await execute(
      url,
      `select pg_terminate_backend(pid) from pg_locks
        where locktype = 'advisory' and granted and pid <> pg_backend_pid()
          and database = (select oid from pg_database where datname = current_database())`,
    );
    await node.logged(({ msg }) => msg === 'node_name_taken_again');
    assert.deepEqual(await node.end('SIGTERM'), { code: 0, signal: null });
  });

  fault(
    {
      fault: 'two nodes of one name',
      seen: 'the second is refused while the first is there; where the first was cut off and the second came, the first ends what it runs and itself when it is back',
    },
    async (t) => {
      const { url } = await testDatabase(t, 'empty');
      const proxy = await startProxy(t, url);
      const cwd = await folder(t);
      const node = await startBelfry({ cwd, env: { BELFRY_DATABASE_URL: proxy.url, BELFRY_NODE: 'bell' } });
      await node.create(long);
      const run = await node.trigger('long');
      await until(async () => (await stateOf(url, run)) === 'running' || undefined);
      assert.match(
        (await startRefused({ cwd: await folder(t), env: { BELFRY_DATABASE_URL: url, BELFRY_NODE: 'bell' } })).stderr,
        /a Belfry named "bell" is running/,
      );
      await proxy.down();
      const other = await start(t, url, 'bell');
      await proxy.up();
      assert.deepEqual(await node.exited, { code: 1, signal: null });
      assert.deepEqual(processesOf(cwd), []);
      const last = node.lines.at(-1)?.msg;
      assert.equal(last, 'node.name: another Belfry named "bell" has started while the database could not be reached from here');
      assert.equal((await other.finished(run)).reason, 'lost');
      await other.create(everySecond);
      await until(async () => (await other.records({ name: 'every-second', state: 'succeeded' })).length > 1 || undefined);
    },
  );
});

async function start(t: TestContext, url: string, name: string): Promise<Belfry> {
  return startBelfry({ cwd: await folder(t), env: { BELFRY_DATABASE_URL: url, BELFRY_NODE: name } });
}

async function stateOf(url: string, run: number): Promise<unknown> {
  const [row] = await execute(url, `select state from belfry.records where id = ${run}`);
  return row?.['state'];
}
