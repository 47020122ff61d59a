// The calls of those who watch: /healthz, which says that the process answers, /readyz, which says how it does, and /metrics, which
// says it in figures.

import { Hono } from 'hono';
import type { Metrics } from '../observe/metrics.ts';
import type { Readiness } from '../node/readiness.ts';
import type { DoorEnv } from './wire.ts';

type Deps = { readonly readiness: () => Promise<Readiness>; readonly metrics: Pick<Metrics, 'text' | 'contentType'> };

/** Asked every few seconds by machines, so that their access is no news. */
export const healthPaths: ReadonlySet<string> = new Set(['/healthz', '/readyz', '/metrics']);

/** All take GET and HEAD; no secret is in them. */
export function healthApi(deps: Deps): Hono<DoorEnv> {
  const app = new Hono<DoorEnv>();

  app.get('/healthz', (c) => c.json({ status: 'ok' }, 200, notKept));

  app.get('/readyz', async (c) => {
    const readiness = await deps.readiness();
    return c.json(readiness, readiness.status === 'not_ready' ? 503 : 200, notKept);
  });

  app.get('/metrics', async (c) => c.body(await deps.metrics.text(), 200, { ...notKept, 'content-type': deps.metrics.contentType }));

  return app;
}

const notKept = { 'cache-control': 'no-store' };
