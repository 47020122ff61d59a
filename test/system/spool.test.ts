// PostgreSQL goes away while runs are under way: what they came to is not lost, whoever ends meanwhile.

import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { folder, limitMs, processesOf, processesOfRun, startBelfry, until, type Belfry } from '../support/belfry.ts';
import { smallDisk } from '../support/disk.ts';
import { fault } from '../support/faults.ts';
import { execute, testDatabase } from '../support/postgres.ts';
import { startProxy } from '../support/proxy.ts';
import { startTap } from '../support/tap.ts';

const records = /delete from belfry\.unfinished.*insert into belfry\.results/s;

/** Each attempt signs outside of Belfry, and ends when the file `go` is there. */
const target = 'echo $BELFRY_ATTEMPT >> ledger; until [ -e go ]; do sleep 0.1; done; echo finished';

describe('a result that comes while PostgreSQL is away', { timeout: 3 * limitMs, concurrency: 2 }, () => {
  test('is recorded when it is back, by a Belfry that goes on', async (t) => {
    const { belfry, proxy, run, finish, files } = await place(t);
    await proxy.down();
    await finish();
    assert.equal((await belfry.logged(({ msg }) => msg === 'record_delayed'))['run'], run);
    await until(async () => (await files()).length === 1 || undefined);
    await proxy.up();
    const { state, attempts } = await belfry.finished(run);
    assert.deepEqual([state, attempts.length], ['succeeded', 1]);
    await until(async () => (await files()).length === 0 || undefined);
    assert.equal((await belfry.logged(({ msg, run: id }) => msg === 'execed_job' && id === run))['outcome'], 'succeeded');
  });

  for (const how of ['down', 'blackhole'] as const) {
    test(`is recorded by the next start when Belfry is told to stop meanwhile (${how}), which does not wait for PostgreSQL`, async (t) => {
      const { cwd, belfry, start, proxy, run, finish, files } = await place(t);
      await proxy[how]();
      const ending = belfry.end('SIGTERM');
      await belfry.logged(({ msg }) => msg === 'stopping');
      await finish();
      assert.deepEqual(await ending, { code: 0, signal: null });
      // Not the hour that runs may take to finish.
      assert.equal((await files()).length, 1);
      assert.deepEqual(processesOf(cwd), []);

      if (how === 'down') await proxy.up();
      else proxy.pass();
      await assertReplayed(await start(), run, cwd, files);
    });
  }

  test('and was given up by a Belfry that stops is told once more before that says it has stopped: nobody calls it lost', async (t) => {
    const { url } = await testDatabase(t, 'empty');
    const tap = await startTap(t, url);
    const { cwd, belfry, run, finish, files } = await placeBehind(t, tap.url);
    await startBelfry({ cwd: await folder(t), env: { BELFRY_DATABASE_URL: url, BELFRY_NODE: 'other' } });
    const ending = belfry.end('SIGTERM');
    await belfry.logged(({ msg }) => msg === 'stopping');
    const held = tap.hold(records, 'asked');
    await finish();
    await held;
    await execute(
      url,
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'belfry one' and datname = current_database()`,
    );
    assert.deepEqual(await ending, { code: 0, signal: null });
    assert.deepEqual([await files(), processesOf(cwd)], [[], []]);
    const rows = await execute(
      url,
      `select state, (select end_reason from belfry.nodes where name = 'one') as node from belfry.records where id = ${run}`,
    );
    assert.deepEqual(rows, [{ state: 'succeeded', node: 'stopped' }]);
  });

  test('is recorded by the next start when Belfry is killed meanwhile (kill -9), before anything is settled as lost', async (t) => {
    const { cwd, belfry, start, proxy, run, finish, files } = await place(t);
    const other = await belfry.trigger('other');
    await until(() => processesOfRun(cwd, other)[0]);
    await proxy.down();
    await finish();
    await until(async () => (await files()).length === 1 || undefined);
    await belfry.end('SIGKILL');
    await proxy.up();
    const again = await start();
    await assertReplayed(again, run, cwd, files);
    assert.equal((await again.finished(other)).reason, 'lost');
  });
});

fault(
  {
    fault: 'the disk of the spool full',
    seen: 'a result that finds neither PostgreSQL nor room for its file waits in the process, which says so, and is recorded when PostgreSQL is back',
  },
  async (t) => {
    const disk = await smallDisk(t, 64);
    if (!disk) return;
    const { belfry, proxy, run, finish } = await place(t, `data_dir = "${disk.path}"`);
    await disk.fill();
    await proxy.down();
    await finish();
    assert.match(JSON.stringify((await belfry.logged(({ msg }) => msg === 'spool_failed'))['err']), /ENOSPC/);
    await proxy.up();
    assert.equal((await belfry.finished(run)).state, 'succeeded');
  },
);

describe('a Belfry cut off from PostgreSQL', { timeout: 3 * limitMs }, () => {
  test('ends its runs before others may begin them, where on_cut_off says so, and records that when it is back', async (t) => {
    const { cwd, belfry, proxy, run } = await place(t, 'worker.on_cut_off = "kill"\nworker.kill_grace = "10m"');
    await proxy.down();
    await until(() => processesOfRun(cwd, run).length === 0 || undefined, 2 * limitMs);
    // Told to, before they would be killed.
    await belfry.logged(({ msg, lease_left_ms: left }) => msg === 'cut_off' && Number(left) > 5000);
    await proxy.up();
    const { error } = await until(
      async () => (await belfry.records({ name: 'long' })).find(({ attempts }) => attempts.length > 0)?.attempts[0],
    );
    assert.match(String(error), /interrupted/);
  });
});

async function assertReplayed(belfry: Belfry, run: number, cwd: string, files: () => Promise<string[]>): Promise<void> {
  const { state, reason, failed_cnt: failed, attempts } = await belfry.finished(run);
  assert.deepEqual([state, reason, failed, attempts.length], ['succeeded', null, 0, 1]);
  assert.equal((await belfry.resultOf(run))['out'], 'finished\n');
  assert.deepEqual(await files(), []);
  assert.ok(belfry.lines.some(({ msg, run: id }) => msg === 'replayed_result' && id === run));
  assert.ok(!belfry.lines.some(({ msg, run: id }) => msg === 'lost_job' && id === run));
  assert.deepEqual(await readFile(join(cwd, 'ledger'), 'utf8'), '1\n');
}

/** A Belfry whose PostgreSQL is behind a proxy or the like, and a run of it that ends with `finish`. */
async function place(t: { after(fn: () => Promise<void>): void }, config = '') {
  const { url } = await testDatabase(t, 'empty');
  const proxy = await startProxy(t, url);
  return { proxy, ...(await placeBehind(t, proxy.url, config)) };
}

async function placeBehind(t: { after(fn: () => Promise<void>): void }, url: string, config = '') {
  const cwd = await folder(t);
  const start = () =>
    startBelfry({ cwd, config: `shutdown_grace = "1h"\n${config}`, env: { BELFRY_DATABASE_URL: url, BELFRY_NODE: 'one' } });
  const belfry = await start();
  const job = { expr: '@yearly', on_lost: 'retry', retry: { delay: '100ms' } };
  await belfry.create({ ...job, name: 'long', command: { type: 'shell', target } });
  await belfry.create({ ...job, name: 'other', on_lost: 'fail', command: { type: 'shell', target: 'sleep 1000' } });
  const run = await belfry.trigger('long');
  await until(() => processesOfRun(cwd, run).find(({ name }) => name === 'sleep'));
  const finish = () => writeFile(join(cwd, 'go'), '');
  const files = async () =>
    (await readdir(join(cwd, 'data'), { recursive: true }).catch(() => [])).filter((file) => file.endsWith('.json'));
  return { cwd, belfry, start, run, finish, files };
}
