// The doors as app.ts puts them together, on a real PostgreSQL, called without a socket; nothing fires and nothing runs.

import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import type { Hono } from 'hono';
import type { DoorEnv } from '../../src/api/wire.ts';
import { makeBell } from '../../src/clock.ts';
import type { Config } from '../../src/config.ts';
import { rememberSchedules } from '../../src/crontab/schedules.ts';
import { openDoors } from '../../src/doors.ts';
import { httpExecutor } from '../../src/executors/http.ts';
import { loadExecutors } from '../../src/executors/registry.ts';
import { shellExecutor } from '../../src/executors/shell.ts';
import { makeHealth, type HealthDeps } from '../../src/node/health.ts';
import { makeMetrics } from '../../src/observe/metrics.ts';
import { newTraceId } from '../../src/observe/tracing.ts';
import { openVitals } from '../../src/store/vitals.ts';
import { standingClock, type StandingClock } from './clock.ts';
import { openStores, type Stores } from './jobs.ts';
import { keptLog, type LogLine } from './log.ts';
import { testDatabase } from './postgres.ts';

type Scope = { after(fn: () => Promise<void>): void };

export type Envelope<T = unknown> = { code: number; message: string; currentTime: number; data: T };

export type Doors = Stores & {
  readonly app: Hono<DoorEnv>;
  readonly clock: StandingClock;
  readonly lines: LogLine[];
  /** Asks as a program of this machine does. A `body` that is no text or bytes is sent as JSON. */
  readonly ask: (path: string, body?: unknown, init?: Asking) => Promise<Response>;
  /** Asks a seed call; answers its envelope, which must come with status 200. */
  readonly call: <T = unknown>(path: string, body?: unknown) => Promise<Envelope<T>>;
  /** Asks /v1; answers status and JSON. */
  readonly v1: (method: string, path: string, body?: unknown) => Promise<{ status: number; json: Record<string, unknown> }>;
};

type Asking = { readonly method?: string; readonly headers?: Record<string, string> };

export const httpDefaults: Config['http'] = {
  host: '127.0.0.1',
  port: 0,
  hosts: [],
  readTimeoutMs: 30_000,
  readHeaderTimeoutMs: 10_000,
  writeTimeoutMs: 30_000,
  idleTimeoutMs: 60_000,
  bodyLimitBytes: 1024 * 1024,
};

/** Where nothing is wrong but what the database says. */
export const wellDoing: Pick<HealthDeps, 'clockState' | 'queue' | 'loopLagMs' | 'isDraining' | 'slots' | 'busy'> = {
  clockState: () => ({ state: 'right', aheadMs: 0 }),
  queue: () => 'ok',
  loopLagMs: () => 0,
  isDraining: () => false,
  slots: 20,
  busy: () => 0,
};

export const migrations = fileURLToPath(new URL('../../migrations', import.meta.url));

/** A job as the sample call makes it, under another name. */
export function sample(name: string, changed: Record<string, unknown> = {}): Record<string, unknown> {
  return { name, expr: '0/5 * * * * *', command: { type: 'shell', target: 'echo hello' }, ...changed };
}

/** Opens them on a database of their own. */
export async function openTestDoors(scope: Scope, changed: Partial<Config['http']> = {}): Promise<Doors> {
  const { url } = await testDatabase(scope);
  const stores = openStores(scope, url);
  const { jobs, runs, records, nodes } = stores;
  const clock = standingClock();
  const { log, lines } = keptLog();
  const dispatch = makeBell(clock);
  const shell = shellExecutor({ outputLimitBytes: 1000, inheritedEnv: {} });
  const http = httpExecutor({ responseLimitBytes: 1000, keptBodyBytes: 1000, allowAddress: () => true, userAgent: 'Belfry' });
  const managing = {
    clock,
    log,
    kinds: await loadExecutors([shell, http], {}, '.'),
    defaultTimezone: 'UTC',
    scheduleOf: rememberSchedules(),
    newTraceId,
    jobs,
  };
  const vitals = openVitals({ url, applicationName: 'belfry test', onError: () => {} }, migrations);
  scope.after(() => vitals.close());
  const { look: readiness } = makeHealth({ ...wellDoing, clock, log, look: vitals.look });
  const app = openDoors({
    ...managing,
    http: { ...httpDefaults, ...changed },
    runs,
    records,
    nodes,
    dispatch,
    readiness,
    metrics: makeMetrics(readiness),
  });
  const ask: Doors['ask'] = async (path, body, { method = 'POST', headers = {} } = {}) =>
    await app.request(path, {
      method,
      headers: { host: '127.0.0.1:9000', ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body) }),
    });
  return {
    ...stores,
    app,
    clock,
    lines,
    ask,
    call: async (path, body) => {
      const answer = await ask(path, body);
      assert.equal(answer.status, 200);
      return (await answer.json()) as Envelope<never>;
    },
    v1: async (method, path, body) => {
      const answer = await ask(`/v1${path}`, body, { method });
      const text = await answer.text();
      return { status: answer.status, json: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>) };
    },
  };
}
