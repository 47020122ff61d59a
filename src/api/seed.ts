// The calls that users already have, word for word: /createJob, /listJobRecord, /getJobRecordResult, /ping. The words of
// that API (record, failed_cnt, code -2) live here and nowhere else.

import { Hono, type Context } from 'hono';
import { z } from 'zod';
import { Refusal, toldOf, wire, type Told } from '../errors.ts';
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

/** The paths whose answers have the envelope of these calls, whatever comes. */
export const seedPaths: ReadonlySet<string> = new Set(['/createJob', '/listJobRecord', '/getJobRecordResult']);

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
      log.warn({ fault: toldOf(fault).message }, 'add_httpcreate_job_failed');
      throw fault;
    }
  });

  app.all('/listJobRecord', async (c) => {
    const { page, size, cursor, ...filter } = shaped(listRequest, await bodyOf(c));
    const rows = await deps.records.list({ ...filter, before: cursor }, { limit: size, offset: cursor === undefined ? page * size : 0 });
    return envelope(c, 0, 'success', rows.map(recordOf));
  });

  app.all('/getJobRecordResult', async (c) => {
    const { recordId } = shaped(resultRequest, await bodyOf(c));
    const row = await deps.records.byId(recordId);
    if (!row) throw new Refusal('not_found', 'record not found');
    return envelope(c, 0, 'success', row.result ?? {});
  });

  return app;
}

/** What these calls answer when they do not what was asked. */
export function seedRefusal(c: Context<DoorEnv>, { kind, message }: Told): Response {
  return envelope(c, wire[kind].code, message, {}, wire[kind].seedStatus);
}

const recordId = (least: number) => wholeNumber(least, Number.MAX_SAFE_INTEGER, true);

/** A moment as RFC 3339, in the years that it and PostgreSQL can write. */
const moment = z.unknown().transform((value, context): Date => {
  const parsed = z.iso.datetime({ offset: true }).safeParse(value);
  const at = new Date(parsed.success ? parsed.data : Number.NaN);
  return at >= firstMoment && at <= lastMoment ? at : refuse(context, value, 'expected a time such as "2030-01-23T09:00:00Z"');
});

const firstMoment = new Date('0001-01-01T00:00:00Z');
const lastMoment = new Date('9999-12-31T23:59:59.999Z');

const listRequest = table({
  page: wholeNumber(0, 1_000_000, true).default(0),
  size: wholeNumber(0, 100, true)
    .default(0)
    .transform((size) => (size === 0 ? 3 : size)),
  name: label(200).optional(),
  state: oneOf(...(states as readonly [State, ...State[]])).optional(),
  from: moment.optional(),
  to: moment.optional(),
  cursor: recordId(1).optional(),
}).superRefine(({ from, to }, context) => {
  if (from === undefined || to === undefined || from <= to) return;
  context.addIssue({
    code: 'custom',
    path: ['to'],
    message: `expected a time not before from, ${from.toISOString()}, got "${to.toISOString()}"`,
  });
});

const resultRequest = table({ recordId: recordId(1) });

/**
 * The answer, with all its headers in a plain object: by Hono's own way, through Headers that are merged, copied and sorted, they
 * would cost as much as the parsing of the request.
 */
function envelope(c: Context<DoorEnv>, code: number, message: string, data: unknown, status: 200 | 403 | 413 | 500 = 200): Response {
  const body = JSON.stringify({ code, message, currentTime: Math.floor(c.get('now').getTime() / 1000), data });
  const headers = {
    'content-type': 'application/json; charset=utf-8',
    traceparent: c.get('traceparent'),
    'x-trace-id': c.get('traceId'),
  };
  return new Response(body, { status, headers });
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
