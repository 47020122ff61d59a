// A TCP proxy with the faults of a network: it can hang up, refuse, and fall silent.

import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

type Scope = { after(fn: () => Promise<void>): void };

export type Proxy = {
  /** The URL that was given, by way of the proxy. */
  readonly url: string;
  /** Cuts every connection: with a reset, or as an orderly end. */
  readonly cut: (how: 'reset' | 'end') => void;
  /** Cuts every connection and refuses new ones, until `up`. */
  readonly down: () => Promise<void>;
  readonly up: () => Promise<void>;
  /** The connections there are stay open and carry nothing any more: half-open. New ones work. */
  readonly silence: () => void;
  /** From now on every answer takes so many milliseconds longer. */
  readonly slow: (ms: number) => void;
};

/** Starts a proxy in front of the server of a URL. */
export async function startProxy(scope: Scope, to: string): Promise<Proxy> {
  const target = new URL(to);
  const pairs = new Set<{ near: Socket; far: Socket; isSilent: boolean }>();

  let delayMs = 0;

  const accept = (near: Socket): void => {
    const far = connect(Number(target.port), target.hostname);
    const pair = { near, far, isSilent: false };
    pairs.add(pair);
    for (const [from, into] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('data', (chunk) => {
        if (pair.isSilent) return;
        if (delayMs === 0 || from === near) into.write(chunk);
        else setTimeout(() => into.write(chunk), delayMs);
      });
      from.on('error', () => {});
      from.on('close', () => {
        pairs.delete(pair);
        into.destroy();
      });
    }
  };
  const cut = (how: 'reset' | 'end'): void => {
    for (const { near } of pairs) {
      if (how === 'reset') near.resetAndDestroy();
      else near.destroy();
    }
  };

  let server: Server | undefined = await listening(createServer(accept), 0);
  const { port } = server.address() as AddressInfo;
  const down = async (): Promise<void> => {
    const closed = server && once(server, 'close');
    server?.close();
    server = undefined;
    cut('reset');
    await closed;
  };
  scope.after(down);
  const url = new URL(to);
  url.port = String(port);
  return {
    url: url.href,
    cut,
    down,
    up: async () => {
      server = await listening(createServer(accept), port);
    },
    silence: () => {
      for (const pair of pairs) pair.isSilent = true;
    },
    slow: (ms) => {
      delayMs = ms;
    },
  };
}

async function listening(server: Server, port: number): Promise<Server> {
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return server;
}
