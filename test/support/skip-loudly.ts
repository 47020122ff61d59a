// What cannot be tried on this machine: said so that nobody overhears it, and in CI, where all has to be tried, a failure.

import type { TestContext } from 'node:test';

export function skipLoudly(t: Pick<TestContext, 'skip'>, why: string): void {
  if (process.env['CI'] !== undefined) throw new Error(`CI has to try this: ${why}`);
  console.error(`\n*** NOT TRIED: ${why} ***\n`);
  t.skip(why);
}
