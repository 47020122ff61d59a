// on_cut_off = "kill": a node that nobody hears ends its attempts before others may begin them, by a clock that stands still.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { startCutOffWatch } from '../../src/runs/cut-off.ts';
import { standingClock } from '../support/clock.ts';
import { keptLog } from '../support/log.ts';

/** A node that beats when the test says so; `pass` lets seconds go by, one after the other. */
function nodeOf(t: { after: (fn: () => Promise<void>) => void }) {
  const clock = standingClock();
  const { log, lines, messages } = keptLog();
  let beatAt = 0;
  const did: string[] = [];
  const watch = startCutOffWatch({
    clock,
    log,
    lastBeatAt: () => beatAt,
    interruptAll: () => void did.push(`told to stop at ${clock.monotonic() / 1000}`),
    killAll: () => Promise.resolve(did.push(`killed at ${clock.monotonic() / 1000}`)),
  });
  t.after(() => watch.stop());
  const pass = async (seconds: number): Promise<void> => {
    for (let second = 0; second < seconds; second++) {
      await clock.asleep();
      clock.pass(1000);
    }
    await clock.asleep();
  };
  return { pass, did, lines, messages, beat: () => (beatAt = clock.monotonic()) };
}

describe('a node that is cut off from PostgreSQL and shall end its runs then', { timeout: 20_000 }, () => {
  test('does nothing as long as its beats are answered, be it slowly', async (t) => {
    const { pass, beat, did } = nodeOf(t);
    for (let beats = 0; beats < 5; beats++) {
      await pass(39);
      beat();
    }
    assert.deepEqual(did, []);
  });

  test('tells them to stop 20 seconds before its lease is over, counted from when its last answered beat was sent', async (t) => {
    const { pass, beat, did, lines } = nodeOf(t);
    await pass(7);
    beat();
    await pass(39);
    assert.deepEqual(did, []);
    await pass(1);
    assert.deepEqual([did, lines.map(({ msg, lease_left_ms: left }) => [msg, left])], [['told to stop at 47'], [['cut_off', 20_000]]]);
  });

  test('kills what is left of them 5 seconds before it is over, whatever their kill_grace is', async (t) => {
    const { pass, did, messages } = nodeOf(t);
    await pass(54);
    assert.ok(!did.some((each) => each.startsWith('killed')));
    await pass(1);
    assert.equal(did.at(-1), 'killed at 55');
    assert.deepEqual(messages(), ['cut_off'], 'told once');
  });

  test('leaves those alone that begin when it is heard again', async (t) => {
    const { pass, beat, did } = nodeOf(t);
    await pass(42);
    beat();
    const before = did.length;
    await pass(39);
    assert.equal(did.length, before);
    await pass(1);
    assert.equal(did.length, before + 1);
  });
});
