// The doors for programs, put together: each call with the work that it asks for.

import type { Hono } from 'hono';
import { healthApi } from './api/health.ts';
import { seedApi } from './api/seed.ts';
import { v1Api } from './api/v1.ts';
import type { DoorEnv } from './api/wire.ts';
import type { Bell } from './clock.ts';
import type { Config } from './config.ts';
import { createJob, deleteJob, pauseJob, resumeJob, setEnabled, type ManageDeps } from './jobs/manage.ts';
import type { Metrics } from './observe/metrics.ts';
import type { Readiness } from './node/readiness.ts';
import { backfill, cancel, rerun, trigger } from './runs/control.ts';
import { makeApp } from './server.ts';
import type { JobStore } from './store/jobs.ts';
import type { NodeStore } from './store/nodes.ts';
import type { RecordStore } from './store/records.ts';
import type { RunStore } from './store/runs.ts';

type Deps = ManageDeps & {
  readonly http: Config['http'];
  readonly jobs: JobStore;
  readonly runs: RunStore;
  readonly records: RecordStore;
  readonly readiness: () => Promise<Readiness>;
  readonly metrics: Metrics;
  readonly nodes: NodeStore;
  /** Told when runs are waiting to be sent. */
  readonly dispatch: Bell;
};

/** Everything that is served, as an app that can be called without a socket. */
export function openDoors(deps: Deps): Hono<DoorEnv> {
  return makeApp({
    ...deps,
    health: healthApi(deps),
    seed: seedApi({ createJob: (input, traceId) => createJob(deps, input, traceId), records: deps.records }),
    v1: v1Api({
      ...deps,
      deleteJob: (job) => deleteJob(deps, job),
      setEnabled: (job, enabled) => setEnabled(deps, job, enabled),
      pause: (job, note) => pauseJob(deps, job, note),
      resume: (job) => resumeJob(deps, job),
      backfill: (job, options) => backfill(deps, job, options),
      trigger: (job, options) => trigger(deps, job, options),
      cancel: (id, traceId) => cancel(deps, id, traceId),
      rerun: (id, traceId) => rerun(deps, id, traceId),
    }),
  });
}
