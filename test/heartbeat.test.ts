// Who lives, told by beats on a real PostgreSQL and by a clock that stands still until the test lets it go on.

import assert from 'node:assert/strict';
import test, { beforeEach, describe } from 'node:test';
import { makeHeartbeat, type Heartbeat } from '../src/heartbeat.ts';
import type { NewNode } from '../src/store/nodes.ts';
import { startPulse } from '../src/store/pulse.ts';
import { until } from './support/belfry.ts';
import { standingClock, type StandingClock } from './support/clock.ts';
import { openStores } from './support/jobs.ts';
import { keptLog } from './support/log.ts';
import { execute, testDatabase } from './support/postgres.ts';
import { startProxy } from './support/proxy.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const proxy = await startProxy(test, url);
const proxied = openStores(test, proxy.url);
const limit = { timeout: 60_000 };

beforeEach(() => execute(url, 'delete from belfry.nodes'));

type Given = {
  name: string;
  duties?: string[];
  slots?: number;
  nodes?: typeof stores.nodes;
  beatEveryMs?: number;
  replaced?: (incarnation: number) => Promise<void>;
};

/** A node with its own clock; `steps` lets it beat so many times, `ms` of its time apart. */
async function nodeOf(
  t: { after: (fn: () => Promise<void>) => void },
  { name, duties = ['worker'], slots = 10, nodes = stores.nodes, beatEveryMs = 600_000, replaced }: Given,
) {
  const clock = standingClock();
  const { log, messages } = keptLog();
  const self: NewNode = { name, version: 'test', address: undefined, pid: 1, duties, slots, labels: [] };
  let timesLost = 0;
  const drains: boolean[] = [];
  const heartbeat = await makeHeartbeat(
    {
      clock,
      log,
      nodes,
      // Of its own time: it beats once when it starts, and then when the tests are long over.
      startPulse: (first, events) => startPulse({ url, applicationName: 'belfry test', everyMs: beatEveryMs }, first, events),
      self,
      busy: () => 3,
      onLost: () => timesLost++,
      onDrain: (isDraining) => drains.push(isDraining),
    },
    replaced ?? (() => Promise.resolve()),
  );
  t.after(() => heartbeat.stop());
  return {
    heartbeat,
    clock,
    messages,
    drains,
    timesLost: () => timesLost,
    steps: (count: number, ms = 10_000) => steps(clock, count, ms),
  };
}

async function steps(clock: StandingClock, count: number, ms: number): Promise<void> {
  for (let step = 0; step < count; step++) {
    await clock.asleep(10_000);
    clock.pass(ms);
  }
  await clock.asleep(10_000);
}

/** A beat from elsewhere. */
async function beatOf({ heartbeat }: { heartbeat: Heartbeat }): Promise<void> {
  await execute(url, `update belfry.nodes set beat = beat + 1 where incarnation = ${heartbeat.incarnation()}`);
}

async function rowOf({ heartbeat }: { heartbeat: Heartbeat }, incarnation = heartbeat.incarnation()): Promise<Record<string, unknown>> {
  const [row] = await execute(
    url,
    `select name, beat::integer, busy, end_reason as ended from belfry.nodes where incarnation = ${incarnation}`,
  );
  assert.ok(row);
  return row;
}

describe('a node', limit, () => {
  test('is written down when it starts, and beats from then on', async (t) => {
    const node = await nodeOf(t, { name: 'a', beatEveryMs: 20 });
    assert.deepEqual(await rowOf(node), { name: 'a', beat: 0, busy: 0, ended: null });
    node.heartbeat.start();
    await until(async () => Number((await rowOf(node))['beat']) > 2 || undefined);
    assert.equal((await rowOf(node))['busy'], 3);
  });

  test('is written down as stopped when it stops, and beats no more', async (t) => {
    const node = await nodeOf(t, { name: 'a' });
    node.heartbeat.start();
    await node.steps(1);
    await node.heartbeat.stop();
    const { beat: _, ...row } = await rowOf(node);
    assert.deepEqual(row, { name: 'a', busy: 0, ended: 'stopped' });
  });

  test('sees who lives, and what the workers among them take in all', async (t) => {
    const node = await nodeOf(t, { name: 'a', duties: ['web', 'crontab'], slots: 0 });
    assert.deepEqual(node.heartbeat.capacity(), { workers: 0, slots: 0 });
    node.heartbeat.start();
    const other = await nodeOf(t, { name: 'b', slots: 7 });
    await nodeOf(t, { name: 'c', duties: ['web', 'worker'], slots: 5 });
    await node.steps(1);
    assert.deepEqual(
      node.heartbeat.living().map(({ name }) => name),
      ['a', 'b', 'c'],
    );
    assert.deepEqual(node.heartbeat.capacity(), { workers: 2, slots: 12 });
    await other.heartbeat.stop();
    await node.steps(1);
    assert.deepEqual(node.heartbeat.capacity(), { workers: 1, slots: 5 });
  });

  test('that starts again replaces its earlier starts, and puts each right before it takes up work', async (t) => {
    const [first, second] = [await nodeOf(t, { name: 'a' }), await nodeOf(t, { name: 'other' })];
    const put: [number, unknown][] = [];
    const again = await nodeOf(t, {
      name: 'a',
      replaced: async (incarnation) => void put.push([incarnation, (await rowOf(first, incarnation))['ended']]),
    });
    assert.deepEqual(put, [[first.heartbeat.incarnation(), 'replaced']]);
    assert.deepEqual(
      again.heartbeat.living().map(({ name }) => name),
      ['other', 'a'],
    );
    assert.equal((await rowOf(second))['ended'], null);
  });
});

describe('a node that falls silent', limit, () => {
  test('is called lost after a whole lease, not before', async (t) => {
    const [watcher, silent] = [await nodeOf(t, { name: 'watcher' }), await nodeOf(t, { name: 'silent' })];
    watcher.heartbeat.start();
    // Seen at once, and last after 59 999 ms.
    await watcher.steps(4, 12_000);
    await watcher.steps(1, 11_999);
    assert.equal((await rowOf(silent))['ended'], null);
    await watcher.steps(1);
    assert.equal((await rowOf(silent))['ended'], 'lost');
    assert.deepEqual(watcher.messages(), ['node_lost']);
    await watcher.steps(1);
    assert.deepEqual(
      watcher.heartbeat.living().map(({ name }) => name),
      ['watcher'],
    );
  });

  test('is not, as long as it beats now and then', async (t) => {
    const [watcher, slow] = [await nodeOf(t, { name: 'watcher' }), await nodeOf(t, { name: 'slow' })];
    watcher.heartbeat.start();
    for (let beat = 0; beat < 4; beat++) {
      await watcher.steps(5);
      await beatOf(slow);
    }
    assert.deepEqual([(await rowOf(slow))['ended'], watcher.messages()], [null, []]);
  });

  test('is not, by who slept itself: it has to watch a whole lease without a break', async (t) => {
    const [watcher, silent] = [await nodeOf(t, { name: 'watcher' }), await nodeOf(t, { name: 'silent' })];
    watcher.heartbeat.start();
    await watcher.steps(5);
    await watcher.steps(1, 90_000);
    await watcher.steps(5);
    assert.equal((await rowOf(silent))['ended'], null);
    await watcher.steps(1);
    assert.equal((await rowOf(silent))['ended'], 'lost');
  });

  test('is not, for an outage of the database, however long', async (t) => {
    const watcher = await nodeOf(t, { name: 'watcher', nodes: proxied.nodes });
    const silent = await nodeOf(t, { name: 'silent' });
    watcher.heartbeat.start();
    await watcher.steps(4);
    await proxy.down();
    watcher.clock.pass(10_000);
    // Back-off of the loop: 100 ms, doubled up to 5 s.
    for (const wait of [100, 200, 400, 800, 1600, 3200, ...Array.from({ length: 12 }, () => 5000)]) {
      await watcher.clock.asleep(wait);
      watcher.clock.pass(wait);
    }
    await watcher.clock.asleep(5000);
    await proxy.up();
    watcher.clock.pass(5000);
    await watcher.steps(5);
    assert.equal((await rowOf(silent))['ended'], null);
    await watcher.steps(1);
    assert.equal((await rowOf(silent))['ended'], 'lost');
  });

  test('is called lost by one of those who watch', async (t) => {
    const [one, other] = [await nodeOf(t, { name: 'one' }), await nodeOf(t, { name: 'other' })];
    await nodeOf(t, { name: 'silent' });
    one.heartbeat.start();
    other.heartbeat.start();
    for (let step = 0; step < 7; step++) {
      await Promise.all([beatOf(one), beatOf(other)]);
      await Promise.all([one.steps(1), other.steps(1)]);
    }
    assert.deepEqual([...one.messages(), ...other.messages()], ['node_lost']);
  });

  test('and beats in the last moment lives', async (t) => {
    const silent = await nodeOf(t, { name: 'silent' });
    const seen = stores.nodes;
    const end: typeof seen.end = async (incarnation, reason, beat) => {
      await beatOf(silent);
      return await seen.end(incarnation, reason, beat);
    };
    const watcher = await nodeOf(t, { name: 'watcher', nodes: { ...seen, end } });
    watcher.heartbeat.start();
    await watcher.steps(7);
    assert.deepEqual([(await rowOf(silent))['ended'], watcher.messages()], [null, []]);
  });
});

describe('a node that was called lost', limit, () => {
  test('lets go of what it holds and begins a new incarnation', async (t) => {
    const node = await nodeOf(t, { name: 'a' });
    node.heartbeat.start();
    await node.steps(1);
    const before = node.heartbeat.incarnation();
    await stores.nodes.end(before, 'lost');
    await node.steps(1);
    assert.deepEqual([node.timesLost(), node.messages()], [1, ['called_lost']]);
    assert.notEqual(node.heartbeat.incarnation(), before);
    assert.deepEqual(await rowOf(node), { name: 'a', beat: 0, busy: 0, ended: null });
    await node.steps(1);
    assert.equal(node.timesLost(), 1);
  });

  test('hears of it from its next beat, and beats for the new one', async (t) => {
    const node = await nodeOf(t, { name: 'a', beatEveryMs: 20 });
    node.heartbeat.start();
    await node.clock.asleep(10_000);
    const before = node.heartbeat.incarnation();
    await stores.nodes.end(before, 'lost');
    // Without its clock going on.
    await until(() => node.heartbeat.incarnation() !== before || undefined);
    await until(async () => Number((await rowOf(node))['beat']) > 1 || undefined);
    assert.deepEqual([node.timesLost(), node.messages()], [1, ['called_lost']]);
  });

  test('lets go of what it holds also while it can not begin a new one yet', async (t) => {
    const node = await nodeOf(t, { name: 'a', beatEveryMs: 20, nodes: proxied.nodes });
    node.heartbeat.start();
    await node.clock.asleep(10_000);
    await proxy.down();
    const before = node.heartbeat.incarnation();
    await stores.nodes.end(before, 'lost');
    await until(() => node.timesLost() > 0 || undefined);
    await node.clock.asleep(100);
    assert.equal(node.heartbeat.incarnation(), before);
    await proxy.up();
    node.clock.pass(100);
    await until(() => node.heartbeat.incarnation() !== before || undefined);
    assert.equal(node.timesLost(), 1);
  });

  test('drains on, as it did', async (t) => {
    const node = await nodeOf(t, { name: 'a' });
    node.heartbeat.start();
    await stores.nodes.drain('a', true);
    await node.steps(1);
    await stores.nodes.end(node.heartbeat.incarnation(), 'lost');
    await node.steps(1);
    assert.deepEqual([(await stores.nodes.living()).map(({ isDraining }) => isDraining), node.drains], [[true], [true]]);
  });

  test('ends the new one when it stops', async (t) => {
    const node = await nodeOf(t, { name: 'a' });
    node.heartbeat.start();
    await node.steps(1);
    const before = node.heartbeat.incarnation();
    await stores.nodes.end(before, 'lost');
    await node.steps(1);
    await node.heartbeat.stop();
    assert.deepEqual([(await rowOf(node, before))['ended'], (await rowOf(node))['ended']], ['lost', 'stopped']);
  });
});

describe('a node that drains', limit, () => {
  test('is told so at its next look, which a notification makes at once, and when it is over', async (t) => {
    const node = await nodeOf(t, { name: 'a' });
    node.heartbeat.start();
    const heard = await stores.database.listen('belfry_nodes', node.heartbeat.look);
    t.after(() => heard.stop());
    for (const isDraining of [true, false]) {
      await node.clock.asleep(10_000);
      await stores.nodes.drain('a', isDraining);
      // Without its clock going on.
      await until(() => node.drains.at(-1) === isDraining || undefined);
    }
    assert.deepEqual(
      [node.drains, node.messages()],
      [
        [true, false],
        ['takes_nothing_more', 'takes_again'],
      ],
    );
  });

  test('counts as none that takes something', async (t) => {
    const node = await nodeOf(t, { name: 'a', slots: 3 });
    await nodeOf(t, { name: 'b', slots: 7 });
    node.heartbeat.start();
    await stores.nodes.drain('b', true);
    await node.steps(1);
    assert.deepEqual(node.heartbeat.capacity(), { workers: 1, slots: 3 });
  });

  test('does so no more when its process starts again', async (t) => {
    const node = await nodeOf(t, { name: 'a' });
    await stores.nodes.drain('a', true);
    await node.heartbeat.stop();
    await nodeOf(t, { name: 'a' });
    assert.deepEqual(
      (await stores.nodes.living()).map(({ isDraining }) => isDraining),
      [false],
    );
  });
});
