// A proxy that reads what is said to PostgreSQL, and can stop the talk at a statement: for crashes at an exact point.

import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

type Scope = { after(fn: () => Promise<void>): void };

export type Tap = {
  /** The URL that was given, by way of the tap. */
  readonly url: string;
  /**
   * From the next statement like this on, its connection carries nothing any more: the statement does not come to the server
   * (`asked`), or is done there and its answer does not come back (`answered`). Resolves when it is so.
   */
  readonly hold: (statement: RegExp, when: 'asked' | 'answered') => Promise<void>;
};

type Hold = { readonly statement: RegExp; readonly when: 'asked' | 'answered'; readonly reached: () => void };

/** Starts one in front of the server of a URL. */
export async function startTap(scope: Scope, to: string): Promise<Tap> {
  const target = new URL(to);
  const sockets = new Set<Socket>();
  let hold: Hold | undefined;

  const server = createServer((near) => {
    const far = connect(Number(target.port), target.hostname);
    const { read } = makeReader();
    let held: Hold | undefined;
    near.on('data', (chunk: Buffer) => {
      const texts = read(chunk);
      if (hold && !held && texts.some((text) => hold?.statement.test(text))) {
        held = hold;
        hold = undefined;
        if (held.when === 'asked') return held.reached();
        far.write(chunk);
      } else if (held?.when !== 'asked') far.write(chunk);
    });
    far.on('data', (chunk: Buffer) => {
      if (!held) near.write(chunk);
      // ReadyForQuery, the last word of each answer. What follows of the question is on its way until then.
      else if (chunk.subarray(-6, -1).equals(Buffer.from([0x5a, 0, 0, 0, 5]))) held.reached();
    });
    for (const [from, into] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on('error', () => {});
      from.on('close', () => {
        sockets.delete(from);
        into.destroy();
      });
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  scope.after(async () => {
    const closed = once(server, 'close');
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  });
  const url = new URL(to);
  url.port = String((server.address() as AddressInfo).port);
  return {
    url: url.href,
    hold: (statement, when) =>
      new Promise((reached) => {
        hold = { statement, when, reached };
      }),
  };
}

/** Reads the messages of a client, however they are cut: answers the texts of the statements that each piece asks for. */
function makeReader() {
  const named = new Map<string, string>();
  let rest: Buffer = Buffer.alloc(0);
  let hasBegun = false;
  const textOf = (type: string, body: Buffer): string | undefined => {
    const [first = '', second = ''] = body.toString('latin1').split('\0', 2);
    if (type === 'Q') return first;
    if (type === 'P') named.set(first, second);
    return type === 'P' ? second : type === 'B' ? named.get(second) : undefined;
  };
  return {
    read: (chunk: Buffer): string[] => {
      rest = Buffer.concat([rest, chunk]);
      const texts: string[] = [];
      for (;;) {
        // The first message has no type.
        const head = hasBegun ? 1 : 0;
        if (rest.length < head + 4) return texts;
        const length = head + rest.readUInt32BE(head);
        if (rest.length < length) return texts;
        const text = hasBegun ? textOf(String.fromCharCode(rest[0] ?? 0), rest.subarray(5, length)) : undefined;
        if (text !== undefined) texts.push(text);
        rest = rest.subarray(length);
        hasBegun = true;
      }
    },
  };
}
