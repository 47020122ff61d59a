// A node that hears about itself: that somebody called it lost, and that it shall drain.

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
const { nodeOf, rowOf } = nodesOn(url, stores);
const limit = { timeout: 60_000 };

beforeEach(() => execute(url, 'delete from belfry.nodes'));

describe('a node that was called lost', limit, () => {
  test('lets go of what it holds and begins a new incarnation', async (t) => {
    // Its look tells it; a beat would be in the new row at once.
    const startPulse = (): Pulse => ({ live: () => undefined, stop: () => Promise.resolve() });
    const node = await nodeOf(t, { name: 'a', startPulse });
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

  test('has a whole lease again, counted from before others can see it', async (t) => {
    let asWritten = (): void => undefined;
    const register: typeof stores.nodes.register = async (...given) => {
      const incarnation = await stores.nodes.register(...given);
      asWritten();
      return incarnation;
    };
    const said = Promise.withResolvers<PulseEvents>();
    const startPulse = (_: Sign, events: PulseEvents): Pulse => {
      said.resolve(events);
      return { live: () => undefined, stop: () => Promise.resolve() };
    };
    const { heartbeat, clock } = await nodeOf(t, { name: 'a', nodes: { ...stores.nodes, register }, startPulse });
    heartbeat.start();
    await clock.asleep(10_000);
    const before = heartbeat.incarnation();
    clock.pass(90_000);
    const paused = clock.monotonic();
    asWritten = () => clock.pass(500);
    await stores.nodes.end(before, 'lost');
    const { lost, beaten } = await said.promise;
    lost(before);
    await until(() => heartbeat.incarnation() !== before || undefined);
    assert.equal(heartbeat.lastBeatAt(), paused);
    beaten(60_000);
    assert.equal(heartbeat.lastBeatAt(), paused, 'by a beat of the one before');
    beaten(100);
    assert.equal(heartbeat.lastBeatAt(), paused + 400);
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
    await node.heartbeat.end();
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
    await node.heartbeat.end();
    await nodeOf(t, { name: 'a' });
    assert.deepEqual(
      (await stores.nodes.living()).map(({ isDraining }) => isDraining),
      [false],
    );
  });
});
