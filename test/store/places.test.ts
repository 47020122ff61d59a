// Where runs go and how many of them run at a time, on a real PostgreSQL.

import assert from 'node:assert/strict';
import test, { beforeEach, describe } from 'node:test';
import { afterAll, claim, clear, failedOnce, fire, noon, openStores, outcome, placeJob, placeNode, queueRuns } from '../support/jobs.ts';
import { runNow, seconds, statesOf, torn, wayOf } from '../support/jobs.ts';
import { execute, testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const other = openStores(test, url);
const { runs, nodes } = stores;
const me = await placeNode(stores, 'node a');
const them = await placeNode(stores, 'node b');

beforeEach(() => clear(stores));
test.afterEach(async () => assert.deepEqual(await torn(stores), []));

describe('a due time of a job that runs on', () => {
  for (const runOn of ['label:gpu', 'node:node b']) {
    test(`${runOn} waits in that lane alone`, async () => {
      const [run = assert.fail()] = await fire(stores, await placeJob(stores, { runOn }), noon);
      assert.equal((await wayOf(stores, run.id))?.lane, runOn);
      assert.deepEqual((await runs.waiting(afterAll)).lanes, [runOn]);
      assert.deepEqual(await runs.markSent(afterAll, 10), []);
      assert.deepEqual(await runs.markSent(afterAll, 10, 10, runOn), [run.id]);
      assert.deepEqual(await runs.readySince(['', 'label:other'], afterAll, 10), []);
      assert.deepEqual(await runs.readySince(['', runOn], afterAll, 10), [run.id]);
    });
  }

  test('all has one run for each living worker, in its own lane, each once', async () => {
    const job = await placeJob(stores, { runOn: 'all' });
    const fired = await fire(stores, job, noon);
    const rows = await Promise.all(fired.map(async ({ id }) => [(await runNow(stores, id)).target, (await wayOf(stores, id))?.lane]));
    assert.deepEqual(
      rows.toSorted(([a = ''], [b = '']) => (a < b ? -1 : 1)),
      [
        ['node a', 'node:node a'],
        ['node b', 'node:node b'],
      ],
    );
    await assert.rejects(
      execute(
        url,
        `insert into belfry.runs (job_id, job_name, target, due_at, command, queued_at, trace_id)
         values (${job.id}, '', 'node a', '${noon.toISOString()}', '{}', now(), '')`,
      ),
      /runs_due_once/,
    );
  });

  test('all minds overlap on each node by itself', async () => {
    const job = await placeJob(stores, { runOn: 'all', overlap: 'skip' });
    const first = await fire(stores, job, noon);
    const [onA = assert.fail()] = await Promise.all(first.map(async (run) => ({ ...run, lane: (await wayOf(stores, run.id))?.lane }))).then(
      (each) => each.filter(({ lane }) => lane === 'node:node a'),
    );
    const [running] = await claim(stores, [onA.id], me);
    await runs.record(outcome(running ?? assert.fail()));
    const second = await fire(stores, job, seconds(10));
    const states = await Promise.all(
      second.map(async ({ id }) => `${(await runNow(stores, id)).target} ${(await runNow(stores, id)).state}`),
    );
    assert.deepEqual(states.sort(), ['node a queued', 'node b skipped']);
  });

  test('all is skipped where there is no worker: no_node', async () => {
    await execute(url, `update belfry.nodes set draining = true`);
    try {
      const [run = assert.fail()] = await fire(stores, await placeJob(stores, { runOn: 'all' }), noon);
      assert.deepEqual([run.state, run.reason], ['skipped', 'no_node']);
    } finally {
      await execute(url, `update belfry.nodes set draining = false`);
    }
  });

  test('by hand, on all, is one run for each node', async () => {
    const job = await placeJob(stores, { runOn: 'all' });
    const made = await runs.insert({ jobId: job.id, cause: 'manual', dueAt: noon, traceId: 'trace', evenIfBusy: false });
    assert.equal(made.length, 2);
  });

  test('a place that nobody serves is skipped after its catch-up window, and cancelled when it was tried before', async () => {
    const job = await placeJob(stores, { runOn: 'label:gpu', catchupWindowMs: 60_000, overlap: 'allow' });
    const [tried = 0, fresh = 0, served = 0] = await queueRuns(stores, job, 3);
    const [run] = await claim(stores, [tried], me);
    await runs.record(failedOnce(run ?? assert.fail(), seconds(1)));
    await execute(url, `update belfry.unfinished set lane = 'label:cpu' where run_id = ${served}`);
    assert.equal(await runs.skipUnserved(['', 'label:cpu'], seconds(50)), 0);
    assert.equal(await runs.skipUnserved(['', 'label:cpu'], seconds(100)), 2);
    assert.deepEqual(await statesOf(stores, [tried, fresh, served]), ['cancelled', 'skipped', 'queued']);
    assert.equal((await runNow(stores, fresh)).reason, 'no_node');
  });
});

describe('concurrency', () => {
  test('of a job lets so many run at a time, on all nodes together, and each end readies the next', async () => {
    const ids = await queueRuns(stores, await placeJob(stores, { overlap: 'allow', concurrency: 2 }), 6);
    await execute(url, `update belfry.unfinished set cap_max = 2`);
    const claims = await Promise.all([claim(stores, ids.slice(0, 3), me), claim(other, ids.slice(3), them)]);
    const running = claims.flat();
    assert.equal(running.length, 2);
    let [next] = running;
    for (let ended = 1; ended <= 6; ended++) {
      assert.ok(next, `the end of ${ended - 1} readied another`);
      await runs.record(outcome(next));
      const claimed = await claim(stores, ids, me);
      assert.ok(claimed.length <= 1);
      next = claimed[0] ?? running.find(({ id }) => id !== running[0]?.id);
    }
    assert.deepEqual(new Set(await statesOf(stores, ids)), new Set(['succeeded']));
  });

  test('of a key is shared by its jobs', async () => {
    const share = { overlap: 'allow', concurrency: 2, concurrencyKey: 'db' };
    const ids = [
      ...(await queueRuns(stores, await placeJob(stores, share), 2)),
      ...(await queueRuns(stores, await placeJob(stores, share), 2)),
      ...(await queueRuns(stores, await placeJob(stores, share), 2)),
    ];
    const claims = await Promise.all(ids.map((id, index) => claim(index % 2 ? stores : other, [id], index % 2 ? me : them)));
    const running = claims.flat();
    assert.equal(running.length, 2);
    await Promise.all(running.map((run) => runs.record(outcome(run))));
    assert.equal((await claim(stores, ids, me)).length, 2);
  });

  test('counts a run that is tried again, which keeps its place', async () => {
    const [first = 0, second = 0] = await queueRuns(stores, await placeJob(stores, { overlap: 'allow', concurrency: 1 }), 2);
    const [run] = await claim(stores, [first], me);
    await runs.record(failedOnce(run ?? assert.fail(), afterAll));
    assert.deepEqual(await claim(stores, [second], them), []);
    assert.equal((await claim(stores, [first], them)).length, 1);
  });

  test('holds nobody for ever: what an end and a claim that crossed left waiting is readied by upkeep', async () => {
    const [first = 0, second = 0] = await queueRuns(stores, await placeJob(stores, { overlap: 'allow', concurrency: 1 }), 2);
    const [run] = await claim(stores, [first], me);
    await claim(stores, [second], me);
    assert.equal(await runs.unblock(), 0);
    await runs.record(outcome(run ?? assert.fail()));
    await execute(url, `update belfry.unfinished set blocked = true where run_id = ${second}`);
    assert.equal(await runs.unblock(), 1);
    assert.equal((await claim(stores, [second], me)).length, 1);
  });
});

describe('max_queued', () => {
  test('makes no more runs than may be on their way: the rest are skipped, for the limit', async () => {
    const job = await placeJob(stores, { overlap: 'allow', maxQueued: 3 });
    const first = await fire(stores, job, seconds(0), seconds(1), seconds(2), seconds(3));
    assert.deepEqual(
      first.map(({ state, reason }) => [state, reason]),
      [
        ['queued', null],
        ['queued', null],
        ['queued', null],
        ['skipped', 'limit'],
      ],
    );
    const [next] = await fire(stores, job, seconds(10));
    assert.deepEqual([next?.state, next?.reason], ['skipped', 'limit']);
  });
});

describe('due times of one job that come in one tick', () => {
  test('mind each other, as those do that come one after the other', async () => {
    const job = await placeJob(stores, { overlap: 'skip' });
    const fired = await fire(stores, job, seconds(0), seconds(1), { dueAt: seconds(2), reason: 'paused' }, seconds(3));
    assert.deepEqual(
      fired.map(({ state, reason }) => [state, reason]),
      [
        ['queued', null],
        ['skipped', 'overlap'],
        ['skipped', 'paused'],
        ['skipped', 'overlap'],
      ],
    );
  });
});

describe('a run that shall be stopped', () => {
  test('is at its end at once when it has not begun, and what it was tried before stays with it', async () => {
    const [fresh = 0, tried = 0] = await queueRuns(stores, await placeJob(stores, { overlap: 'allow' }), 2);
    const [run] = await claim(stores, [tried], me);
    await runs.record(failedOnce(run ?? assert.fail(), afterAll));
    assert.deepEqual([await runs.cancel(fresh, noon), await runs.cancel(tried, noon)], ['cancelled', 'cancelled']);
    const { state, reason, attempts, failedCount } = await runNow(stores, tried);
    assert.deepEqual([state, reason, attempts.length, failedCount], ['cancelled', 'cancelled', 1, 1]);
    assert.deepEqual(await claim(stores, [fresh, tried], me), []);
  });

  test('that is on is told to its node by a notice, and to it alone', async () => {
    const heard: string[] = [];
    const notices = await stores.database.listen('belfry_cancel', (payload) => heard.push(payload));
    const [id = 0] = await queueRuns(stores, await placeJob(stores), 1);
    await claim(stores, [id], me);
    assert.equal(await runs.cancel(id, noon), 'told');
    assert.deepEqual([await runs.toCancel(me), await runs.toCancel(them)], [[id], []]);
    await stores.database.sql`select pg_notify('belfry_cancel', 'last')`;
    while (!heard.includes('last')) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(heard, ['', 'last']);
    await notices.stop();
  });

  test('is none when it is at its end', async () => {
    const [id = 0] = await queueRuns(stores, await placeJob(stores), 1);
    const [run] = await claim(stores, [id], me);
    await runs.record(outcome(run ?? assert.fail()));
    assert.equal(await runs.cancel(id, noon), undefined);
    assert.equal(await runs.cancel(123_456, noon), undefined);
  });
});

test('a node that ends leaves the lanes that it served', async () => {
  await nodes.end(them, 'stopped');
  const [run = assert.fail(), ...more] = await fire(stores, await placeJob(stores, { runOn: 'all' }), noon);
  assert.deepEqual([(await runNow(stores, run.id)).target, more], ['node a', []]);
});
