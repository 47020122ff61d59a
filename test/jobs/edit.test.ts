// Edits of jobs that are due already, on a real PostgreSQL: no due time is dropped with the cursor that an edit makes anew.

import assert from 'node:assert/strict';
import test, { beforeEach, describe } from 'node:test';
import { tick } from '../../src/crontab/ticker.ts';
import { parseDefinition, type JobDefinition } from '../../src/jobs/definition.ts';
import { applyFile, deleteJob, pauseJob, resumeJob, setEnabled, workOut } from '../../src/jobs/manage.ts';
import { clear, jobNow, openStores } from '../support/jobs.ts';
import { managingOn } from '../support/managing.ts';
import { execute, testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);

/** The last full minute when a test begins, on the database's clock. */
let base = new Date();
const at = (seconds: number): Date => new Date(base.getTime() + seconds * 1000);
let node = managingOn(stores);

beforeEach(async () => {
  await clear(stores);
  const [row] = await execute(url, `select now(), date_trunc('minute', now()) as minute`);
  base = row?.['minute'] as Date;
  node = managingOn(stores, row?.['now'] as Date);
});

const file = '/a.toml';
const written = { name: 'nightly', expr: '* * * * *', command: { type: 'noop', target: 'as it was' } };

function definition(changed: Record<string, unknown> = {}): JobDefinition {
  const parsed = parseDefinition({ ...written, overlap: 'allow', ...changed }, node.deps);
  assert.ok(parsed.ok);
  return parsed.definition;
}

/** A job of the file, due since so many seconds; nobody ticked since. */
async function dueFor(seconds: number, changed: Record<string, unknown> = {}): Promise<void> {
  const now = node.deps.clock.now();
  node.clock.set(at(-seconds - 1));
  await applyFile(node.deps, file, [definition(changed)]);
  node.clock.set(now);
  await execute(url, `update belfry.installation set last_tick_at = '${at(-seconds - 1).toISOString()}', gap_from = null, gap_to = null`);
}

/** What was written down: when it was due, how often, what came of it, and with which command. */
async function told() {
  const rows = await execute(
    url,
    `select due_at, due_count, state, reason, command ->> 'target' as target from belfry.records where job_name = 'nightly' order by due_at`,
  );
  return rows.map(({ due_at: dueAt, due_count: count, state, reason, target }) => [dueAt, count, reason ?? state, target]);
}

const tickOnce = () =>
  tick({ ...node.deps, isClockRight: () => Promise.resolve(true), workOut: (job, now) => workOut(node.deps, job, now) });

const edits: Record<string, () => Promise<unknown>> = {
  'is due at other times': () => applyFile(node.deps, file, [definition({ expr: '0 0 1 1 *' })]),
  'is no longer in the file': () => applyFile(node.deps, file, []),
  'is switched off in the file': () => applyFile(node.deps, file, [definition({ enabled: false })]),
  'is switched off': () => setEnabled(node.deps, 'nightly', false),
  'is deleted': () => deleteJob(node.deps, 'nightly'),
};

describe('a job that has been due for an hour, as Belfry was down', () => {
  for (const [what, edit] of Object.entries(edits)) {
    test(`and ${what} now, was missed: all of it is written down, and nothing run`, async () => {
      await dueFor(3600);
      await edit();
      // Of the last minutes some may be no more than late.
      const [missed, ...late] = await told();
      assert.deepEqual(missed?.slice(0, 1), [at(-3600)]);
      assert.deepEqual(missed?.slice(2), ['missed', 'as it was']);
      assert.equal(Number(missed?.[1]) + late.length, 61);
      assert.ok(late.length <= 1, String(late));
      await tickOnce();
      assert.equal((await told()).length, 1 + late.length);
    });
  }

  test('and does something else now, is caught up with what it does now', async () => {
    await dueFor(3600);
    await applyFile(node.deps, file, [definition({ command: { type: 'noop', target: 'mended' } })]);
    assert.deepEqual(await told(), []);
    await tickOnce();
    const rows = await told();
    assert.deepEqual(rows[0]?.slice(2), ['missed', 'mended']);
    assert.deepEqual(rows.at(-1)?.slice(2), ['queued', 'mended']);
    assert.equal(
      rows.reduce((sum, [, count]) => sum + Number(count), 0),
      61,
    );
  });
});

describe('a job that will not be due again, and is overdue', () => {
  const mended = { type: 'noop', target: 'mended' };

  test('is run as edited', async () => {
    const once = { expr: `@at ${at(0).toISOString().replace('.000', '')}` };
    await dueFor(0, once);
    await applyFile(node.deps, file, [definition({ ...once, command: mended })]);
    await tickOnce();
    assert.deepEqual((await told()).slice(0, 1).flat().slice(0, 2), [at(0), 1]);
    assert.deepEqual(
      (await told()).map(([, , , target]) => target),
      ['mended'],
    );
    assert.notEqual((await jobNow(stores, 'nightly')).endedAt, null);
  });

  for (const [by, edit] of Object.entries({
    'in the file': (ends: string) => applyFile(node.deps, file, [definition({ ends_at: ends, command: mended })]),
    'by SQL': () => execute(url, `update belfry.jobs set command = '${JSON.stringify(mended)}'`),
  })) {
    test(`has all its due times written down, edited ${by}`, async () => {
      const ends = at(-600).toISOString();
      await dueFor(3600, { ends_at: ends });
      await edit(ends);
      await tickOnce();
      await tickOnce();
      const rows = await told();
      assert.equal(
        rows.reduce((sum, [, count]) => sum + Number(count), 0),
        51,
      );
      assert.deepEqual([...new Set(rows.map(([, , , target]) => target))], ['mended']);
    });
  }
});

describe('a job that was edited by SQL and is overdue', () => {
  test('and is switched off before that was worked out, has all of it written down as missed', async () => {
    await dueFor(3600);
    await execute(url, `update belfry.jobs set timeout_ms = 777`);
    await setEnabled(node.deps, 'nightly', false);
    assert.deepEqual(await told(), [[at(-3600), 61, 'missed', 'as it was']]);
  });

  test('to be due at once, is due then', async () => {
    await applyFile(node.deps, file, [definition()]);
    await execute(url, `update belfry.jobs set next_due_at = '${at(-1).toISOString()}'`);
    assert.deepEqual((await jobNow(stores, 'nightly')).nextDueAt, at(-1));
  });

  test('to be there again after it was deleted, goes on from now', async () => {
    await dueFor(3600);
    await deleteJob(node.deps, 'nightly');
    await execute(url, 'update belfry.jobs set deleted_at = null');
    await tickOnce();
    assert.ok(((await jobNow(stores, 'nightly')).nextDueAt ?? base) > base);
  });
});

describe('a job that is paused', () => {
  test('has what came due before that run, and what came due meanwhile written down as paused', async () => {
    await dueFor(0);
    node.clock.set(at(1));
    await pauseJob(node.deps, 'nightly', undefined);
    node.clock.set(at(150));
    await resumeJob(node.deps, 'nightly');
    assert.deepEqual(await told(), [
      [at(0), 1, 'queued', 'as it was'],
      [at(60), 2, 'paused', 'as it was'],
    ]);
  });
});

describe('a job that is due this moment', () => {
  beforeEach(async () => {
    await dueFor(0);
    await execute(url, `update belfry.cursors set next_due_at = date_trunc('milliseconds', now())`);
    const [row] = await execute(url, 'select next_due_at from belfry.cursors');
    base = row?.['next_due_at'] as Date;
    node = managingOn(stores, base);
  });

  for (const [what, edit] of Object.entries(edits)) {
    test(`and ${what} now, is run as it was`, async () => {
      await edit();
      assert.deepEqual(await told(), [[at(0), 1, 'queued', 'as it was']]);
    });
  }

  test('and was switched off a moment before, is not run: that is all', async () => {
    node.clock.set(at(-1));
    await setEnabled(node.deps, 'nightly', false);
    assert.deepEqual(await told(), []);
  });

  test('and does something else now, does that', async () => {
    await applyFile(node.deps, file, [definition({ command: { type: 'noop', target: 'mended' } })]);
    await tickOnce();
    assert.deepEqual(await told(), [[at(0), 1, 'queued', 'mended']]);
  });

  test('and is edited by SQL to be due at other times, has that written down as missed', async () => {
    await execute(url, `update belfry.jobs set expr = '0 0 1 1 *'`);
    await tickOnce();
    assert.deepEqual(await told(), [[at(0), 1, 'missed', 'as it was']]);
    assert.ok(((await jobNow(stores, 'nightly')).nextDueAt ?? base) > base);
  });

  test('and is deleted by SQL while it is paused, has that written down as paused', async () => {
    await execute(url, `update belfry.jobs set paused_at = now()`);
    await execute(url, `update belfry.jobs set deleted_at = now(), revision = revision + 1`);
    assert.deepEqual(await told(), [[at(0), 1, 'paused', 'as it was']]);
  });

  test('and is edited by SQL to do something else, does that after it was worked out', async () => {
    await execute(url, `update belfry.jobs set command = '{"type":"noop","target":"mended"}', timeout_ms = 2000`);
    await tickOnce();
    assert.deepEqual(await told(), [], 'a tick that finds it edited works it out first');
    await tickOnce();
    assert.deepEqual(await told(), [[at(0), 1, 'queued', 'mended']]);
    const [run] = await execute(url, `select policy ->> 'timeoutMs' as timeout from belfry.runs`);
    assert.equal(run?.['timeout'], '2000');
  });
});
