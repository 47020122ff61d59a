// What crashes leave and what is old, put right on a real PostgreSQL.

import assert from 'node:assert/strict';
import test, { beforeEach, describe } from 'node:test';
import type { Policy } from '../../src/runs/lifecycle.ts';
import { settle, startUpkeep, upkeep } from '../../src/runs/upkeep.ts';
import type { ClaimedRun } from '../../src/store/runs.ts';
import { housesOn } from '../support/house.ts';
import {
  afterAll,
  claim,
  clear,
  fire,
  noon,
  openStores,
  outcome,
  placeJob,
  placeNode,
  plainPolicy,
  queueRuns,
  retryOnce,
  runNow,
  seconds,
  statesOf,
  torn,
} from '../support/jobs.ts';
import { execute, testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const { runs, nodes } = stores;
const houseOf = housesOn(stores);

beforeEach(() => clear(stores));
test.afterEach(async () => assert.deepEqual(await torn(stores), []));

async function claimedBy(node: number, policy: Partial<Policy> = {}, count = 1): Promise<ClaimedRun[]> {
  const job = await placeJob(stores, { overlap: 'allow', policy: { ...plainPolicy, ...policy } });
  return await claim(stores, await queueRuns(stores, job, count), node);
}

const thrice = { ...retryOnce, maxAttempts: 3, delayMs: 5000, maxDelayMs: 5000 };

describe('the runs of a node that has ended', () => {
  test('have failed, as nobody knows what became of them, where the job says so', async () => {
    const node = await placeNode(stores, 'gone');
    const [run = assert.fail()] = await claimedBy(node, { retry: thrice });
    await nodes.end(node, 'lost');
    const { deps, lines } = houseOf();
    await upkeep(deps);
    const { state, reason, error, result, failedCount, attempts, finishedAt } = await runNow(stores, run.id);
    const why = `lost: node ${node} went away while it ran`;
    assert.deepEqual(
      { state, reason, error, result, failedCount, finishedAt },
      { state: 'failed', reason: 'lost', error: why, result: { err: why }, failedCount: 1, finishedAt: seconds(7200) },
    );
    const times = { started_at: afterAll.toISOString(), finished_at: seconds(7200).toISOString() };
    assert.deepEqual(attempts, [{ attempt: 1, node: `node ${node}`, ...times, outcome: 'lost', error: why }]);
    assert.deepEqual(
      lines.map((line) => [line.msg, line['run'], line['state']]),
      [['lost_job', run.id, 'failed']],
    );
  });

  test('are tried again where the job says so, as long as it has attempts', async () => {
    const node = await placeNode(stores, 'gone');
    const [run = assert.fail()] = await claimedBy(node, { retry: { ...thrice, maxAttempts: 2 }, onLost: 'retry' });
    await nodes.end(node, 'lost');
    await upkeep(houseOf().deps);
    const { state, readyAt } = await runNow(stores, run.id);
    assert.deepEqual({ state, readyAt }, { state: 'retrying', readyAt: seconds(7205) });

    const next = await placeNode(stores, 'gone as well');
    await claim(stores, [run.id], next, seconds(7300));
    await nodes.end(next, 'lost');
    await upkeep(houseOf().deps);
    const { state: last, reason, failedCount } = await runNow(stores, run.id);
    assert.deepEqual({ last, reason, failedCount }, { last: 'failed', reason: 'lost', failedCount: 2 });
  });

  for (const reason of ['stopped', 'replaced'] as const) {
    test(`are settled as well when it ${reason === 'stopped' ? 'stopped and left some' : 'was started again'}`, async () => {
      const node = await placeNode(stores, 'gone');
      const [run = assert.fail()] = await claimedBy(node);
      await nodes.end(node, reason);
      await upkeep(houseOf().deps);
      assert.equal((await runNow(stores, run.id)).state, 'failed');
    });
  }

  test('of nodes that live are left to them', async () => {
    const [gone, here] = [await placeNode(stores, 'gone'), await placeNode(stores, 'here')];
    await claimedBy(gone);
    const mine = await claimedBy(here, {}, 3);
    await nodes.end(gone, 'lost');
    await upkeep(houseOf().deps);
    assert.deepEqual(
      await statesOf(
        stores,
        mine.map(({ id }) => id),
      ),
      ['running', 'running', 'running'],
    );
  });

  test('are settled once, by whichever of two nodes comes first', async (t) => {
    const other = openStores(t, url);
    for (let round = 0; round < 5; round++) {
      const node = await placeNode(stores, `gone ${round}`);
      const held = await claimedBy(node, { retry: thrice, onLost: 'retry' }, 30);
      await nodes.end(node, 'lost');
      const houses = [houseOf(), houseOf({ on: other })];
      await Promise.all(houses.map(({ deps }) => upkeep(deps)));
      assert.equal(houses.flatMap(({ messages }) => messages()).length, 30);
      for (const { id } of held) assert.equal((await runNow(stores, id)).attempts.length, 1);
    }
  });

  test('are not settled before what waits in files for them is recorded', async () => {
    const node = await placeNode(stores, 'gone');
    const [kept = assert.fail(), lost = assert.fail()] = await claimedBy(node, {}, 2);
    await nodes.end(node, 'lost');
    const { deps, lines } = houseOf();
    const replayed: string[] = [];
    const replay = async (name: string): Promise<void> => {
      replayed.push(name);
      await runs.record(outcome(kept));
    };
    assert.equal(await settle({ ...deps, replay }, node), 1);
    assert.deepEqual(await statesOf(stores, [kept.id, lost.id]), ['succeeded', 'failed']);
    assert.deepEqual([replayed, lines.map(({ run }) => run)], [[`node ${node}`], [lost.id]]);
  });

  test('stay until those files could be recorded', async () => {
    const node = await placeNode(stores, 'gone');
    const [run = assert.fail()] = await claimedBy(node);
    await nodes.end(node, 'lost');
    const replay = () => Promise.reject(new Error('PostgreSQL is away'));
    await assert.rejects(upkeep({ ...houseOf().deps, replay }), /PostgreSQL is away/);
    assert.deepEqual([(await runNow(stores, run.id)).state, await nodes.unsettled()], ['running', [node]]);
    await upkeep(houseOf().deps);
  });

  test('whose result came all the same keep it', async () => {
    const node = await placeNode(stores, 'gone');
    const [run = assert.fail()] = await claimedBy(node);
    await nodes.end(node, 'lost');
    await runs.record(outcome(run));
    assert.equal(await settle(houseOf().deps, node), 0);
    assert.equal((await runNow(stores, run.id)).state, 'succeeded');
  });

  test('are looked at until they are settled, and not again', async () => {
    const node = await placeNode(stores, 'gone');
    await claimedBy(node);
    await nodes.end(node, 'lost');
    const away = { ...runs, record: () => Promise.reject(new Error('PostgreSQL is away')) };
    await assert.rejects(upkeep({ ...houseOf().deps, runs: away }), /PostgreSQL is away/);
    assert.deepEqual(await nodes.unsettled(), [node]);
    await upkeep(houseOf().deps);
    assert.deepEqual(await nodes.unsettled(), []);
  });

  test('ready what waited for them', async () => {
    const node = await placeNode(stores, 'gone');
    const job = await placeJob(stores, { overlap: 'wait_all' });
    const [first = 0, second = 0] = await queueRuns(stores, job, 2);
    await claim(stores, [first, second], node);
    await nodes.end(node, 'lost');
    await upkeep(houseOf().deps);
    assert.deepEqual(
      (await claim(stores, [second], await placeNode(stores, 'here'))).map(({ id }) => id),
      [second],
    );
  });

  test('are settled too when it claimed them after it was called lost', async () => {
    const node = await placeNode(stores, 'paused');
    await nodes.end(node, 'lost');
    await upkeep(houseOf().deps);
    const late = await claimedBy(node);
    await upkeep(houseOf().deps);
    assert.ok(
      !(
        await statesOf(
          stores,
          late.map(({ id }) => id),
        )
      ).includes('running'),
    );
  });
});

describe('upkeep', () => {
  test('frees what waits for nothing, and cancels what shall not begin', async () => {
    const node = await placeNode(stores, 'here');
    const [waiting, replaced] = [await placeJob(stores, { overlap: 'wait_all' }), await placeJob(stores, { overlap: 'replace' })];
    const [first = 0, second = 0] = await queueRuns(stores, waiting, 2);
    await claim(stores, [first, second], node);
    await execute(url, `delete from belfry.unfinished where run_id = ${first}`);
    await execute(url, `delete from belfry.runs where id = ${first}`);
    const [old] = await fire(stores, replaced, noon);
    await fire(stores, replaced, seconds(1));
    assert.equal(await upkeep(houseOf().deps), 1000);
    assert.equal((await claim(stores, [second], node)).length, 1);
    assert.equal((await runNow(stores, old?.id ?? 0)).state, 'cancelled');
  });

  async function ended(count: number, finishedAt: Date): Promise<number[]> {
    const all = await claimedBy(await placeNode(stores, 'here'), {}, count);
    await Promise.all(all.map((run) => runs.record(outcome(run, { finishedAt }))));
    return all.map(({ id }) => id);
  }

  test('forgets what ended longer ago than it is kept, and comes back soon while there is more', async () => {
    const [old, young] = [await ended(3, seconds(3600)), await ended(2, seconds(3601))];
    const { deps, clock } = houseOf({ retentionMs: 3_600_000 });
    assert.equal(await upkeep(deps), 1000);
    clock.pass(1);
    const waits = [await upkeep(deps), await upkeep(deps), await upkeep(deps)];
    assert.deepEqual(
      waits.toSorted((a, b) => a - b),
      [100, 1000, 1000],
    );
    assert.deepEqual([await statesOf(stores, old), await statesOf(stores, young)], [[], ['succeeded', 'succeeded']]);
  });

  test('forgets nothing where nothing is said about it', async () => {
    const old = await ended(2, seconds(-1_000_000_000));
    assert.equal(await upkeep(houseOf().deps), 1000);
    assert.equal((await statesOf(stores, old)).length, 2);
  });

  test('forgets nothing by a clock that may be wrong', async () => {
    const old = await ended(2, seconds(-1_000_000_000));
    await upkeep({ ...houseOf({ retentionMs: 3_600_000 }).deps, isClockRight: () => false });
    assert.equal((await statesOf(stores, old)).length, 2);
  });

  test('is done every second, and goes on after a fault', { timeout: 30_000 }, async () => {
    const node = await placeNode(stores, 'gone');
    const [run = assert.fail()] = await claimedBy(node);
    const { deps, clock, messages } = houseOf();
    await execute(url, 'alter table belfry.unfinished rename to hidden');
    const loop = startUpkeep(deps);
    await clock.asleep(100);
    await execute(url, 'alter table belfry.hidden rename to unfinished');
    clock.pass(100);
    await clock.asleep(1000);
    assert.equal((await runNow(stores, run.id)).state, 'running');
    await nodes.end(node, 'lost');
    clock.pass(1000);
    await clock.asleep(1000);
    await loop.stop();
    assert.equal((await runNow(stores, run.id)).state, 'failed');
    assert.deepEqual(messages(), ['upkeep_failed', 'lost_job']);
  });
});
