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
