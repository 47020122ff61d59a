// The tables: as the migrations make them, as drizzle sees them, and as they grow.

import assert from 'node:assert/strict';
import test, { before, describe } from 'node:test';
import { getTableConfig, getViewConfig, PgColumn, PgTable, PgView } from 'drizzle-orm/pg-core';
import { Client } from 'pg';
import { openDatabase } from '../../src/store/database.ts';
import { jobStore } from '../../src/store/jobs.ts';
import { recordStore } from '../../src/store/records.ts';
import { runStore } from '../../src/store/runs.ts';
import * as schema from '../../src/store/schema.ts';
import { columnsOf, namesOf, type Column } from '../support/catalog.ts';
import { noon, outcome, seconds } from '../support/jobs.ts';
import { execute, testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);

describe('the schema', () => {
  const drizzled = Object.values(schema)
    .filter((each) => each instanceof PgTable)
    .map((table) => getTableConfig(table))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const views = Object.values(schema).filter((each) => each instanceof PgView);

  for (const { name: table, columns } of drizzled) {
    test(`of drizzle and of the migrations agree on ${table}`, async () => {
      const seen = columns.map((column): Column => ({
        table,
        name: column.name,
        type: column.getSQLType(),
        notNull: column.notNull,
        hasDefault: column.hasDefault || column.generatedIdentity !== undefined,
      }));
      assert.deepEqual(
        seen,
        (await columnsOf(url)).filter((each) => each.table === table),
      );
    });
  }

  for (const view of views) {
    const { name, selectedFields } = getViewConfig(view);
    test(`of drizzle and of the migrations agree on ${name}, a view`, async () => {
      const seen = Object.values(selectedFields).flatMap((field) =>
        field instanceof PgColumn ? [`${field.name} ${field.getSQLType()}`] : [],
      );
      const there = (await columnsOf(url)).filter(({ table }) => table === name).map((column) => `${column.name} ${column.type}`);
      assert.deepEqual(seen, there);
    });
  }

  test('has no table that drizzle does not see', async () => {
    const tables = new Set((await columnsOf(url)).map(({ table }) => table));
    assert.deepEqual([...tables], [...drizzled.map(({ name }) => name), ...views.map((view) => getViewConfig(view).name)].sort());
  });

  test('names every constraint and index for what it promises or serves', async () => {
    // PostgreSQL's own way of naming what nobody named.
    const unnamed = (await namesOf(url)).filter((name) => /_(pkey|key|fkey|check|excl|idx)\d*$/.test(name));
    assert.deepEqual(unnamed, []);
  });
});

describe('over fifty thousand runs', { timeout: 120_000 }, () => {
  // As app.ts has them, but one connection each, so that it can be told what its statements read.
  const working = openDatabase({ url, applicationName: 'belfry test', maxConnections: 1, plans: 'by_index' });
  const asked = openDatabase({ url, applicationName: 'belfry test', maxConnections: 1 });
  test.after(() => Promise.all([working.close(), asked.close()]));
  const runs = runStore(working);
  const jobs = jobStore(working);
  const records = recordStore(asked);
  const page = { limit: 50, offset: 0 };
  const now = seconds(100);

  // 500 jobs with 100 runs each, as days of work leave them: the last run of each is not at its end.
  before(async () => {
    await execute(
      url,
      `insert into belfry.jobs (name, expr, timezone, command, policy, overlap, trace_id, next_due_at)
       select 'job ' || n, '* * * * *', 'UTC', '{"type": "noop"}', '{}', (array['skip', 'wait', 'allow', 'replace'])[n % 4 + 1], '', '2100-01-01T12:00:00Z'
         from generate_series(1, 500) as n`,
    );
    await execute(
      url,
      `insert into belfry.runs (job_id, job_name, due_at, command, queued_at, trace_id)
       select j.id, j.name, due.at, j.command, due.at, ''
         from generate_series(1, 100) as n cross join belfry.jobs j
         cross join lateral (select '2100-01-01T12:00:00Z'::timestamptz - (101 - n) * interval '1 minute' as at) as due
        order by n, j.id`,
    );
    await execute(
      url,
      `insert into belfry.results (run_id, state, reason, finished_at)
       select r.id, ended.state, case when ended.state = 'skipped' then 'overlap' end, r.due_at
         from (select *, 100 - (extract(epoch from '2100-01-01T11:59:00Z' - due_at) / 60)::integer as n from belfry.runs) as r
         cross join lateral (select case when n = 50 and r.job_id % 50 = 0 then 'failed'
                                         when (n + r.job_id) % 50 = 1 then 'skipped' else 'succeeded' end as state) as ended
        where n < 100
        order by r.id`,
    );
    await execute(
      url,
      `insert into belfry.unfinished (run_id, job_id, state, overlap, ready_at, catchup, blocked, owner, epoch, attempt, cancel_at)
       select r.id, r.job_id, way.state, j.overlap, r.due_at, r.job_id % 7 = 0, way.state = 'queued' and j.overlap = 'wait',
              case when way.state = 'running' then 1 end, 1, 1, case when j.overlap = 'replace' then r.due_at end
         from belfry.runs r join belfry.jobs j on j.id = r.job_id
         cross join lateral (select (array['running', 'queued', 'retrying', 'queued', 'queued'])[r.job_id % 5 + 1] as state) as way
        where not exists (select from belfry.results e where e.run_id = r.id)`,
    );
    await execute(url, 'vacuum analyze belfry.runs, belfry.results, belfry.unfinished, belfry.jobs');
    // What is read depends on what is known of the tables: nobody looks at them again in the midst of the tests.
    for (const table of ['runs', 'results', 'unfinished', 'jobs', 'cursors'])
      await execute(url, `alter table belfry.${table} set (autovacuum_enabled = off)`);
  });

  /** How many rows of runs and of what is unfinished were read while `work` was done; and whether runs was passed through. */
  async function readsOf(work: () => Promise<unknown>): Promise<{ passedThrough: boolean; rows: number }> {
    const client = new Client(url);
    await client.connect();
    const counted = async (): Promise<{ passes: number; rows: number }> => {
      for (const { sql } of [working, asked]) await sql`select pg_stat_force_next_flush()`;
      const { rows } = await client.query<{ passes: string; rows: string }>(
        `select pg_stat_clear_snapshot(), sum(seq_scan) filter (where relid in ('belfry.runs'::regclass, 'belfry.results'::regclass)) as passes, sum(seq_tup_read + idx_tup_fetch) as rows
           from pg_stat_user_tables where relid in ('belfry.runs'::regclass, 'belfry.results'::regclass, 'belfry.unfinished'::regclass, 'belfry.jobs'::regclass, 'belfry.cursors'::regclass)`,
      );
      return { passes: Number(rows[0]?.passes), rows: Number(rows[0]?.rows) };
    };
    try {
      const first = await counted();
      await work();
      const second = await counted();
      return { passedThrough: second.passes > first.passes, rows: second.rows - first.rows };
    } finally {
      await client.end();
    }
  }

  test('a pass through the whole table is noticed', async () => {
    const reads = await readsOf(() => asked.sql`select count(*) from belfry.runs where rerun_of is not null`);
    assert.deepEqual(reads, { passedThrough: true, rows: 50_000 });
  });

  const claimable = async (): Promise<number[]> => {
    const rows = await execute(
      url,
      `select run_id as id from belfry.unfinished where state = 'queued' and not blocked order by run_id limit 40`,
    );
    return rows.map(({ id }) => Number(id));
  };
  const held = async () => (await runs.heldBy(1)).slice(0, 40);

  // What is read may grow with what is asked for or is not at its end, never with what lies there.
  const steps: [string, number, () => Promise<() => Promise<unknown>>][] = [
    ['marking what is sent', 500, async () => () => runs.markSent(now, 100)],
    ['giving back what was sent', 500, async () => claimable().then((ids) => () => runs.unmarkSent(ids))],
    ['asking when the next run is ready', 500, async () => () => runs.waiting(seconds(-3600))],
    ['claiming', 1000, async () => claimable().then((ids) => () => runs.claim({ ids, owner: 1, node: 'a', now }))],
    ['recording', 1000, async () => held().then((all) => () => Promise.all(all.map((run) => runs.record(outcome(run)))))],
    ['asking what a node holds', 1000, async () => () => runs.heldBy(1)],
    ['asking which runs a node holds', 1000, async () => () => runs.idsHeldBy(1)],
    ['giving back claims', 1000, async () => held().then((all) => () => runs.giveBack(1, all.slice(0, 1)))],
    [
      'asking whether a result was recorded',
      500,
      async () =>
        held().then(
          ([run]) =>
            () =>
              runs.isRecorded(outcome(run ?? assert.fail())),
        ),
    ],
    ['asking what shall be stopped', 1000, async () => () => runs.toCancel(1)],
    ['cancelling what has not begun', 1000, async () => () => runs.cancelWaiting(now)],
    ['freeing what waits for nothing', 2000, async () => () => runs.unblock()],
    [
      'making a run by hand',
      100,
      async () => async () => {
        const job = await jobs.byName('job 8');
        await runs.insert({ jobId: job?.id ?? 0, cause: 'manual', dueAt: now, traceId: '', evenIfBusy: false });
      },
    ],
    [
      'firing',
      2000,
      async () => {
        const due = await Promise.all(Array.from({ length: 100 }, (_, index) => jobs.byName(`job ${index + 1}`)));
        const moves = due.flatMap((job) =>
          job
            ? [
                {
                  jobId: job.id,
                  revision: job.revision,
                  seen: noon,
                  next: seconds(60),
                  fires: [{ dueAt: noon, dueCount: 1, catchup: false }],
                },
              ]
            : [],
        );
        return () => jobs.fire(moves, now);
      },
    ],
    ['looking for what is due', 10, async () => () => jobs.look(100)],
    ['forgetting', 3500, async () => () => runs.forget(seconds(-3600), 1000)],
    ['reading the last', 200, async () => () => records.list({}, page)],
    ['reading the last of a job', 500, async () => () => records.list({ name: 'job 7' }, page)],
    ['reading what failed', 500, async () => () => records.list({ state: 'failed' }, page)],
    ['reading what a job failed', 500, async () => () => records.list({ name: 'job 7', state: 'failed' }, page)],
    ['reading what is running', 1000, async () => () => records.list({ state: 'running' }, page)],
    ['reading an hour', 10_000, async () => () => records.list({ from: seconds(-3600), to: noon }, page)],
    ['reading on from an id', 200, async () => () => records.list({ before: 40_000 }, page)],
    ['reading one', 10, async () => () => records.byId(40_000)],
  ];
  for (const [what, most, prepare] of steps) {
    test(`${what} looks up what it needs`, async (t) => {
      const work = await prepare();
      const { passedThrough, rows } = await readsOf(work);
      t.diagnostic(`${rows} rows read`);
      assert.equal(passedThrough, false);
      assert.ok(rows <= most, `${rows} rows were read, at most ${most} are needed`);
    });
  }
});
