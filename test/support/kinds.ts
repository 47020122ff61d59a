// Executors for tests: values that do what the test says, held to the same contract as all.

import type { AttemptRequest, AttemptResult, Executor } from '../../src/executors/executor.ts';

export const done: AttemptResult = { outcome: 'succeeded', known: true, result: {} };

/** An executor whose commands name a `target`, and that does this. */
export function executorOf(type: string, execute: (request: AttemptRequest) => Promise<AttemptResult>): Executor {
  return {
    type,
    defaults: { maxAttempts: 1, timeoutMs: 30_000 },
    parse: (command) => {
      if (typeof command['target'] !== 'string') throw new Error('target: expected a text');
      return command;
    },
    execute,
  };
}

/** The kinds of a node that knows but one, which does nothing and succeeds. */
export const kinds: ReadonlyMap<string, Executor> = new Map([['noop', executorOf('noop', () => Promise.resolve(done))]]);
