// What is promised of every executor, whoever wrote it. A subject brings its commands; the tests are the same for all.

import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { describe, test, type TestContext } from 'node:test';
import * as fc from 'fast-check';
import type { AttemptResult, Executor } from '../../src/executors/executor.ts';
import { attempt, dueAt, isStorable, limit, messageThrownBy, traceparent } from './support.ts';

type Command = Record<string, unknown>;

export type Subject<C> = {
  readonly executor: Executor<C>;
  /** Does something that can be counted, says "fine" where output is kept, and ends well. */
  readonly succeeding: Command;
  /** How often `succeeding` had its effect. */
  readonly effects: () => Promise<number>;
  readonly failing: Command;
  /** Does not end by itself. */
  readonly unending: Command;
  /** Resolves when `unending` has begun. */
  readonly begun: () => Promise<unknown>;
  /** Says what no database takes, and as much of it as it can. */
  readonly hostile: Command;
  /** Keeps what it was told about its attempt; `told` returns that as text. */
  readonly telling: Command;
  readonly told: (result: AttemptResult) => Promise<string>;
};

/** The largest result that may be kept: twice the output limit (stdout and stderr), each bad byte as three. */
const largestResult = 2 * 3 * 256 * 1024;

export function describeContract<C>(kind: string, makeSubject: (t: TestContext) => Promise<Subject<C>>): void {
  describe(`every executor, ${kind}`, limit, () => {
    test('does what the command says and succeeds', async (t) => {
      const { executor, succeeding, effects } = await makeSubject(t);
      const result = await attempt(executor, succeeding);
      assert.equal(result.outcome, 'succeeded');
      assert.equal(result.known, true);
      assert.equal(result.error, undefined);
      assert.equal(result.result['err'], '<nil>');
      assert.equal(await effects(), 1);
    });

    test('fails as a value that says why', async (t) => {
      const { executor, failing } = await makeSubject(t);
      const result = await attempt(executor, failing);
      assert.equal(result.outcome, 'failed');
      assert.equal(result.known, true);
      assert.ok(result.error);
      assert.equal(result.result['err'], result.error);
    });

    test('ends at the timeout', async (t) => {
      const { executor, unending } = await makeSubject(t);
      const result = await attempt(executor, unending, { timeoutMs: 50 });
      assert.equal(result.outcome, 'timed_out');
      assert.equal(result.error, 'timed out after 50ms');
    });

    for (const [reason, outcome, error] of [
      ['cancelled', 'cancelled', 'cancelled'],
      ['interrupted', 'failed', 'interrupted: the service was shut down'],
    ] as const) {
      test(`ends when it is ${reason}, and says so`, async (t) => {
        const { executor, unending, begun } = await makeSubject(t);
        const stop = new AbortController();
        const attempted = attempt(executor, unending, { signal: stop.signal });
        await begun();
        stop.abort(reason);
        const result = await attempted;
        assert.equal(result.outcome, outcome);
        assert.equal(result.error, error);
      });

      test(`does nothing when it was ${reason} before it began`, async (t) => {
        const { executor, succeeding, effects } = await makeSubject(t);
        const result = await attempt(executor, succeeding, { signal: AbortSignal.abort(reason) });
        assert.deepEqual([result.outcome, result.error, result.known], [outcome, error, true]);
        assert.equal(await effects(), 0);
      });
    }

    test('keeps of hostile output only what can be stored, and not too much of it', async (t) => {
      const { executor, hostile } = await makeSubject(t);
      const { result } = await attempt(executor, hostile);
      assert.ok(isStorable(result));
      assert.ok(Buffer.byteLength(JSON.stringify(result)) < largestResult);
    });

    test('keeps nothing of the output when the job does not log', async (t) => {
      const { executor, succeeding, effects } = await makeSubject(t);
      const { outcome, result } = await attempt(executor, succeeding, { keepOutput: false });
      assert.equal(outcome, 'succeeded');
      assert.equal(result['kept'], false);
      assert.ok(!JSON.stringify(result).includes('fine'));
      assert.equal(await effects(), 1);
    });

    test('tells the command its job, run, attempt, due time and trace', async (t) => {
      const { executor, telling, told } = await makeSubject(t);
      const text = await told(await attempt(executor, telling));
      for (const fact of ['nightly', '42', '2', dueAt.toISOString(), traceparent]) assert.ok(text.includes(fact), `${fact} in ${text}`);
    });

    test('makes many attempts at once', async (t) => {
      const { executor, succeeding, effects } = await makeSubject(t);
      const results = await Promise.all(Array.from({ length: 20 }, () => attempt(executor, succeeding)));
      assert.deepEqual([...new Set(results.map(({ outcome }) => outcome))], ['succeeded']);
      assert.equal(await effects(), 20);
    });

    test('leaves no listener on the signal', async (t) => {
      const { executor, succeeding } = await makeSubject(t);
      const { signal } = new AbortController();
      await attempt(executor, succeeding, { signal });
      assert.equal(getEventListeners(signal, 'abort').length, 0);
    });

    test('reads a command that it has read before, as it comes back from JSON', async (t) => {
      const { executor, succeeding, failing, unending, hostile, telling } = await makeSubject(t);
      for (const command of [succeeding, failing, unending, hostile, telling]) {
        const parsed = executor.parse(command);
        assert.deepEqual(executor.parse(JSON.parse(JSON.stringify(parsed))), parsed);
      }
    });

    test('refuses a key that it does not know', async (t) => {
      const { executor, succeeding } = await makeSubject(t);
      assert.match(
        messageThrownBy(() => executor.parse({ ...succeeding, nonsense: 1 })),
        /^command\.nonsense: expected .*, got /,
      );
      assert.match(
        messageThrownBy(() => executor.parse(JSON.parse('{"__proto__":{}}'))),
        /command\.__proto__: /,
      );
    });

    test('refuses whatever is no command by naming the field', async (t) => {
      const { executor, succeeding } = await makeSubject(t);
      const anything = fc.record(
        Object.fromEntries(Object.entries(succeeding).map(([key, value]) => [key, fc.oneof(fc.constant(value), fc.anything())])),
        { requiredKeys: [] },
      );
      fc.assert(
        fc.property(anything, (command) => {
          let parsed: unknown;
          try {
            parsed = executor.parse(command);
          } catch (thrown) {
            return thrown instanceof Error && /^command[.[]/.test(thrown.message);
          }
          const text = JSON.stringify(parsed);
          return JSON.stringify(executor.parse(JSON.parse(text))) === text;
        }),
      );
    });
  });
}
