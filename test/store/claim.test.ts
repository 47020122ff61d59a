// Claims, on a real PostgreSQL: who begins a run, and what another run of its job holds back.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import {
  afterAll,
  claim,
  failedOnce,
  fire,
  noon,
  openStores,
  outcome,
  placeJob,
  placeNode,
  plainPolicy,
  queueRuns,
  runNow,
  seconds,
  statesOf,
  torn,
  wayOf,
} from '../support/jobs.ts';
import { execute, testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const { runs } = stores;
const me = await placeNode(stores, 'node a');
const them = await placeNode(stores, 'node b');

async function queued(overlap: string, count: number): Promise<number[]> {
  return await queueRuns(stores, await placeJob(stores, { overlap }), count);
}

/** The first of so many queued runs, claimed; and the ids of the others. */
async function oneRunning(overlap: string, count: number) {
  const [first = 0, ...others] = await queued(overlap, count);
  const [run] = await claim(stores, [first], me);
  assert.ok(run);
  return { run, others };
}

test.afterEach(async () => assert.deepEqual(await torn(stores), []));

describe('a claim', () => {
  test('begins an attempt: it is ours, and told whole', async () => {
    const job = await placeJob(stores, { command: { type: 'noop', n: 1 } });
    const [id = 0] = await queueRuns(stores, job, 1);
    const [run, ...more] = await runs.claim({ ids: [id], owner: me, node: 'node a', now: seconds(5) });
    assert.deepEqual(more, []);
    assert.deepEqual(run, {
      id,
      jobId: job.id,
      jobName: job.name,
      cause: 'schedule',
      dueAt: noon,
      command: { type: 'noop', n: 1 },
      policy: plainPolicy,
      epoch: 1,
      attempt: 1,
      traceId: job.traceId,
      parentId: null,
    });
    const { state, owner, node, startedAt, begunAt } = (await wayOf(stores, id)) ?? {};
    assert.deepEqual(
      { state, owner, node, startedAt, begunAt },
      { state: 'running', owner: me, node: 'node a', startedAt: seconds(5), begunAt: seconds(5) },
    );
  });

  test('of a run that is tried again counts on, and its start stays the first one', async () => {
    const { run } = await oneRunning('skip', 1);
    await runs.record(failedOnce(run, seconds(4000)));
    const [again] = await claim(stores, [run.id], them, seconds(4000));
    assert.deepEqual([again?.attempt, again?.epoch], [2, 2]);
    const { startedAt, begunAt, owner } = (await wayOf(stores, run.id)) ?? {};
    assert.deepEqual({ startedAt, begunAt, owner }, { startedAt: afterAll, begunAt: seconds(4000), owner: them });
  });

  test('takes what was sent off the list of what was sent', async () => {
    const [id = 0] = await queued('skip', 1);
    await runs.markSent(afterAll, 1_000_000);
    assert.equal((await wayOf(stores, id))?.sends, 1);
    await claim(stores, [id], me);
    const { sentAt, sends } = (await wayOf(stores, id)) ?? {};
    assert.deepEqual({ sentAt, sends }, { sentAt: null, sends: 0 });
  });

  test('gets nothing that is not ready yet', async () => {
    const [id = 0] = await queued('skip', 1);
    assert.deepEqual(await claim(stores, [id], me, seconds(-1)), []);
    assert.equal((await claim(stores, [id], me, noon)).length, 1);
  });

  test('sets free what was sent too early, to be sent again at its time', async () => {
    const [early = 0, ready = 0] = await queued('allow', 2);
    await execute(url, `update belfry.unfinished set ready_at = ready_at + interval '100 seconds' where run_id = ${early}`);
    await runs.markSent(seconds(100), 1_000_000);
    assert.equal((await claim(stores, [early, ready], me, seconds(99))).length, 1);
    assert.deepEqual((await runs.markSent(seconds(101), 1_000_000)).includes(early), true);
    assert.equal((await wayOf(stores, early))?.sends, 1);
  });

  test('is not judged by the moment of an earlier one that rides in the same statement', async () => {
    const [first = 0, second = 0] = await queued('allow', 2);
    const claims = await Promise.all([claim(stores, [first], me, noon), claim(stores, [second], me, seconds(1))]);
    assert.deepEqual(
      claims.map((claimed) => claimed.length),
      [1, 1],
    );
  });

  test('gets nothing that is running, at its end, or not there', async () => {
    const { run } = await oneRunning('skip', 1);
    assert.deepEqual(await claim(stores, [run.id, 2 ** 40], them), []);
    await runs.record(outcome(run));
    assert.deepEqual(await claim(stores, [run.id], them), []);
    assert.deepEqual(await statesOf(stores, [run.id]), ['succeeded']);
  });

  test('gets nothing that shall be cancelled', async () => {
    const job = await placeJob(stores, { overlap: 'replace' });
    const [first] = await fire(stores, job, noon);
    const [second] = await fire(stores, job, seconds(1));
    const claimed = await claim(stores, [first?.id ?? 0, second?.id ?? 0], me);
    assert.deepEqual(
      claimed.map(({ id }) => id),
      [second?.id],
    );
  });

  test('that names a run another one of the same moment names gets it only if it came first', async () => {
    const [id = 0] = await queued('skip', 1);
    const claims = await Promise.all([claim(stores, [id], me), claim(stores, [id, id], me)]);
    assert.deepEqual(
      claims.map((claimed) => claimed.length),
      [1, 0],
    );
  });
});

describe('two nodes that claim at once', { timeout: 120_000 }, () => {
  const other = openStores(test, url);

  test('get each run once', async () => {
    for (let round = 0; round < 20; round++) {
      const ids = await queued('allow', 60);
      // Messages of ten that come to both, in another order.
      const messages = Array.from({ length: 6 }, (_, index) => ids.slice(index * 10, index * 10 + 10));
      const claims = await Promise.all([
        ...messages.map((each) => claim(stores, each, me)),
        ...messages.toReversed().map((each) => claim(other, each.toReversed(), them)),
      ]);
      const claimed = claims.flat().map(({ id }) => id);
      assert.deepEqual(
        claimed.toSorted((a, b) => a - b),
        ids,
        `round ${round}`,
      );
    }
  });

  test('run one of twenty runs of a job that skips, and the others are written down as skipped', async () => {
    for (let round = 0; round < 20; round++) {
      const ids = await queued('skip', 20);
      const [even, odd] = [ids.filter((_, index) => index % 2 === 0), ids.filter((_, index) => index % 2 === 1)];
      // Each gets half of them, then all of them; alone and together.
      const [ours, theirs] = round % 2 === 0 ? [even, odd] : [ids, ids];
      const claims = await Promise.all([...ours.map((id) => claim(stores, [id], me)), claim(other, theirs, them)]);
      assert.equal(claims.flat().length, 1, `round ${round}`);
      assert.deepEqual((await statesOf(stores, ids)).sort(), ['running', ...ids.slice(1).map(() => 'skipped')], `round ${round}`);
    }
  });

  test('run one of twenty runs of a job whose runs wait, and the others wait', async () => {
    for (const overlap of ['wait', 'wait_all', 'replace']) {
      const ids = await queued(overlap, 20);
      const claims = await Promise.all([claim(stores, ids, me), claim(other, ids, them)]);
      assert.equal(claims.flat().length, 1);
      assert.deepEqual((await statesOf(stores, ids)).sort(), [...ids.slice(1).map(() => 'queued'), 'running']);
      assert.deepEqual(await Promise.all([claim(stores, ids, me), claim(other, ids, them)]), [[], []]);
    }
  });

  test('of many jobs do not stop each other', async () => {
    const ids: number[] = [];
    for (const overlap of ['skip', 'wait', 'allow', 'replace', 'skip', 'wait', 'allow', 'wait_all'])
      ids.push(...(await queued(overlap, 10)));
    for (let round = 0; round < 20; round++) {
      const [ours, theirs] = await Promise.all([claim(stores, ids, me), claim(other, ids.toReversed(), them)]);
      const beside = await execute(
        url,
        `select job_id from belfry.unfinished where state = 'running' and overlap <> 'allow' group by job_id having count(*) > 1`,
      );
      assert.deepEqual(beside, []);
      await Promise.all([...ours.map((run) => runs.record(outcome(run))), ...theirs.map((run) => other.runs.record(outcome(run)))]);
    }
    const states = await statesOf(stores, ids);
    assert.deepEqual(
      states.filter((state) => state !== 'succeeded' && state !== 'skipped'),
      [],
    );
  });
});

describe('a run that is claimed while another of its job is running', () => {
  test('skip: is skipped, for overlap', async () => {
    const { others } = await oneRunning('skip', 2);
    assert.deepEqual(await claim(stores, others, them), []);
    const { state, reason, finishedAt } = await runNow(stores, others[0] ?? 0);
    assert.deepEqual({ state, reason, finishedAt }, { state: 'skipped', reason: 'overlap', finishedAt: afterAll });
  });

  test('skip: is skipped as well while that one waits to be tried again', async () => {
    const { run, others } = await oneRunning('skip', 2);
    await runs.record(failedOnce(run, seconds(7200)));
    assert.deepEqual(await claim(stores, others, them), []);
    assert.deepEqual(await statesOf(stores, others), ['skipped']);
  });

  test('skip: gives way to the one that is tried again at that moment', async () => {
    const { run, others } = await oneRunning('skip', 2);
    await runs.record(failedOnce(run, afterAll));
    const claimed = await claim(stores, [...others, run.id], them);
    assert.deepEqual(
      claimed.map(({ id }) => id),
      [run.id],
    );
    assert.deepEqual(await statesOf(stores, others), ['skipped']);
  });

  test('allow: runs beside it', async () => {
    const { others } = await oneRunning('allow', 2);
    assert.equal((await claim(stores, others, them)).length, 1);
  });

  for (const overlap of ['wait', 'wait_all', 'replace']) {
    test(`${overlap}: waits, is not sent, and is ready when that one is at its end`, async () => {
      const { run, others } = await oneRunning(overlap, 2);
      assert.deepEqual(await claim(stores, others, them), []);
      assert.deepEqual(await statesOf(stores, others), ['queued']);
      assert.equal((await wayOf(stores, others[0] ?? 0))?.blocked, true);
      assert.ok(!(await runs.markSent(afterAll, 1_000_000)).includes(others[0] ?? 0));
      assert.equal(await runs.unblock(), 0);
      await runs.record(outcome(run, { state: 'failed', failed: true }));
      assert.ok((await runs.markSent(afterAll, 1_000_000)).includes(others[0] ?? 0));
      assert.equal((await claim(stores, others, them)).length, 1);
    });
  }

  test('wait: goes on waiting while that one is tried again', async () => {
    const { run, others } = await oneRunning('wait', 2);
    await claim(stores, others, them);
    await runs.record(failedOnce(run, afterAll));
    assert.equal((await wayOf(stores, others[0] ?? 0))?.blocked, true);
    assert.equal(await runs.unblock(), 0);
  });

  test('wait_all: all get their turn, one after another, in the order of their due times', async () => {
    const ids = await queued('wait_all', 5);
    const order: number[] = [];
    for (let turn = 0; turn < ids.length; turn++) {
      const [run, ...beside] = await claim(stores, ids.toReversed(), turn % 2 === 0 ? me : them);
      assert.ok(run);
      assert.deepEqual(beside, []);
      order.push(run.id);
      await runs.record(outcome(run));
    }
    assert.deepEqual(order, ids);
  });

  test('is freed by unblock() when nobody else did, one run of a job at a time', async () => {
    const { run, others } = await oneRunning('wait_all', 3);
    await claim(stores, others, them);
    await execute(url, `insert into belfry.results (run_id, state, reason, finished_at) values (${run.id}, 'cancelled', 'by hand', now())`);
    await execute(url, `delete from belfry.unfinished where run_id = ${run.id}`);
    assert.equal(await runs.unblock(), 1);
    assert.equal((await claim(stores, others, them)).length, 1);
    assert.equal(await runs.unblock(), 0);
  });

  test('by hand and beside it is freed by unblock(), as that one minds nobody', async () => {
    const job = await placeJob(stores, { overlap: 'wait' });
    const [beside] = await runs.insert({ jobId: job.id, cause: 'manual', dueAt: noon, traceId: 'trace', evenIfBusy: true });
    const [byHand] = await claim(stores, [beside?.id ?? 0], me);
    assert.ok(byHand);
    const [waiting] = await fire(stores, job, noon);
    assert.deepEqual(await claim(stores, [waiting?.id ?? 0], them), []);
    await runs.record(outcome(byHand));
    await runs.unblock();
    assert.equal((await claim(stores, [waiting?.id ?? 0], them)).length, 1);
  });
});
