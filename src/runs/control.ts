// What people do to runs: start one by hand, stop one.

import type { Bell, Clock } from '../clock.ts';
import type { JobSchedule, Scheduled } from '../crontab/schedules.ts';
import { Refusal } from '../errors.ts';
import { show } from '../faults.ts';
import type { JobDefinition } from '../jobs/definition.ts';
import type { Log } from '../observe/log.ts';
import type { JobRow } from '../store/jobs.ts';
import type { Backfill, NewRun } from '../store/making.ts';

type TriggerDeps = {
  readonly clock: Clock;
  readonly log: Log;
  readonly jobs: { readonly byName: (name: string) => Promise<JobRow | undefined> };
  readonly runs: { readonly insert: (run: NewRun) => Promise<readonly { id: number }[]> };
  readonly dispatch: Bell;
};

/**
 * Makes a run of a job now, also of a disabled one; answers its id. A job that minds overlap and has a run that is not at its
 * end is refused (`conflict`) unless `override`.
 */
export async function trigger(
  deps: TriggerDeps,
  name: string,
  options: { readonly override: boolean; readonly traceId: string },
): Promise<{ id: number }> {
  const job = await deps.jobs.byName(name);
  if (!job) throw new Refusal('not_found', `job not found: ${show(name)}`);
  if (!job.policy) throw new Refusal('conflict', `job ${name} can't run: ${job.fault ?? 'it was not worked out yet, try again'}`);
  const [run, ...others] = await deps.runs.insert({
    jobId: job.id,
    cause: 'manual',
    dueAt: deps.clock.now(),
    traceId: options.traceId,
    evenIfBusy: options.override,
  });
  if (!run && job.runOn === 'all') throw new Refusal('conflict', `job ${name} can't run: there is no worker, and it runs on all of them`);
  if (!run) throw new Refusal('conflict', `job ${name} has a run that is not at its end; to run it beside that one, add "override": true`);
  deps.dispatch.ring();
  for (const { id } of [run, ...others]) deps.log.info({ trace_id: options.traceId, job: name, run: id }, 'triggered_job');
  return run;
}

type BackfillDeps = Omit<TriggerDeps, 'runs'> & {
  readonly runs: { readonly backfill: (backfill: Backfill) => Promise<number> };
  readonly scheduleOf: (job: Scheduled) => JobSchedule;
};

export type BackfillOptions = {
  /** Due times from `from` (inclusive) to `to` (exclusive). */
  readonly from: Date;
  readonly to: Date;
  readonly onlyMissing: boolean;
  /** Instead of the job's own policy. */
  readonly overlap: JobDefinition['overlap'];
  readonly traceId: string;
};

const mostBackfilled = 10_000;

/** Makes runs of a job's due times in the past, as it says today; answers how many. Refusals: `not_found`, `conflict`, `bad_input`. */
export async function backfill(deps: BackfillDeps, name: string, options: BackfillOptions): Promise<{ runs: number }> {
  const job = await deps.jobs.byName(name);
  if (!job) throw new Refusal('not_found', `job not found: ${show(name)}`);
  const { timezone } = job;
  if (!job.policy || timezone === null)
    throw new Refusal('conflict', `job ${name} can't run: ${job.fault ?? 'it was not worked out yet, try again'}`);
  const now = deps.clock.now();
  const { from, to } = options;
  if (to > now) throw new Refusal('bad_input', `to: expected a moment up to now, ${now.toISOString()}, got ${show(to.toISOString())}`);
  if (from >= to)
    throw new Refusal('bad_input', `from: expected a moment before ${show(to.toISOString())}, got ${show(from.toISOString())}`);
  const schedule = deps.scheduleOf({ ...job, timezone });
  const [before, last] = [new Date(from.getTime() - 1), new Date(to.getTime() - 1)];
  const count = schedule.count(before, last);
  if (count > mostBackfilled)
    throw new Refusal('bad_input', `from: expected at most ${mostBackfilled} due times before "to", got ${count}`);
  const dueTimes: Date[] = [];
  for (let due = schedule.next(before); due && due <= last; due = schedule.next(due)) if (!schedule.isBlackedOut(due)) dueTimes.push(due);
  const runs = await deps.runs.backfill({ ...options, jobId: job.id, dueTimes, now });
  deps.dispatch.ring();
  deps.log.info({ trace_id: options.traceId, job: name, runs }, 'backfilled_job');
  return { runs };
}

type StopDeps = Pick<TriggerDeps, 'clock' | 'log'> & {
  readonly runs: { readonly cancel: (id: number, now: Date) => Promise<'cancelled' | 'told' | undefined> };
};

/**
 * Stops a run: one that has not begun is cancelled at once, one that is on is told to stop on its node, and killed when it does not.
 * Its job goes on. Refusal `conflict`: it is at its end.
 */
export async function cancel(deps: StopDeps, id: number, traceId: string): Promise<void> {
  const done = await deps.runs.cancel(id, deps.clock.now());
  if (done === undefined) throw new Refusal('conflict', `run ${id} is not on its way: there is nothing to cancel`);
  deps.log.info({ trace_id: traceId, run: id }, done === 'told' ? 'stopping_run' : 'cancelled_run');
}

type RerunDeps = Pick<TriggerDeps, 'clock' | 'log' | 'dispatch'> & {
  readonly runs: { readonly rerun: (id: number, traceId: string, now: Date) => Promise<{ id: number } | undefined> };
};

/**
 * Makes a new run of the same command as one that is at its end; answers its id. Refusal `conflict`: there is no such run, it is not
 * at its end, or its job is gone.
 */
export async function rerun(deps: RerunDeps, id: number, traceId: string): Promise<{ id: number }> {
  const run = await deps.runs.rerun(id, traceId, deps.clock.now());
  if (!run) throw new Refusal('conflict', `run ${id} can't be run again: expected one that is at its end and whose job is still there`);
  deps.dispatch.ring();
  deps.log.info({ trace_id: traceId, run: run.id, rerun_of: id }, 'rerun_run');
  return run;
}

/** Stops the runs on this node that shall be cancelled. */
export async function stopCancelled(deps: {
  readonly runs: { readonly toCancel: (owner: number) => Promise<readonly number[]> };
  readonly incarnation: () => number;
  readonly cancel: (ids: readonly number[]) => void;
}): Promise<void> {
  const ids = await deps.runs.toCancel(deps.incarnation());
  if (ids.length > 0) deps.cancel(ids);
}
