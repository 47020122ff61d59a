// The HTTP server: what every request passes through, in order, and then the doors.

import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener, RequestError } from '@hono/node-server';
import { Hono, type Context, type MiddlewareHandler } from 'hono';
import { healthPaths } from './api/health.ts';
import { seedPaths, seedRefusal } from './api/seed.ts';
import { v1Refusal } from './api/v1.ts';
import type { DoorEnv } from './api/wire.ts';
import { guardJobs, guardOrigin } from './auth/guard.ts';
import type { Clock } from './clock.ts';
import type { Config } from './config.ts';
import { Refusal, toldOf } from './errors.ts';
import { show } from './faults.ts';
import type { Log } from './observe/log.ts';
import { beginWork, newTraceId, traceIdOf } from './observe/tracing.ts';
import { takeOut } from './under-way.ts';

type Deps = {
  readonly clock: Clock;
  readonly log: Log;
  readonly http: Config['http'];
  readonly health: Hono<DoorEnv>;
  readonly seed: Hono<DoorEnv>;
  readonly v1: Hono<DoorEnv>;
};

/** The whole of what is served, as an app that can be called without a socket. */
export function makeApp(deps: Deps): Hono<DoorEnv> {
  const app = new Hono<DoorEnv>();
  app.use(observed(deps));
  app.use(guardOrigin(deps.http.hosts));
  app.use(guardJobs(openToJobs));
  app.get('/', (c) => c.text(welcome));
  app.route('/', deps.health);
  app.route('/v1', deps.v1);
  app.route('/', deps.seed);
  app.notFound((c) => refusal(c, new Refusal('not_found', `no such call: ${c.req.method} ${show(c.req.path)}`)));
  app.onError((fault, c) => refusal(c, fault));
  return app;
}

/** What a job may ask of the Belfry that runs it. */
const openToJobs: ReadonlySet<string> = new Set(['/ping', ...healthPaths]);

const welcome = `Belfry is running.

  /v1/jobs                 the jobs, and when each is due next
  /v1/nodes                the nodes, and what each does
  /v1/schedule/preview     when an expression is due (?expr=…&timezone=…)
  /listJobRecord           what has run, newest first
  /getJobRecordResult      the output of one run
  /createJob               make a job
  /readyz, /metrics        how this node does

The README shows each call.
`;

/** Gives each request its trace id, answers it in the headers, and writes the access log, however the request ends. */
function observed({ clock, log, http }: Deps): MiddlewareHandler<DoorEnv> {
  return async (c, next) => {
    const begun = clock.monotonic();
    const traceId = traceIdOf(c.req.header('traceparent')) ?? newTraceId();
    const requestLog = log.child({ trace_id: traceId });
    const work = beginWork('request', traceId, { 'http.request.method': c.req.method, 'url.path': c.req.path });
    c.set('traceId', traceId);
    c.set('log', requestLog);
    c.set('now', clock.now());
    c.set('bodyLimitBytes', http.bodyLimitBytes);
    c.set('traceparent', work.traceparent);
    // The seed calls write these themselves (see `envelope`).
    if (!seedPaths.has(c.req.path)) {
      c.header('traceparent', work.traceparent);
      c.header('x-trace-id', traceId);
    }
    try {
      if (c.env?.isMalformed === true) throw new Refusal('bad_input', 'request: expected a path and a Host that make a URL');
      await next();
    } catch (thrown) {
      // What is thrown and no Error passes by onError.
      c.res = refusal(c, thrown);
    }
    const { status } = c.res;
    work.end(status >= 500 ? `status ${status}` : undefined);
    const ms = Math.round((clock.monotonic() - begun) * 1000) / 1000;
    const level = healthPaths.has(c.req.path) ? 'debug' : 'info';
    requestLog[level]({ method: c.req.method, path: pathOf(c.req.url), status, ms }, 'accesslog_http');
  };
}

/** The beginning of the path, percent-encoded as it was sent: nothing in it can move a terminal. */
function pathOf(url: string): string {
  const [path = ''] = url.slice(url.indexOf('/', 8)).split('?', 1);
  return path.slice(0, 500);
}

/** The answer to a request that came to nothing, in the words of the door that it was for. A fault of ours is logged here, once. */
function refusal(c: Context<DoorEnv>, thrown: unknown): Response {
  if (!(thrown instanceof Refusal)) c.get('log').error({ err: thrown }, 'request_failed');
  return (seedPaths.has(c.req.path) ? seedRefusal : v1Refusal)(c, toldOf(thrown));
}

export type Listening = {
  readonly address: string;
  /** Takes no more requests at once; waits for those under way, for `graceMs` at most or until `atOnce`, and cuts the rest off. */
  readonly stop: (graceMs: number, atOnce: AbortSignal) => Promise<void>;
};

/** Listens; answers the address as a URL. Refusal `unavailable` when the address can't be had. */
export async function listen(app: Hono<DoorEnv>, http: Config['http']): Promise<Listening> {
  const answer = getRequestListener(app.fetch, {
    // Stands in for the Host of HTTP/1.0, which may have none; the guard looks at the header itself.
    hostname: 'localhost',
    // Of a request whose path and Host make no URL there is nothing to call the app with but that.
    errorHandler: (fault) =>
      fault instanceof RequestError
        ? app.fetch(new Request('http://localhost/'), { isMalformed: true })
        : new Response(null, { status: 500 }),
  });
  const underWay: ServerResponse[] = [];
  const server = createServer(
    {
      requestTimeout: http.readTimeoutMs,
      headersTimeout: shorter(http.readHeaderTimeoutMs, http.readTimeoutMs),
      keepAliveTimeout: http.idleTimeoutMs,
      connectionsCheckingInterval: 500,
      maxHeaderSize: 16_384,
    },
    (incoming, outgoing) => {
      underWay.push(outgoing);
      outgoing.on('close', () => takeOut(underWay, outgoing));
      void together().then(() => answer(incoming, outgoing));
    },
  );
  // A client that does not read its answer is let go.
  server.setTimeout(http.writeTimeoutMs === 0 ? 0 : http.readTimeoutMs + http.writeTimeoutMs + http.idleTimeoutMs);
  await new Promise<void>((resolve, reject) => {
    // Later on it is about one connection that could not be accepted; the others go on.
    server.on('error', (fault: NodeJS.ErrnoException) => {
      reject(new Refusal('unavailable', `transport.http.addr: can't listen on ${http.host}:${http.port} (${fault.code ?? fault.message})`));
    });
    server.listen(http.port, http.host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  const host = http.host.includes(':') ? `[${http.host}]` : http.host;
  return {
    address: `http://${host}:${port}`,
    stop: async (graceMs, atOnce) => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      // Else the connection of a request under way would be kept, and us with it, until its client has been idle for long.
      for (const outgoing of underWay) outgoing.shouldKeepAlive = false;
      const over = AbortSignal.any([atOnce, AbortSignal.timeout(graceMs)]);
      const cutOff = (): void => server.closeAllConnections();
      if (over.aborted) cutOff();
      else over.addEventListener('abort', cutOff, { once: true });
      await closed;
    },
  };
}

let turn: Promise<void> | undefined;

/**
 * Resolves for all at once who ask in one turn of the event loop. What a request goes through is more code than a processor keeps at
 * hand: step by step for all that came together it costs a sixth less than for one after the other (`/createJob`, 64 at a time).
 */
function together(): Promise<void> {
  turn ??= new Promise((resolve) => {
    setImmediate(() => {
      turn = undefined;
      resolve();
    });
  });
  return turn;
}

/** The shorter of two timeouts, of which 0 is none. */
function shorter(a: number, b: number): number {
  return a === 0 || b === 0 ? a + b : Math.min(a, b);
}
