// The tables as drizzle sees them. migrations/ is what makes them; a test compares the two.

import { sql } from 'drizzle-orm';
import { bigint, boolean, integer, json, jsonb, pgSchema, text, timestamp } from 'drizzle-orm/pg-core';

const belfry = pgSchema('belfry');

const id = (name: string) => bigint(name, { mode: 'number' });
const moment = (name: string) => timestamp(name, { withTimezone: true, mode: 'date' });

// What attempts came to so far.
const outcomes = {
  failedCount: integer('failed_count').notNull().default(0),
  attempts: json('attempts').array().notNull().default([]),
  result: json('result').$type<Record<string, unknown>>(),
  error: text('error'),
};

/** What the whole installation shares; one row. */
export const installation = belfry.table('installation', {
  onlyRow: boolean('only_row').notNull().default(true),
  id: text('id')
    .notNull()
    .default(sql`substr(md5(random()::text || clock_timestamp()::text), 1, 12)`),
  lastTickAt: moment('last_tick_at'),
  gapFrom: moment('gap_from'),
  gapTo: moment('gap_to'),
  createdAt: moment('created_at').notNull().defaultNow(),
});

/** One row a start of a process. */
export const nodes = belfry.table('nodes', {
  incarnation: id('incarnation').generatedAlwaysAsIdentity(),
  name: text('name').notNull(),
  version: text('version').notNull(),
  address: text('address'),
  pid: integer('pid').notNull(),
  duties: text('duties').array().notNull(),
  slots: integer('slots').notNull().default(0),
  busy: integer('busy').notNull().default(0),
  beat: id('beat').notNull().default(0),
  beatAt: moment('beat_at').notNull().defaultNow(),
  startedAt: moment('started_at').notNull().defaultNow(),
  endedAt: moment('ended_at'),
  endReason: text('end_reason'),
  settled: boolean('settled').notNull().default(false),
  labels: text('labels').array().notNull().default([]),
  draining: boolean('draining').notNull().default(false),
});

/** What somebody wants run. */
export const jobs = belfry.table('jobs', {
  id: id('id').generatedAlwaysAsIdentity(),
  name: text('name').notNull(),
  remark: text('remark').notNull().default(''),
  expr: text('expr').notNull(),
  timezone: text('timezone'),
  enabled: boolean('enabled').notNull().default(true),
  command: jsonb('command').notNull().$type<Record<string, unknown>>(),
  retry: jsonb('retry').notNull().default({}).$type<Record<string, unknown>>(),
  timeoutMs: id('timeout_ms'),
  log: boolean('log').notNull().default(true),
  onLost: text('on_lost').notNull().default('fail'),
  overlap: text('overlap').notNull().default('skip'),
  misfire: text('misfire').notNull().default('once').$type<'skip' | 'once' | 'all'>(),
  catchupWindowMs: id('catchup_window_ms'),
  maxCatchup: integer('max_catchup').notNull().default(100),
  source: text('source').notNull().default('table'),
  configId: text('config_id'),
  traceId: text('trace_id'),
  revision: integer('revision').notNull().default(1),
  policy: json('policy').$type<Record<string, unknown>>(),
  nextDueAt: moment('next_due_at'),
  endedAt: moment('ended_at'),
  fault: text('fault'),
  createdAt: moment('created_at').notNull().defaultNow(),
  updatedAt: moment('updated_at').notNull().defaultNow(),
  deletedAt: moment('deleted_at'),
  blackouts: text('blackouts').array().notNull().default([]),
  startsAt: moment('starts_at'),
  endsAt: moment('ends_at'),
  maxRuns: integer('max_runs'),
  spreadMs: id('spread_ms'),
  pauseAfterFailures: integer('pause_after_failures'),
  pausedAt: moment('paused_at'),
  pauseNote: text('pause_note'),
  runOn: text('run_on').notNull().default(''),
  afterJobs: text('after_jobs').array().notNull().default([]),
  afterOn: text('after_on').notNull().default('success').$type<'success' | 'failure' | 'either'>(),
  concurrency: integer('concurrency'),
  concurrencyKey: text('concurrency_key'),
  maxQueued: integer('max_queued').notNull().default(1000),
});

/** One row a job that is due again. */
export const cursors = belfry.table('cursors', {
  jobId: id('job_id').notNull(),
  revision: integer('revision').notNull(),
  nextDueAt: moment('next_due_at').notNull(),
  fired: integer('fired').notNull().default(0),
});

/** One row a due time or a trigger; never changed. */
export const runs = belfry.table('runs', {
  id: id('id').generatedAlwaysAsIdentity(),
  jobId: id('job_id').notNull(),
  jobName: text('job_name').notNull(),
  cause: text('cause').notNull().default('schedule'),
  target: text('target').notNull().default(''),
  dueAt: moment('due_at').notNull(),
  lastDueAt: moment('last_due_at'),
  dueCount: integer('due_count').notNull().default(1),
  command: jsonb('command').notNull().$type<Record<string, unknown>>(),
  policy: json('policy').notNull().default({}).$type<Record<string, unknown>>(),
  overlap: text('overlap').notNull().default('skip'),
  catchup: boolean('catchup').notNull().default(false),
  queuedAt: moment('queued_at').notNull(),
  rerunOf: id('rerun_of'),
  traceId: text('trace_id').notNull(),
  parentId: id('parent_id'),
  chainLength: integer('chain_length'),
});

/** What became of a run that is at its end. */
export const results = belfry.table('results', {
  runId: id('run_id').notNull(),
  state: text('state').notNull(),
  reason: text('reason'),
  node: text('node'),
  ...outcomes,
  startedAt: moment('started_at'),
  finishedAt: moment('finished_at').notNull(),
});

/** One row a run that is not at its end. */
export const unfinished = belfry.table('unfinished', {
  runId: id('run_id').notNull(),
  jobId: id('job_id').notNull(),
  state: text('state').notNull().default('queued'),
  overlap: text('overlap').notNull(),
  readyAt: moment('ready_at').notNull(),
  catchup: boolean('catchup').notNull().default(false),
  blocked: boolean('blocked').notNull().default(false),
  sentAt: moment('sent_at'),
  sends: integer('sends').notNull().default(0),
  owner: id('owner'),
  node: text('node'),
  epoch: integer('epoch').notNull().default(0),
  attempt: integer('attempt').notNull().default(0),
  startedAt: moment('started_at'),
  begunAt: moment('begun_at'),
  cancelAt: moment('cancel_at'),
  ...outcomes,
  lane: text('lane').notNull().default(''),
  capKey: text('cap_key'),
  capMax: integer('cap_max'),
  cancelReason: text('cancel_reason'),
});

/** Where runs of a job go now: one row, or one a living worker; a view. */
export const placements = belfry
  .view('placements', {
    jobId: id('job_id').notNull(),
    target: text('target').notNull(),
    lane: text('lane').notNull(),
    isNowhere: boolean('is_nowhere').notNull(),
    capKey: text('cap_key'),
    capMax: integer('cap_max'),
  })
  .existing();

/** Runs as people see them, wherever they are; a view. */
export const records = belfry
  .view('records', {
    id: id('id').notNull(),
    jobId: id('job_id').notNull(),
    jobName: text('job_name').notNull(),
    cause: text('cause').notNull(),
    target: text('target').notNull(),
    dueAt: moment('due_at').notNull(),
    lastDueAt: moment('last_due_at'),
    dueCount: integer('due_count').notNull(),
    state: text('state').notNull(),
    reason: text('reason'),
    command: jsonb('command').notNull().$type<Record<string, unknown>>(),
    policy: json('policy').notNull().$type<Record<string, unknown>>(),
    catchup: boolean('catchup').notNull(),
    node: text('node'),
    attempt: integer('attempt').notNull(),
    failedCount: integer('failed_count').notNull(),
    attempts: json('attempts').notNull().$type<Record<string, unknown>[]>(),
    result: json('result').$type<Record<string, unknown>>(),
    error: text('error'),
    queuedAt: moment('queued_at').notNull(),
    startedAt: moment('started_at'),
    finishedAt: moment('finished_at'),
    rerunOf: id('rerun_of'),
    traceId: text('trace_id').notNull(),
    readyAt: moment('ready_at'),
    parentId: id('parent_id'),
    blocked: boolean('blocked'),
    cancelAt: moment('cancel_at'),
  })
  .existing();
