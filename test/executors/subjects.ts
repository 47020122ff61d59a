// The two built-in executors as the tests use them, and a real HTTP server for the second to talk to.

import { EventEmitter, once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import type { Executor } from '../../src/executors/executor.ts';
import { type HttpCommand, httpExecutor, type HttpOptions } from '../../src/executors/http.ts';
import { type ShellCommand, shellExecutor } from '../../src/executors/shell.ts';
import { attempt } from './support.ts';

export function shellHere(outputLimitBytes = 256 * 1024): Executor<ShellCommand> {
  return shellExecutor({ outputLimitBytes, inheritedEnv: { PATH: '/usr/local/bin:/usr/bin:/bin', LANG: 'C.UTF-8' } });
}

export function httpHere(changed: Partial<HttpOptions> = {}): Executor<HttpCommand> {
  return httpExecutor({
    responseLimitBytes: 1024 * 1024,
    keptBodyBytes: 256 * 1024,
    allowAddress: () => true,
    userAgent: 'Belfry/test',
    ...changed,
  });
}

export type Seen = { readonly method: string; readonly url: string; readonly headers: IncomingHttpHeaders; readonly body: string };

export type Routes = Record<string, (request: IncomingMessage, answer: ServerResponse) => unknown>;

/** A server on a free port, gone after the test. `seen` is what was asked so far, `next` the next request. */
export async function serve(t: { after: TestContext['after'] }, routes: Routes) {
  const seen: Seen[] = [];
  const arrivals = new EventEmitter();
  const server = createServer((request, answer) => {
    let body = '';
    request.on('data', (part) => (body += String(part)));
    request.on('end', () => {
      const { method = '', url = '', headers } = request;
      seen.push({ method, url, headers, body });
      arrivals.emit('request');
      const route = routes[url];
      if (route === undefined) answer.writeHead(404).end();
      else route(request, answer);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  return { seen, port, url: `http://127.0.0.1:${port}`, next: () => once(arrivals, 'request') };
}

/** Serves one answer at /, and asks for it. */
export async function ask(t: { after: TestContext['after'] }, answer: Routes[string], command: Record<string, unknown> = {}) {
  const server = await serve(t, { '/': answer });
  return attempt(httpHere(), { type: 'http', target: server.url, ...command });
}
