// The little of /v1 that a person needs at once: look at jobs, switch them on and off, run one now, delete one.

import { Hono, type Context } from 'hono';
import { z } from 'zod';
import type { JobSchedule, Scheduled } from '../crontab/schedules.ts';
import { Refusal, wire, type Told } from '../errors.ts';
import { show } from '../faults.ts';
import { moment } from '../jobs/when.ts';
import { inputOfRow } from '../jobs/written.ts';
import type { BackfillOptions } from '../runs/control.ts';
import { flag, oneOf, prose, table, wholeNumber } from '../shapes.ts';
import type { JobRow } from '../store/jobs.ts';
import { nodesApi, type NodesDeps } from './nodes.ts';
import { previewFor } from './preview.ts';
import { runsApi, type RunsDeps } from './runs.ts';
import { bodyOf, shaped, type DoorEnv } from './wire.ts';

type Deps = RunsDeps &
  NodesDeps & {
    /** For a preview that names no zone, as for a job. */
    readonly defaultTimezone: string;
    readonly jobs: {
      readonly list: (after: string, limit: number) => Promise<readonly JobRow[]>;
      readonly byName: (name: string) => Promise<JobRow | undefined>;
      readonly due: (limit: number) => Promise<readonly Scheduled[]>;
    };
    readonly scheduleOf: (job: Scheduled) => JobSchedule;
    readonly deleteJob: (name: string) => Promise<void>;
    readonly setEnabled: (name: string, enabled: boolean) => Promise<void>;
    readonly pause: (name: string, note: string | undefined) => Promise<void>;
    readonly resume: (name: string) => Promise<void>;
    readonly backfill: (name: string, options: BackfillOptions) => Promise<{ runs: number }>;
    readonly trigger: (name: string, options: { override: boolean; traceId: string }) => Promise<{ id: number }>;
  };

/** The calls under /v1. A refusal answers 4xx with `{"error": kind, "message": …}`. */
export function v1Api(deps: Deps): Hono<DoorEnv> {
  const app = new Hono<DoorEnv>();

  app.get('/jobs', async (c) => {
    const { limit, after } = shaped(pageRequest, c.req.query());
    const rows = await deps.jobs.list(after, limit + 1);
    const jobs = rows.slice(0, limit).map(jobOf);
    return c.json({ jobs, ...(rows.length > limit ? { next: jobs.at(-1)?.name } : {}) });
  });

  app.get('/jobs/:name', async (c) => {
    const name = nameOf(c);
    const job = await deps.jobs.byName(name);
    if (!job) throw new Refusal('not_found', `job not found: ${show(name)}`);
    return c.json(jobOf(job));
  });

  app.delete('/jobs/:name', async (c) => {
    const name = nameOf(c);
    await deps.deleteJob(name);
    c.get('log').info({ job: name }, 'deleted_job');
    return c.body(null, 204);
  });

  app.post('/jobs/:name/enable', (c) => change(c, 'enabled_job', (name) => deps.setEnabled(name, true)));
  app.post('/jobs/:name/disable', (c) => change(c, 'disabled_job', (name) => deps.setEnabled(name, false)));
  app.post('/jobs/:name/pause', async (c) => {
    const { note } = shaped(pauseRequest, await bodyOf(c));
    return await change(c, 'paused_job', (name) => deps.pause(name, note));
  });
  app.post('/jobs/:name/resume', (c) => change(c, 'resumed_job', deps.resume));

  app.post('/jobs/:name/trigger', async (c) => {
    const { override } = shaped(triggerRequest, await bodyOf(c));
    const run = await deps.trigger(nameOf(c), { override, traceId: c.get('traceId') });
    return c.json({ id: run.id }, 202);
  });

  app.post('/jobs/:name/backfill', async (c) => {
    const { only_missing: onlyMissing, ...range } = shaped(backfillRequest, await bodyOf(c));
    return c.json(await deps.backfill(nameOf(c), { ...range, onlyMissing, traceId: c.get('traceId') }), 202);
  });

  app.route('/runs', runsApi(deps));
  app.route('/nodes', nodesApi(deps));

  app.get('/schedule/preview', async (c) => c.json(await previewFor(deps, c.req.query(), c.get('now'))));

  return app;

  async function change(c: Context<DoorEnv>, event: string, act: (name: string) => Promise<void>): Promise<Response> {
    const name = nameOf(c);
    await act(name);
    c.get('log').info({ job: name }, event);
    const job = await deps.jobs.byName(name);
    return job ? c.json(jobOf(job)) : c.body(null, 204);
  }
}

/** What these calls answer when they do not what was asked. */
export function v1Refusal(c: Context<DoorEnv>, { kind, message }: Told): Response {
  return c.json({ error: kind, message }, wire[kind].status);
}

const pageRequest = table({
  limit: wholeNumber(1, 1000, true).default(100),
  // A name to go on after, as the `next` of the page before: at most 200 characters, of which each may count as two here.
  after: z.string().max(400, 'expected a name, the "next" of the page before').default(''),
});

const triggerRequest = table({ override: flag().default(false) });

// Due times of the past wait for each other, unless it is said otherwise.
const backfillRequest = table({
  from: moment(),
  to: moment(),
  only_missing: flag().default(false),
  overlap: oneOf('skip', 'allow', 'wait', 'wait_all', 'replace').default('wait_all'),
});

const pauseRequest = table({ note: prose(500).optional() });

const jobPath = table({ name: z.string() });

/** Whatever can be the name of a row, also of one that was written by hand and would be refused as a new job. */
function nameOf(c: Context<DoorEnv>): string {
  return shaped(jobPath, c.req.param()).name;
}

/** A job as it is written down, and what became of that. */
function jobOf(job: JobRow) {
  return {
    id: job.id,
    ...inputOfRow(job),
    name: job.name,
    source: job.source,
    next_due_at: job.nextDueAt,
    // A job that only comes after others has no due times to be at the end of.
    ended_at: job.expr === '' ? null : job.endedAt,
    paused_at: job.pausedAt,
    pause_note: job.pauseNote,
    fault: job.fault,
    revision: job.revision,
    created_at: job.createdAt,
    updated_at: job.updatedAt,
  };
}
