// Results that PostgreSQL does not take at once, kept in real files and recorded in a real PostgreSQL.

import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test, { describe, type TestContext } from 'node:test';
import type { Policy } from '../../src/runs/lifecycle.ts';
import { makeSpool } from '../../src/runs/spool.ts';
import type { ClaimedRun, RunRecord } from '../../src/store/runs.ts';
import { standingClock } from '../support/clock.ts';
import {
  afterAll,
  claim,
  failedOnce,
  openStores,
  outcome,
  placeJob,
  placeNode,
  plainPolicy,
  queueRuns,
  runNow,
  seconds,
  torn,
} from '../support/jobs.ts';
import { keptLog } from '../support/log.ts';
import { execute, testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const incarnation = await placeNode(stores, 'node a');
const { signal: goOn } = new AbortController();
test.afterEach(async () => assert.deepEqual(await torn(stores), []));

async function claimed(policy: Partial<Policy> = {}): Promise<ClaimedRun> {
  const job = await placeJob(stores, { policy: { ...plainPolicy, ...policy } });
  const [run] = await claim(stores, await queueRuns(stores, job, 1), incarnation);
  assert.ok(run);
  return run;
}

type Given = { folder?: string; node?: string; record?: (record: RunRecord) => Promise<boolean>; isAway?: boolean };

/** The spool of a node, in a folder of its own; PostgreSQL is away for it as the test says. */
async function spoolOf(t: TestContext, { folder: given, node = 'node a', record = stores.runs.record, isAway = true }: Given = {}) {
  const folder = given ?? (await mkdtemp(join(tmpdir(), 'belfry-spool-')));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const clock = standingClock(afterAll);
  const { log, lines, messages } = keptLog();
  const stopping = new AbortController();
  const outage = { isAway };
  const runs = {
    record: (each: RunRecord) => (outage.isAway ? Promise.reject(new Error('PostgreSQL is away')) : record(each)),
    isRecorded: stores.runs.isRecorded,
  };
  const spool = makeSpool({ clock, log, runs, jobs: stores.jobs, folder, node, stopping: stopping.signal });
  /** What waits: the paths of the files, seen from the folder. */
  const files = async () => (await readdir(folder, { recursive: true })).filter((file) => file.includes('.'));
  /** Lets time go on until the work is over, and answers what it came to. */
  const over = async <T>(work: Promise<T>): Promise<T> => {
    let isOver = false;
    const end = (): void => void (isOver = true);
    work.then(end, end);
    while (!isOver) {
      clock.pass(1000);
      await new Promise(setImmediate);
    }
    return await work;
  };
  /** PostgreSQL is back. */
  const back = async <T>(work: Promise<T>): Promise<T> => {
    outage.isAway = false;
    return await over(work);
  };
  return { spool, folder, clock, lines, messages, outage, files, over, back, stop: () => stopping.abort() };
}

/** Leaves a result in its file, as a node does that stops while PostgreSQL is away. */
async function left(t: TestContext, run: ClaimedRun, record: RunRecord, given: Given = {}): Promise<{ folder: string; file: string }> {
  const { spool, folder, stop, files } = await spoolOf(t, given);
  const before = await files();
  stop();
  assert.equal(await spool.record(run, record, goOn), 'kept');
  const [file = assert.fail()] = (await files()).filter((each) => !before.includes(each));
  return { folder, file: join(folder, file) };
}

describe('a result', { timeout: 60_000 }, () => {
  test('that PostgreSQL takes needs no file', async (t) => {
    const run = await claimed();
    const { spool, files, messages } = await spoolOf(t, { isAway: false });
    assert.equal(await spool.record(run, outcome(run), goOn), 'recorded');
    assert.deepEqual([(await runNow(stores, run.id)).state, await files(), messages()], ['succeeded', [], []]);
  });

  test('waits in a file of its own, for nobody else to read, while PostgreSQL is away, and no longer', async (t) => {
    const [run, other] = [await claimed(), await claimed()];
    const { spool, folder, files, messages, back } = await spoolOf(t);
    const told = Promise.all([spool.record(run, outcome(run), goOn), spool.record(other, outcome(other), goOn)]);
    const whole = async () => (await files()).filter((file) => file.endsWith('.json'));
    while ((await whole()).length < 2) await new Promise(setImmediate);
    const [file = ''] = await files();
    assert.equal((await stat(join(folder, file))).mode & 0o777, 0o600);
    assert.deepEqual(await back(told), ['recorded', 'recorded']);
    assert.equal((await runNow(stores, run.id)).state, 'succeeded');
    assert.deepEqual([await files(), messages()], [[], ['record_delayed', 'record_delayed']]);
  });

  test('has its file also where no folder is yet, and when several come at once', async (t) => {
    const runs = await Promise.all([claimed(), claimed(), claimed()]);
    const { folder: above } = await spoolOf(t);
    const { spool, folder, stop, files } = await spoolOf(t, { folder: join(above, 'none', 'yet') });
    stop();
    assert.deepEqual(await Promise.all(runs.map((run) => spool.record(run, outcome(run), goOn))), ['kept', 'kept', 'kept']);
    assert.equal((await files()).filter((file) => file.endsWith('.json')).length, 3);
    assert.deepEqual([(await stat(dirname(folder))).mode & 0o777, (await stat(folder)).mode & 0o777], [0o700, 0o700]);
  });

  test('that was written although the answer got lost is told as written, also when the run was begun again meanwhile', async (t) => {
    for (const makeRecord of [outcome, (run: ClaimedRun) => failedOnce(run, afterAll)]) {
      const run = await claimed();
      let tries = 0;
      const record = async (each: RunRecord): Promise<boolean> => {
        const isWritten = await stores.runs.record(each);
        if (tries++ > 0) return isWritten;
        await claim(stores, [run.id], incarnation);
        throw new Error('the connection was cut');
      };
      const { spool, over } = await spoolOf(t, { record, isAway: false });
      assert.deepEqual([await over(spool.record(run, makeRecord(run), goOn)), tries], ['recorded', 2]);
    }
  });

  test('of a run that has another by now came too late, and has no file', async (t) => {
    const run = await claimed();
    const { spool, files, back } = await spoolOf(t);
    const told = spool.record(run, outcome(run), goOn);
    await stores.runs.record({ ...failedOnce(run, afterAll), note: { ...outcome(run).note, node: 'node b' } });
    await claim(stores, [run.id], incarnation);
    assert.deepEqual([await back(told), await files()], ['too_late', []]);
  });

  test('has a file too when PostgreSQL neither takes nor refuses it, and a stop does not wait for that', async (t) => {
    const run = await claimed();
    const { spool, clock, over, files, stop } = await spoolOf(t, { record: () => new Promise(() => {}), isAway: false });
    const loop = spool.start();
    const told = spool.record(run, outcome(run), goOn);
    for (const count of [0, 0, 0, 0, 1]) {
      await clock.asleep(1000);
      clock.pass(1000);
      await clock.asleep(1000);
      assert.equal((await files()).length, count);
    }
    stop();
    assert.equal(await over(told), 'kept');
    await loop.stop();
  });

  test('that finds no room on the disk waits in this process, which is told once', async (t) => {
    const [run, other] = [await claimed(), await claimed()];
    const { folder } = await spoolOf(t);
    await writeFile(join(folder, 'full'), '');
    const { spool, clock, messages, back } = await spoolOf(t, { folder: join(folder, 'full') });
    const told = Promise.all([spool.record(run, outcome(run), goOn), spool.record(other, outcome(other), goOn)]);
    for (let tries = 0; tries < 3; tries++) {
      await clock.asleep(1000);
      clock.pass(1000);
    }
    assert.deepEqual(await back(told), ['recorded', 'recorded']);
    assert.deepEqual(messages().sort(), ['record_delayed', 'record_delayed', 'spool_failed']);
  });

  test('that PostgreSQL refuses for what it says is put aside for a person to look at', async (t) => {
    const run = await claimed();
    const refused = Object.assign(new Error('refused'), { code: '23514' });
    const { spool, folder, files } = await spoolOf(t, { record: () => Promise.reject(refused), isAway: false });
    await assert.rejects(spool.record(run, outcome(run), goOn), /refused/);
    const [file = ''] = await files();
    assert.match(file, /\.bad$/);
    assert.match(await readFile(join(folder, file), 'utf8'), /"succeeded"/);
    await stores.runs.record(outcome(run));
  });
});

describe('what was left in files', { timeout: 60_000 }, () => {
  test('is recorded at the next start as it was, with its dates', async (t) => {
    const [run, again] = [await claimed(), await claimed()];
    const record = outcome(run, { result: { out: 'ä\u0001', n: [1, null] }, error: 'x', reason: 'failed', state: 'failed', failed: true });
    const { folder } = await left(t, run, record);
    await left(t, again, failedOnce(again, seconds(7777.123)), { folder });
    const { spool, lines, files } = await spoolOf(t, { folder, isAway: false });
    assert.equal(await spool.replay('node a'), 2);
    const { state, reason, error, result, finishedAt, attempts } = await runNow(stores, run.id);
    const { reason: whyTold, error: errorTold, result: told, finishedAt: at, note } = record;
    assert.deepEqual(
      { state, reason, error, result, finishedAt, attempts },
      { state: 'failed', reason: whyTold, error: errorTold, result: told, finishedAt: at, attempts: [note] },
    );
    const { state: way, readyAt } = await runNow(stores, again.id);
    assert.deepEqual([way, readyAt], ['retrying', seconds(7777.123)]);
    assert.deepEqual(new Map(lines.map(({ msg, run: id }) => [id, msg])), new Map([run, again].map(({ id }) => [id, 'replayed_result'])));
    assert.deepEqual(await files(), []);
  });

  test('and was recorded before its file was gone is not told as too late; what is, is', async (t) => {
    const [told, late] = [await claimed(), await claimed()];
    const { folder } = await left(t, told, outcome(told));
    await left(t, late, outcome(late), { folder });
    await stores.runs.record(outcome(told));
    await stores.runs.record(outcome(late, { state: 'cancelled', finishedAt: seconds(1), note: { ...outcome(late).note, node: 'b' } }));
    const { spool, lines, files } = await spoolOf(t, { folder, isAway: false });
    await spool.replay('node a');
    const byRun = new Map(lines.map(({ msg, run }) => [run, msg]));
    assert.deepEqual([byRun.get(told.id), byRun.get(late.id), await files()], ['replayed_result', 'result_came_too_late', []]);
  });

  test('torn, or not ours, is put aside and told, and keeps nothing else from being recorded', async (t) => {
    const run = await claimed();
    const { folder, file } = await left(t, run, outcome(run));
    const text = await readFile(file, 'utf8');
    const beside = (name: string): string => join(file, '..', name);
    await writeFile(beside('1-1.json'), text.slice(0, -9));
    await writeFile(beside('2-1.json'), '');
    await writeFile(beside('3-1.json'), text.replace('"version":1', '"version":2'));
    await writeFile(beside('4-1.tmp'), text.slice(0, 9));
    const { spool, files, messages } = await spoolOf(t, { folder, isAway: false });
    assert.equal(await spool.replay('node a'), 1);
    assert.deepEqual((await files()).map((name) => name.replace(/.*\//, '')).sort(), ['1-1.bad', '2-1.bad', '3-1.bad', '4-1.bad']);
    assert.deepEqual(messages().sort(), ['replayed_result', ...Array.from({ length: 4 }, () => 'spool_unreadable')]);
    assert.equal(await spool.replay('node a'), 0);
  });

  test('stays while PostgreSQL is away', async (t) => {
    const run = await claimed();
    const { folder } = await left(t, run, outcome(run));
    const { spool, files } = await spoolOf(t, { folder });
    await assert.rejects(spool.replay('node a'), /PostgreSQL is away/);
    assert.equal((await files()).length, 1);
  });

  test('by another node of the same data folder is left alone, unless asked for; also of one whose name differs by case only', async (t) => {
    const [run, other] = [await claimed(), await claimed()];
    const { folder } = await left(t, run, outcome(run), { node: '../Node A' });
    await left(t, other, outcome(other), { node: 'node a', folder });
    const { spool, files } = await spoolOf(t, { folder, isAway: false, node: '../node a' });
    assert.deepEqual([await spool.replay('../node a'), (await files()).length], [0, 2]);
    assert.deepEqual([await spool.replay('node a'), (await files()).length], [1, 1]);
    assert.equal(await spool.replay('../Node A'), 1);
  });

  test('of the last of so many failures pauses its job', async (t) => {
    const run = await claimed({ pauseAfterFailures: 1 });
    const { folder } = await left(t, run, outcome(run, { state: 'failed', reason: 'failed', failed: true }));
    const { spool, messages } = await spoolOf(t, { folder, isAway: false });
    await spool.replay('node a');
    assert.deepEqual(messages(), ['replayed_result', 'paused_job']);
  });

  test('and what waits in this process without a file is recorded before anybody calls it lost', async (t) => {
    const run = await claimed();
    const { folder } = await spoolOf(t);
    await writeFile(join(folder, 'full'), '');
    const { spool, outage, clock } = await spoolOf(t, { folder: join(folder, 'full') });
    const told = spool.record(run, outcome(run), goOn);
    await clock.asleep(1000);
    outage.isAway = false;
    assert.equal(await spool.replay('node a'), 1);
    assert.equal((await runNow(stores, run.id)).state, 'succeeded');
    clock.pass(1000);
    assert.equal(await told, 'recorded');
  });
});

test('a result that is no JSON keeps nobody else’s from being recorded', async () => {
  const [run, other] = [await claimed(), await claimed()];
  const bad = stores.runs.record(outcome(run, { result: { n: 1n } }));
  const good = stores.runs.record(outcome(other));
  assert.deepEqual(await Promise.all([bad, good]), [true, true]);
  assert.equal((await runNow(stores, run.id)).error, 'what it said could not be stored');
  assert.equal((await execute(url, `select 1 from belfry.results where run_id in (${run.id}, ${other.id})`)).length, 2);
});
