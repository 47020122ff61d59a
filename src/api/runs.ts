// /v1/runs: look at one, stop it, run it again.

import { Hono } from 'hono';
import { Refusal } from '../errors.ts';
import { table, wholeNumber } from '../shapes.ts';
import type { RunRow } from '../store/records.ts';
import { shaped, type DoorEnv } from './wire.ts';

export type RunsDeps = {
  readonly records: { readonly byId: (id: number) => Promise<RunRow | undefined> };
  readonly cancel: (id: number, traceId: string) => Promise<void>;
  readonly rerun: (id: number, traceId: string) => Promise<{ id: number }>;
};

/** The calls under /v1/runs. */
export function runsApi(deps: RunsDeps): Hono<DoorEnv> {
  const app = new Hono<DoorEnv>();

  app.get('/:id', async (c) => c.json(runOf(await there(idIn(c.req.param())))));

  app.post('/:id/cancel', async (c) => {
    const { id } = await there(idIn(c.req.param()));
    await deps.cancel(id, c.get('traceId'));
    return c.json(runOf(await there(id)), 202);
  });

  app.post('/:id/rerun', async (c) => {
    const { id } = await there(idIn(c.req.param()));
    return c.json(await deps.rerun(id, c.get('traceId')), 202);
  });

  return app;

  async function there(id: number): Promise<RunRow> {
    const run = await deps.records.byId(id);
    if (!run) throw new Refusal('not_found', `run not found: ${id}`);
    return run;
  }
}

const runPath = table({ id: wholeNumber(1, Number.MAX_SAFE_INTEGER, true) });

function idIn(params: Record<string, string>): number {
  return shaped(runPath, params).id;
}

/** A run in its own words; `waits_for_others` while its overlap or its concurrency holds it back. */
function runOf(run: RunRow) {
  return {
    id: run.id,
    job: run.jobName,
    cause: run.cause,
    state: run.state,
    reason: run.reason,
    due_at: run.dueAt,
    last_due_at: run.lastDueAt,
    due_count: run.dueCount,
    command: run.command,
    node: run.node,
    attempt: run.attempt,
    failed_count: run.failedCount,
    attempts: run.attempts,
    result: run.result,
    error: run.error,
    queued_at: run.queuedAt,
    ready_at: run.readyAt,
    waits_for_others: run.blocked ?? false,
    started_at: run.startedAt,
    cancel_at: run.cancelAt,
    finished_at: run.finishedAt,
    rerun_of: run.rerunOf,
    parent_id: run.parentId,
    trace_id: run.traceId,
  };
}
