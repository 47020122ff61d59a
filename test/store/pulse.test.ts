// The thread that beats, on a real PostgreSQL, beside a main thread that is really blocked.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import test, { describe, type TestContext } from 'node:test';
import type { Worker } from 'node:worker_threads';
import { messageOf } from '../../src/errors.ts';
import { startPulse, type Pulse } from '../../src/store/pulse.ts';
import { until } from '../support/belfry.ts';
import { openStores, placeNode } from '../support/jobs.ts';
import { execute, testDatabase } from '../support/postgres.ts';
import { startProxy } from '../support/proxy.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const limit = { timeout: 120_000 };

type Row = { readonly beat: number; readonly busy: number };

/** A node with a pulse of 20 ms, or `everyMs`, which without a sign of life falls silent after a minute, or after `silentAfterMs`. */
async function nodeOf(t: TestContext, { to = url, everyMs = 20, silentAfterMs = 60_000 } = {}) {
  const incarnation = await placeNode(stores, t.name);
  const lost: number[] = [];
  const faults: string[] = [];
  const answered: number[] = [];
  const pulse: Pulse = startPulse(
    { url: to, applicationName: t.name, everyMs, silentAfterMs },
    { incarnation, busy: 0 },
    { beaten: (agoMs) => answered.push(agoMs), lost: (which) => lost.push(which), failed: (fault) => faults.push(messageOf(fault)) },
  );
  t.after(() => pulse.stop());
  const row = (which = incarnation): Promise<Row> => rowOf(which);
  /** Resolves when it has beaten so often since now. */
  const beats = async (count: number, which = incarnation): Promise<void> => {
    const { beat } = await rowOf(which);
    await until(async () => (await rowOf(which)).beat >= beat + count || undefined);
  };
  return { incarnation, pulse, lost, faults, answered, row, beats };
}

async function rowOf(incarnation: number): Promise<Row> {
  const [row] = await execute(url, `select beat::integer, busy from belfry.nodes where incarnation = ${incarnation}`);
  assert.ok(row);
  return row as Row;
}

/** Nothing else of this thread goes on for so long. */
function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** Nothing else of this thread goes on until this is so of its row, which another process looks at. */
function blockUntil(incarnation: number, isSo: string): void {
  const question = `select 1 from belfry.nodes where incarnation = ${incarnation} and ${isSo}`;
  const script = `
    const { execute } = await import('${import.meta.resolve('../support/postgres.ts')}');
    while ((await execute(${JSON.stringify(url)}, ${JSON.stringify(question)})).length === 0);
  `;
  execFileSync(process.execPath, ['--input-type=module', '-e', script], { timeout: 30_000 });
}

describe('a pulse', limit, () => {
  test('beats from its start on, and says how many slots are taken', async (t) => {
    const { incarnation, pulse, row, beats, answered } = await nodeOf(t);
    await beats(3);
    await until(() => answered.length > 2 || undefined);
    assert.ok(answered.every((agoMs) => agoMs >= 0));
    assert.equal((await row()).busy, 0);
    pulse.live({ incarnation, busy: 7 });
    await until(async () => (await row()).busy === 7 || undefined);
  });

  test('beats on while the event loop is blocked', async (t) => {
    const { incarnation, row, beats } = await nodeOf(t);
    await beats(1);
    blockUntil(incarnation, `beat >= ${(await row()).beat + 20}`);
  });

  test('falls silent when the event loop is blocked for longer than that may be, and beats again at a sign of life', async (t) => {
    const { incarnation, pulse, row } = await nodeOf(t, { silentAfterMs: 1000 });
    // Again and again: on a slow machine it may be silent before a beat was seen.
    const beatsAlive = async (): Promise<void> => {
      const { beat } = await row();
      await until(async () => {
        pulse.live({ incarnation, busy: 0 });
        return (await row()).beat > beat || undefined;
      });
    };
    await beatsAlive();
    blockUntil(incarnation, `beat_at < now() - interval '2 seconds'`);
    await beatsAlive();
  });

  test('tells that its incarnation has ended, and beats for the next as soon as that is told', async (t) => {
    const { incarnation, pulse, lost, row, beats } = await nodeOf(t);
    await beats(1);
    await stores.nodes.end(incarnation, 'lost');
    const { beat } = await row();
    await until(() => lost.length > 0 || undefined);
    assert.equal(lost[0], incarnation);
    const next = await placeNode(stores, t.name);
    pulse.live({ incarnation: next, busy: 0 });
    await beats(2, next);
    assert.equal((await row()).beat, beat);
  });

  test('beats at once for another incarnation, however long it is to the next beat', async (t) => {
    const { incarnation, pulse, answered, row } = await nodeOf(t, { everyMs: 600_000 });
    await until(() => answered.length > 0 || undefined);
    await stores.nodes.end(incarnation, 'lost');
    const next = await placeNode(stores, t.name);
    pulse.live({ incarnation: next, busy: 0 });
    await until(async () => (await row(next)).beat > 0 || undefined);
  });

  test('ends at once when it is stopped, and its connection with it', async (t) => {
    const { pulse, row, beats } = await nodeOf(t);
    await beats(1);
    await pulse.stop();
    const [held] = await execute(url, `select count(*)::integer from pg_stat_activity where application_name = '${t.name}'`);
    assert.equal(held?.['count'], 0);
    const { beat } = await row();
    block(200);
    assert.equal((await row()).beat, beat);
  });

  test('may be stopped before it has connected', async (t) => {
    await (await nodeOf(t)).pulse.stop();
  });
});

describe('a pulse whose PostgreSQL', limit, () => {
  for (const way of ['reset', 'end'] as const) {
    test(`cuts its connection (${way}) makes another one`, async (t) => {
      const proxy = await startProxy(t, url);
      const { beats, faults } = await nodeOf(t, { to: proxy.url });
      await beats(1);
      proxy.cut(way);
      await until(() => faults.length > 0 || undefined);
      await beats(2);
    });
  }

  test('is away says so once, and beats again when it is back', async (t) => {
    const proxy = await startProxy(t, url);
    const { beats, faults } = await nodeOf(t, { to: proxy.url });
    await beats(1);
    await proxy.down();
    block(1000);
    await until(() => faults.length > 0 || undefined);
    await proxy.up();
    await beats(2);
    assert.equal(faults.length, 1, faults.join());
  });

  test('says nothing any more (half-open) is given up after ten seconds', async (t) => {
    const proxy = await startProxy(t, url);
    const { beats, faults } = await nodeOf(t, { to: proxy.url });
    await beats(1);
    proxy.silence();
    await until(() => faults.length > 0 || undefined);
    await beats(2);
    assert.deepEqual(faults, ['PostgreSQL did not answer within 10000 ms']);
  });

  test('is away lets it be stopped all the same', async (t) => {
    const proxy = await startProxy(t, url);
    const { beats, faults, pulse } = await nodeOf(t, { to: proxy.url });
    await beats(1);
    await proxy.down();
    await until(() => faults.length > 0 || undefined);
    await pulse.stop();
  });
});

describe('a pulse whose thread ends', limit, () => {
  test('says so, and begins another one', async (t) => {
    const threads: Worker[] = [];
    const begun = (thread: Worker): void => void threads.push(thread);
    process.on('worker', begun);
    t.after(() => void process.off('worker', begun));
    const { beats, faults } = await nodeOf(t);
    await beats(1);
    await threads[0]?.terminate();
    await beats(2);
    assert.deepEqual([faults, threads.length], [['the thread of the heartbeat ended (1)'], 2]);
  });

  test('and is stopped before another one began stays ended', async (t) => {
    const threads: Worker[] = [];
    const begun = (thread: Worker): void => void threads.push(thread);
    process.on('worker', begun);
    t.after(() => void process.off('worker', begun));
    const { beats, pulse } = await nodeOf(t);
    await beats(1);
    await threads[0]?.terminate();
    await pulse.stop();
    assert.equal(threads.length, 1);
  });
});
