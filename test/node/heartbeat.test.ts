// Who lives, told by beats on a real PostgreSQL and by a clock that stands still until the test lets it go on.

import assert from 'node:assert/strict';
import test, { beforeEach, describe } from 'node:test';
import type { Pulse, PulseEvents, Sign } from '../../src/store/pulse.ts';
import { openStores } from '../support/jobs.ts';
import { nodesOn } from '../support/nodes.ts';
import { execute, testDatabase } from '../support/postgres.ts';
import { startProxy } from '../support/proxy.ts';
import { until } from '../support/belfry.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const proxy = await startProxy(test, url);
const proxied = openStores(test, proxy.url);
const { nodeOf, beatOf, rowOf } = nodesOn(url, stores);
const limit = { timeout: 60_000 };

beforeEach(() => execute(url, 'delete from belfry.nodes'));

describe('a node', limit, () => {
  test('is written down when it starts, and beats from then on', async (t) => {
    const node = await nodeOf(t, { name: 'a', beatEveryMs: 20 });
    assert.deepEqual(await rowOf(node), { name: 'a', beat: 0, busy: 0, ended: null });
    node.heartbeat.start();
    await until(async () => Number((await rowOf(node))['beat']) > 2 || undefined);
    assert.equal((await rowOf(node))['busy'], 3);
  });

  test('knows when its last beat that was answered was sent', async (t) => {
    const said = Promise.withResolvers<PulseEvents>();
    const startPulse = (_: Sign, events: PulseEvents): Pulse => {
      said.resolve(events);
      return { live: () => undefined, stop: () => Promise.resolve() };
    };
    const { heartbeat, clock } = await nodeOf(t, { name: 'a', startPulse });
    const startedAt = heartbeat.lastBeatAt();
    heartbeat.start();
    const { beaten } = await said.promise;
    clock.pass(10_000);
    assert.equal(heartbeat.lastBeatAt(), startedAt);
    beaten(500);
    clock.pass(10_000);
    assert.equal(heartbeat.lastBeatAt(), startedAt + 9500);
  });

  test('beats no more once it stops, and is written down as stopped when it says that it has', async (t) => {
    const node = await nodeOf(t, { name: 'a' });
    node.heartbeat.start();
    await node.steps(1);
    await node.heartbeat.stop();
    assert.equal((await rowOf(node))['ended'], null);
    await node.heartbeat.end();
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
    await other.heartbeat.end();
    await node.steps(1);
    assert.deepEqual(node.heartbeat.capacity(), { workers: 1, slots: 5 });
  });

  test('sees who serves a lane: by a label, by its name; not one that is draining', async (t) => {
    const node = await nodeOf(t, { name: 'a', slots: 3, labels: ['gpu', 'big'] });
    const other = await nodeOf(t, { name: 'b', slots: 7, labels: ['gpu'] });
    node.heartbeat.start();
    await node.steps(1);
    const capacities = (): unknown[] => ['', 'label:gpu', 'label:big', 'label:small', 'node:b'].map(node.heartbeat.capacity);
    const nobody = { workers: 0, slots: 0 };
    assert.deepEqual(capacities(), [
      { workers: 2, slots: 10 },
      { workers: 2, slots: 10 },
      { workers: 1, slots: 3 },
      nobody,
      { workers: 1, slots: 7 },
    ]);
    await execute(url, `update belfry.nodes set draining = true where incarnation = ${other.heartbeat.incarnation()}`);
    await node.steps(1);
    assert.deepEqual(capacities(), [...Array.from({ length: 3 }, () => ({ workers: 1, slots: 3 })), nobody, nobody]);
  });

  test('that starts again replaces its earlier starts, and puts each right before it takes up work', async (t) => {
    const [first, second] = [await nodeOf(t, { name: 'a' }), await nodeOf(t, { name: 'other' })];
    const put: [number, unknown][] = [];
    const again = await nodeOf(t, {
      name: 'a',
      takeOver: async (incarnation, end) => {
        put.push([incarnation, (await rowOf(first, incarnation))['ended']]);
        await end();
        put.push([incarnation, (await rowOf(first, incarnation))['ended']]);
      },
    });
    const earlier = first.heartbeat.incarnation();
    assert.deepEqual(put, [
      [earlier, null],
      [earlier, 'replaced'],
    ]);
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
