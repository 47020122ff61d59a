// What comes after a run is made in the transaction of its end, on a real PostgreSQL.

import assert from 'node:assert/strict';
import test, { beforeEach, describe } from 'node:test';
import type { WrittenJob } from '../../src/store/jobs.ts';
import {
  afterAll,
  claim,
  clear,
  failedOnce,
  fire,
  noon,
  openStores,
  outcome,
  placeJob,
  placeNode,
  queueRuns,
  runNow,
  seconds,
  torn,
  wayOf,
  edited,
} from '../support/jobs.ts';
import { execute, testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const { runs } = stores;
const me = await placeNode(stores, 'node a');

beforeEach(() => clear(stores));
test.afterEach(async () => assert.deepEqual(await torn(stores), []));

/** A job and one that comes after it. */
async function chained(changed: Partial<WrittenJob> = {}) {
  const first = await placeJob(stores, { overlap: 'allow' });
  const next = await placeJob(stores, { expr: '', nextDueAt: null, afterJobs: [first.name], overlap: 'allow', ...changed });
  const running = async (count = 1) => await claim(stores, await queueRuns(stores, first, count), me);
  const oneRunning = async () => (await running())[0] ?? assert.fail();
  const made = async () =>
    await execute(
      url,
      `select r.id, e.state, e.reason, r.parent_id::integer as parent, r.cause from belfry.records e join belfry.runs r using (id)
        where r.job_id = ${next.id} order by r.id`,
    );
  return { first, next, running, oneRunning, made };
}

describe('the run that comes after another', () => {
  test('is made when that one ends well: with its trace, due at its end, ready at once', async () => {
    const { oneRunning, made } = await chained();
    const run = await oneRunning();
    await runs.record(outcome(run));
    const [after = {}, ...more] = await made();
    assert.deepEqual([after['state'], after['cause'], after['parent'], more], ['queued', 'after', run.id, []]);
    const { dueAt, traceId, parentId } = await runNow(stores, Number(after['id']));
    assert.deepEqual({ dueAt, traceId, parentId }, { dueAt: seconds(3601), traceId: run.traceId, parentId: run.id });
    const [claimed] = await claim(stores, [Number(after['id'])], me, seconds(4000));
    assert.equal(claimed?.parentId, run.id);
  });

  for (const [afterOn, comesAfter] of [
    ['success', ['succeeded']],
    ['failure', ['failed', 'cancelled']],
    ['either', ['succeeded', 'failed', 'cancelled']],
  ] as const) {
    test(`on ${afterOn} comes after what ${comesAfter.join(', ')}, and nothing else`, async () => {
      const { running, made } = await chained({ afterOn });
      const [one, two, three] = await running(3);
      assert.ok(one && two && three);
      await runs.record(outcome(one, { state: 'succeeded' }));
      await runs.record(outcome(two, { state: 'failed', failed: true }));
      await runs.record(outcome(three, { state: 'cancelled' }));
      const ended = { succeeded: one.id, failed: two.id, cancelled: three.id };
      assert.deepEqual(
        (await made()).map(({ parent }) => parent),
        comesAfter.map((state) => ended[state]),
      );
    });
  }

  test('does not come while that one is tried again, and comes when it was called lost', async () => {
    const { oneRunning, made } = await chained({ afterOn: 'failure' });
    const run = await oneRunning();
    await runs.record(failedOnce(run, afterAll));
    assert.deepEqual(await made(), []);
    const [again] = await claim(stores, [run.id], me);
    await runs.record({ ...outcome(again ?? assert.fail(), { state: 'failed', failed: true, reason: 'lost' }), isGuess: true });
    assert.equal((await made()).length, 1);
  });

  test('does not come after a due time that was skipped', async () => {
    const { first, made } = await chained({ afterOn: 'either' });
    await fire(stores, first, { dueAt: noon, reason: 'missed' });
    assert.deepEqual(await made(), []);
  });

  test('comes once, however often the end is told', async () => {
    const { oneRunning, made } = await chained();
    const run = await oneRunning();
    await Promise.all([runs.record(outcome(run)), runs.record(outcome(run)), openStores(test, url).runs.record(outcome(run))]);
    assert.equal((await made()).length, 1);
  });

  test('comes after each of many that end in one statement', async () => {
    const { running, made } = await chained();
    const all = await running(40);
    await Promise.all(all.map((run) => runs.record(outcome(run))));
    assert.deepEqual(
      (await made()).map(({ parent }) => parent),
      all.map(({ id }) => id).sort((a, b) => a - b),
    );
  });

  test('is skipped where its overlap says so, as at a due time', async () => {
    const { running, made } = await chained({ overlap: 'skip' });
    const all = await running(3);
    await Promise.all(all.map((run) => runs.record(outcome(run))));
    assert.deepEqual(
      (await made()).map(({ state, reason }) => [state, reason]),
      [
        ['queued', null],
        ['skipped', 'overlap'],
        ['skipped', 'overlap'],
      ],
    );
  });

  test('is skipped of a paused job, and not made of one that is disabled or deleted', async () => {
    const paused = await chained();
    await stores.jobs.pause(paused.next.name, null, noon);
    await runs.record(outcome(await paused.oneRunning()));
    assert.deepEqual(
      (await paused.made()).map(({ state, reason }) => [state, reason]),
      [['skipped', 'paused']],
    );
    const disabled = await chained();
    await stores.jobs.setEnabled(disabled.next.id, false, undefined, edited);
    await runs.record(outcome(await disabled.oneRunning()));
    const deleted = await chained();
    await stores.jobs.remove(deleted.next.id, edited);
    await runs.record(outcome(await deleted.oneRunning()));
    assert.deepEqual([...(await disabled.made()), ...(await deleted.made())], []);
  });

  test('carries on the chain, which a ring of jobs cannot make endless', async () => {
    const one = await placeJob(stores, { overlap: 'allow', afterJobs: ['ring'] });
    const ring = await placeJob(stores, { name: 'ring', overlap: 'allow', afterJobs: [one.name], expr: '', nextDueAt: null });
    let [id] = await queueRuns(stores, one, 1);
    let length = 0;
    for (; id !== undefined && length < 200; length++) {
      const [run] = await claim(stores, [id], me, seconds(4000));
      if (!run) break;
      await runs.record(outcome(run));
      const [next] = await execute(url, `select id::integer from belfry.runs where parent_id = ${id}`);
      id = next === undefined ? undefined : Number(next['id']);
    }
    assert.equal(length, 101);
    const { state, reason } = await runNow(stores, id ?? 0);
    assert.deepEqual({ state, reason }, { state: 'skipped', reason: 'limit' });
    assert.ok(ring.endedAt, 'a job without an expression has no due times');
  });

  test('replaces the one that is still on', async () => {
    const { running, made } = await chained({ overlap: 'replace' });
    const [one, two] = await running(2);
    await runs.record(outcome(one ?? assert.fail()));
    const [before = {}] = await made();
    await claim(stores, [Number(before['id'])], me, seconds(4000));
    await runs.record(outcome(two ?? assert.fail()));
    assert.ok((await wayOf(stores, Number(before['id'])))?.cancelAt);
    assert.deepEqual(await runs.toCancel(me), [Number(before['id'])]);
  });
});
