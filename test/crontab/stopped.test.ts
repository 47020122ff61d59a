// Belfry was stopped and is started again: what becomes of the due times meanwhile, on a real PostgreSQL.

import assert from 'node:assert/strict';
import test, { beforeEach, describe } from 'node:test';
import { makeBell } from '../../src/clock.ts';
import { rememberSchedules } from '../../src/crontab/schedules.ts';
import { tick } from '../../src/crontab/ticker.ts';
import type { WrittenJob } from '../../src/store/jobs.ts';
import { standingClock } from '../support/clock.ts';
import { clear, openStores, placeJob } from '../support/jobs.ts';
import { keptLog } from '../support/log.ts';
import { execute, testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);

beforeEach(() => clear(stores));

type Row = { readonly state: string; readonly reason: string | null; readonly count: number; readonly runs: number };

/** Stops for so many minutes, in which a job is due once a minute, and ticks again; what was written down, by state. */
async function afterMinutes(minutes: number, changed: Partial<WrittenJob>): Promise<Row[]> {
  const [row] = await stores.database.sql<{ now: Date }[]>`select date_trunc('second', now()) as now`;
  assert.ok(row);
  const now = row.now.getTime();
  // Half a minute away from now, so that none of them is a matter of seconds.
  const second = (row.now.getUTCSeconds() + 30) % 60;
  const stoppedAt = new Date(now - minutes * 60_000);
  await execute(url, `update belfry.installation set last_tick_at = '${stoppedAt.toISOString()}'`);
  await placeJob(stores, { expr: `${second} * * * * *`, nextDueAt: new Date(stoppedAt.getTime() + 30_000), ...changed });
  const clock = standingClock();
  const deps = {
    clock,
    isClockRight: () => Promise.resolve(true),
    log: keptLog().log,
    jobs: stores.jobs,
    workOut: () => assert.fail('it is worked out'),
    scheduleOf: rememberSchedules(),
    dispatch: makeBell(clock),
  };
  while ((await tick(deps)) === 0);
  return await stores.database.sql<Row[]>`
    select state, reason, count(*)::integer as runs, sum(due_count)::integer as count from belfry.records group by state, reason order by state`;
}

const ran = (runs: number): Row => ({ state: 'queued', reason: null, runs, count: runs });
const missed = (count: number): Row => ({ state: 'skipped', reason: 'missed', runs: 1, count });

describe('stopped for an hour, a job that is due each minute', () => {
  test('skip: is not run, and all sixty are one row', async () => {
    assert.deepEqual(await afterMinutes(60, { misfire: 'skip' }), [missed(60)]);
  });

  test('once: is run once, and the other fifty-nine are one row', async () => {
    assert.deepEqual(await afterMinutes(60, { misfire: 'once' }), [ran(1), missed(59)]);
  });

  test('all, within two hours: is run sixty times', async () => {
    assert.deepEqual(await afterMinutes(60, { misfire: 'all', catchupWindowMs: 7_200_000 }), [ran(60)]);
  });

  test('all, within ten minutes: is run ten times, and the other fifty are one row', async () => {
    assert.deepEqual(await afterMinutes(60, { misfire: 'all', catchupWindowMs: 600_000 }), [ran(10), missed(50)]);
  });
});

describe('stopped for two days, a job that is due each minute', () => {
  test('is run once, and the others are one row', async () => {
    assert.deepEqual(await afterMinutes(2880, { misfire: 'once' }), [ran(1), missed(2879)]);
  });

  test('all: is run a hundred times at most, and the others are one row', async () => {
    assert.deepEqual(await afterMinutes(2880, { misfire: 'all' }), [ran(60), missed(2820)]);
    await clear(stores);
    assert.deepEqual(await afterMinutes(2880, { misfire: 'all', catchupWindowMs: 86_400_000 }), [ran(100), missed(2780)]);
  });
});
