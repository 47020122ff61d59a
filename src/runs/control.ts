// What people do to runs: start one by hand, stop one.

import type { Bell, Clock } from '../clock.ts';
import { Refusal } from '../errors.ts';
import { show } from '../faults.ts';
import type { Log } from '../observe/log.ts';
import type { JobRow } from '../store/jobs.ts';
import type { NewRun } from '../store/runs.ts';

type TriggerDeps = {
  readonly clock: Clock;
  readonly log: Log;
  readonly jobs: { readonly byName: (name: string) => Promise<JobRow | undefined> };
  readonly runs: { readonly insert: (run: NewRun) => Promise<{ id: number } | undefined> };
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
  const run = await deps.runs.insert({
    jobId: job.id,
    cause: 'manual',
    dueAt: deps.clock.now(),
    traceId: options.traceId,
    evenIfBusy: options.override,
  });
  if (!run) throw new Refusal('conflict', `job ${name} has a run that is not at its end; to run it beside that one, add "override": true`);
  deps.dispatch.ring();
  deps.log.info({ trace_id: options.traceId, job: name, run: run.id }, 'triggered_job');
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
