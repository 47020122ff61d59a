// The peer of bench/create.ts: a bare Hono that parses the JSON of a request and answers some.

import { serve } from '@hono/node-server';
import { Hono } from 'hono';

const app = new Hono().post('/createJob', async (c) => {
  const { name } = JSON.parse(await c.req.text()) as { name: string };
  return c.json({ code: 0, message: 'success', data: { name } });
});

serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }, ({ port }) => console.log(`listening on ${port}`));
process.on('SIGTERM', () => process.exit(0));
