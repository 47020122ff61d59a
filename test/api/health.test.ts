// The calls of those who watch a node.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import type { Readiness } from '../../src/node/readiness.ts';
import { openTestDoors } from '../support/doors.ts';

const doors = await openTestDoors(test);

async function get(path: string, method = 'GET', headers: Record<string, string> = {}) {
  const answer = await doors.ask(path, undefined, { method, headers });
  const text = await answer.text();
  return { status: answer.status, headers: answer.headers, text };
}

describe('/healthz', () => {
  test('says ok as long as the process answers', async () => {
    const { status, text, headers } = await get('/healthz');
    assert.deepEqual([status, text, headers.get('cache-control')], [200, '{"status":"ok"}', 'no-store']);
    assert.match(headers.get('content-type') ?? '', /^application\/json/);
  });
});

describe('/readyz', () => {
  test('says how the node does', async () => {
    const { status, text } = await get('/readyz');
    const { checks, ...told } = JSON.parse(text) as Readiness;
    assert.deepEqual([status, told], [200, { status: 'ready', degraded: [], not_ready: [] }]);
    assert.deepEqual(Object.keys(checks), ['database', 'schema', 'queue', 'loop', 'clock', 'backlog', 'worker']);
  });
});

describe('/metrics', () => {
  test('says in figures what /readyz does, and of the process what Prometheus looks for', async () => {
    const { status, text, headers } = await get('/metrics');
    assert.deepEqual([status, headers.get('content-type')], [200, 'text/plain; version=0.0.4; charset=utf-8']);
    const figures = figuresOf(text);
    assert.deepEqual(
      ['belfry_runs_waiting', 'belfry_worker_slots', 'belfry_degraded{what="clock"}', 'belfry_degraded{what="database"}'].map((name) =>
        figures.get(name),
      ),
      ['0', '20', '0', '0'],
    );
    assert.ok(Number(figures.get('process_resident_memory_bytes')) > 1_000_000);
  });
});

function figuresOf(text: string): Map<string, string> {
  const lines = text.split('\n').filter((line) => !line.startsWith('#'));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), line.slice(line.lastIndexOf(' ') + 1)]));
}

for (const path of ['/healthz', '/readyz', '/metrics']) {
  describe(path, () => {
    test('answers HEAD without a body', async () => {
      const { status, text } = await get(path, 'HEAD');
      assert.deepEqual([status, text], [200, '']);
    });

    test('is read, and nothing else', async () => {
      assert.equal((await get(path, 'POST')).status, 404);
    });

    test('may be asked by a job', async () => {
      assert.equal((await get(path, 'GET', { 'x-belfry-run-id': '7' })).status, 200);
    });

    test('is no news: its access is in the log at debug only', async () => {
      doors.lines.length = 0;
      await get(path);
      await get('/ping');
      const accesses = doors.lines.map((line) => line['path']);
      assert.deepEqual(accesses, ['/ping']);
    });
  });
}

describe('a node whose database is gone', async () => {
  const broken = await openTestDoors(test);
  await broken.database.sql`drop schema belfry cascade`;

  test('is alive, and not ready: 503, with nothing of the inside', async () => {
    assert.equal((await broken.ask('/healthz', undefined, { method: 'GET' })).status, 200);
    const answer = await broken.ask('/readyz', undefined, { method: 'GET' });
    const text = await answer.text();
    const { status, not_ready: notReady } = JSON.parse(text) as Readiness;
    assert.deepEqual([answer.status, status, notReady], [503, 'not_ready', ['database']]);
    assert.ok(!/belfry\.|relation|postgres|password/i.test(text), text);
    assert.equal((await broken.ask('/readyz', undefined, { method: 'HEAD' })).status, 503);
  });

  test('still answers with its figures, and has none for what only the database knows', async () => {
    const figures = figuresOf(await (await broken.ask('/metrics', undefined, { method: 'GET' })).text());
    assert.deepEqual([figures.get('belfry_degraded{what="database"}'), figures.get('belfry_runs_waiting')], ['1', 'Nan']);
  });

  test('says why in the log, once', async () => {
    await broken.ask('/readyz', undefined, { method: 'GET' });
    const told = broken.lines.filter(({ msg }) => msg === 'degraded');
    assert.deepEqual([told.length, told[0]?.['degraded']], [1, 'database']);
    assert.match(JSON.stringify(told[0]?.['err']), /belfry\./);
  });
});
