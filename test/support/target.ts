// An HTTP server that jobs call, and that remembers each call.

import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

type Scope = { after(fn: () => Promise<void>): void };

export type Asked = { readonly path: string; readonly headers: IncomingHttpHeaders };
export type Answer = { readonly status: number; readonly headers?: OutgoingHttpHeaders; readonly body?: string };

/** Starts one at a port of 127.0.0.1, any free one unless it is given; `answer` is told how many calls of that path came before. */
export async function startTarget(
  scope: Scope,
  answer: (asked: Asked, before: number) => Answer,
  port = 0,
): Promise<{ url: string; asked: readonly Asked[]; close: () => Promise<void> }> {
  const asked: Asked[] = [];
  const before = new Map<string, number>();
  const server = createServer(({ url: path = '', headers: sent }, response) => {
    const count = before.get(path) ?? 0;
    before.set(path, count + 1);
    asked.push({ path, headers: sent });
    const { status, headers = {}, body = '' } = answer({ path, headers: sent }, count);
    response.writeHead(status, headers).end(body);
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const close = async (): Promise<void> => {
    if (!server.listening) return;
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  };
  scope.after(close);
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked, close };
}
