// The checker that looks after every fault is itself looked at: what is left out, doubled or moved is found.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { wronglyCovered, wronglyDone } from './support/settled.ts';

const second = (at: number): Date => new Date(Date.UTC(2100, 0, 1, 12, 0, at));
const rows = [0, 1, 2, 3, 4].map((at) => ({ due_at: second(at), last_due_at: null, due_count: 1 }));
const missed = { due_at: second(5), last_due_at: second(7), due_count: 3 };

describe('the seconds that are recorded', () => {
  test('are right when there is one row for each, or one that counts several', () => {
    assert.deepEqual(wronglyCovered([...rows, missed, { due_at: second(8), last_due_at: null, due_count: 1 }]), []);
  });

  for (const [what, wrong, found] of [
    ['one is left out', rows.filter((_, at) => at !== 2), ['2100-01-01T12:00:02.000Z: 0']],
    ['one is there twice', [...rows, rows[2]], ['2100-01-01T12:00:02.000Z: 2']],
    [
      'one is moved',
      rows.map((row, at) => (at === 2 ? { ...row, due_at: second(3) } : row)),
      ['2100-01-01T12:00:02.000Z: 0', '2100-01-01T12:00:03.000Z: 2'],
    ],
    [
      'a row counts wrong',
      [...rows, { ...missed, due_count: 2 }, { due_at: second(8), last_due_at: null, due_count: 1 }],
      [5, 6, 7].map((at) => `2100-01-01T12:00:0${at}.000Z: 0`),
    ],
    [
      'a row that counts several goes over one of its own',
      [...rows, { ...missed, due_at: second(4), due_count: 4 }],
      ['2100-01-01T12:00:04.000Z: 2'],
    ],
  ] as const) {
    test(`are wrong when ${what}`, () => assert.deepEqual(wronglyCovered(wrong.filter((row) => row !== undefined)), found));
  }
});

describe('what was done', () => {
  const attempt = (number: number, outcome: string) => ({ attempt: number, outcome, node: 'n', started_at: '', finished_at: '' });
  const policy = { onLost: 'fail', retry: { maxAttempts: 2 } };
  const succeeded = { id: 1, state: 'succeeded', enters: true, policy, attempts: [attempt(1, 'succeeded')] };
  const retried = { ...succeeded, attempts: [attempt(1, 'failed'), attempt(2, 'succeeded')] };
  const lost = { ...succeeded, attempts: [attempt(1, 'lost'), attempt(2, 'succeeded')] };

  test('is right when each attempt is entered once, and a known failure may be followed by another', () => {
    assert.deepEqual(wronglyDone([succeeded], ['1 1']), []);
    assert.deepEqual(wronglyDone([retried], ['1 1', '1 2']), []);
    assert.deepEqual(wronglyDone([{ ...lost, policy: { ...policy, onLost: 'retry' } }], ['1 1', '1 2']), []);
  });

  for (const [what, row, lines, found] of [
    ['an attempt is entered twice', succeeded, ['1 1', '1 1'], 'an attempt of run 1 was made twice'],
    ['there are more than allowed', retried, ['1 1', '1 2', '1 3'], 'run 1 had 3 attempts'],
    [
      'it was done again after an end that nobody knows',
      lost,
      ['1 1', '1 2'],
      'run 1 was tried again after attempt 1, of which nobody knew the end',
    ],
    ['it has succeeded without being done', succeeded, [], 'run 1 has succeeded and was not done'],
    ['it is not recorded', succeeded, ['1 1', '2 1'], 'run 2 was done and is not recorded'],
  ] as const) {
    test(`is wrong when ${what}`, () => assert.deepEqual(wronglyDone([row], lines), [found]));
  }
});
