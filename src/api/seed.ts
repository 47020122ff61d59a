// The calls that users already have, word for word: /createJob, /listJobRecord, /getJobRecordResult, /ping. The words of
// that API (record, failed_cnt, code -2) live here and nowhere else.

import { Hono, type Context } from 'hono';
import { z } from 'zod';
import { messageOf, Refusal, wire } from '../errors.ts';
import { states, type State } from '../runs/lifecycle.ts';
import { label, oneOf, refuse, table, wholeNumber } from '../shapes.ts';
import type { RunFilter, RunRow } from '../store/records.ts';
import { bodyOf, shaped, type DoorEnv } from './wire.ts';

type Deps = {
  readonly createJob: (input: unknown, traceId: string) => Promise<{ id: number; name: string }>;
  readonly records: {
    readonly list: (filter: RunFilter, page: { limit: number; offset: number }) => Promise<readonly RunRow[]>;
    readonly byId: (id: number) => Promise<RunRow | undefined>;
  };
};

/** The seed calls; they take any method and answer 200 also for what was refused, as their clients expect. */
export function seedApi(deps: Deps): Hono<DoorEnv> {
  const app = new Hono<DoorEnv>();

  app.all('/ping', (c) => c.text('OK'));

  app.all('/createJob', async (c) => {
    const log = c.get('log');
    try {
      const { id, name } = await deps.createJob(await bodyOf(c), c.get('traceId'));
      log.info({ job: name, id }, 'add_httpcreate_job_successed');
      return envelope(c, 0, 'success', { id });
    } catch (fault) {
      if (fault instanceof Refusal) log.warn({ fault: fault.message }, 'add_httpcreate_job_failed');
      throw fault;
    }
  });

  app.all('/listJobRecord', async (c) => {
    const asked = shaped(listRequest, await bodyOf(c));
    const { page, size, cursor, ...filter } = asked;
    const rows = await deps.records.list({ ...filter, before: cursor }, { limit: size === 0 ? 3 : size, offset: cursor === undefined ? page * size : 0 });
    return envelope(c, 0, 'success', rows.map(recordOf));
  });

  app.all('/getJobRecordResult', async (c) => {
    const { recordId } = shaped(resultRequest, await bodyOf(c));
    const row = await deps.records.byId(recordId);
    if (!row) throw new Refusal('not_found', 'record not found');
    return envelope(c, 0, 'success', row.result ?? {});
  });

  app.onError((fault, c) => {
    if (fault instanceof Refusal) {
      const { code, status } = wire[fault.kind];
      return envelope(c, code, fault.message, {}, seedStatus(status));
    }
    c.get('log').error({ err: fault, message: messageOf(fault) }, 'request_failed');
    return envelope(c, -10001, 'internal error', {}, 500);
  });

  return app;
}

const recordId = (least: number) => wholeNumber(least, Number.MAX_SAFE_INTEGER, true);

/** A moment as RFC 3339. */
const moment = z.unknown().transform((value, context): Date => {
  const parsed = z.iso.datetime({ offset: true }).safeParse(value);
  const at = new Date(parsed.success ? parsed.data : Number.NaN);
  return Number.isNaN(at.getTime()) ? refuse(context, value, 'expected a time such as "2030-01-23T09:00:00Z"') : at;
});

const listRequest = table({
  page: wholeNumber(0, 1_000_000, true).default(0),
  size: wholeNumber(0, 100, true).default(3),
  name: label(200).optional(),
  state: oneOf(...(states as readonly [State, ...State[]])).optional(),
  from: moment.optional(),
  to: moment.optional(),
  cursor: recordId(1).optional(),
});

const resultRequest = table({ recordId: recordId(1) });

function envelope(c: Context, code: number, message: string, data: unknown, status: 200 | 401 | 403 | 413 | 500 = 200): Response {
  const body = JSON.stringify({ code, message, currentTime: Math.floor(Date.now() / 1000), data });
  return c.body(body, status, { 'content-type': 'application/json; charset=utf-8' });
}

/** These calls answer 200 for what their clients handle by its code. */
function seedStatus(status: number): 200 | 403 | 413 | 500 {
  if (status === 403 || status === 413) return status;
  return status >= 500 ? 500 : 200;
}

/** A run in the words of its first users: one record is one run. */
function recordOf(run: RunRow) {
  return {
    id: run.id,
    name: run.jobName,
    type: String(run.command['type']),
    command: JSON.stringify(run.command),
    result: JSON.stringify(run.result ?? {}),
    failed_cnt: run.failedCount,
    create_time: run.queuedAt,
    started_time: run.startedAt,
    finished_time: run.finishedAt,
    state: run.state,
    attempts: run.attempts,
    due_time: run.dueAt,
    node: run.node,
    trace_id: run.traceId,
    reason: run.reason,
    ...(run.error === null ? {} : { error: run.error }),
    ...(run.dueCount === 1 ? {} : { due_count: run.dueCount, last_due_time: run.lastDueAt }),
  };
}
