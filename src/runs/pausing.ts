// A job that fails again and again is paused where it says so (`pause_after_failures`), until somebody has looked at it.

import type { Clock } from '../clock.ts';
import type { Log } from '../observe/log.ts';
import type { ClaimedRun } from '../store/runs.ts';
import type { Verdict } from './lifecycle.ts';

export type PausingDeps = {
  readonly clock: Clock;
  readonly log: Log;
  readonly jobs: {
    /** Pauses a job whose last `failures` runs have all failed; answers whether it did. */
    readonly pauseIfFailing: (id: number, failures: number, now: Date) => Promise<boolean>;
  };
};

type FailedRun = Pick<ClaimedRun, 'id' | 'jobId' | 'jobName' | 'traceId'> & {
  readonly policy: { readonly pauseAfterFailures?: number | undefined };
};

/** Looks at the runs before a failed one. What fails here is logged: the run is recorded, and the next failure looks again. */
export async function pauseIfFailing(deps: PausingDeps, run: FailedRun, verdict: Pick<Verdict, 'state'>): Promise<void> {
  const failures = run.policy.pauseAfterFailures;
  if (failures === undefined || verdict.state !== 'failed') return;
  const fields = { trace_id: run.traceId, job: run.jobName, run: run.id, failures };
  try {
    if (await deps.jobs.pauseIfFailing(run.jobId, failures, deps.clock.now())) deps.log.warn(fields, 'paused_job');
  } catch (fault) {
    deps.log.error({ ...fields, err: fault }, 'pause_job_failed');
  }
}
