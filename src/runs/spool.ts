// Results are never lost: one that PostgreSQL does not take at once waits in a file of its own until it does, also over a restart.
// Told twice, a result is written once, so whoever finds such a file may tell it: another node that shares the folder, too.

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { every, type Clock, type Loop } from '../clock.ts';
import type { Log } from '../observe/log.ts';
import { blamesOneRow } from '../store/batch.ts';
import type { ClaimedRun, RunRecord } from '../store/runs.ts';
import { claimName } from './lifecycle.ts';
import { pauseIfFailing, type PausingDeps } from './pausing.ts';
import { isGone, listKept, putAside, readKept, removeKept, writeKept, type Kept } from './spool-files.ts';
import { takeOut } from '../under-way.ts';

type Deps = {
  readonly clock: Clock;
  readonly log: Log;
  readonly runs: {
    readonly record: (record: RunRecord) => Promise<boolean>;
    /** Whether just this was written of the run, whoever told it. */
    readonly isRecorded: (record: RunRecord) => Promise<boolean>;
  };
  readonly jobs: PausingDeps['jobs'];
  /** Where the nodes of this installation have their folders. */
  readonly folder: string;
  readonly node: string;
  /** Aborted: this node stops, and need not see PostgreSQL again. */
  readonly stopping: AbortSignal;
};

/** What became of telling a result: written; the run was not ours any more; or left in its file to the next start. */
export type Told = 'recorded' | 'too_late' | 'kept';

export type Spool = {
  /**
   * Records what an attempt came to, however long PostgreSQL is away. Rejects when it will not take it, and when this node has to end
   * (`signal`) and there is no file either.
   */
  readonly record: (run: ClaimedRun, record: RunRecord, signal: AbortSignal) => Promise<Told>;
  /** Records what waits in the folder of a node, if that lies here; rejects when PostgreSQL is away. Answers how many were written. */
  readonly replay: (node: string) => Promise<number>;
  /** Looks after results that PostgreSQL neither takes nor refuses, until stopped. */
  readonly start: () => Loop;
};

type Entry = Kept & { readonly name: string; readonly since: number; readonly leave: () => void; file: Promise<boolean> | undefined };

// Between two tries to record, and how many are made of a result that has no file once this node has to end.
const retryMs = 1000;
const lastTries = 3;
// PostgreSQL may be slow; after so long without an answer a result has its file.
const answerMs = 5000;
const lookMs = 1000;
const replayedAtOnce = 100;

const never = new AbortController().signal;

/** Makes the spool; a folder is made when something is to be kept. */
export function makeSpool(deps: Deps): Spool {
  const pending: Entry[] = [];
  const folderOf = (node: string): string => join(deps.folder, foldedName(node));
  const ours = folderOf(deps.node);
  let isFailing = false;

  /** Gives a result its file; false: there can be none now. */
  const keep = (entry: Entry): Promise<boolean> =>
    (entry.file ??= writeKept(ours, entry.name, entry).then(
      () => !(isFailing = false),
      (fault: unknown) => {
        if (!isFailing) deps.log.error({ err: fault, folder: ours }, 'spool_failed');
        isFailing = true;
        entry.file = undefined;
        return false;
      },
    ));

  const letGo = async (entry: Entry): Promise<void> => {
    takeOut(pending, entry);
    if (await entry.file) await removeKept(ours, entry.name);
  };

  const write = async (record: RunRecord): Promise<boolean> => (await deps.runs.record(record)) || (await deps.runs.isRecorded(record));

  const recordAtLast = async (entry: Entry, signal: AbortSignal): Promise<Told> => {
    for (let tries = 1; ; tries++) {
      try {
        const isOurs = await write(entry.record);
        await letGo(entry);
        return isOurs ? 'recorded' : 'too_late';
      } catch (fault) {
        if (tries === 1) deps.log.error({ ...about(entry), err: fault }, 'record_delayed');
        const isKept = await keep(entry);
        if (blamesOneRow(fault)) {
          if (isKept) await putAside(ours, entry.name);
          takeOut(pending, entry);
          throw fault;
        }
        if (isKept && deps.stopping.aborted) {
          takeOut(pending, entry);
          return 'kept';
        }
        if (signal.aborted && deps.stopping.aborted && tries >= lastTries) throw fault;
        await deps.clock.sleep(retryMs, never);
      }
    }
  };

  const look = async (): Promise<number> => {
    const now = deps.clock.monotonic();
    for (const entry of pending.filter(({ since }) => now - since >= (deps.stopping.aborted ? lookMs : answerMs))) {
      // Unless it was written while another was being kept.
      if (pending.includes(entry) && (await keep(entry)) && deps.stopping.aborted) entry.leave();
    }
    return lookMs;
  };

  const replayOne = async (folder: string, name: string): Promise<boolean> => {
    let kept: Kept;
    try {
      kept = await readKept(folder, name);
    } catch (fault) {
      if (!isGone(fault)) await setAside(folder, name, fault);
      return false;
    }
    const isWritten = await replayKept(kept, join(folder, name));
    if (isWritten === undefined) await putAside(folder, name);
    else await removeKept(folder, name);
    return isWritten === true;
  };

  const setAside = async (folder: string, name: string, fault: unknown): Promise<false> => {
    const became = await putAside(folder, name);
    if (became !== 'gone') deps.log.error({ err: fault, file: join(folder, name), aside: became === 'aside' }, 'spool_unreadable');
    return false;
  };

  /** Undefined: PostgreSQL refuses it. */
  const replayKept = async (kept: Kept, file: string): Promise<boolean | undefined> => {
    const { run, record } = kept;
    try {
      const isOurs = await write(record);
      const fields = { ...about(kept), outcome: record.note.outcome, state: record.state };
      if (!isOurs) deps.log.warn(fields, 'result_came_too_late');
      else deps.log.info(fields, 'replayed_result');
      if (isOurs) await pauseIfFailing(deps, run, record);
      return isOurs;
    } catch (fault) {
      if (!blamesOneRow(fault)) throw fault;
      deps.log.error({ ...about(kept), err: fault, file }, 'result_refused');
      return undefined;
    }
  };

  return {
    record: async (run, record, signal) => {
      const left = Promise.withResolvers<Told>();
      const { id, jobId, jobName, attempt, traceId, policy } = run;
      const entry: Entry = {
        name: claimName(record),
        run: { id, jobId, jobName, attempt, traceId, policy: { pauseAfterFailures: policy.pauseAfterFailures } },
        record,
        since: deps.clock.monotonic(),
        leave: () => left.resolve('kept'),
        file: undefined,
      };
      pending.push(entry);
      return await Promise.race([recordAtLast(entry, signal), left.promise]);
    },
    replay: async (node) => {
      const folder = folderOf(node);
      const found = await listKept(folder).catch((fault: unknown) => {
        deps.log.error({ err: fault, folder }, 'spool_unreadable');
        return { whole: [], torn: [] };
      });
      // What waits in this process finds out by itself that it was written; it is told all the same, as it may have no file. Looked at
      // after the folder: what is just being written there is among it.
      const waiting = new Map(folder === ours ? pending.map((entry) => [entry.name, entry]) : []);
      const steps = [
        ...[...waiting.values()].map(
          ({ record }) =>
            () =>
              write(record).catch(unlessBlamed),
        ),
        ...found.whole.filter((name) => !waiting.has(name)).map((name) => () => replayOne(folder, name)),
        // Of another node's it may be in the very act of being written.
        ...(folder === ours ? found.torn : [])
          .filter((name) => !waiting.has(name))
          .map((name) => () => setAside(folder, name, new Error('it was not written to its end'))),
      ];
      let written = 0;
      while (steps.length > 0) {
        const told = await Promise.all(steps.splice(0, replayedAtOnce).map((step) => step()));
        written += told.filter(Boolean).length;
      }
      return written;
    },
    start: () => every(deps.clock, look, { onFault: (fault) => deps.log.error({ err: fault }, 'spool_failed') }),
  };
}

/** Names of nodes may hold anything and differ by case only, names of folders may not. */
function foldedName(node: string): string {
  return createHash('sha256').update(node).digest('hex').slice(0, 16);
}

function unlessBlamed(fault: unknown): false {
  if (!blamesOneRow(fault)) throw fault;
  return false;
}

function about({ run }: Kept) {
  return { trace_id: run.traceId, job: run.jobName, run: run.id, attempt: run.attempt };
}
