// Jobs and runs put in place as the product does it: through the stores.

import { eq } from 'drizzle-orm';
import type { Policy } from '../../src/runs/lifecycle.ts';
import { openDatabase, type Database } from '../../src/store/database.ts';
import { jobStore, type Edit, type JobRow, type JobStore, type WrittenJob } from '../../src/store/jobs.ts';
import type { Fire, Fired } from '../../src/store/ticks.ts';
import { nodeStore, type NodeStore } from '../../src/store/nodes.ts';
import { recordStore, type RecordStore, type RunRow } from '../../src/store/records.ts';
import { runStore, type ClaimedRun, type RunRecord, type RunStore } from '../../src/store/runs.ts';
import { unfinished } from '../../src/store/schema.ts';

type Scope = { after(fn: () => Promise<void>): void };

export type Stores = {
  readonly database: Database;
  readonly jobs: JobStore;
  readonly runs: RunStore;
  readonly nodes: NodeStore;
  readonly records: RecordStore;
};

/** The stores on connections of their own, as each node has them. */
export function openStores(scope: Scope, url: string): Stores {
  const database = openDatabase({ url, applicationName: 'belfry test', maxConnections: 4, plans: 'by_index' });
  scope.after(() => database.close());
  return { database, jobs: jobStore(database), runs: runStore(database), nodes: nodeStore(database), records: recordStore(database) };
}

export const retryOnce = { maxAttempts: 1, delayMs: 1000, maxDelayMs: 1000, factor: 1, jitter: 0 };
export const plainPolicy: Policy = { retry: retryOnce, timeoutMs: 1000, onLost: 'fail', log: true };

/** Noon of a day in which all tests that choose their time take place. */
export const noon = new Date('2100-01-01T12:00:00Z');

/** So many seconds before or after noon. */
export function seconds(count: number): Date {
  return new Date(noon.getTime() + count * 1000);
}

let named = 0;

/** A job as written down, due next at noon, under a name that no other has. */
export function written(changed: Partial<WrittenJob> = {}): WrittenJob {
  return {
    name: `job ${++named}`,
    remark: '',
    expr: '* * * * *',
    timezone: 'UTC',
    enabled: true,
    command: { type: 'noop' },
    retry: {},
    timeoutMs: 1000,
    log: true,
    onLost: 'fail',
    overlap: 'skip',
    misfire: 'once',
    catchupWindowMs: null,
    maxCatchup: 100,
    blackouts: [],
    startsAt: null,
    endsAt: null,
    maxRuns: null,
    spreadMs: null,
    pauseAfterFailures: null,
    runOn: '',
    afterJobs: [],
    afterOn: 'success',
    concurrency: null,
    concurrencyKey: null,
    maxQueued: 1000,
    source: 'api',
    configId: null,
    traceId: '0af7651916cd43dd8448eb211c80319c',
    policy: plainPolicy,
    nextDueAt: noon,
    ...changed,
  };
}

/** A job in its place. */
export async function placeJob({ jobs }: Pick<Stores, 'jobs'>, changed: Partial<WrittenJob> = {}): Promise<JobRow> {
  const job = written(changed);
  await jobs.insert(job);
  return await jobNow({ jobs }, job.name);
}

/** The job of that name as it stands. */
export async function jobNow({ jobs }: Pick<Stores, 'jobs'>, name: string): Promise<JobRow> {
  const row = await jobs.byName(name);
  if (!row) throw new Error(`there is no job ${name}`);
  return row;
}

/** An edit of this moment, whatever it drops. */
export const edited: Edit = {
  get at() {
    return new Date();
  },
  evenIfDue: true,
};

/** Fires a job as a tick does that finds these times due, and moves its cursor to a second after the last. */
export async function fire({ jobs }: Pick<Stores, 'jobs'>, job: JobRow, ...due: (Date | Partial<Fire>)[]): Promise<Fired[]> {
  const fires = due.map((each) => {
    const given = each instanceof Date ? { dueAt: each } : each;
    return { dueAt: noon, dueCount: 1, catchup: false, ...given };
  });
  const { revision, nextDueAt } = await jobNow({ jobs }, job.name);
  if (!nextDueAt) throw new Error(`job ${job.name} has no cursor`);
  const next = new Date(Math.max(...fires.map(({ dueAt }) => dueAt.getTime())) + 1000);
  return await jobs.fire([{ jobId: job.id, revision, seen: nextDueAt, next, fires }], noon);
}

/**
 * The ids of `count` queued runs of a job, due one second after the other from noon on; all are ready at `afterAll`. They mind overlap
 * as their job says from when they are claimed on, as those do that were made while it was not busy.
 */
export async function queueRuns(stores: Pick<Stores, 'jobs' | 'database'>, job: JobRow, count: number): Promise<number[]> {
  const dueTimes = Array.from({ length: count }, (_, index) => ({ dueAt: seconds(index), overlap: 'wait_all' as const }));
  const ids = (await fire(stores, job, ...dueTimes)).map(({ id }) => id).sort((a, b) => a - b);
  await stores.database.sql`update belfry.unfinished set overlap = ${job.overlap} where run_id = any (${ids}::bigint[])`;
  return ids;
}

/** A moment at which everything queued is ready. */
export const afterAll = seconds(3600);

/** A node as it is written down at its start; answers its incarnation. */
export async function placeNode({ nodes }: Pick<Stores, 'nodes'>, name: string): Promise<number> {
  return await nodes.register({ name, version: 'test', address: undefined, pid: 1, duties: ['worker'], slots: 10, labels: [] });
}

/** Claims runs for a node; answers those that are running now. */
export async function claim({ runs }: Pick<Stores, 'runs'>, ids: readonly number[], owner: number, now = afterAll): Promise<ClaimedRun[]> {
  return await runs.claim({ ids, owner, node: `node ${owner}`, now });
}

/** What a claimed run came to, as perform would have it recorded. */
export function outcome(run: Pick<ClaimedRun, 'id' | 'epoch' | 'attempt'>, changed: Partial<RunRecord> = {}): RunRecord {
  const at = seconds(3601);
  return {
    id: run.id,
    epoch: run.epoch,
    state: 'succeeded',
    finishedAt: at,
    failed: false,
    note: { attempt: run.attempt, node: 'node 1', started_at: noon.toISOString(), finished_at: at.toISOString(), outcome: 'succeeded' },
    result: {},
    ...changed,
  };
}

/** What a claimed run came to that is tried again at `readyAt`. */
export function failedOnce(run: Pick<ClaimedRun, 'id' | 'epoch' | 'attempt'>, readyAt: Date): RunRecord {
  const { finishedAt: _, ...record } = outcome(run, { state: 'retrying', failed: true, readyAt, error: 'exit status 3' });
  return record;
}

/** A run as it stands. */
export async function runNow({ records }: Pick<Stores, 'records'>, id: number): Promise<RunRow> {
  const row = await records.byId(id);
  if (!row) throw new Error(`there is no run ${id}`);
  return row;
}

/** Where a run is on its way; nothing when it is at its end. */
export async function wayOf({ database }: Pick<Stores, 'database'>, id: number): Promise<typeof unfinished.$inferSelect | undefined> {
  const [row] = await database.orm.select().from(unfinished).where(eq(unfinished.runId, id));
  return row;
}

/** The states of runs, in the order of their ids. */
export async function statesOf({ database }: Pick<Stores, 'database'>, ids: readonly number[]): Promise<string[]> {
  const rows = await database.sql<{ state: string }[]>`select state from belfry.records where id = any (${ids}::bigint[]) order by id`;
  return rows.map(({ state }) => state);
}

/** Takes all jobs and runs away; nobody has looked for due jobs yet. */
export async function clear({ database: { sql } }: Pick<Stores, 'database'>): Promise<void> {
  await sql`delete from belfry.unfinished`;
  await sql`delete from belfry.results`;
  await sql`delete from belfry.runs`;
  await sql`delete from belfry.jobs`;
  await sql`update belfry.installation set last_tick_at = null, gap_from = null, gap_to = null`;
}

/** Runs that are at their end and on their way at once, or neither: there must be none. */
export async function torn({ database: { sql } }: Pick<Stores, 'database'>): Promise<object[]> {
  return await sql`
    select r.id, e.state as ended, u.state as way
      from belfry.runs r full join belfry.results e on e.run_id = r.id full join belfry.unfinished u on u.run_id = coalesce(r.id, e.run_id)
     where (e.run_id is null) = (u.run_id is null) or r.id is null`;
}
