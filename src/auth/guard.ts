// Who may come in. Until sign-in exists the service listens on loopback only and is open to this machine, but not to its
// browsers: a page from elsewhere must not reach a shell through them.

import type { MiddlewareHandler } from 'hono';
import { Refusal } from '../errors.ts';
import { show } from '../faults.ts';

/**
 * Refuses (`not_allowed`) a request whose Host is not of this machine or configured (DNS rebinding), and one that a web page of
 * another origin caused (Origin, and Sec-Fetch-Site of the Fetch Metadata standard).
 */
export function guardOrigin(hosts: readonly string[]): MiddlewareHandler {
  const configured = new Set(hosts.map((host) => host.toLowerCase()));
  return (c, next) => {
    const host = c.req.header('host');
    const name = hostName(host ?? '');
    if (name === undefined || !(isLoopback(name) || configured.has(name))) {
      const expected = 'expected this machine (localhost, 127.0.0.1) or a name listed in transport.http.hosts';
      throw new Refusal('not_allowed', `Host: ${expected}, got ${show(host)}`);
    }
    const origin = c.req.header('origin');
    if (origin !== undefined && !isSameOrigin(origin, host ?? '')) {
      throw new Refusal('not_allowed', `Origin: expected no call from a web page of another origin, got ${show(origin)}`);
    }
    const site = c.req.header('sec-fetch-site');
    if (site !== undefined && site !== 'same-origin' && site !== 'none') {
      throw new Refusal('not_allowed', `Sec-Fetch-Site: expected no call from a web page of another site, got ${show(site)}`);
    }
    return next();
  };
}

/**
 * Refuses (`not_allowed`) a request that a job of Belfry's makes, but for some paths: a job that could make jobs, or start runs, would
 * be a way past whoever may. The HTTP executor marks what it sends, and no job can take that mark off.
 */
export function guardJobs(open: ReadonlySet<string>): MiddlewareHandler {
  return (c, next) => {
    const runId = c.req.header('x-belfry-run-id');
    if (runId !== undefined && !open.has(c.req.path)) {
      const allowed = [...open].join(', ');
      throw new Refusal(
        'not_allowed',
        `X-Belfry-Run-Id: a job may not call Belfry itself, but for ${allowed}; got a call of run ${show(runId)}`,
      );
    }
    return next();
  };
}

/** The name in a Host header, without its port, in lower case. */
function hostName(host: string): string | undefined {
  const found = /^(\[[0-9a-f:.]+\]|[^:@/\s]+)(?::\d{1,5})?$/i.exec(host);
  return found?.[1]?.toLowerCase();
}

function isLoopback(name: string): boolean {
  return name === 'localhost' || name === '[::1]' || /^127(\.\d{1,3}){3}$/.test(name);
}

function isSameOrigin(origin: string, host: string): boolean {
  const found = /^https?:\/\/(.+)$/i.exec(origin);
  return found?.[1]?.toLowerCase() === host.toLowerCase();
}
