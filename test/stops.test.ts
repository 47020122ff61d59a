// Stopping what was started, with servers that answer, refuse and stay silent.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { makeStops } from '../src/stops.ts';
import { standingClock } from './support/clock.ts';
import { keptLog } from './support/log.ts';

function stopsOf() {
  const clock = standingClock();
  const { log, messages } = keptLog();
  const stops = makeStops({ clock, log });
  const done: string[] = [];
  const doing = (what: string) => () => Promise.resolve(done.push(what));
  return { stops, clock, messages, done, doing, run: () => stops.run(new AbortController().signal) };
}

const never = () => new Promise<never>(() => {});

describe('what was started', { timeout: 20_000 }, () => {
  test('stops in reverse', async () => {
    const { stops, done, doing, run } = stopsOf();
    stops.add(doing('first'));
    stops.addLeave(doing('second'));
    stops.add(doing('third'));
    await run();
    assert.deepEqual(done, ['third', 'second', 'first']);
  });

  test('stops also when one of it can’t, which is told in the end', async () => {
    const { stops, done, doing, run } = stopsOf();
    stops.add(doing('first'));
    stops.add(() => Promise.reject(new Error('stuck')));
    await assert.rejects(run(), AggregateError);
    assert.deepEqual(done, ['first']);
  });

  test('stops in order without a server that refuses, which is logged', async () => {
    const { stops, done, doing, messages, run } = stopsOf();
    stops.add(doing('first'));
    stops.addLeave(() => Promise.reject(new Error('away')));
    await run();
    assert.deepEqual([done, messages()], [['first'], ['left_untold']]);
  });

  test('waits for silent servers 5 seconds in all, and for the rest as long as it takes', async () => {
    const { stops, clock, done, doing, run } = stopsOf();
    const slow = Promise.withResolvers<void>();
    stops.addLeave(doing('told at least'));
    stops.addLeave(never);
    stops.add(() => slow.promise);
    stops.addLeave(() => clock.sleep(2000, new AbortController().signal));
    const over = run();
    await clock.asleep(2000);
    clock.pass(2000);
    await new Promise(setImmediate);
    clock.pass(60_000);
    slow.resolve();
    await clock.asleep(3000);
    assert.deepEqual(done, []);
    clock.pass(3000);
    await over;
    assert.deepEqual(done, ['told at least']);
  });
});
