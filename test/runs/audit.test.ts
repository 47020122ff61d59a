// Runs that name a node and that it knows nothing of, on a real PostgreSQL, with the claim's answer cut off on its way.

import assert from 'node:assert/strict';
import test, { beforeEach, describe } from 'node:test';
import { Client } from 'pg';
import { makeBell } from '../../src/clock.ts';
import { audit, startAudit } from '../../src/runs/audit.ts';
import { claimName } from '../../src/runs/lifecycle.ts';
import { makeWorker } from '../../src/runs/worker.ts';
import type { ClaimedRun } from '../../src/store/runs.ts';
import { until } from '../support/belfry.ts';
import { hasRung, standingClock } from '../support/clock.ts';
import {
  afterAll,
  claim,
  clear,
  failedOnce,
  openStores,
  outcome,
  placeJob,
  placeNode,
  queueRuns,
  runNow,
  torn,
  wayOf,
} from '../support/jobs.ts';
import { keptLog } from '../support/log.ts';
import { execute, testDatabase } from '../support/postgres.ts';
import { startProxy } from '../support/proxy.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const proxy = await startProxy(test, url);
const proxied = openStores(test, proxy.url);
const incarnation = await placeNode(stores, 'node a');

beforeEach(() => clear(stores));
test.afterEach(async () => assert.deepEqual(await torn(stores), []));

/** A node's worker and its audit; attempts end when the test says so, and are recorded then or not. */
function nodeOf(runs = stores.runs) {
  const clock = standingClock(afterAll);
  const { log, lines, messages } = keptLog();
  const dispatch = makeBell(clock);
  const unrecorded = new Set<string>();
  const begun: number[] = [];
  const ended = Promise.withResolvers<void>();
  const worker = makeWorker({
    clock,
    slots: 10,
    me: () => ({ name: 'node a', incarnation }),
    runs,
    perform: async (run) => {
      unrecorded.add(claimName(run));
      begun.push(run.id);
      await ended.promise;
    },
    dispatch,
  });
  const isKnown = (held: { id: number; epoch: number }): boolean => worker.isClaiming(held.id) || unrecorded.has(claimName(held));
  const deps = { clock, log, incarnation: () => incarnation, runs: stores.runs, isKnown, dispatch };
  return { worker, deps, clock, lines, messages, begun, unrecorded, end: () => ended.resolve(), hasRung: () => hasRung(dispatch, clock) };
}

async function queued(count = 1): Promise<number[]> {
  return await queueRuns(stores, await placeJob(stores, { overlap: 'allow' }), count);
}

describe('a claim whose answer got lost', { timeout: 60_000 }, () => {
  test('goes back as if it had not been made, and its run is made like any other', async () => {
    const { worker, deps, lines, begun, hasRung: hasRungBell } = nodeOf();
    const ids = await queued(2);
    await claim(openStores(test, url), ids, incarnation);
    assert.equal(await audit(deps), 10_000);
    const { state, attempt, attempts, startedAt } = await runNow(stores, ids[0] ?? 0);
    assert.deepEqual({ state, attempt, attempts, startedAt }, { state: 'queued', attempt: 0, attempts: [], startedAt: null });
    assert.deepEqual(
      lines.map(({ msg, run }) => [msg, run]),
      ids.map((id) => ['gave_back_run', id]),
    );
    assert.equal(await hasRungBell(), true);
    await worker.take(ids);
    assert.deepEqual(begun, ids);
    assert.equal((await wayOf(stores, ids[0] ?? 0))?.attempt, 1);
  });

  test('goes back too where the connection is cut while PostgreSQL is at it, and not before it is cut', async () => {
    const { worker, deps, messages, begun } = nodeOf(proxied.runs);
    const [id = 0] = await queued();
    const client = new Client(url);
    await client.connect();
    // The claim waits for this, and does not notice there that nobody waits for its answer any more.
    await client.query(`begin; select from belfry.nodes where incarnation = ${incarnation} for update`);
    const taken = worker.take([id]);
    await until(async () => (await execute(url, 'select from pg_locks where not granted'))[0]);
    await audit(deps);
    assert.deepEqual([messages(), worker.isClaiming(id)], [[], true]);
    proxy.cut('reset');
    await assert.rejects(taken);
    await client.query('commit');
    await client.end();
    await until(async () => (await wayOf(stores, id))?.state === 'running' || undefined);
    await audit(deps);
    assert.deepEqual([messages(), (await runNow(stores, id)).state, begun], [['gave_back_run'], 'queued', []]);
  });

  test('of a run that was tried before goes back to wait for its next attempt, with those it had', async () => {
    const [id = 0] = await queued();
    const [run = assert.fail()] = await claim(stores, [id], incarnation);
    await stores.runs.record(failedOnce(run, afterAll));
    await claim(stores, [id], incarnation);
    await audit(nodeOf().deps);
    const { state, attempt, attempts } = await runNow(stores, id);
    assert.deepEqual([state, attempt, attempts.length], ['retrying', 1, 1]);
  });

  test('is never believed of what it was about, should its attempt be told of all the same', async () => {
    const [id = 0] = await queued();
    const [run = assert.fail()] = await claim(stores, [id], incarnation);
    await audit(nodeOf().deps);
    assert.equal(await stores.runs.record(outcome(run)), false);
  });
});

describe('the audit', { timeout: 60_000 }, () => {
  test('gives back nothing that is claimed, is being performed or waits for its record', async () => {
    const { worker, deps, messages, unrecorded, end } = nodeOf();
    const ids = await queued(3);
    await worker.take(ids);
    await audit(deps);
    end();
    while (worker.running().length > 0) await new Promise(setImmediate);
    assert.equal(unrecorded.size, 3);
    await audit(deps);
    assert.deepEqual(messages(), []);
    unrecorded.delete(claimName({ id: ids[1] ?? 0, epoch: 1 }));
    await audit(deps);
    assert.deepEqual([messages(), (await runNow(stores, ids[1] ?? 0)).state], [['gave_back_run'], 'queued']);
  });

  test('gives back nothing of what is claimed, made and recorded while it looks, however it falls', async () => {
    const { worker, deps, messages, unrecorded } = nodeOf();
    const ids = await queued(300);
    const performed: Promise<unknown>[] = [];
    const record = async (run: ClaimedRun): Promise<void> => {
      unrecorded.add(claimName(run));
      await stores.runs.record(outcome(run));
      unrecorded.delete(claimName(run));
    };
    const busy = makeWorker({
      clock: deps.clock,
      slots: 10,
      me: () => ({ name: 'node a', incarnation }),
      runs: stores.runs,
      perform: (run) => {
        const done = record(run);
        performed.push(done);
        return done;
      },
      dispatch: deps.dispatch,
    });
    const isKnown: typeof deps.isKnown = (held) =>
      busy.isClaiming(held.id) || worker.isClaiming(held.id) || unrecorded.has(claimName(held));
    let isOver = false;
    const looking = (async () => {
      while (!isOver) await audit({ ...deps, isKnown });
    })();
    for (let at = 0; at < ids.length; at += 3) await busy.take(ids.slice(at, at + 3));
    while (performed.length < ids.length) await new Promise(setImmediate);
    await Promise.all(performed);
    isOver = true;
    await looking;
    assert.deepEqual(messages(), []);
  });

  test('leaves alone what others hold', async () => {
    const other = await placeNode(stores, 'node b');
    const [id = 0] = await queued();
    await claim(stores, [id], other);
    await audit(nodeOf().deps);
    assert.equal((await runNow(stores, id)).state, 'running');
  });

  test('is held every ten seconds, and goes on after a fault', async () => {
    const { deps, clock, messages } = nodeOf();
    let isAway = true;
    const idsHeldBy: typeof stores.runs.idsHeldBy = (owner) => (isAway ? Promise.reject(new Error('away')) : stores.runs.idsHeldBy(owner));
    const loop = startAudit({ ...deps, runs: { ...stores.runs, idsHeldBy } });
    await clock.asleep(100);
    isAway = false;
    clock.pass(100);
    await clock.asleep(10_000);
    const [id = 0] = await queued();
    await claim(stores, [id], incarnation);
    clock.pass(10_000);
    await clock.asleep(10_000);
    await loop.stop();
    assert.deepEqual(messages(), ['audit_failed', 'gave_back_run']);
  });
});
