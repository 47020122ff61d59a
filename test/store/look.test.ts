// The look for what is due, on a real PostgreSQL.

import assert from 'node:assert/strict';
import test, { beforeEach, describe } from 'node:test';
import { clear, edited, noon, openStores, placeJob, seconds } from '../support/jobs.ts';
import { execute, testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const { database, jobs } = stores;

describe('a look', () => {
  beforeEach(() => clear(stores));

  const ago = (ms: number): Date => new Date(Date.now() - ms);

  test('sees what was not worked out yet, and what is due, the earliest first', async () => {
    await placeJob(stores, { name: 'later', nextDueAt: ago(60_000) });
    await placeJob(stores, { name: 'earlier', nextDueAt: ago(120_000) });
    await execute(url, `insert into belfry.jobs (name, expr, command) values ('by hand', '* * * * *', '{"type": "noop"}')`);
    const { due, unknown, now } = await jobs.look(10);
    assert.deepEqual(
      [unknown, due].map((all) => all.map(({ name }) => name)),
      [['by hand'], ['earlier', 'later']],
    );
    assert.ok(due.every(({ nextDueAt }) => nextDueAt <= now));
  });

  test('tells of a due job what decides on its due times, and of one that was not worked out yet everything', async () => {
    const job = await placeJob(stores, { nextDueAt: ago(1000), catchupWindowMs: 5000 });
    const byHand = await placeJob(stores, { nextDueAt: null, policy: null });
    const { due, unknown } = await jobs.look(10);
    const { id, name, expr, timezone, revision, misfire, overlap, catchupWindowMs, maxCatchup, nextDueAt } = job;
    const { blackouts, startsAt, endsAt, spreadMs } = job;
    const seen = { id, name, expr, timezone, revision, misfire, overlap, catchupWindowMs, maxCatchup, nextDueAt };
    assert.deepEqual(due, [{ ...seen, blackouts, startsAt, endsAt, spreadMs, isPaused: false, runsLeft: null, isWorkedOut: true }]);
    assert.deepEqual(unknown, [byHand]);
  });

  test('takes a row that is due but was only half written by hand for one to be worked out', async () => {
    for (const half of [{ policy: null }, { timezone: null }, { traceId: null }]) await placeJob(stores, { nextDueAt: ago(1000), ...half });
    const { due, unknown } = await jobs.look(10);
    assert.deepEqual([due.length, unknown.length], [0, 3]);
  });

  test('tells when the next one is due', async () => {
    await placeJob(stores, { nextDueAt: seconds(7200) });
    await placeJob(stores, { nextDueAt: seconds(3600) });
    const { due, nextAt } = await jobs.look(10);
    assert.deepEqual({ due, nextAt }, { due: [], nextAt: seconds(3600) });
  });

  test('passes over what is switched off, deleted or ended', async () => {
    const [off, gone, ended] = [await placeJob(stores), await placeJob(stores), await placeJob(stores)];
    await jobs.setEnabled(off.id, false, undefined, edited);
    await jobs.remove(gone.id, edited);
    await jobs.fire([{ jobId: ended.id, revision: ended.revision, seen: noon, next: undefined, fires: [] }], noon);
    await execute(url, `update belfry.jobs set next_due_at = now() - interval '1 minute' where next_due_at is not null`);
    const { due, nextAt } = await jobs.look(10);
    assert.deepEqual({ due, nextAt }, { due: [], nextAt: undefined });
  });

  test('sees no more than it was asked for, of each kind', async () => {
    for (let index = 0; index < 3; index++) {
      await placeJob(stores, { nextDueAt: ago(1000) });
      await placeJob(stores, { nextDueAt: null, policy: null });
    }
    const { due, unknown } = await jobs.look(2);
    assert.deepEqual([due.length, unknown.length], [2, 2]);
  });

  test('that follows another within five seconds finds no gap', async () => {
    assert.equal((await jobs.look(10)).gap, undefined);
    const [row] = await database.sql`update belfry.installation set last_tick_at = now() - interval '4 s' returning last_tick_at as at`;
    const { gap, now } = await jobs.look(10);
    assert.ok(gap === undefined || now.getTime() - Number(row?.['at']) >= 5000, 'unless the machine took over a second for the two');
  });

  test('after a silence finds it: from the last look to five seconds ago', async () => {
    await execute(url, `update belfry.installation set last_tick_at = '2026-01-01T00:00:00Z'`);
    const { gap, now } = await jobs.look(10);
    assert.deepEqual(gap, { from: new Date('2026-01-01T00:00:00Z'), to: new Date(now.getTime() - 5000) });
  });

  test('still knows of a gap when others have looked since, until the next gap', async (t) => {
    await execute(url, `update belfry.installation set last_tick_at = '2026-01-01T00:00:00Z'`);
    const { gap } = await jobs.look(10);
    assert.deepEqual((await openStores(t, url).jobs.look(10)).gap, gap);
  });

  test('puts back a mark of more than an hour ahead only, of a clock that was turned back', async () => {
    for (const minutes of [59, 61]) {
      await execute(url, `update belfry.installation set last_tick_at = now() + interval '${minutes} minutes'`);
      await jobs.look(10);
      const [row] = await database.sql`select last_tick_at > now() + interval '58 minutes' as stayed from belfry.installation`;
      assert.equal(row?.['stayed'], minutes === 59);
    }
  });
});
