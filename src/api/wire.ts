// What all doors for programs share: what a handler knows of its request, reading its JSON, and checking the shape of that.

import type { IncomingMessage } from 'node:http';
import type { Context } from 'hono';
import type { z } from 'zod';
import { Refusal } from '../errors.ts';
import { describeFaults, faultsOf, hostileFaults } from '../faults.ts';
import type { Log } from '../observe/log.ts';

/** Set for every request by the server before a door is reached. */
export type DoorEnv = {
  Bindings: {
    /** There when the request came through a socket. */
    readonly incoming?: IncomingMessage;
    /** It came with a path and a Host that make no URL. */
    readonly isMalformed?: boolean;
  };
  Variables: {
    readonly traceId: string;
    /** What goes out as the header of that name. */
    readonly traceparent: string;
    readonly log: Log;
    /** When the request came. */
    readonly now: Date;
    readonly bodyLimitBytes: number;
  };
};

/**
 * The JSON of a body, whatever the method and content type say; an empty body is an empty object. It is not looked at yet: pass
 * it to `shaped`, or to what checks as much. Refusals: `bad_input`, `too_large`.
 */
export async function bodyOf(c: Context<DoorEnv>): Promise<unknown> {
  const text = textOf(await bytesOf(c));
  if (text.trim() === '') return {};
  try {
    return JSON.parse(text);
  } catch (fault) {
    throw new Refusal('bad_input', `body: expected JSON, got ${text.length} characters that are not JSON${placeOf(fault)}`);
  }
}

/** What a schema makes of an input. Refusal `bad_input` with every fault. */
export function shaped<T extends z.ZodType>(schema: T, input: unknown): z.output<T> {
  const hostile = hostileFaults(input);
  if (hostile.length > 0) throw new Refusal('bad_input', describeFaults(hostile));
  const parsed = schema.safeParse(input);
  if (!parsed.success) throw new Refusal('bad_input', describeFaults(faultsOf(parsed.error, input, schema)));
  return parsed.data;
}

async function bytesOf(c: Context<DoorEnv>): Promise<Uint8Array> {
  const limit = c.get('bodyLimitBytes');
  if (c.env?.incoming) return await received(c.env.incoming, limit);
  const bytes = new Uint8Array(await c.req.arrayBuffer());
  if (bytes.length > limit) throw tooLarge(limit);
  return bytes;
}

/**
 * A body read from its socket, as the Fetch API knows of none in a GET or a TRACE. What is over the limit is refused as soon as it
 * shows; the server reads the rest away.
 */
function received(incoming: IncomingMessage, limit: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const cutShort = (): void => reject(new Refusal('bad_input', 'body: expected all of it, got a part before the connection ended'));
    if (Number(incoming.headers['content-length'] ?? 0) > limit) return reject(tooLarge(limit));
    if (incoming.destroyed) return cutShort();
    incoming.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= limit) chunks.push(chunk);
      else reject(tooLarge(limit));
    });
    incoming.on('end', () => resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)));
    incoming.on('error', cutShort);
    incoming.on('close', () => {
      if (!incoming.readableEnded) cutShort();
    });
  });
}

function tooLarge(limit: number): Refusal {
  return new Refusal('too_large', `body: expected at most ${limit} bytes, got more`);
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Without a byte order mark. What is not UTF-8 is refused: written down with its letters replaced it would be something else. */
function textOf(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new Refusal('bad_input', 'body: expected JSON in UTF-8, got bytes that are not UTF-8');
  }
}

/** Where JSON.parse gave up, if it says so. The rest of its message may repeat the body, which is nobody's to see. */
function placeOf(fault: unknown): string {
  const place = fault instanceof SyntaxError ? / \(line \d+ column \d+\)$/.exec(fault.message)?.[0] : undefined;
  return place ?? '';
}
