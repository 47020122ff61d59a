// An event loop that is kept from its work.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { watchLoopLag } from '../../src/observe/loop-lag.ts';
import { standingClock } from '../support/clock.ts';
import { until } from '../support/belfry.ts';

/** Keeps the event loop of this process. */
function block(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

test('an event loop that was kept for over a second is known, for a minute', { timeout: 60_000 }, async () => {
  const clock = standingClock();
  const lag = watchLoopLag(clock);
  await clock.asleep(10_000);
  // What happens before its own timer has run once is not seen.
  await until(() => {
    if (lag.worstMs() > 1000) return true;
    block(1500);
    return undefined;
  });
  assert.ok(lag.worstMs() >= 1400);
  for (let tenSeconds = 0; tenSeconds < 5; tenSeconds++) {
    clock.pass(10_000);
    await clock.asleep(10_000);
  }
  assert.ok(lag.worstMs() >= 1400);
  for (let tenSeconds = 0; tenSeconds < 3; tenSeconds++) {
    clock.pass(10_000);
    await clock.asleep(10_000);
  }
  assert.ok(lag.worstMs() < 1400);
  await lag.stop();
});
