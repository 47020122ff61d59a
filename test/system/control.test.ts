// What people do to runs on other nodes: stop them, run them again, chain them, send them to places.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { folder, limitMs, processesOfRun, startBelfry, suiteScope, until, type Belfry, type Told } from '../support/belfry.ts';
import { testDatabase } from '../support/postgres.ts';

const never = '0 0 1 1 *';

describe('a node that is asked and two that work', { timeout: 4 * limitMs }, () => {
  const scope = suiteScope();
  let asked: Belfry;
  let home: string;
  let files: string;

  before(async () => {
    const { url } = await testDatabase(scope, 'empty');
    files = await folder(scope);
    home = await folder(scope);
    const start = (cwd: string, name: string, duties: string, labels = '') =>
      startBelfry({
        cwd,
        // Time for a trap to write, whatever this machine does meanwhile.
        config: '[worker]\nkill_grace = "8s"\n',
        env: { BELFRY_DATABASE_URL: url, BELFRY_NODE: name, BELFRY_DUTIES: duties, BELFRY_LABELS: labels },
      });
    asked = await start(await folder(scope), 'desk', 'web,crontab');
    await start(home, 'one', 'web,worker', 'gpu');
    await start(await folder(scope), 'two', 'web,worker');
  });

  const cancel = (id: number) => asked.call<{ state: string }>(`/v1/runs/${id}/cancel`);
  const create = (name: string, target: string, more: Record<string, unknown> = {}) =>
    asked.create({ name, expr: never, command: { type: 'shell', target }, ...more });
  const there = (file: string) => until(() => existsSync(join(files, file)) || undefined);
  const runsOf = (name: string, count: number): Promise<readonly Told[]> =>
    until(async () => {
      const runs = await asked.records({ name });
      return runs.length >= count && runs.every(({ finished_time }) => finished_time !== null) ? runs : undefined;
    });

  test('a run is stopped within a second on whatever node it is, with all that it started, and its job goes on', async () => {
    const target = `trap 'date +%s%3N > ${files}/term; exit 1' TERM; setsid sleep 1000 & sleep 1000 & touch ${files}/on; wait`;
    await create('stop-me', target, { run_on: { node: 'one' } });
    const id = await asked.trigger('stop-me');
    await there('on');
    const told = Date.now();
    await cancel(id);
    const { state, reason, node } = await asked.finished(id);
    assert.deepEqual({ state, reason, node }, { state: 'cancelled', reason: 'cancelled', node: 'one' });
    const ms = Number(await readFile(join(files, 'term'), 'utf8')) - told;
    console.log(`TERM came ${ms} ms after the call`);
    assert.ok(ms < 15_000, `${ms} ms`);
    assert.deepEqual(processesOfRun(home, id), []);
    assert.equal((await asked.call<{ enabled: boolean }>('/v1/jobs/stop-me', undefined, 'GET')).enabled, true);
  });

  test('a run that does not hear TERM is killed after the grace', async () => {
    await create('deaf', `trap '' TERM; touch ${files}/deaf; sleep 1000; sleep 1000`, { run_on: { node: 'one' } });
    const id = await asked.trigger('deaf');
    await there('deaf');
    await cancel(id);
    assert.equal((await asked.finished(id)).state, 'cancelled');
    assert.deepEqual(processesOfRun(home, id), []);
  });

  test('a run that waits to be tried again is cancelled at once, and one that is over can be run again', async () => {
    await create('fails', 'exit 3', { retry: { max_attempts: 3, delay: '1h', max_delay: '1h' } });
    const id = await asked.trigger('fails');
    await until(async () => (await asked.records({ name: 'fails' }))[0]?.state === 'retrying' || undefined);
    assert.equal((await cancel(id)).state, 'cancelled');
    const again = await asked.call<{ id: number }>(`/v1/runs/${id}/rerun`);
    const run = await asked.call<{ cause: string; rerun_of: number }>(`/v1/runs/${again.id}`, undefined, 'GET');
    assert.deepEqual([run.cause, run.rerun_of], ['rerun', id]);
    await cancel(again.id).catch(() => undefined);
    const nothing = await fetch(`${asked.address}/v1/runs/${id}/cancel`, { method: 'POST' });
    assert.equal(nothing.status, 409);
  });

  test('what a run said is handed to the job that comes after it, in its environment', async () => {
    await create('first', 'echo the result');
    const target = 'echo "$BELFRY_CAUSE $BELFRY_PREVIOUS_JOB $BELFRY_PREVIOUS_RUN_ID $BELFRY_PREVIOUS_STATE: $BELFRY_PREVIOUS_RESULT"';
    await asked.create({ name: 'then', after: 'first', command: { type: 'shell', target } });
    await create('alarm', 'true', { after: ['first'], after_on: 'failure' });
    const id = await asked.trigger('first');
    const [run] = await runsOf('then', 1);
    assert.equal(JSON.parse(run?.result ?? '{}').out, `after first ${id} succeeded: the result\n\n`);
    assert.equal(run?.trace_id, (await asked.finished(id)).trace_id, 'one trace goes through the chain');
    assert.deepEqual(await asked.records({ name: 'alarm' }), []);
  });

  test('a job for a label runs where that label is, one for a node on that node, and one for all on each worker', async () => {
    await create('labelled', 'true', { run_on: { label: 'gpu' }, overlap: 'allow' });
    await create('pinned', 'true', { run_on: { node: 'two' }, overlap: 'allow' });
    await create('everywhere', 'true', { run_on: 'all' });
    for (let count = 0; count < 5; count++) await Promise.all([asked.trigger('labelled'), asked.trigger('pinned')]);
    await asked.trigger('everywhere');
    const nodes = (runs: readonly Told[]) => runs.map(({ node, state }) => `${state} on ${node}`).sort();
    assert.deepEqual(new Set(nodes(await runsOf('labelled', 5))), new Set(['succeeded on one']));
    assert.deepEqual(new Set(nodes(await runsOf('pinned', 5))), new Set(['succeeded on two']));
    assert.deepEqual(nodes(await runsOf('everywhere', 2)), ['succeeded on one', 'succeeded on two']);
  });

  test('of a job with a concurrency no more run at a time on all nodes together', async () => {
    const target = `echo + >> ${files}/places; sleep 0.2; echo - >> ${files}/places`;
    await create('narrow', target, { overlap: 'allow', concurrency: 2 });
    for (let count = 0; count < 10; count++) await asked.trigger('narrow');
    await runsOf('narrow', 10);
    let on = 0;
    for (const sign of (await readFile(join(files, 'places'), 'utf8')).trim().split('\n')) {
      on += sign === '+' ? 1 : -1;
      assert.ok(on <= 2);
    }
  });
});
