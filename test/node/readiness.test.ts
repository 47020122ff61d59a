// What /readyz says of what was seen.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { readinessOf, type Seen } from '../../src/node/readiness.ts';

const well: Seen = {
  isStopping: false,
  isDraining: false,
  database: { answeredMs: 3, schema: 'ok', ready: 12, oldestReadyMs: 40.4 },
  queue: 'ok',
  loopLagMs: 5,
  clock: { state: 'right', aheadMs: -2 },
  slots: 20,
  busy: 20,
};

const database = { answeredMs: 3, schema: 'ok', ready: 12, oldestReadyMs: 40.4 } as const;

describe('a node', () => {
  test('with which all is well is ready, all slots busy or not', () => {
    assert.deepEqual(readinessOf(well), {
      status: 'ready',
      degraded: [],
      not_ready: [],
      checks: {
        database: { answers: true, ms: 3 },
        schema: { state: 'ok' },
        queue: { state: 'ok' },
        loop: { worst_ms: 5 },
        clock: { state: 'right', ahead_ms: -2 },
        backlog: { ready: 12, is_more: false, oldest_ms: 40 },
        worker: { slots: 20, busy: 20 },
      },
    });
  });

  const degraded: Record<string, [changed: Partial<Seen>, names: string[]]> = {
    'whose clock is off': [{ clock: { state: 'off', aheadMs: 3_600_000 } }, ['clock']],
    'that waits out a jump of the clock': [{ clock: { state: 'held', aheadMs: 0 } }, ['clock']],
    'whose queue is silent': [{ queue: 'silent' }, ['queue']],
    'whose queue is away': [{ queue: 'unavailable' }, ['queue']],
    'whose event loop was kept for over a second': [{ loopLagMs: 1001 }, ['loop']],
    'whose database was changed by a newer Belfry': [{ database: { ...database, schema: 'newer' } }, ['schema']],
    'with a run that waits for over a minute': [{ database: { ...database, oldestReadyMs: 60_001 } }, ['backlog']],
    'with over ten thousand runs that wait': [{ database: { ...database, ready: 10_001 } }, ['backlog']],
    'with two things wrong': [{ queue: 'silent', loopLagMs: 40_000 }, ['queue', 'loop']],
  };
  for (const [what, [changed, names]] of Object.entries(degraded)) {
    test(`${what} is degraded: ${names.join(', ')}`, () => {
      const { status, degraded: told, not_ready: notReady } = readinessOf({ ...well, ...changed });
      assert.deepEqual([status, told, notReady], ['degraded', names, []]);
    });
  }

  const notReady: Record<string, [changed: Partial<Seen>, names: string[]]> = {
    'whose database does not answer': [{ database: undefined }, ['database']],
    'that stops': [{ isStopping: true }, ['stopping']],
    'that is drained': [{ isDraining: true }, ['draining']],
  };
  for (const [what, [changed, names]] of Object.entries(notReady)) {
    test(`${what} is not ready: ${names.join(', ')}`, () => {
      const { status, not_ready: told } = readinessOf({ ...well, ...changed });
      assert.deepEqual([status, told], ['not_ready', names]);
    });
  }

  test('is told degraded beside not ready', () => {
    const { status, degraded: names } = readinessOf({ ...well, isStopping: true, queue: 'silent' });
    assert.deepEqual([status, names], ['not_ready', ['queue']]);
  });

  test('whose database does not answer says nothing of what only that knows', () => {
    const { checks } = readinessOf({ ...well, database: undefined });
    assert.deepEqual(
      [checks.database, checks.schema, checks.backlog],
      [{ answers: false, ms: null }, { state: null }, { ready: null, is_more: false, oldest_ms: null }],
    );
  });

  test('does not count a backlog beyond ten thousand', () => {
    const { backlog } = readinessOf({ ...well, database: { ...database, ready: 10_001 } }).checks;
    assert.deepEqual([backlog.ready, backlog.is_more], [10_000, true]);
  });
});
