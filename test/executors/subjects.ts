// The two built-in executors as the tests use them, and a real HTTP server for the second to talk to.

import { EventEmitter, once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import type { Executor } from '../../src/executors/executor.ts';
import { type HttpCommand, httpExecutor, type HttpOptions } from '../../src/executors/http.ts';
import { type Isolation, makeIsolation } from '../../src/executors/namespace.ts';
import { type ShellCommand, shellExecutor } from '../../src/executors/shell.ts';
import { attempt } from './support.ts';

const path = '/usr/local/bin:/usr/bin:/bin';

export function shellHere(outputLimitBytes = 256 * 1024, isolation?: Isolation): Executor<ShellCommand> {
  const inheritedEnv = { PATH: path, LANG: 'C.UTF-8' };
  return shellExecutor({ outputLimitBytes, inheritedEnv, ...(isolation === undefined ? {} : { isolation }) });
}

/** A way that a shell command may be run: its name, and what makes it. */
export type Way = { readonly name: string; readonly isolation?: Isolation };

/**
 * The ways that there are on this machine, opened: plain, and in a namespace as root and as anybody. In CI all have to be there;
 * elsewhere one that is not is left out, and that is said. To be closed by `closeWays`.
 */
export async function waysHere(): Promise<readonly Way[]> {
  const ways: Way[] = [{ name: 'in a plain group' }];
  for (const isRoot of process.getuid?.() === 0 ? [true, false] : [false]) {
    const isolation = makeIsolation({ isWanted: true, isRoot, path });
    const name = isRoot ? 'in a namespace of root' : 'in a user namespace';
    const found = await isolation.open();
    if (found.way !== 'none') ways.push({ name, isolation });
    else if (process.env['CI'] === 'true') throw new Error(`expected shell commands ${name} to work in CI, got: ${found.why}`);
    else console.warn(`NOT TESTED: shell commands ${name}: ${found.why}`);
  }
  return ways;
}

export async function closeWays(ways: readonly Way[]): Promise<void> {
  for (const { isolation } of ways) await isolation?.close();
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
