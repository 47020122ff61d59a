// Jobs are made and changed here, wherever they come from: a request, the file, or a row written by hand.

import type { Bell, Clock } from '../clock.ts';
import type { JobSchedule, Scheduled } from '../crontab/schedules.ts';
import { fireOverdue, type Firing } from '../crontab/ticker.ts';
import { Refusal } from '../errors.ts';
import type { Executor } from '../executors/executor.ts';
import { describeFaults, show } from '../faults.ts';
import type { Log } from '../observe/log.ts';
import type { JobRow, WorkedOut, WrittenJob } from '../store/jobs.ts';
import { parseDefinition, type JobDefinition } from './definition.ts';
import { inputOfRow, writtenOf } from './written.ts';

export type ManageDeps = {
  readonly clock: Clock;
  readonly log: Log;
  readonly kinds: ReadonlyMap<string, Executor>;
  readonly defaultTimezone: string;
  readonly scheduleOf: (job: Scheduled) => JobSchedule;
  readonly newTraceId: () => string;
  readonly dispatch: Bell;
  readonly jobs: Firing['jobs'] & {
    readonly insert: (job: WrittenJob) => Promise<number | undefined>;
    readonly update: (id: number, job: WrittenJob, unlessDueBy: Date | undefined) => Promise<boolean>;
    readonly byName: (name: string) => Promise<JobRow | undefined>;
    readonly ofFile: (configId: string) => Promise<readonly JobRow[]>;
    readonly remove: (name: string, unlessDueBy: Date | undefined) => Promise<boolean>;
    readonly setEnabled: (id: number, enabled: boolean, nextDueAt: Date | undefined, unlessDueBy: Date | undefined) => Promise<boolean>;
    readonly pause: (name: string, note: string | null, now: Date) => Promise<boolean>;
    readonly resume: (name: string) => Promise<boolean>;
    readonly workOut: (id: number, revision: number, job: WorkedOut) => Promise<void>;
  };
};

/** Makes a job as somebody asked for it over HTTP; answers its id. Refusals: `bad_input` with every fault, `conflict`. */
export async function createJob(deps: ManageDeps, input: unknown, traceId: string): Promise<{ id: number; name: string }> {
  // Scripts of old send numbers as digits.
  const parsed = parseDefinition(input, { ...deps, coerceDigits: true });
  if (!parsed.ok) throw new Refusal('bad_input', describeFaults(parsed.faults));
  const { definition } = parsed;
  const job = written(deps, definition, { source: 'api', configId: null, traceId });
  if (job.nextDueAt === null && definition.expr !== '') {
    throw new Refusal(
      'bad_input',
      `expr: expected a time to come, got ${show(definition.expr)}, which never fires after ${deps.clock.now().toISOString()}`,
    );
  }
  const id = await deps.jobs.insert(job);
  if (id === undefined) throw new Refusal('conflict', `name: a job named "${definition.name}" exists already`);
  return { id, name: definition.name };
}

/** Deletes a job; its runs stay, its name is free. */
export async function deleteJob(deps: ManageDeps, name: string): Promise<void> {
  const job = await deps.jobs.byName(name);
  const isDeleted = job && (await edit(deps, job.id, (unlessDueBy) => deps.jobs.remove(name, unlessDueBy)));
  if (isDeleted !== true) throw new Refusal('not_found', `job not found: ${show(name)}`);
}

/** Switches a job on or off; on, it goes on from now. A job whose row has a fault can't be switched on. */
export async function setEnabled(deps: ManageDeps, name: string, enabled: boolean): Promise<void> {
  const job = await deps.jobs.byName(name);
  if (!job) throw new Refusal('not_found', `job not found: ${show(name)}`);
  if (job.enabled === enabled) return;
  const nextDueAt = enabled ? firstDue(deps, job) : undefined;
  await edit(deps, job.id, (unlessDueBy) => deps.jobs.setEnabled(job.id, enabled, nextDueAt, unlessDueBy));
}

/** From now on its due times are written down as skipped and not run; `note` says why, for those who find it so. */
export async function pauseJob(deps: Pick<ManageDeps, 'clock' | 'jobs'>, name: string, note: string | undefined): Promise<void> {
  if (!(await deps.jobs.pause(name, note ?? null, deps.clock.now()))) throw new Refusal('not_found', `job not found: ${show(name)}`);
}

/** A paused job goes on from now. */
export async function resumeJob(deps: Pick<ManageDeps, 'jobs'>, name: string): Promise<void> {
  if (!(await deps.jobs.resume(name))) throw new Refusal('not_found', `job not found: ${show(name)}`);
}

/**
 * Brings the jobs that a file owns in line with it, by name: created, changed, and disabled when they are no longer in it. A
 * name that is taken by a job of another source stays that one's, and is told.
 */
export async function applyFile(deps: ManageDeps, configId: string, definitions: readonly JobDefinition[]): Promise<void> {
  const owned = new Map((await deps.jobs.ofFile(configId)).map((job) => [job.name, job]));
  await Promise.all(definitions.map((definition) => applyOne(deps, configId, definition, owned.get(definition.name))));
  const listed = new Set(definitions.map((definition) => definition.name));
  for (const job of owned.values()) {
    if (listed.has(job.name) || !job.enabled) continue;
    await edit(deps, job.id, (unlessDueBy) => deps.jobs.setEnabled(job.id, false, undefined, unlessDueBy));
    deps.log.info({ job: job.name }, 'disabled_job_not_in_file');
  }
}

/** Works out a row that was written by hand; a bad one is switched off with its fault on it. `now` is the database's. */
export async function workOut(deps: ManageDeps, job: JobRow, now: Date): Promise<void> {
  const parsed = parseDefinition(inputOfRow(job), deps);
  if (!parsed.ok) {
    const fault = describeFaults(parsed.faults);
    await deps.jobs.disableFaulty(job.id, job.revision, fault);
    deps.log.error({ job: job.name, fault }, 'add_db_job_failed');
    return;
  }
  const traceId = job.traceId ?? deps.newTraceId();
  const { command, policy, timezone } = writtenOf(parsed.definition);
  const nextDueAt = deps.scheduleOf(parsed.definition).next(now) ?? null;
  await deps.jobs.workOut(job.id, job.revision, { command, policy, timezone, traceId, nextDueAt });
  deps.log.info({ trace_id: traceId, job: job.name }, 'add_db_job_successed');
}

/** Undefined: the row was edited by hand, or never worked out; the next tick does that. */
function firstDue(deps: ManageDeps, job: JobRow): Date | undefined {
  const parsed = parseDefinition(inputOfRow(job), deps);
  if (!parsed.ok) throw new Refusal('conflict', `job ${job.name} can't be enabled: ${describeFaults(parsed.faults)}`);
  const { source, configId, traceId } = job;
  if (traceId === null || !isSame(job, written(deps, parsed.definition, { source, configId, traceId }))) return undefined;
  return deps.scheduleOf(parsed.definition).next(deps.clock.now());
}

async function applyOne(deps: ManageDeps, configId: string, definition: JobDefinition, job: JobRow | undefined): Promise<void> {
  const traceId = job?.traceId ?? deps.newTraceId();
  const fields = { trace_id: traceId, job: definition.name };
  const wanted = written(deps, definition, { source: 'file', configId, traceId });
  if (job && isSame(job, wanted)) {
    deps.log.info(fields, 'add_job_successed');
    return;
  }
  if (job) await edit(deps, job.id, (unlessDueBy) => deps.jobs.update(job.id, wanted, unlessDueBy));
  else if ((await deps.jobs.insert(wanted)) === undefined && !(await isOwned(deps, configId, definition.name))) {
    deps.log.error({ ...fields, fault: 'the name is taken by a job that this file does not own' }, 'add_job_failed');
    return;
  }
  deps.log.info({ ...fields, changed: true }, 'add_job_successed');
}

/** Writes an edit; what it would drop is fired before it. Answers whether there was something to be edited. */
async function edit(deps: ManageDeps, id: number, write: (unlessDueBy: Date | undefined) => Promise<boolean>): Promise<boolean> {
  // Not before the moment from which the new due times count.
  const now = deps.clock.now();
  if (await write(now)) return true;
  await fireOverdue(deps, id, now);
  return await write(undefined);
}

/** Whether another node with the same file was a moment quicker. */
async function isOwned(deps: ManageDeps, configId: string, name: string): Promise<boolean> {
  return (await deps.jobs.byName(name))?.configId === configId;
}

function written(deps: ManageDeps, definition: JobDefinition, origin: Pick<WrittenJob, 'source' | 'configId' | 'traceId'>): WrittenJob {
  const nextDueAt = deps.scheduleOf(definition).next(deps.clock.now()) ?? null;
  return { ...writtenOf(definition), ...origin, nextDueAt };
}

/** Whether a row says what is wanted already; its cursor, which moves, is not compared. */
function isSame(job: JobRow, wanted: WrittenJob): boolean {
  const { nextDueAt: _, ...definition } = wanted;
  return Object.entries(definition).every(([key, value]) => canonical(job[key as keyof WrittenJob]) === canonical(value));
}

/** JSON with keys in order: jsonb does not keep theirs. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) =>
    typeof each === 'object' && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
      : each,
  );
}
