// What all doors for programs share: reading a request's JSON, checking its shape, and what a handler knows of its request.

import type { Context } from 'hono';
import { z } from 'zod';
import { Refusal } from '../errors.ts';
import { describeFaults, faultsOf, hostileFaults } from '../faults.ts';
import type { Log } from '../observe/log.ts';

/** Set for every request by the server before a door is reached. */
export type DoorEnv = { Variables: { traceId: string; log: Log } };

/** The JSON of a body, whatever its content type says; an empty body is an empty object. Refusal `bad_input`. */
export async function bodyOf(c: Context<DoorEnv>): Promise<unknown> {
  const text = await c.req.text();
  if (text.trim() === '') return {};
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    throw new Refusal('bad_input', 'body: expected JSON, got something else');
  }
  const hostile = hostileFaults(body);
  if (hostile.length > 0) throw new Refusal('bad_input', describeFaults(hostile));
  return body;
}

/** What a schema makes of an input. Refusal `bad_input` with every fault. */
export function shaped<T extends z.ZodType>(schema: T, input: unknown): z.output<T> {
  const parsed = schema.safeParse(input);
  if (!parsed.success) throw new Refusal('bad_input', describeFaults(faultsOf(parsed.error, input, schema)));
  return parsed.data;
}
