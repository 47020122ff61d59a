// Nodes whose clock is wrong beside one whose clock is right: they fire nothing, harm nothing, and say what is wrong with them.

import assert from 'node:assert/strict';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { environment } from '../../src/embedded/programs.ts';
import type { Readiness } from '../../src/node/readiness.ts';
import { folder, limitMs, startBelfry, until, type Belfry } from '../support/belfry.ts';
import { faketimeMissing, withClock, withClockOf } from '../support/faketime.ts';
import { fault } from '../support/faults.ts';
import { startServer } from '../support/server.ts';
import { execute, testDatabase } from '../support/postgres.ts';
import { testRedis } from '../support/redis.ts';
import { place, settledWell, startSeconds } from '../support/settled.ts';

const skip = faketimeMissing();
const seconds = 12;

const hour = 3_600_000;
const year = 365.25 * 24 * hour;

fault(
  {
    fault: 'a clock of a node an hour off',
    seen: 'it fires nothing, forgets nothing and says so; the others fire every due time once, and it runs what is due like them: what is written goes by the clock of the database',
  },
  async (t) => {
    await wrongBy(t, '+1h', hour);
    await wrongBy(t, '-1h', -hour);
  },
  skip,
);

fault(
  { fault: 'a clock of a node ten years off', seen: 'as with an hour' },
  async (t) => {
    await wrongBy(t, '+10y', 10 * year);
    await wrongBy(t, '-10y', -10 * year);
  },
  skip,
);

fault(
  {
    fault: 'the clock of the database stepped by two hours',
    seen: 'nothing is fired for a minute, and `/readyz` says so; then the new time is believed, what lies between is caught up with or written down as missed, and nobody was called lost',
  },
  async (t) => {
    const home = await folder(t);
    await chmod(home, 0o755);
    const clock = join(home, 'clock');
    await writeFile(clock, '+0');
    // PostgreSQL and Belfry on one machine, as it were, whose clock is set.
    const onThisMachine = withClockOf(clock);
    Object.assign(environment, onThisMachine);
    const { url } = await startServer(t);
    const at = await place(t, { url, env: onThisMachine });
    const belfry = await at.start();
    await startSeconds(at, belfry);

    // Right after a tick: in the middle of one the clock may be looked at before, and what is due after it.
    const fired = firedBy(belfry);
    await until(() => firedBy(belfry) > fired || undefined);
    await writeFile(clock, '+2h');
    const jumpedAt = new Date().toISOString();
    await belfry.logged(({ msg }) => msg === 'database_clock_jumped');
    assert.equal((await readiness(belfry)).checks.clock.state, 'held');
    const believed = belfry.lines.indexOf(await belfry.logged(({ msg }) => msg === 'database_clock_believed'));
    assert.deepEqual(
      belfry.lines.slice(0, believed).filter(({ msg, due_at: due }) => msg === 'arrived_job' && String(due) > jumpedAt),
      [],
      'nothing is fired meanwhile',
    );
    await settledWell(at, belfry);
    assert.deepEqual(
      belfry.lines.filter(({ msg }) => msg === 'node_lost' || msg === 'called_lost'),
      [],
    );
  },
  skip,
);

/** Of two nodes the clock of one is wrong. */
async function wrongBy(t: TestContext, offset: string, aheadMs: number): Promise<void> {
  // On Redis one way, on PostgreSQL the other: what carries the messages goes by a clock as well.
  const env: Record<string, string> = aheadMs > 0 ? { BELFRY_REDIS_URL: testRedis().url } : {};
  const { url, nodes, right, ill, kept } = await twoNodes(t, offset, env);
  await ill.create({
    name: 'one-second',
    expr: '* * * * * *',
    overlap: 'allow',
    retry: { max_attempts: 2, delay: '500ms', jitter: 0 },
    command,
  });
  const dueTimes = await executed(url, seconds);
  assert.deepEqual(dueTimes, unbroken(dueTimes));
  await until(() => firedBy(right) >= seconds || undefined);
  assert.equal(firedBy(ill), 0);

  // Not ready it may be for a moment, when the database does not answer in time.
  const { degraded, checks } = await until(async () => {
    const said = await readiness(ill);
    return said.status === 'degraded' ? said : undefined;
  });
  assert.deepEqual([degraded.includes('clock'), checks.clock.state], [true, 'off']);
  assert.ok(Math.abs(checks.clock.ahead_ms - aheadMs) < 4 * 24 * hour, `ahead by ${checks.clock.ahead_ms} ms`);
  assert.equal((await readiness(right)).checks.clock.state, 'right');
  await ill.logged(({ msg, degraded: what }) => msg === 'degraded' && what === 'clock');
  const told = ill.lines.filter(({ msg, degraded: what }) => msg === 'degraded' && what === 'clock');
  assert.equal(told.length, 1);

  // Each was tried twice, half a second apart: by a wrong clock it would be at once, or never.
  const moments = await until(async () => {
    const found = await execute(
      url,
      `select node, bool_and(abs(extract(epoch from finished_at - due_at)) < 600 and abs(extract(epoch from queued_at - due_at)) < 600) as ok
         from belfry.records where state = 'succeeded' and cause = 'schedule' group by node order by node`,
    );
    return found.length === nodes.length ? found : undefined;
  });
  assert.deepEqual(
    moments,
    ['ill', 'right'].map((node) => ({ node, ok: true })),
    'every moment is of the database’s clock, whoever wrote it',
  );
  assert.equal((await execute(url, `select 1 from belfry.records where id = ${kept}`)).length, 1, 'what is old by a wrong clock is kept');
  assert.deepEqual(await execute(url, `select name from belfry.nodes where ended_at is not null`), [], 'nobody was called lost');
  assert.deepEqual(
    nodes.flatMap(({ lines }) => lines).filter(({ msg }) => msg === 'node_lost' || msg === 'called_lost'),
    [],
  );
}

// Fails the first time, so that each run is also one that is tried again.
const command = { type: 'shell', target: '[ "$BELFRY_ATTEMPT" = 2 ]' };

async function twoNodes(t: TestContext, offset: string, env: Record<string, string>) {
  const { url } = await testDatabase(t, 'empty');
  const start = async (name: string, more: Record<string, string>): Promise<Belfry> =>
    await startBelfry({ cwd: await folder(t), env: { ...env, ...more, BELFRY_DATABASE_URL: url, BELFRY_NODE: name } });
  const right = await start('right', {});
  await right.create({ name: 'kept', expr: '@yearly', command: { type: 'shell', target: 'true' } });
  const kept = await right.finished(await right.trigger('kept'));
  const ill = await start('ill', withClock(offset));
  return { url, right, ill, kept: kept.id, nodes: [right, ill] };
}

async function readiness(node: Belfry): Promise<Readiness> {
  return await node.call<Readiness>('/readyz', undefined, 'GET');
}

function firedBy({ lines }: Belfry): number {
  return lines.filter(({ msg }) => msg === 'arrived_job').length;
}

/** The due times of the first runs, when so many have succeeded. */
function executed(url: string, count: number): Promise<string[]> {
  return until(async () => {
    const rows = await execute(
      url,
      `select due_at, state = 'succeeded' as ok from belfry.records where cause = 'schedule' order by due_at, id limit ${count}`,
    );
    return rows.length >= count && rows.every(({ ok }) => ok) ? rows.map(({ due_at }) => (due_at as Date).toISOString()) : undefined;
  }, 2 * limitMs);
}

function unbroken([first = '', ...others]: readonly string[]): string[] {
  return [0, ...others].map((_, index) => new Date(Date.parse(first) + 1000 * index).toISOString());
}
