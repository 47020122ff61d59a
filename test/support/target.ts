// An HTTP server that jobs call, and that remembers each call.

import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

type Scope = { after(fn: () => Promise<void>): void };

export type Asked = { readonly path: string; readonly headers: IncomingHttpHeaders };
export type Answer = { readonly status: number; readonly headers?: OutgoingHttpHeaders; readonly body?: string };

/** Starts one at any free port of 127.0.0.1; `answer` is told how many calls of that path came before. */
export async function startTarget(
  scope: Scope,
  answer: (asked: Asked, before: number) => Answer,
): Promise<{ url: string; asked: readonly Asked[] }> {
  const asked: Asked[] = [];
  const before = new Map<string, number>();
  const server = createServer(({ url: path = '', headers: sent }, response) => {
    const count = before.get(path) ?? 0;
    before.set(path, count + 1);
    asked.push({ path, headers: sent });
    const { status, headers = {}, body = '' } = answer({ path, headers: sent }, count);
    response.writeHead(status, headers).end(body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  scope.after(async () => {
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}
