// Runs in lanes that nobody serves, on a real PostgreSQL.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { skipUnserved, startUpkeep } from '../../src/runs/upkeep.ts';
import type { NodeRow } from '../../src/store/nodes.ts';
import { until } from '../support/belfry.ts';
import { housesOn } from '../support/house.ts';
import { openStores, placeJob, queueRuns, runNow, seconds, statesOf } from '../support/jobs.ts';
import { testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const houseOf = housesOn(stores);

describe('a run that only some nodes may take', { timeout: 30_000 }, () => {
  const node: NodeRow = {
    incarnation: 1,
    name: 'n1',
    duties: ['worker'],
    slots: 1,
    busy: 0,
    beat: 0,
    labels: ['gpu', 'ssd'],
    isDraining: false,
  };

  async function waiting(...lanes: string[]): Promise<number[]> {
    const ids: number[] = [];
    for (const runOn of lanes) ids.push(...(await queueRuns(stores, await placeJob(stores, { runOn }), 1)));
    return ids;
  }

  test('is skipped when none of them lives for longer than its catch-up window', async () => {
    const ids = await waiting('node:n1', 'label:gpu', 'label:ssd', 'node:n2', 'label:office', '');
    const { deps, clock, lines } = houseOf({ living: [node, { ...node, name: 'web', duties: ['web'], labels: ['office'] }] });
    clock.set(seconds(3600));
    assert.equal(await skipUnserved(deps), 10_000);
    assert.deepEqual(await statesOf(stores, ids), ['queued', 'queued', 'queued', 'queued', 'queued', 'queued']);
    clock.set(seconds(3601));
    assert.equal(await skipUnserved(deps), 1000);
    assert.deepEqual(await statesOf(stores, ids), ['queued', 'queued', 'queued', 'skipped', 'skipped', 'queued']);
    assert.equal((await runNow(stores, ids[3] ?? 0)).reason, 'no_node');
    assert.deepEqual([lines[0]?.msg, lines[0]?.['runs']], ['skipped_unserved', 2]);
  });

  test('is not skipped because it waited for its turn: the window begins when the last that served it went', async () => {
    const job = await placeJob(stores, { runOn: 'label:tape', overlap: 'wait_all' });
    const ids = await queueRuns(stores, job, 2);
    const workers = { version: 'test', address: undefined, pid: 1, duties: ['worker'], slots: 1, labels: ['ssd', 'tape'] };
    const only = await stores.nodes.register({ ...workers, name: 'only' });
    const web = await stores.nodes.register({ ...workers, name: 'web', duties: ['web'] });
    const { deps, clock } = houseOf();
    clock.set(seconds(100_000));
    await skipUnserved(deps);
    assert.deepEqual(await statesOf(stores, ids), ['queued', 'queued'], 'not seen by us, it lives all the same');
    for (const incarnation of [only, web]) await stores.nodes.end(incarnation, 'stopped');
    await stores.database.sql`
      update belfry.nodes set ended_at = ${seconds(100_000)}::timestamptz + case when name = 'web' then interval '1 day' else interval '0' end
       where incarnation in (${only}, ${web})`;
    for (const [at, states] of [
      [100_010, ['queued', 'queued']],
      [103_600, ['queued', 'queued']],
      [103_601, ['skipped', 'skipped']],
    ] as const) {
      clock.set(seconds(at));
      await skipUnserved(deps);
      assert.deepEqual(await statesOf(stores, ids), states, `at ${at}`);
    }
  });

  test('is skipped also behind a thousand that may wait for longer', async () => {
    const patient = await placeJob(stores, { runOn: 'label:a', overlap: 'allow', catchupWindowMs: 30 * 86_400_000 });
    const dueTimes = Array.from({ length: 1000 }, (_, index) => seconds(index));
    await stores.runs.backfill({ jobId: patient.id, dueTimes, overlap: 'allow', onlyMissing: false, traceId: 'trace', now: seconds(1000) });
    const ids = await waiting('label:b');
    const { deps, clock } = houseOf();
    clock.set(seconds(86_400));
    await skipUnserved(deps);
    assert.deepEqual(await statesOf(stores, ids), ['skipped']);
    const [left] = await stores.database.sql<{ count: number }[]>`select count(*) from belfry.unfinished where job_id = ${patient.id}`;
    assert.equal(left?.count, 1000);
  });

  test('waits for one that drains, as that comes back', async () => {
    const ids = await waiting('node:n1', 'label:gpu');
    await skipUnserved(houseOf({ living: [{ ...node, isDraining: true }] }).deps);
    assert.deepEqual(await statesOf(stores, ids), ['queued', 'queued']);
  });

  test('waits a minute at first, for those that start when all do', async () => {
    const ids = await waiting('node:n1');
    const { deps, clock } = houseOf();
    const loop = startUpkeep(deps);
    await clock.asleep(60_000);
    clock.pass(59_999);
    await clock.asleep(1000);
    assert.deepEqual(await statesOf(stores, ids), ['queued']);
    clock.pass(1);
    await until(async () => (await statesOf(stores, ids)).includes('skipped') || undefined);
    await loop.stop();
  });
});
