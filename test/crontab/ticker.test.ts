// Ticks on a real PostgreSQL. What is due is decided on its clock, so due times are chosen around the moment it tells.

import assert from 'node:assert/strict';
import test, { beforeEach, describe } from 'node:test';
import { makeBell } from '../../src/clock.ts';
import type { JobSchedule, Scheduled } from '../../src/crontab/schedules.ts';
import { startTicker, tick } from '../../src/crontab/ticker.ts';
import { workOut } from '../../src/jobs/manage.ts';
import type { JobRow } from '../../src/store/jobs.ts';
import { hasRung } from '../support/clock.ts';
import { clear, edited, jobNow, openStores, placeJob, type Stores } from '../support/jobs.ts';
import { managingOn } from '../support/managing.ts';
import { scheduleAt } from '../support/schedules.ts';
import { execute, testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const other = openStores(test, url);

/** The moment at which a test begins, on the database's clock, in whole seconds. */
let base = new Date();
const at = (seconds: number): Date => new Date(base.getTime() + seconds * 1000);

beforeEach(async () => {
  await clear(stores);
  const [row] = await stores.database.sql<{ now: Date }[]>`select date_trunc('second', now()) as now`;
  assert.ok(row);
  base = row.now;
});

/** A schedule that names these times, and a day from now. */
const listed = (...times: readonly Date[]): JobSchedule => scheduleAt(...times, at(86_400));

/** One node with the crontab duty. Its jobs have the schedules that are given by name; the others, those they say. */
function nodeOf(given: Stores, schedules: Record<string, JobSchedule> = {}) {
  const { deps, clock, messages, lines } = managingOn(given, base);
  const scheduleOf = (job: Scheduled): JobSchedule => schedules[job.name] ?? deps.scheduleOf(job);
  const managing = { ...deps, scheduleOf, newTraceId: () => 'a new trace' };
  const ticking = {
    ...managing,
    isClockRight: () => Promise.resolve(true),
    workOut: (job: JobRow, now: Date) => workOut(managing, job, now),
  };
  return { deps: ticking, clock, messages, lines, hasDispatched: () => hasRung(deps.dispatch, clock) };
}

async function runsOf(name: string) {
  return await stores.database.sql<{ dueAt: Date; count: number; state: string; reason: string | null; catchup: boolean }[]>`
    select due_at as "dueAt", due_count as count, state, reason, catchup from belfry.records where job_name = ${name} order by due_at`;
}

describe('a tick', () => {
  test('fires what is due, tells of it, and has it dispatched', async () => {
    const node = nodeOf(stores, { due: listed() });
    const job = await placeJob(stores, { name: 'due', nextDueAt: at(-1) });
    await placeJob(stores, { name: 'not due', nextDueAt: at(3600) });
    assert.equal(await tick(node.deps), 1000);
    assert.deepEqual(await runsOf('due'), [{ dueAt: at(-1), count: 1, state: 'queued', reason: null, catchup: false }]);
    assert.deepEqual(await runsOf('not due'), []);
    assert.deepEqual((await jobNow(stores, 'due')).nextDueAt, at(86_400));
    assert.equal(await node.hasDispatched(), true);
    assert.deepEqual([node.messages(), node.lines[0]?.['trace_id']], [['arrived_job'], job.traceId]);
  });

  test('of nothing leaves everything as it is', async () => {
    const node = nodeOf(stores);
    const job = await placeJob(stores, { nextDueAt: at(3600) });
    assert.equal(await tick(node.deps), 1000);
    assert.deepEqual(await jobNow(stores, job.name), job);
    assert.deepEqual(node.messages(), []);
    assert.equal(await node.hasDispatched(), false);
  });

  test('that comes late by our own load fires every due time', async () => {
    const node = nodeOf(stores, { busy: listed(at(-3), at(-2), at(-1)) });
    await placeJob(stores, { name: 'busy', overlap: 'allow', nextDueAt: at(-3) });
    await tick(node.deps);
    assert.deepEqual(
      (await runsOf('busy')).map(({ dueAt, state }) => [dueAt, state]),
      [-3, -2, -1].map((second) => [at(second), 'queued']),
    );
  });

  test('that finds more due than it takes at once is followed by the next at once', async () => {
    const node = nodeOf(stores);
    await Promise.all(Array.from({ length: 2001 }, () => placeJob(stores, { expr: '0 0 1 1 *', nextDueAt: at(-1) })));
    const fired = async (): Promise<number> => Number((await execute(url, 'select count(*) as n from belfry.runs'))[0]?.['n']);
    assert.equal(await tick(node.deps), 0);
    assert.equal(await fired(), 2000);
    assert.equal(await tick(node.deps), 1000);
    assert.equal(await fired(), 2001);
  });

  for (const [ms, answer] of [
    [250, 250],
    [5000, 1000],
    [0, 0],
  ] as const) {
    test(`answers how long the next may wait: ${answer} ms when a job is due in ${ms} ms`, async () => {
      const due = at(-60);
      const next = new Date(due.getTime() + ms);
      const node = nodeOf(stores, { soon: listed(next) });
      const job = await placeJob(stores, { name: 'soon', nextDueAt: due });
      const nothing = { now: due, gap: undefined, due: [], unknown: [], nextAt: next };
      assert.equal(await tick({ ...node.deps, jobs: { ...stores.jobs, look: () => Promise.resolve(nothing) } }), answer);
      if (ms === 0) return;
      const seen = { ...nothing, due: [{ ...job, timezone: 'UTC', nextDueAt: due, isPaused: false, runsLeft: null }], nextAt: undefined };
      assert.equal(await tick({ ...node.deps, jobs: { ...stores.jobs, look: () => Promise.resolve(seen) } }), answer);
    });
  }

  test('on two nodes at once fires each job once, and is told of once', { timeout: 60_000 }, async () => {
    for (let round = 0; round < 10; round++) {
      const names = Array.from({ length: 30 }, (_, index) => `round ${round}, job ${index}`);
      const times = [at(-3), at(-2), at(-1)];
      const schedules = Object.fromEntries(names.map((name) => [name, listed(...times)]));
      const nodes = [nodeOf(stores, schedules), nodeOf(other, schedules), nodeOf(stores, schedules)];
      await Promise.all(names.map((name) => placeJob(stores, { name, overlap: 'allow', nextDueAt: at(-3) })));
      await Promise.all(nodes.map(({ deps }) => tick(deps)));
      for (const name of names)
        assert.deepEqual(
          (await runsOf(name)).map(({ dueAt }) => dueAt),
          times,
        );
      assert.equal(nodes.flatMap(({ messages }) => messages()).length, names.length * times.length);
    }
  });
});

describe('a row that was written by hand', () => {
  const insert = (name: string, expr: string, command = '{"type": "noop", "target": "x"}') =>
    execute(url, `insert into belfry.jobs (name, expr, command) values ('${name}', '${expr}', '${command}')`);

  test('is worked out by the first tick that sees it, and the next follows at once', async () => {
    const node = nodeOf(stores);
    await insert('by hand', '* * * * *');
    assert.equal(await tick(node.deps), 0);
    const { nextDueAt, policy, timezone, traceId, enabled } = await jobNow(stores, 'by hand');
    assert.ok(nextDueAt && nextDueAt > base);
    assert.deepEqual(
      { timezone, traceId, enabled, timeout: policy?.['timeoutMs'] },
      { timezone: 'UTC', traceId: 'a new trace', enabled: true, timeout: 30_000 },
    );
    assert.deepEqual(node.messages(), ['add_db_job_successed']);
    await tick(node.deps);
    assert.deepEqual(node.messages(), ['add_db_job_successed']);
  });

  test('and cannot be understood is switched off, with every fault on it', async () => {
    const node = nodeOf(stores);
    await insert('bad', '61 * * * *', '{"type": "nonsense"}');
    await insert('good', '* * * * *');
    await tick(node.deps);
    const { enabled, fault } = await jobNow(stores, 'bad');
    assert.equal(enabled, false);
    assert.match(fault ?? '', /expr: .*61/);
    assert.match(fault ?? '', /command\.type: expected "noop"/);
    assert.ok((await jobNow(stores, 'good')).nextDueAt);
    assert.deepEqual(node.messages().sort(), ['add_db_job_failed', 'add_db_job_successed']);
  });

  test('and mended by hand is worked out again, and has no fault any more', async () => {
    const node = nodeOf(stores);
    await insert('mended', '61 * * * *');
    await tick(node.deps);
    await execute(url, `update belfry.jobs set expr = '6 * * * *', enabled = true where name = 'mended'`);
    await tick(node.deps);
    const { enabled, fault, nextDueAt } = await jobNow(stores, 'mended');
    assert.deepEqual([enabled, fault, nextDueAt !== null], [true, null, true]);
  });

  test('with a due time but nothing else is worked out, not fired', async () => {
    const node = nodeOf(stores);
    await insert('half', '* * * * *');
    await execute(url, `update belfry.jobs set next_due_at = now() - interval '1 minute', revision = 2 where name = 'half'`);
    await tick(node.deps);
    assert.deepEqual(await runsOf('half'), []);
    const { nextDueAt } = await jobNow(stores, 'half');
    assert.ok(nextDueAt && nextDueAt > base);
  });

  test('whose schedule cannot be read any more is switched off, and what it was due for is missed', async () => {
    const node = nodeOf(stores, { good: listed() });
    await placeJob(stores, { name: 'stale', timezone: 'Mars/Olympus', nextDueAt: at(-1) });
    await placeJob(stores, { name: 'good', nextDueAt: at(-1) });
    await tick(node.deps);
    const { enabled, fault } = await jobNow(stores, 'stale');
    assert.ok(!enabled && /^timezone: .*Mars\/Olympus/.test(fault ?? ''), String(fault));
    assert.deepEqual(await runsOf('stale'), [{ dueAt: at(-1), count: 1, state: 'skipped', reason: 'missed', catchup: false }]);
    assert.equal((await runsOf('good')).length, 1);
  });
});

test('a fault of ours in a tick switches no job off', async () => {
  const node = nodeOf(stores);
  const job = await placeJob(stores, { nextDueAt: at(-1) });
  const scheduleOf = (): JobSchedule => assert.fail('a fault');
  await assert.rejects(tick({ ...node.deps, scheduleOf }), /a fault/);
  assert.deepEqual(await jobNow(stores, job.name), job);
});

describe('after an hour in which no node ticked', () => {
  const missed = [-3000, -2400, -1800, -1200, -600];
  const row = (second: number, changed = {}) => ({ dueAt: at(second), count: 1, state: 'queued', reason: null, catchup: true, ...changed });
  const dropped = (count: number) => row(-3000, { count, state: 'skipped', reason: 'missed', catchup: false });

  const expected = {
    skip: () => [dropped(5)],
    once: () => [dropped(4), row(-600)],
    all: () => missed.map((second) => row(second)),
  };
  for (const misfire of ['skip', 'once', 'all'] as const) {
    test(`${misfire}: what was missed is written down, once`, async () => {
      const schedules = { missed: listed(...missed.map(at)) };
      await execute(url, `update belfry.installation set last_tick_at = now() - interval '1 hour'`);
      await placeJob(stores, { name: 'missed', misfire, nextDueAt: at(-3000) });
      await Promise.all([tick(nodeOf(stores, schedules).deps), tick(nodeOf(other, schedules).deps)]);
      await tick(nodeOf(stores, schedules).deps);
      assert.deepEqual(await runsOf('missed'), expected[misfire]());
    });
  }

  test('and another one, what is left of the first is still missed', async () => {
    await execute(
      url,
      `update belfry.installation set last_tick_at = now() - interval '5 minutes', gap_from = now() - interval '1 hour', gap_to = now() - interval '301 seconds'`,
    );
    await placeJob(stores, { name: 'missed twice', misfire: 'skip', nextDueAt: at(-3000) });
    await tick(nodeOf(stores, { 'missed twice': listed(...missed.map(at)) }).deps);
    assert.deepEqual(await runsOf('missed twice'), [dropped(5)]);
  });
});

describe('a job that is changed while a tick thinks', () => {
  const changes: Record<string, (job: JobRow) => Promise<unknown>> = {
    edited: (job) => execute(url, `update belfry.jobs set expr = '0 0 1 1 *' where id = ${job.id}`),
    'switched off': (job) => stores.jobs.setEnabled(job.id, false, undefined, edited),
    deleted: (job) => stores.jobs.remove(job.id, edited),
    'fired by another node': () => tick(nodeOf(other, { changed: listed() }).deps),
  };
  for (const [what, change] of Object.entries(changes)) {
    test(`is not fired as it was: ${what}`, async () => {
      const node = nodeOf(stores, { changed: listed(), unchanged: listed() });
      const job = await placeJob(stores, { name: 'changed', nextDueAt: at(-1) });
      const look = async (limit: number) => {
        const seen = await stores.jobs.look(limit);
        await change(job);
        return seen;
      };
      await tick({ ...node.deps, jobs: { ...stores.jobs, look } });
      assert.deepEqual(node.messages(), []);
      assert.deepEqual(
        (await runsOf('changed')).map(({ reason }) => reason),
        [what.startsWith('fired') ? null : 'missed'],
      );
    });
  }
});

describe('the ticker', { timeout: 60_000 }, () => {
  test('ticks at once, when it is called, and when its time has come, until it is stopped', async () => {
    const node = nodeOf(stores, { called: listed(), timed: listed(), late: listed() });
    const bell = makeBell(node.clock);
    const ticker = startTicker(node.deps, bell);
    await node.clock.asleep(1000);
    await placeJob(stores, { name: 'called', nextDueAt: at(-1) });
    bell.ring();
    await node.clock.asleep(1000);
    assert.equal((await runsOf('called')).length, 1);
    await placeJob(stores, { name: 'timed', nextDueAt: at(-1) });
    node.clock.pass(1000);
    await node.clock.asleep(1000);
    assert.equal((await runsOf('timed')).length, 1);
    await ticker.stop();
    await placeJob(stores, { name: 'late', nextDueAt: at(-1) });
    bell.ring();
    assert.equal((await runsOf('late')).length, 0);
  });

  test('tells of a tick that failed, and tries again a little later', async () => {
    const node = nodeOf(stores, { due: listed() });
    await placeJob(stores, { name: 'due', nextDueAt: at(-1) });
    await execute(url, 'alter table belfry.installation rename to hidden');
    const ticker = startTicker(node.deps, makeBell(node.clock));
    await node.clock.asleep(100);
    await execute(url, 'alter table belfry.hidden rename to installation');
    node.clock.pass(100);
    await node.clock.asleep(1000);
    await ticker.stop();
    assert.deepEqual(node.messages(), ['tick_failed', 'arrived_job']);
  });
});
