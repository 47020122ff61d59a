// Which clocks are believed: readings made up in milliseconds, of a wall clock, a monotonic one and a database's.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { judge, stateOf, timeAt, type Judgement, type Reading } from '../../src/node/clock-guard.ts';

const hour = 3_600_000;
const year = 365 * 24 * hour;
const noon = Date.parse('2100-01-01T12:00:00Z');

/** A reading so long after the first; the wall clock and the database's are right but for what is said. */
function reading(at: number, { ahead = 0, database = 0, tookMs = 0 } = {}): Reading {
  return { wall: noon + at + ahead, asked: 500 + at, answered: 500 + at + tookMs, database: noon + at + database };
}

function judged(...readings: Reading[]): Judgement {
  const judgement = readings.reduce<Judgement | undefined>(judge, undefined);
  return judgement ?? assert.fail('there is no reading');
}

describe('a wall clock', () => {
  for (const [ahead, state] of [
    [0, 'right'],
    [4990, 'right'],
    [-4990, 'right'],
    [5010, 'off'],
    [-5010, 'off'],
    [hour, 'off'],
    [-hour, 'off'],
    [10 * year, 'off'],
    [-10 * year, 'off'],
  ] as const) {
    test(`that is ahead of the database's by ${ahead} ms is ${state}`, () => {
      const judgement = judged(reading(0, { ahead }));
      assert.equal(stateOf(judgement), state);
      assert.ok(Math.abs(judgement.aheadMs - ahead) <= 1);
    });
  }

  test('that is put right is right at once, and one that goes wrong is off at once', () => {
    const wrong = judged(reading(0, { ahead: hour }));
    const right = judge(wrong, reading(1000));
    assert.equal(stateOf(right), 'right');
    assert.equal(stateOf(judge(right, reading(2000, { ahead: -hour }))), 'off');
  });

  test('is not judged by an answer that took so long that it does not tell', () => {
    const slow = { tookMs: 20_000 };
    assert.equal(stateOf(judged(reading(0), reading(1000, slow))), 'right');
    assert.equal(stateOf(judged(reading(0, { ahead: hour }), reading(1000, { ahead: -10_000, ...slow }))), 'off');
    assert.equal(stateOf(judged(reading(0, slow))), 'off', 'and was never told right');
  });

  test('that is an hour ahead is off also by an answer that took long', () => {
    assert.equal(stateOf(judged(reading(0), reading(1000, { ahead: hour, tookMs: 20_000 }))), 'off');
  });

  test('that is wrong does not touch what time it is', () => {
    const judgement = judged(reading(0, { ahead: 10 * year }), reading(1000, { ahead: -10 * year }));
    assert.equal(timeAt(judgement, 500 + 4000), noon + 4000);
  });
});

describe('what time it is', () => {
  test('goes on with our monotonic clock', () => {
    assert.equal(timeAt(judged(reading(0)), 500 + 123_456), noon + 123_456);
  });

  test('is moved no further than an answer forces', () => {
    const before = judged(reading(0));
    const after = judge(before, reading(1000, { tookMs: 300 }));
    assert.equal(timeAt(after, 2000), timeAt(before, 2000));
    assert.equal(timeAt(judge(before, reading(1000, { database: 250 })), 1500), noon + 1250, 'the database is ahead of what we thought');
    const behind = timeAt(judge(before, reading(1000, { database: -250 })), 1500);
    assert.equal(behind, noon + 751, 'it is behind, and may be a millisecond less so than it says');
  });

  test('follows a step of the database by less than an hour', () => {
    const judgement = judged(reading(0), reading(1000, { database: hour - 5000 }));
    assert.deepEqual([judgement.jumpedMs, judgement.heldUntil, timeAt(judgement, 1500)], [undefined, undefined, noon + hour - 4000]);
  });
});

for (const by of [2 * hour, -2 * hour, 10 * year, -10 * year]) {
  describe(`a jump of the database's clock by ${by / hour} hours, ours with it,`, () => {
    const moved = { ahead: by, database: by };
    const jumped = judged(reading(0), reading(1000, moved));

    test('is told once, and holds for a minute', () => {
      assert.equal(jumped.jumpedMs, by - (by < 0 ? -1 : 0));
      assert.equal(stateOf(jumped), 'held');
      const later = judge(jumped, reading(60_999, moved));
      assert.deepEqual([later.jumpedMs, stateOf(later)], [undefined, 'held']);
      assert.equal(stateOf(judge(later, reading(61_000, moved))), 'right');
    });

    test('is no reason to think another time than before, until that is over', () => {
      assert.equal(timeAt(jumped, 1500), noon + 1000);
      const later = judge(jumped, reading(50_000, moved));
      assert.equal(timeAt(later, 50_500), noon + 50_000);
      assert.equal(timeAt(judge(later, reading(61_000, moved)), 61_500), noon + 61_000 + by);
    });

    test('and back is two jumps, of which nothing is left', () => {
      const back = judge(jumped, reading(30_000));
      assert.equal(stateOf(judge(back, reading(89_000))), 'held');
      const over = judge(back, reading(90_000));
      assert.deepEqual([stateOf(over), timeAt(over, 90_500)], ['right', noon + 90_000]);
    });
  });
}

test('a jump of the database alone holds, and after that our clock is off', () => {
  const jumped = judged(reading(0), reading(1000, { database: 2 * hour }));
  assert.equal(stateOf(jumped), 'held');
  assert.equal(stateOf(judge(jumped, reading(62_000, { database: 2 * hour }))), 'off');
});

test('an answer that took long is no jump', () => {
  assert.equal(judged(reading(0), reading(1000, { tookMs: 2 * hour })).jumpedMs, undefined);
});
