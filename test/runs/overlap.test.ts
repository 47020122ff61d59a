// Overlap is decided from rows: it holds while a node that was killed is not settled, and for a run that is tried again.

import assert from 'node:assert/strict';
import test, { beforeEach, describe } from 'node:test';
import { upkeep } from '../../src/runs/upkeep.ts';
import { standingClock } from '../support/clock.ts';
import {
  afterAll,
  claim,
  clear,
  failedOnce,
  fire,
  openStores,
  outcome,
  placeJob,
  placeNode,
  queueRuns,
  runNow,
  seconds,
  torn,
  wayOf,
} from '../support/jobs.ts';
import { keptLog } from '../support/log.ts';
import { testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const one = openStores(test, url);
const two = openStores(test, url);

beforeEach(() => clear(one));
test.afterEach(async () => assert.deepEqual(await torn(one), []));

/** The first run is on, on a node that is killed; the second and third are due meanwhile, and the other node may have them. */
async function killedDuring(overlap: string) {
  const [killed, alive] = [await placeNode(one, 'killed'), await placeNode(two, 'alive')];
  const job = await placeJob(one, { overlap });
  const [first = assert.fail()] = await fire(one, job, seconds(0));
  const running = await claim(one, [first.id], killed);
  assert.equal(running.length, 1);
  const later = [...(await fire(two, job, seconds(10))), ...(await fire(two, job, seconds(20)))];
  const states = async (): Promise<string[]> => {
    const rows = await Promise.all([first, ...later].map(({ id }) => runNow(one, id)));
    return rows.map(({ state, reason }) => (reason === null ? state : `${state}: ${reason}`));
  };
  const take = async (): Promise<number> =>
    (
      await claim(
        two,
        later.map(({ id }) => id),
        alive,
        afterAll,
      )
    ).length;
  const settle = async (): Promise<void> => {
    await one.nodes.end(killed, 'lost');
    const { runs, jobs, nodes } = two;
    await upkeep({
      clock: standingClock(seconds(7200)),
      log: keptLog().log,
      runs,
      jobs,
      nodes,
      isClockRight: () => true,
      replay: nothingToReplay,
      retentionMs: undefined,
    });
  };
  return { states, take, settle };
}

const nothingToReplay = () => Promise.resolve();

describe('with a node killed while its run is on, what is due next', () => {
  test('skip: is skipped until that run is settled', async () => {
    const { states, take, settle } = await killedDuring('skip');
    assert.deepEqual(await states(), ['running', 'skipped: overlap', 'skipped: overlap']);
    assert.equal(await take(), 0);
    await settle();
    assert.deepEqual(await states(), ['failed: lost', 'skipped: overlap', 'skipped: overlap']);
  });

  test('allow: runs beside it', async () => {
    const { states, take } = await killedDuring('allow');
    assert.equal(await take(), 2);
    assert.deepEqual(await states(), ['running', 'running', 'running']);
  });

  test('wait: the first that waits runs when that run is settled, the others are skipped', async () => {
    const { states, take, settle } = await killedDuring('wait');
    assert.equal(await take(), 0);
    assert.deepEqual(await states(), ['running', 'queued', 'skipped: overlap']);
    await settle();
    assert.equal(await take(), 1);
    assert.deepEqual(await states(), ['failed: lost', 'running', 'skipped: overlap']);
  });

  test('wait_all: all wait for it, and then for each other', async () => {
    const { states, take, settle } = await killedDuring('wait_all');
    assert.equal(await take(), 0);
    await settle();
    assert.equal(await take(), 1);
    assert.deepEqual(await states(), ['failed: lost', 'running', 'queued']);
  });

  test('replace: the last one due runs when that run is settled, the one between is cancelled', async () => {
    const { states, take, settle } = await killedDuring('replace');
    assert.equal(await take(), 0);
    await settle();
    assert.equal(await take(), 1);
    assert.deepEqual(await states(), ['failed: lost', 'cancelled: replaced', 'running']);
  });
});

describe('a run that is tried again while one begun by hand beside it is on', () => {
  const ready = () => one.runs.readySince([''], afterAll, 100);

  /** The first of two runs of a job has failed and is ready to be tried again; one that was begun beside it is on. */
  async function triedAgainBeside(overlap: string, concurrency: number | null = null) {
    const node = await placeNode(one, 'node');
    const job = await placeJob(one, { overlap, concurrency, concurrencyKey: concurrency === null ? null : 'shared' });
    const [other = 0, first = 0] = await queueRuns(one, job, 2);
    const [run = assert.fail()] = await claim(one, [first], node);
    const [byHand] = await one.runs.insert({ jobId: job.id, cause: 'manual', dueAt: afterAll, traceId: 'trace', evenIfBusy: true });
    const [beside = assert.fail()] = await claim(one, [byHand?.id ?? 0], node);
    await one.runs.record(failedOnce(run, afterAll));
    return { node, first, other, beside };
  }

  for (const overlap of ['skip', 'wait', 'wait_all', 'replace']) {
    test(`${overlap}: waits, is neither sent nor taken straight, and is the first to go on when that one is at its end`, async () => {
      const { node, first, other, beside } = await triedAgainBeside(overlap);
      assert.deepEqual(await claim(one, [first, other], node), []);
      const { state, blocked } = (await wayOf(one, first)) ?? {};
      assert.deepEqual({ state, blocked }, { state: 'retrying', blocked: true });
      assert.deepEqual([await one.runs.unblock(), await ready(), await one.runs.markSent(afterAll, 100)], [0, [], []]);
      await one.runs.record(outcome(beside));
      assert.deepEqual([await ready(), await one.runs.markSent(afterAll, 100)], [[first], [first]]);
      const [again] = await claim(one, [first], node);
      assert.equal(again?.attempt, 2);
    });
  }

  test('goes on when that one was given back, also where all places are taken: it kept its own', async () => {
    const { node, first, beside } = await triedAgainBeside('wait', 2);
    await claim(one, [first], node);
    const others = await queueRuns(one, await placeJob(one, { concurrency: 2, concurrencyKey: 'shared' }), 1);
    await one.runs.giveBack(node, [beside]);
    assert.equal((await claim(one, others, node)).length, 1);
    assert.equal((await claim(one, [beside.id], node)).length, 0);
    assert.equal(await one.runs.unblock(), 1);
    assert.equal((await claim(one, [first], node))[0]?.attempt, 2);
  });
});
