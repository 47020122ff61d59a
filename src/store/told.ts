// What is told of attempts at one moment and written in one statement, where which row wins is nobody's choice: so there is one of each.

import { isDeepStrictEqual } from 'node:util';
import { claimName } from '../runs/lifecycle.ts';
import type { RunRecord } from './runs.ts';

type Attempt = Pick<RunRecord, 'id' | 'epoch'>;

/**
 * Of each attempt what is to be written of it: what somebody saw rather than a guess, and what was told first. `isWritten` answers
 * for each record, in their order, whether it is what was written, by the attempts that the statement answers.
 */
export function oneOfEach(records: readonly RunRecord[]) {
  const chosen = new Map<string, RunRecord>();
  for (const record of records) {
    const before = chosen.get(claimName(record));
    if (before === undefined || (before.isGuess === true && record.isGuess !== true)) chosen.set(claimName(record), record);
  }
  return {
    written: [...chosen.values()],
    isWritten: (attempts: readonly Attempt[]): boolean[] => {
      const known = new Set(attempts.map(claimName));
      return records.map((record) => known.has(claimName(record)) && isDeepStrictEqual(chosen.get(claimName(record)), record));
    },
  };
}
