// Results as files, a file each: whole or not there, on the disk once `writeKept` answers, read by nobody else.

import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import type { RunRecord } from '../store/runs.ts';

const moment = z.iso.datetime().transform((text) => new Date(text));

const keptShape = z.object({
  version: z.literal(1),
  run: z.object({
    id: z.int(),
    jobId: z.int(),
    jobName: z.string(),
    attempt: z.int(),
    traceId: z.string(),
    policy: z.object({ pauseAfterFailures: z.int().optional() }),
  }),
  record: z.object({
    id: z.int(),
    epoch: z.int(),
    state: z.enum(['succeeded', 'failed', 'cancelled', 'retrying']),
    reason: z.string().exactOptional(),
    readyAt: moment.exactOptional(),
    finishedAt: moment.exactOptional(),
    failed: z.boolean(),
    note: z.looseObject({
      attempt: z.int(),
      node: z.string(),
      started_at: z.string(),
      finished_at: z.string(),
      outcome: z.string(),
    }),
    result: z.record(z.string(), z.unknown()).exactOptional(),
    error: z.string().exactOptional(),
  }),
});

/** What an attempt came to, and what else telling it needs. */
export type Kept = { readonly run: z.output<typeof keptShape>['run']; readonly record: RunRecord };

const [ending, unfinished, aside] = ['.json', '.tmp', '.bad'];

/** Writes a result down under a name of its own; when this resolves, it is on the disk, whatever happens. */
export async function writeKept(folder: string, name: string, { run, record }: Kept): Promise<void> {
  await makeFolder(folder);
  const path = join(folder, name);
  const file = await open(path + unfinished, 'w', 0o600);
  try {
    await file.writeFile(JSON.stringify({ version: 1, run, record }));
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(path + unfinished, path + ending);
  await syncFolder(folder);
}

/** The names of what is kept in a folder, and of what was being written when its writer went; none where there is no folder. */
export async function listKept(folder: string): Promise<{ readonly whole: string[]; readonly torn: string[] }> {
  const files = await readdir(folder).catch((fault: unknown) => {
    if (isGone(fault)) return [];
    throw fault;
  });
  const endingIn = (end: string) => files.flatMap((file) => (file.endsWith(end) ? [file.slice(0, -end.length)] : []));
  return { whole: endingIn(ending), torn: endingIn(unfinished) };
}

/** Reads what is kept under a name; rejects when it is not what was written. */
export async function readKept(folder: string, name: string): Promise<Kept> {
  const { run, record } = keptShape.parse(JSON.parse(await readFile(join(folder, name + ending), 'utf8')));
  return { run, record };
}

/** Takes away what was recorded; somebody else may have done so. */
export async function removeKept(folder: string, name: string): Promise<void> {
  await rm(join(folder, name + ending), { force: true });
}

/**
 * Gives what can't be recorded, or is no whole file, another ending for a person to look at. `gone`: there is none (any more); `stuck`:
 * it can't be touched.
 */
export async function putAside(folder: string, name: string): Promise<'aside' | 'gone' | 'stuck'> {
  const path = join(folder, name);
  let isStuck = false;
  for (const end of [ending, unfinished]) {
    try {
      await rename(path + end, path + aside);
      return 'aside';
    } catch (fault) {
      isStuck ||= !isGone(fault);
    }
  }
  return isStuck ? 'stuck' : 'gone';
}

/** Whether a fault says that a file is not there. */
export function isGone(fault: unknown): boolean {
  return codeOf(fault) === 'ENOENT';
}

function codeOf(fault: unknown): unknown {
  return fault instanceof Error && 'code' in fault ? fault.code : undefined;
}

/**
 * Makes a folder, and those that it lies in, each only when the one above is on the disk. So whoever finds it there, made by somebody
 * else in this moment, has no more to see to than its own entry.
 */
async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { mode: 0o700 });
  } catch (fault) {
    if (isGone(fault)) {
      await makeFolder(dirname(folder));
      return await makeFolder(folder);
    }
    if (codeOf(fault) !== 'EEXIST') throw fault;
  }
  await syncFolder(dirname(folder));
}

async function syncFolder(folder: string): Promise<void> {
  const opened = await open(folder);
  try {
    await opened.sync();
  } finally {
    await opened.close();
  }
}
