// The calls of those who watch: /healthz, which says that the process answers, and /readyz, which says how it does.

import { Hono } from 'hono';
import type { Readiness } from '../readiness.ts';
import type { DoorEnv } from './wire.ts';

type Deps = { readonly readiness: () => Promise<Readiness> };

/** Asked every few seconds by machines, so that their access is no news. */
export const healthPaths: ReadonlySet<string> = new Set(['/healthz', '/readyz']);

/** Both take GET and HEAD; no secret is in them. */
export function healthApi(deps: Deps): Hono<DoorEnv> {
  const app = new Hono<DoorEnv>();

  app.get('/healthz', (c) => c.json({ status: 'ok' }, 200, notKept));

  app.get('/readyz', async (c) => {
    const readiness = await deps.readiness();
    return c.json(readiness, readiness.status === 'not_ready' ? 503 : 200, notKept);
  });

  return app;
}

const notKept = { 'cache-control': 'no-store' };
