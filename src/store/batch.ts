// Group commit: what arrives while a statement is under way rides in the next one. No timer, no added wait when idle.

import { takeOut } from '../under-way.ts';

export type Batched<T, R> = {
  /** Answers with this item's own result once its statement is committed. */
  readonly add: (item: T) => Promise<R>;
  /** Resolves when nothing is under way or waiting. */
  readonly idle: () => Promise<void>;
};

// Fewer than this, or than went with the one under way, are not worth a second statement beside it: what a statement costs, whatever it
// carries, is as much as twenty of its rows.
const worthASecond = 16;

type Waiting<T, R> = { item: T; resolve: (result: R) => void; reject: (reason: unknown) => void };

/**
 * Joins single writes into shared statements, of which `atOnce` (1) may be under way. `write` answers one result for each item, in
 * their order. When a statement of several fails for what one row holds (SQLSTATE class 22 or 23), each is written alone, so that only
 * the faulty one fails.
 */
export function groupCommit<T, R>(
  write: (items: readonly T[]) => Promise<readonly R[]>,
  options: { readonly most: number; readonly atOnce?: number },
): Batched<T, R> {
  let waiting: Waiting<T, R>[] = [];
  const underWay: Promise<void>[] = [];
  let drains = 0;
  let isGathering = false;
  let wentLast = 0;

  const settle = async (group: Waiting<T, R>[]): Promise<void> => {
    try {
      const results = await write(group.map((each) => each.item));
      for (const [index, each] of group.entries()) each.resolve(results[index] as R);
    } catch (fault) {
      if (group.length > 1 && blamesOneRow(fault)) {
        for (const each of group) await settle([each]);
      } else {
        for (const each of group) each.reject(fault);
      }
    }
  };

  const drain = async (): Promise<void> => {
    // One turn of the event loop, so that what arrives together is written together.
    isGathering = true;
    await new Promise((resolve) => setImmediate(resolve));
    isGathering = false;
    while (waiting.length > 0) {
      const group = waiting.splice(0, options.most);
      wentLast = group.length;
      await settle(group);
    }
    // In the same breath as the last look: what comes after it begins anew.
    drains--;
  };

  return {
    add: (item) =>
      new Promise<R>((resolve, reject) => {
        waiting.push({ item, resolve, reject });
        // It goes with those that are waited for in this turn.
        if (isGathering) return;
        if (drains > 0 && (drains >= (options.atOnce ?? 1) || waiting.length < Math.max(worthASecond, wentLast))) return;
        drains++;
        const drained: Promise<void> = drain().finally(() => takeOut(underWay, drained));
        underWay.push(drained);
      }),
    idle: async () => {
      while (underWay.length > 0) await Promise.all(underWay);
    },
  };
}

/** Whether PostgreSQL refused what a row holds (SQLSTATE class 22 or 23): written again it will be refused again. */
export function blamesOneRow(fault: unknown): boolean {
  return /^2[23]/.test(codeOf(fault));
}

function codeOf(fault: unknown): string {
  return typeof fault === 'object' && fault !== null && 'code' in fault ? String(fault.code) : '';
}
