// Who lives, told by beats on a real PostgreSQL and by a clock that stands still until the test lets it go on.

import assert from 'node:assert/strict';
import test, { beforeEach, describe } from 'node:test';
import { makeHeartbeat, type Heartbeat } from '../src/heartbeat.ts';
import type { NewNode } from '../src/store/nodes.ts';
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
  replaced?: (incarnation: number) => Promise<void>;
};

/** A node with its own clock; `steps` lets it beat so many times, `ms` of its time apart. */
async function nodeOf(
  t: { after: (fn: () => Promise<void>) => void },
  { name, duties = ['worker'], slots = 10, nodes = stores.nodes, replaced }: Given,
) {
  const clock = standingClock();
  const { log, messages } = keptLog();
  const self: NewNode = { name, version: 'test', address: undefined, pid: 1, duties, slots, labels: [] };
  let timesLost = 0;
  const heartbeat = await makeHeartbeat(
    { clock, log, nodes, self, busy: () => 3, onLost: () => timesLost++ },
    replaced ?? (() => Promise.resolve()),
  );
  t.after(() => heartbeat.stop());
  return { heartbeat, clock, messages, timesLost: () => timesLost, steps: (count: number, ms = 10_000) => steps(clock, count, ms) };
}

async function steps(clock: StandingClock, count: number, ms: number): Promise<void> {
  for (let step = 0; step < count; step++) {
    await clock.asleep(10_000);
    clock.pass(ms);
  }
  await clock.asleep(10_000);
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
  test('is written down when it starts, and beats every ten seconds', async (t) => {
    const node = await nodeOf(t, { name: 'a' });
    assert.deepEqual(await rowOf(node), { name: 'a', beat: 0, busy: 0, ended: null });
    node.heartbeat.start();
    await node.steps(3);
    assert.deepEqual(await rowOf(node), { name: 'a', beat: 4, busy: 3, ended: null });
  });

  test('knows when its last beat that was answered was sent', async (t) => {
    let takes = 500;
    const beat: typeof stores.nodes.beat = async (...given) => {
      node.clock.pass(takes);
      if (takes > 1000) throw new Error('no answer');
      return await stores.nodes.beat(...given);
    };
    const node = await nodeOf(t, { name: 'a', nodes: { ...stores.nodes, beat } });
    node.heartbeat.start();
    await node.steps(1);
    assert.equal(node.heartbeat.lastBeatAt(), 10_500);
    takes = 1001;
    node.clock.pass(10_000);
    await node.clock.asleep(100);
    assert.equal(node.heartbeat.lastBeatAt(), 10_500);
  });

  test('is written down as stopped when it stops, and beats no more', async (t) => {
    const node = await nodeOf(t, { name: 'a' });
    node.heartbeat.start();
    await node.steps(1);
    await node.heartbeat.stop();
    assert.deepEqual(await rowOf(node), { name: 'a', beat: 2, busy: 0, ended: 'stopped' });
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
    slow.heartbeat.start();
    for (let beat = 0; beat < 4; beat++) {
      await watcher.steps(5);
      await slow.steps(1);
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
    for (let step = 0; step < 7; step++) await Promise.all([one.steps(1), other.steps(1)]);
    assert.deepEqual([...one.messages(), ...other.messages()], ['node_lost']);
  });

  test('and beats in the last moment lives', async (t) => {
    const silent = await nodeOf(t, { name: 'silent' });
    const seen = stores.nodes;
    const end: typeof seen.end = async (incarnation, reason, beat) => {
      await seen.beat(incarnation, 0);
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
    assert.deepEqual([node.timesLost(), (await rowOf(node))['beat']], [1, 1]);
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
