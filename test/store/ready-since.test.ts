// What a worker finds that hears nothing from the queue, on a real PostgreSQL.

import assert from 'node:assert/strict';
import test, { beforeEach, describe } from 'node:test';
import { afterAll, claim, clear, fire, noon, openStores, placeJob, placeNode, queueRuns, seconds } from '../support/jobs.ts';
import { testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const { runs } = stores;
beforeEach(() => clear(stores));

describe('what has been ready since some time', () => {
  test('are runs of these lanes, the oldest first, sent or not', async () => {
    const any = await queueRuns(stores, await placeJob(stores, { overlap: 'allow' }), 4);
    const gpu = await queueRuns(stores, await placeJob(stores, { overlap: 'allow', runOn: 'label:gpu' }), 2);
    await runs.markSent(afterAll, 2);
    assert.deepEqual(await runs.readySince([''], seconds(2), 100), any.slice(0, 3));
    assert.deepEqual(await runs.readySince(['label:gpu', 'label:none'], seconds(2), 100), gpu);
    assert.deepEqual(await runs.readySince(['', 'label:gpu'], seconds(1), 3), [any[0], gpu[0], any[1]]);
    assert.deepEqual(await runs.readySince(['label:none'], afterAll, 100), []);
    assert.deepEqual(await runs.readySince([], afterAll, 100), []);
    assert.deepEqual(await runs.readySince([''], seconds(-1), 100), []);
  });

  test('are none that run, wait for others or shall be cancelled', async () => {
    const [running = 0, blocked = 0, cancelled = 0, left = 0] = await queueRuns(stores, await placeJob(stores, { overlap: 'allow' }), 4);
    await claim(stores, [running], await placeNode(stores, 'worker'));
    await stores.database.sql`update belfry.unfinished set blocked = true where run_id = ${blocked}`;
    await stores.database.sql`update belfry.unfinished set cancel_at = ${noon} where run_id = ${cancelled}`;
    assert.deepEqual(await runs.readySince([''], afterAll, 100), [left]);
  });

  test('are live ones before those to be caught up with: of these what was sent before, and so many others', async () => {
    const job = await placeJob(stores, { overlap: 'allow' });
    const dueTimes = Array.from({ length: 6 }, (_, index) => ({ dueAt: seconds(index - 60), catchup: true }));
    const late = (await fire(stores, job, ...dueTimes)).map(({ id }) => id).sort((a, b) => a - b);
    await runs.markSent(noon, 2);
    const live = await queueRuns(stores, await placeJob(stores, { overlap: 'allow' }), 1);
    assert.deepEqual(await runs.readySince([''], afterAll, 100), [...live, ...late]);
    assert.deepEqual(await runs.readySince([''], seconds(1), 100, 0), [...live, ...late.slice(0, 2)]);
    assert.deepEqual(await runs.readySince([''], seconds(-1), 100, 0), [], 'sent just now');
    assert.deepEqual(await runs.readySince([''], seconds(1), 100, 4), [...live, ...late.slice(0, 4)]);
    assert.deepEqual(await runs.readySince([''], seconds(1), 2, 100), [...live, ...late.slice(0, 1)]);
  });
});
