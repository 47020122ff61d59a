// A ticker whose clocks are not right: nothing is fired, and nothing is written that would hide that nobody ticked.

import assert from 'node:assert/strict';
import test, { beforeEach, describe } from 'node:test';
import { makeBell } from '../../src/clock.ts';
import { rememberSchedules } from '../../src/crontab/schedules.ts';
import { startTicker, tick } from '../../src/crontab/ticker.ts';
import { makeDatabaseClock } from '../../src/node/database-clock.ts';
import { standingClock } from '../support/clock.ts';
import { clear, openStores, placeJob } from '../support/jobs.ts';
import { keptLog } from '../support/log.ts';
import { execute, testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const hour = 3_600_000;

beforeEach(() => clear(stores));

/** A node; its database's clock is its own, moved by `shift`. */
async function nodeOf(shift = { ms: 0 }) {
  const clock = standingClock();
  const { log, messages, lines } = keptLog();
  const time = await makeDatabaseClock({ clock, log, askNow: () => Promise.resolve(new Date(clock.now().getTime() + shift.ms)) });
  const { jobs } = stores;
  const deps = {
    clock: time.clock,
    log,
    isClockRight: time.isRight,
    jobs,
    workOut: () => assert.fail('it is worked out'),
    scheduleOf: rememberSchedules(),
    dispatch: makeBell(clock),
  };
  return { clock, deps, time, messages, lines, shift };
}

/** A job that is due since a second, by the clock of the real database. */
async function placeDue(): Promise<void> {
  const [row] = await stores.database.sql<{ at: Date }[]>`select now() - interval '1 second' as at`;
  await placeJob(stores, { expr: '@yearly', nextDueAt: row?.at ?? assert.fail() });
}

async function count(): Promise<unknown> {
  return (await execute(url, 'select count(*)::integer as n from belfry.runs'))[0]?.['n'];
}

async function installation(): Promise<Record<string, unknown>> {
  const [row] = await execute(url, 'select last_tick_at, gap_from, gap_to from belfry.installation');
  return row ?? assert.fail();
}

describe('a node whose clock is off', () => {
  test('fires nothing and writes down no tick, so that what passes is known as missed', async () => {
    const node = await nodeOf({ ms: hour });
    await placeDue();
    assert.equal(await tick(node.deps), 1000);
    assert.deepEqual([await count(), await installation()], [0, { last_tick_at: null, gap_from: null, gap_to: null }]);
  });

  test('fires as soon as it is right', async () => {
    const node = await nodeOf({ ms: -hour / 2 });
    await placeDue();
    await tick(node.deps);
    assert.equal(await count(), 0);
    node.shift.ms = 0;
    await tick(node.deps);
    assert.equal(await count(), 1);
  });

  test('leaves the firing to one whose clock is right', async () => {
    const [wrong, right] = [await nodeOf({ ms: 10 * 365 * 24 * hour }), await nodeOf()];
    await placeDue();
    await Promise.all([tick(wrong.deps), tick(right.deps), tick(wrong.deps)]);
    assert.equal(await count(), 1);
    assert.deepEqual([wrong.messages(), right.messages()], [[], ['arrived_job']]);
  });

  test('goes by the database’s clock in all else', async () => {
    const node = await nodeOf({ ms: -10 * 365 * 24 * hour });
    node.clock.pass(1234);
    assert.equal(node.time.clock.now().getTime(), node.clock.now().getTime() + node.shift.ms);
  });
});

describe('a jump of the database’s clock', () => {
  test('by over an hour holds the ticker for a minute, and is told', { timeout: 30_000 }, async () => {
    const node = await nodeOf();
    const ticker = startTicker(node.deps, makeBell(node.clock));
    await node.clock.asleep(1000);
    await placeDue();
    const before = await installation();
    // The whole machine's clock: ours goes with it.
    node.clock.set(new Date(node.clock.now().getTime() + 2 * hour));
    for (let second = 0; second < 60; second++) {
      node.clock.pass(1000);
      await node.clock.asleep(1000);
    }
    assert.deepEqual([await count(), await installation()], [0, before]);
    node.clock.pass(1000);
    await node.clock.asleep(1000);
    await ticker.stop();
    assert.equal(await count(), 1);
    assert.deepEqual(
      node.lines.map(({ msg, by_ms: byMs }) => [msg, byMs]),
      [
        ['database_clock_jumped', 2 * hour],
        ['database_clock_believed', undefined],
        ['arrived_job', undefined],
      ],
    );
  });

  test('that was believed and is taken back leaves no gap in which all would be missed', async () => {
    const inTenYears = `now() + interval '10 years'`;
    await execute(url, `update belfry.installation set last_tick_at = ${inTenYears}, gap_from = now(), gap_to = ${inTenYears}`);
    await placeDue();
    await tick((await nodeOf()).deps);
    const { last_tick_at: lastTickAt, gap_from: from, gap_to: to } = await installation();
    assert.deepEqual([from, to], [null, null]);
    assert.ok(Number(lastTickAt) < Date.now() + hour);
    const [run] = await execute(url, 'select due_count, catchup from belfry.runs');
    assert.deepEqual(run, { due_count: 1, catchup: false });
  });
});

test('two looks at the clock at once are one', async () => {
  const clock = standingClock();
  let asked = 0;
  const time = await makeDatabaseClock({
    clock,
    log: keptLog().log,
    askNow: () => Promise.resolve(new Date(clock.now().getTime() + asked++)),
  });
  await Promise.all([time.isRight(), time.isRight(), time.isRight()]);
  assert.equal(asked, 2);
});
