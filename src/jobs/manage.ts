// Jobs are made and changed here, wherever they come from: a request, the file, or a row written by hand.

import type { Bell, Clock } from '../clock.ts';
import type { JobSchedule, Scheduled } from '../crontab/schedules.ts';
import { fireOverdue, type Firing } from '../crontab/ticker.ts';
import { Refusal } from '../errors.ts';
import type { Executor } from '../executors/executor.ts';
import { describeFaults, show } from '../faults.ts';
import type { Log } from '../observe/log.ts';
import type { Edit, JobRow, WorkedOut, WrittenJob } from '../store/jobs.ts';
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
    readonly update: (id: number, job: WrittenJob, edit: Edit) => Promise<boolean>;
    readonly byName: (name: string) => Promise<JobRow | undefined>;
    readonly ofFile: (configId: string) => Promise<readonly JobRow[]>;
    readonly remove: (id: number, edit: Edit) => Promise<boolean>;
    readonly setEnabled: (id: number, enabled: boolean, nextDueAt: Date | undefined, edit: Edit) => Promise<boolean>;
    readonly pause: (name: string, note: string | null, now: Date) => Promise<boolean>;
    readonly resume: (name: string) => Promise<boolean>;
    readonly workOut: (id: number, revision: number, job: WorkedOut) => Promise<void>;
  };
};

/** Makes a job as somebody asked for it over HTTP; answers its id. Refusals: `bad_input` with every fault, `conflict`. */
export async function createJob(deps: ManageDeps, input: unknown, traceId: string): Promise<{ id: number; name: string }> {
  // Scripts of old send numbers as digits.
  const parsed = parseDefinition(input, { kinds: deps.kinds, defaultTimezone: deps.defaultTimezone, coerceDigits: true });
  if (!parsed.ok) throw new Refusal('bad_input', describeFaults(parsed.faults));
  const { definition } = parsed;
  const now = deps.clock.now();
  const job = written(deps, definition, { source: 'api', configId: null, traceId }, now);
  if (job.nextDueAt === null && definition.expr !== '') {
    throw new Refusal(
      'bad_input',
      `expr: expected a time to come, got ${show(definition.expr)}, which never fires after ${now.toISOString()}`,
    );
  }
  const id = await deps.jobs.insert(job);
  if (id === undefined) throw new Refusal('conflict', `name: a job named "${definition.name}" exists already`);
  return { id, name: definition.name };
}

/** Deletes a job; its runs stay, its name is free. */
export async function deleteJob(deps: ManageDeps, name: string): Promise<void> {
  const job = await deps.jobs.byName(name);
  const isDeleted = job && (await edit(deps, job.id, deps.clock.now(), (how) => deps.jobs.remove(job.id, how)));
  if (isDeleted !== true) throw new Refusal('not_found', `job not found: ${show(name)}`);
}

/** Switches a job on or off; on, it goes on from now. A job whose row has a fault can't be switched on. */
export async function setEnabled(deps: ManageDeps, name: string, enabled: boolean): Promise<void> {
  const job = await deps.jobs.byName(name);
  if (!job) throw new Refusal('not_found', `job not found: ${show(name)}`);
  if (job.enabled === enabled) return;
  const now = deps.clock.now();
  const nextDueAt = enabled ? firstDue(deps, job, now) : undefined;
  await edit(deps, job.id, now, (how) => deps.jobs.setEnabled(job.id, enabled, nextDueAt, how));
}

/** From now on its due times are written down as skipped and not run; `note` says why, for those who find it so. */
export async function pauseJob(deps: ManageDeps, name: string, note: string | undefined): Promise<void> {
  const now = deps.clock.now();
  const job = await deps.jobs.byName(name);
  if (job?.pausedAt === null) await fireOverdue(deps, job.id, now);
  if (!(await deps.jobs.pause(name, note ?? null, now))) throw new Refusal('not_found', `job not found: ${show(name)}`);
}

/** A paused job goes on from now. */
export async function resumeJob(deps: ManageDeps, name: string): Promise<void> {
  const job = await deps.jobs.byName(name);
  if (job?.pausedAt) await fireOverdue(deps, job.id, deps.clock.now());
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
    await edit(deps, job.id, deps.clock.now(), (how) => deps.jobs.setEnabled(job.id, false, undefined, how));
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
function firstDue(deps: ManageDeps, job: JobRow, now: Date): Date | undefined {
  const parsed = parseDefinition(inputOfRow(job), deps);
  if (!parsed.ok) throw new Refusal('conflict', `job ${job.name} can't be enabled: ${describeFaults(parsed.faults)}`);
  const { source, configId, traceId } = job;
  if (traceId === null || !isSame(job, written(deps, parsed.definition, { source, configId, traceId }, now))) return undefined;
  return deps.scheduleOf(parsed.definition).next(now);
}

async function applyOne(deps: ManageDeps, configId: string, definition: JobDefinition, job: JobRow | undefined): Promise<void> {
  const traceId = job?.traceId ?? deps.newTraceId();
  const fields = { trace_id: traceId, job: definition.name };
  const now = deps.clock.now();
  const wanted = written(deps, definition, { source: 'file', configId, traceId }, now);
  if (job && isSame(job, wanted)) {
    deps.log.info(fields, 'add_job_successed');
    return;
  }
  if (job) await edit(deps, job.id, now, (how) => deps.jobs.update(job.id, wanted, how));
  else if ((await deps.jobs.insert(wanted)) === undefined && !(await isOwned(deps, configId, definition.name))) {
    deps.log.error({ ...fields, fault: 'the name is taken by a job that this file does not own' }, 'add_job_failed');
    return;
  }
  deps.log.info({ ...fields, changed: true }, 'add_job_successed');
}

/**
 * Writes an edit of the moment `now`, from which its new due times count; what it would drop, due by then, is fired before it. Answers
 * whether there was something to be edited.
 */
async function edit(deps: ManageDeps, id: number, now: Date, write: (how: Edit) => Promise<boolean>): Promise<boolean> {
  if (await write({ at: now, evenIfDue: false })) return true;
  await fireOverdue(deps, id, now);
  return await write({ at: now, evenIfDue: true });
}

/** Whether another node with the same file was a moment quicker. */
async function isOwned(deps: ManageDeps, configId: string, name: string): Promise<boolean> {
  return (await deps.jobs.byName(name))?.configId === configId;
}

function written(
  deps: ManageDeps,
  definition: JobDefinition,
  origin: Pick<WrittenJob, 'source' | 'configId' | 'traceId'>,
  now: Date,
): WrittenJob {
  const nextDueAt = deps.scheduleOf(definition).next(now) ?? null;
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
