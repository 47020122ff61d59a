// A TCP proxy with the faults of a network: it can hang up, refuse, fall silent, lose its way and be slow.

import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

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
  /** Nothing comes through, also on new connections, and nobody is told; what was sent arrives after `pass`, as TCP sends again. */
  readonly blackhole: () => void;
  /** What is asked comes through, and no answer to it, also on new connections, until `pass`, which cuts them: the answers are lost. */
  readonly swallowAnswers: () => void;
  /** Everything comes through so much later, one piece after the other. */
  readonly delay: (ms: number) => void;
  /** The end of `blackhole`, `swallowAnswers` and `delay`. */
  readonly pass: () => void;
};

/** Starts a proxy in front of the server of a URL. */
export async function startProxy(scope: Scope, to: string): Promise<Proxy> {
  const target = new URL(to);
  const pairs = new Set<{ near: Socket; far: Socket; isSilent: boolean }>();
  let delayMs = 0;
  let isSwallowing = false;
  let hole: PromiseWithResolvers<void> | undefined;

  /** Holds back what comes after it too, so that the order stays. */
  const forward = async (from: Socket, into: Socket, chunk: Buffer): Promise<void> => {
    from.pause();
    await sleep(delayMs);
    while (hole) await hole.promise;
    if (!into.destroyed) into.write(chunk);
    from.resume();
  };
  const accept = (near: Socket): void => {
    const far = connect(Number(target.port), target.hostname);
    const pair = { near, far, isSilent: false };
    pairs.add(pair);
    for (const [from, into] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('data', (chunk: Buffer) => {
        if (pair.isSilent || (isSwallowing && from === far)) return;
        if (hole || delayMs > 0) void forward(from, into, chunk);
        else into.write(chunk);
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
  const pass = (): void => {
    delayMs = 0;
    hole?.resolve();
    hole = undefined;
    if (isSwallowing) cut('reset');
    isSwallowing = false;
  };
  const down = async (): Promise<void> => {
    const closed = server && once(server, 'close');
    server?.close();
    server = undefined;
    cut('reset');
    await closed;
  };
  scope.after(async () => {
    pass();
    await down();
  });
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
    blackhole: () => {
      hole ??= Promise.withResolvers();
    },
    swallowAnswers: () => {
      isSwallowing = true;
    },
    delay: (ms) => {
      delayMs = ms;
    },
    pass,
  };
}

async function listening(server: Server, port: number): Promise<Server> {
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return server;
}
