// A worker that stands still for longer than its lease: as a whole (SIGSTOP), or only its event loop.

import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, type TestContext } from 'node:test';
import { folder, limitMs, processesOf, processesOfRun, startBelfry, until, type Belfry, type Told } from '../support/belfry.ts';
import { fault } from '../support/faults.ts';
import { testDatabase } from '../support/postgres.ts';

const pauseMs = 90_000;

describe('a worker', { timeout: pauseMs + 3 * limitMs, concurrency: 2 }, () => {
  fault(
    {
      fault: 'a worker paused for 90 seconds (SIGSTOP)',
      seen: 'after its lease it is called lost and its runs are lost or done by others as `on_lost` says; when it goes on it lets go of what it held and works as before',
    },
    async (t) => {
      const { watcher, worker, cwd } = await place(t);
      const ledger = join(cwd, 'ledger');
      const write = `echo $BELFRY_JOB $BELFRY_ATTEMPT >> ${ledger}`;
      const command = (target: string) => ({ command: { type: 'shell', target: `${write}; ${target}` }, retry: { delay: '100ms' } });
      await watcher.create({ name: 'once', expr: '@yearly', ...command('sleep 1000') });
      await watcher.create({ name: 'again', expr: '@yearly', ...command('[ $BELFRY_ATTEMPT = 2 ] || sleep 1000'), on_lost: 'retry' });
      await watcher.create({ name: 'late', expr: '@yearly', ...command(`until [ -e ${cwd}/go ]; do sleep 0.1; done`) });
      const names = ['once', 'again', 'late'] as const;
      const [once, again, late] = [await watcher.trigger('once'), await watcher.trigger('again'), await watcher.trigger('late')];
      await until(async () => (await linesOf(ledger)).length === names.length || undefined);
      const before = await nodeOf(watcher, 'worker');

      process.kill(worker.pid, 'SIGSTOP');
      const goesOn = performance.now() + pauseMs;
      await writeFile(join(cwd, 'go'), '');
      await watcher.logged(({ msg, lost }) => msg === 'node_lost' && lost === 'worker');
      assert.equal((await nodeOf(watcher, 'worker'))['state'], 'lost');
      for (const id of [once, late]) assert.deepEqual(outcomeOf(await watcher.finished(id)), ['failed', 'lost', ['lost']]);
      await until(() => performance.now() >= goesOn || undefined, pauseMs);
      assert.ok(processesOfRun(cwd, once).length > 0, 'its processes go on meanwhile');
      process.kill(worker.pid, 'SIGCONT');

      await worker.logged(({ msg }) => msg === 'called_lost');
      await until(() => processesOfRun(cwd, once).length === 0 || undefined);
      const after = await until(async () => {
        const node = await nodeOf(watcher, 'worker');
        return node['state'] === 'living' ? node : undefined;
      });
      assert.notEqual(after['incarnation'], before['incarnation']);
      assert.deepEqual([after['pid'], after['draining']], [before['pid'], false]);

      const { state, attempts } = await watcher.finished(again);
      assert.deepEqual([state, attempts.length, attempts.at(-1)?.outcome], ['succeeded', 2, 'succeeded']);
      for (const id of [once, late])
        assert.deepEqual(outcomeOf(await watcher.finished(id)).slice(0, 2), ['failed', 'lost'], 'final is final');
      assert.deepEqual((await linesOf(ledger)).toSorted(), ['again 1', 'again 2', 'late 1', 'once 1']);
      await watcher.create({ name: 'next', expr: '@yearly', ...command('true') });
      assert.equal((await watcher.finished(await watcher.trigger('next'))).state, 'succeeded');
      assert.deepEqual(await worker.end('SIGTERM'), { code: 0, signal: null });
      assert.equal((await nodeOf(watcher, 'worker'))['state'], 'stopped');
      assert.deepEqual(processesOf(cwd), []);
    },
  );

  fault(
    { fault: 'an event loop blocked for 75 seconds', seen: 'the node is not called lost, as its heart beats on, and its run is recorded' },
    async (t) => {
      const { watcher, worker } = await place(t, {
        'block.mjs': `export default {
        type: 'block',
        defaults: { maxAttempts: 1, timeoutMs: 600_000 },
        parse: (command) => command,
        execute: async () => {
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 75_000);
          return { outcome: 'succeeded', known: true, result: {} };
        },
      };`,
        'config.toml': '[executors.block]\nmodule = "block.mjs"\n',
      });
      await watcher.create({ name: 'block', expr: '@yearly', command: { type: 'block' } });
      const run = await watcher.trigger('block');
      const ended = await until(
        async () => (await watcher.records({ name: 'block' })).find(({ finished_time: at }) => at !== null),
        pauseMs + limitMs,
      );
      assert.deepEqual([ended.id, ...outcomeOf(ended)], [run, 'succeeded', null, ['succeeded']]);
      assert.ok(Date.parse(String(ended.finished_time)) - Date.parse(String(ended.started_time)) >= 75_000);
      const said = [...watcher.lines, ...worker.lines].map(({ msg }) => msg);
      assert.deepEqual(
        said.filter((msg) => msg === 'node_lost' || msg === 'called_lost'),
        [],
      );
    },
  );
});

/** One that watches and one that works, on one database; both with the same files. */
async function place(t: TestContext, files: Record<string, string> = {}) {
  const { url } = await testDatabase(t, 'empty');
  const start = async (name: string, duties: string): Promise<Belfry & { cwd: string }> => {
    const cwd = await folder(t);
    for (const [file, text] of Object.entries(files)) await writeFile(join(cwd, file), text);
    return { cwd, ...(await startBelfry({ cwd, env: { BELFRY_DATABASE_URL: url, BELFRY_NODE: name, BELFRY_DUTIES: duties } })) };
  };
  const watcher = await start('watcher', 'web,crontab');
  const worker = await start('worker', 'worker');
  return { watcher, worker, cwd: worker.cwd };
}

async function nodeOf(belfry: Belfry, name: string): Promise<Record<string, unknown>> {
  const { nodes } = await belfry.call<{ nodes: Record<string, unknown>[] }>('/v1/nodes', undefined, 'GET');
  return nodes.find((node) => node['name'] === name) ?? assert.fail(`${name} is not listed`);
}

function outcomeOf({ state, reason, attempts }: Told) {
  return [state, reason, attempts.map(({ outcome }) => outcome)];
}

async function linesOf(path: string): Promise<string[]> {
  return (await readFile(path, 'utf8').catch(() => '')).split('\n').filter((line) => line !== '');
}
