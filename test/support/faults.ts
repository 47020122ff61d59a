// The faults that Belfry is put through. Each has one test that bears its name and says what is seen; the list of them all
// (fault-list.ts) and the table in the README are held against these.

import { test, type TestContext } from 'node:test';
import { limitMs } from './belfry.ts';

/** What is done to Belfry, and what is seen then: a row of the README's table. Both plain literals: the table is read from the source. */
export type Fault = { readonly fault: string; readonly seen: string };

/** The test of a fault; skipped, and the reason why. */
export function fault({ fault: name, seen }: Fault, body: (t: TestContext) => Promise<void>, skip: string | false = false): void {
  void test(`${name}: ${seen}`, { timeout: 3 * limitMs, skip }, body);
}
