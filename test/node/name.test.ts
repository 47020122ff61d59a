// One name, one process, by locks of a real PostgreSQL.

import assert from 'node:assert/strict';
import test, { describe, type TestContext } from 'node:test';
import { systemClock } from '../../src/clock.ts';
import { holdNodeName } from '../../src/node/name.ts';
import { until } from '../support/belfry.ts';
import { openStores, placeNode } from '../support/jobs.ts';
import { keptLog } from '../support/log.ts';
import { execute, testDatabase } from '../support/postgres.ts';
import { startProxy } from '../support/proxy.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);

/** A process that holds `name`, by way of a proxy of its own. */
async function holderOf(t: TestContext, name: string) {
  const proxy = await startProxy(t, url);
  const { database } = openStores(t, proxy.url);
  const incarnation = await placeNode(stores, name);
  const { log, messages } = keptLog();
  let timesTaken = 0;
  let timesAsked = 0;
  const held = await holdNodeName({
    clock: systemClock,
    log,
    name,
    holdLock: database.holdLock,
    isTaken: async () => {
      timesAsked++;
      return (await stores.nodes.living()).some((node) => node.name === name && node.incarnation !== incarnation);
    },
    onTaken: async () => void timesTaken++,
  });
  t.after(() => held.release());
  const logged = (msg: string) => until(() => messages().includes(msg) || undefined);
  return { held, proxy, messages, logged, timesTaken: () => timesTaken, timesAsked: () => timesAsked };
}

async function locksHeld(): Promise<number> {
  const locks = await execute(
    url,
    `select from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`,
  );
  return locks.length;
}

describe('the name of a node', { timeout: 60_000 }, () => {
  test('is refused while another process holds it, and free when that has let go of it', async (t) => {
    const first = await holderOf(t, 'one');
    await assert.rejects(holderOf(t, 'one'), { kind: 'conflict', message: /^node\.name: a Belfry named "one" is running/ });
    await holderOf(t, 'other');
    await first.held.release();
    // By way of the proxy the server hears of it a little later.
    await until(async () => (await locksHeld()) === 1 || undefined);
    await holderOf(t, 'one');
  });

  test('is taken again when the connection that held it was cut, as often as that happens', async (t) => {
    const { proxy, messages } = await holderOf(t, 'cut');
    for (const times of [1, 2]) {
      proxy.cut('reset');
      await until(() => messages().filter((msg) => msg === 'node_name_taken_again').length === times || undefined);
    }
    await assert.rejects(holderOf(t, 'cut'), { kind: 'conflict' });
    assert.deepEqual(messages(), ['node_name_lost', 'node_name_taken_again', 'node_name_lost', 'node_name_taken_again']);
  });

  test('is taken again when PostgreSQL is back', async (t) => {
    const { proxy, logged, timesTaken } = await holderOf(t, 'outage');
    await proxy.down();
    await logged('take_node_name_failed');
    await proxy.up();
    await logged('node_name_taken_again');
    assert.equal(timesTaken(), 0);
  });

  test('that another process took meanwhile ends who held it', async (t) => {
    const { proxy, messages, timesTaken } = await holderOf(t, 'taken');
    await proxy.down();
    await until(async () => (await locksHeld()) === 0 || undefined);
    await holderOf(t, 'taken');
    await proxy.up();
    await until(() => timesTaken() > 0 || undefined);
    assert.deepEqual([timesTaken(), messages().includes('node_name_taken_again')], [1, false]);
  });

  test('that nobody who lives holds is waited for: its own connection is gone, of which the server does not know yet', async (t) => {
    const { proxy, timesTaken, timesAsked, logged } = await holderOf(t, 'half-open');
    await proxy.down();
    // Keeps the lock and is no node, as what the server still believes in.
    const rest = await until(() => stores.database.holdLock('node half-open', () => {}));
    await proxy.up();
    await until(() => timesAsked() > 0 || undefined);
    await rest.release();
    await logged('node_name_taken_again');
    assert.equal(timesTaken(), 0);
  });
});
