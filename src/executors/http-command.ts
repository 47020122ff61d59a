// What an HTTP command may look like as written down.

import { z } from 'zod';
import { commandReader, field, isPlainObject, isText, shown, shownAsSecret, texts } from './command.ts';

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];
const maxTargetBytes = 8 * 1024;
const maxHeaderBytes = 16 * 1024;
const maxBodyBytes = 1024 * 1024;
const maxPatternLength = 1000;
const maxRedirects = 10;

/** Those that frame the message or belong to the connection (RFC 9110, 9112), and those that Belfry sets itself. */
const deniedHeaders =
  /^(?:host|content-length|transfer-encoding|connection|keep-alive|proxy-connection|upgrade|expect|te|trailer|idempotency-key|traceparent|tracestate|x-belfry-.*)$/i;

const shape = z.strictObject({
  type: field<'http'>('"http"', (value) => value === 'http'),
  method: field<string>(`one of ${methods.join(', ')}`, (value) => value === '' || methods.includes(upper(value)))
    .transform((value) => (value === '' ? 'GET' : upper(value)))
    .default('GET'),
  target: field<string>(
    `an absolute http or https URL of at most ${maxTargetBytes} bytes, without user and password`,
    isTarget,
    shownTarget,
  ),
  headers: texts('names and values such as { Accept = "text/plain" }', faultOfHeader)
    .refine((headers) => !isPlainObject(headers) || distinct(Object.keys(headers)), 'expected each header once, got one twice')
    .exactOptional(),
  body: z
    .unknown()
    .superRefine((body, context) => {
      const fault = faultOfBody(body);
      if (fault !== undefined) context.addIssue({ code: 'custom', message: fault });
    })
    .exactOptional(),
  expect_status: field<number | string | (number | string)[]>('a status or a list of them such as [200, "3xx"]', (value) =>
    Array.isArray(value) ? value.length > 0 && value.length <= 50 && value.every(isStatus) : isStatus(value),
  )
    .transform((value) => [value].flat().map((status) => (typeof status === 'string' ? status.toLowerCase() : status)))
    .exactOptional(),
  expect_body: field<string>(`a regular expression of at most ${maxPatternLength} characters`, isPattern).exactOptional(),
  redirects: field<number>(
    `a whole number from 0 to ${maxRedirects}`,
    (value) => Number.isInteger(value) && Number(value) >= 0 && Number(value) <= maxRedirects,
  ).exactOptional(),
});

/** An HTTP command as written down, checked, its method in upper case and `expect_status` a list. */
export type HttpCommand = z.infer<typeof shape>;

/** Checks an HTTP command; throws an Error that names every fault. */
export function parseHttpCommand(command: Record<string, unknown>): HttpCommand {
  const parsed = read(command);
  // What TOML knows beyond JSON, a date, becomes what JSON makes of it; the same for what will be sent.
  return isPlainJson(parsed.body) ? parsed : { ...parsed, body: JSON.parse(JSON.stringify(parsed.body)) };
}

const read = commandReader(shape, ({ method, body }) =>
  upper(method) === 'HEAD' && body !== undefined ? ['command.body: expected no body with HEAD, got one'] : [],
);

/** Whether an answer with this status is what the command expects: any 2xx unless it says otherwise. */
export function expectsStatus({ expect_status = ['2xx'] }: HttpCommand, status: number): boolean {
  return expect_status.some((expected) => expected === status || expected === `${Math.floor(status / 100)}xx`);
}

function upper(value: unknown): string {
  return typeof value === 'string' ? value.toUpperCase() : '';
}

function isTarget(value: unknown): boolean {
  if (!isText(value, maxTargetBytes) || hasControlCharacter(value)) return false;
  const url = URL.canParse(value) ? new URL(value) : undefined;
  return url !== undefined && /^https?:\/\//i.test(value) && url.username === '' && url.password === '';
}

/** A URL with a password in it shall not come back in a message or a log. */
function shownTarget(value: unknown): string {
  return typeof value === 'string' && value.includes('@') ? 'one with an "@" in it' : shown(value);
}

function faultOfHeader(name: string, value: unknown): string | undefined {
  if (!/^[!#$%&'*+.^_`|~0-9a-z-]{1,256}$/i.test(name)) return `expected a header name (RFC 9110), got ${shown(name)}`;
  if (deniedHeaders.test(name)) return `expected a header that a job may set, got ${name}`;
  // Latin-1 goes over the wire as it is; anything else has no agreed encoding in a header.
  if (!isText(value, maxHeaderBytes) || !/^[\t\x20-\x7e\xa0-\xff]*$/.test(value)) {
    return `expected one line of Latin letters of at most ${maxHeaderBytes} bytes, got ${shownAsSecret(value)}`;
  }
  return undefined;
}

function faultOfBody(body: unknown): string | undefined {
  const expected = `expected a text or an object of at most ${maxBodyBytes} bytes, without NUL`;
  if (typeof body !== 'string' && (typeof body !== 'object' || body === null)) return `${expected}, got ${shown(body)}`;
  try {
    const isRight = typeof body === 'string' ? isText(body, maxBodyBytes) : isText(JSON.stringify(body, refuseUnclean), maxBodyBytes);
    return isRight ? undefined : `${expected}, got ${shownAsSecret(body)}`;
  } catch (thrown) {
    return `${expected}, got one that is not JSON: ${thrown instanceof Error ? thrown.message.split('\n')[0] : 'unknown'}`;
  }
}

/** The commands are kept as JSON by PostgreSQL, which takes neither NUL nor half a character. */
function refuseUnclean(key: string, value: unknown): unknown {
  if (!isText(key, maxBodyBytes)) throw new Error('a key with NUL or half a character');
  if (typeof value === 'string' && !isText(value, maxBodyBytes)) throw new Error('a text with NUL or half a character');
  return value;
}

function isPlainJson(value: unknown): boolean {
  if (value === undefined || value === null || typeof value === 'string' || typeof value === 'boolean') return true;
  if (typeof value === 'number') return Number.isFinite(value);
  if (typeof value !== 'object') return false;
  if (Array.isArray(value)) return value.every(isPlainJson);
  return Object.getPrototypeOf(value) === Object.prototype && Object.values(value).every(isPlainJson);
}

function isStatus(value: unknown): boolean {
  if (typeof value === 'string') return /^[1-5]xx$/i.test(value);
  return Number.isInteger(value) && Number(value) >= 100 && Number(value) <= 599;
}

function isPattern(value: unknown): boolean {
  if (!isText(value, maxPatternLength * 4) || value.length > maxPatternLength || value === '') return false;
  try {
    return new RegExp(value) instanceof RegExp;
  } catch {
    return false;
  }
}

function distinct(names: readonly string[]): boolean {
  return new Set(names.map((name) => name.toLowerCase())).size === names.length;
}

function hasControlCharacter(text: string): boolean {
  return /\p{Cc}/u.test(text);
}
