// What is told of attempts at one moment and written in one statement, where which row wins is nobody's choice: so there is one of each.

import { isDeepStrictEqual } from 'node:util';
import type { RunRecord } from './runs.ts';

type Attempt = Pick<RunRecord, 'id' | 'epoch'>;

/**
 * Of each attempt what is to be written of it: what somebody saw rather than a guess, and what was told first. `isWritten` answers
 * for each record, in their order, whether it is what was written, by the attempts that the statement answers.
 */
export function oneOfEach(records: readonly RunRecord[]) {
  const chosen = new Map<string, RunRecord>();
  for (const record of records) {
    const before = chosen.get(keyOf(record));
    if (before === undefined || (before.isGuess === true && record.isGuess !== true)) chosen.set(keyOf(record), record);
  }
  return {
    written: [...chosen.values()],
    isWritten: (attempts: readonly Attempt[]): boolean[] => {
      const known = new Set(attempts.map(keyOf));
      return records.map((record) => known.has(keyOf(record)) && isDeepStrictEqual(chosen.get(keyOf(record)), record));
    },
  };
}

function keyOf({ id, epoch }: Attempt): string {
  return `${id} ${epoch}`;
}
