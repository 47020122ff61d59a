// Makes one HTTP request and judges the answer. Its hardest question is not what came back but, when nothing did, whether
// the other side may have acted: nothing sent is known to have had no effect, anything sent and unanswered is not.

import type { IncomingHttpHeaders } from 'node:http';
import { Agent, type Dispatcher, interceptors, request as send } from 'undici';
import { messageOf } from '../errors.ts';
import { type AllowAddress, guardedConnector } from './address-guard.ts';
import type { AttemptRequest, AttemptResult, Executor } from './executor.ts';
import { readBody } from './http-body.ts';
import { expectsStatus, type HttpCommand, parseHttpCommand } from './http-command.ts';
import { cleanText, type OutputKeeper, outputKeeper } from './output.ts';
import { describePage, isPage } from './page.ts';
import { isFound } from './pattern.ts';
import { endedBy, type StopCause, stoppedBefore, stopReasonOf } from './stop.ts';

export type { AllowAddress } from './address-guard.ts';
export type { HttpCommand } from './http-command.ts';

export type HttpOptions = {
  /** Where reading an answer stops, after decompression. */
  readonly responseLimitBytes: number;
  /** How much of the body is kept with the run: its beginning and its end. */
  readonly keptBodyBytes: number;
  /** Beside what is refused always (link-local and metadata addresses). */
  readonly allowAddress: AllowAddress;
  readonly userAgent: string;
};

/** An idle connection is used again within this time only: the other side may be closing it just as we send. */
const keepAliveMs = 1_000;

/** The part of a page that its title and summary are looked for in. */
const pageLength = 64 * 1024;

/** Headers that say nothing about who asks; a redirect to another origin loses all others that the command set. */
const harmlessHeaders = new Set(['accept', 'accept-language', 'content-type', 'user-agent']);

/** How far the exchange has come; written as it happens, since a stop may come at any point. */
type Exchange = {
  /** Of the latest request: a redirect begins another. */
  stage: 'unsent' | 'sent' | 'answered';
  /** Of the answer that counts, redirects that are followed aside; 0 while there is none. */
  status: number;
  headers: IncomingHttpHeaders;
  isWhole: boolean;
  /** Why it broke off. */
  fault?: string;
  readonly kept: OutputKeeper;
  /** The body as far as it was read; only where an expectation needs it. */
  readonly whole: Buffer[];
};

/** The executor of `{ type: "http" }`. It has its own connections, which do not keep the process alive while idle. */
export function httpExecutor(options: HttpOptions): Executor<HttpCommand> {
  const agent = new Agent({
    connect: guardedConnector(options.allowAddress),
    allowH2: false,
    pipelining: 1,
    keepAliveTimeout: keepAliveMs,
    keepAliveMaxTimeout: 4 * keepAliveMs,
    // Our own deadline covers both; these have a grain of a second and never trip on a server that drips.
    headersTimeout: 0,
    bodyTimeout: 0,
  });

  async function execute(request: AttemptRequest<HttpCommand>): Promise<AttemptResult> {
    const exchange = begin(options.keptBodyBytes);
    if (request.signal.aborted) return stoppedReport(request, exchange, stopReasonOf(request.signal));
    const stop = new AbortController();
    const cause = await stoppedBefore(converse(agent, request, options, exchange, stop.signal), request);
    if (cause === undefined) return report(request, exchange, verdictOf(request.command, exchange));
    stop.abort();
    return stoppedReport(request, exchange, cause);
  }

  return { type: 'http', defaults: { maxAttempts: 3, timeoutMs: 30_000 }, parse: parseHttpCommand, execute };
}

function begin(keptBodyBytes: number): Exchange {
  return { stage: 'unsent', status: 0, headers: {}, isWhole: true, kept: outputKeeper(keptBodyBytes), whole: [] };
}

/** Sends and reads until the end of the answer; what goes wrong is noted in the exchange, never thrown. */
async function converse(
  agent: Agent,
  request: AttemptRequest<HttpCommand>,
  { responseLimitBytes, userAgent }: HttpOptions,
  exchange: Exchange,
  signal: AbortSignal,
): Promise<void> {
  const { command } = request;
  try {
    const answer = await send(command.target, {
      dispatcher: agent.compose([noteProgress(exchange), ...redirecting(command)]),
      method: command.method,
      headers: headersOf(request, userAgent),
      body: bodyOf(command),
      signal,
    });
    exchange.status = answer.statusCode;
    exchange.headers = answer.headers;
    exchange.isWhole = await readBody(answer.body, answer.headers, responseLimitBytes, (chunk) => {
      exchange.kept.add(chunk);
      if (command.expect_body !== undefined) exchange.whole.push(chunk);
    });
  } catch (thrown) {
    exchange.fault = faultText(thrown);
  }
}

/** Innermost, so that it sees every request of a chain of redirects. */
function noteProgress(exchange: Exchange): Dispatcher.DispatcherComposeInterceptor {
  return (dispatch) => (options, handler) =>
    dispatch(options, {
      onRequestStart(controller, context) {
        handler.onRequestStart?.(controller, context);
        // The connection stands, and the request is written as soon as this returns.
        if (!controller.aborted) exchange.stage = 'sent';
      },
      onResponseStart(controller, status, headers, statusText) {
        if (status >= 200) exchange.stage = 'answered';
        handler.onResponseStart?.(controller, status, headers, statusText);
      },
      onRequestUpgrade: (...args) => handler.onRequestUpgrade?.(...args),
      onResponseData: (...args) => handler.onResponseData?.(...args),
      onResponseEnd: (...args) => handler.onResponseEnd?.(...args),
      onResponseError: (...args) => handler.onResponseError?.(...args),
    });
}

function redirecting({ redirects = 0, headers = {} }: HttpCommand): Dispatcher.DispatcherComposeInterceptor[] {
  if (redirects === 0) return [];
  const revealing = Object.keys(headers).filter((name) => !harmlessHeaders.has(name.toLowerCase()));
  return [interceptors.redirect({ maxRedirections: redirects, stripHeadersOnCrossOriginRedirect: revealing })];
}

function headersOf(request: AttemptRequest<HttpCommand>, userAgent: string): Record<string, string> {
  const given = Object.entries(request.command.headers ?? {}).map(([name, value]) => [name.toLowerCase(), value] as const);
  return {
    'user-agent': userAgent,
    'accept-encoding': 'identity',
    ...(isObjectBody(request.command) ? { 'content-type': 'application/json' } : {}),
    ...Object.fromEntries(given),
    'idempotency-key': headerText(request.idempotencyKey),
    traceparent: headerText(request.traceparent),
    'x-belfry-job': headerText(request.job),
    'x-belfry-run-id': headerText(request.runId),
    'x-belfry-attempt': String(request.attempt),
    'x-belfry-due-at': request.dueAt.toISOString(),
  };
}

/** Percent-encoded when it has letters that a header cannot carry. */
function headerText(text: string): string {
  return /^[\x20-\x7e]*$/.test(text) ? text : encodeURIComponent(text.toWellFormed());
}

function isObjectBody({ body }: HttpCommand): boolean {
  return body !== undefined && typeof body !== 'string';
}

function bodyOf({ body }: HttpCommand): string | null {
  if (body === undefined) return null;
  return typeof body === 'string' ? body : JSON.stringify(body);
}

/** Undefined when the answer is what the command expects; else what is wrong with it. */
function verdictOf(command: HttpCommand, exchange: Exchange): string | undefined {
  const { stage, status, fault, kept } = exchange;
  if (status !== 0 && !expectsStatus(command, status)) return `unexpected status ${status}`;
  if (fault !== undefined && status !== 0) return `the answer broke off after ${kept.size()} bytes: ${fault}`;
  if (fault !== undefined) return `${withoutAnswer[stage]}: ${fault}`;
  if (command.expect_body === undefined) return undefined;
  const isAsExpected = isFound(command.expect_body, Buffer.concat(exchange.whole).toString('utf8'));
  if (isAsExpected === undefined) return `expect_body: /${command.expect_body}/ took too long`;
  return isAsExpected ? undefined : `body does not match /${command.expect_body}/`;
}

const withoutAnswer = { unsent: 'cannot connect', sent: 'no answer', answered: 'cannot follow the redirect' };

/** An answer that is complete, or that refuses, tells the effect; so does a request that never left. */
function isKnown(command: HttpCommand, { stage, status, fault }: Exchange, isOver: boolean): boolean {
  if (stage !== 'answered') return stage === 'unsent';
  return (isOver && fault === undefined) || status === 0 || !expectsStatus(command, status);
}

function report(request: AttemptRequest<HttpCommand>, exchange: Exchange, error: string | undefined): AttemptResult {
  const outcome = error === undefined ? 'succeeded' : 'failed';
  return reportOf(request, exchange, outcome, isKnown(request.command, exchange, true), error);
}

function stoppedReport(request: AttemptRequest<HttpCommand>, exchange: Exchange, cause: StopCause): AttemptResult {
  const { outcome, error } = endedBy(cause, request.timeoutMs);
  return reportOf(request, exchange, outcome, isKnown(request.command, exchange, false), error);
}

function reportOf(
  { keepOutput }: AttemptRequest<HttpCommand>,
  { status, headers, isWhole, kept }: Exchange,
  outcome: AttemptResult['outcome'],
  known: boolean,
  error: string | undefined,
): AttemptResult {
  const retryAfterMs = outcome === 'succeeded' ? undefined : retryAfter(headers, Date.now());
  const clean = error === undefined ? undefined : cleanText(error);
  const body = keepOutput ? kept.text() : '';
  return {
    outcome,
    known,
    ...(clean === undefined ? {} : { error: clean }),
    ...(status === 0 ? {} : { status }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    result: {
      status,
      body: isWhole || !keepOutput ? body : `${body}\n… not read on after ${kept.size()} bytes …\n`,
      size: kept.size(),
      ...(isPage(headers['content-type'], body) ? describePage(body.slice(0, pageLength)) : {}),
      err: clean ?? '<nil>',
      ...(kept.cut() === 0 || !keepOutput ? {} : { cut: kept.cut() }),
      ...(isWhole ? {} : { whole: false }),
      ...(keepOutput ? {} : { kept: false }),
    },
  };
}

/** Seconds or an HTTP date (RFC 9110, 10.2.3), as milliseconds from `nowMs`; a date is compared with the answer's own. */
function retryAfter(headers: IncomingHttpHeaders, nowMs: number): number | undefined {
  const value = headers['retry-after']?.trim() ?? '';
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  const until = /[a-z]/i.test(value) ? Date.parse(value) : Number.NaN;
  const theirNow = Date.parse(headers.date ?? '');
  return Number.isNaN(until) ? undefined : Math.max(0, until - (Number.isNaN(theirNow) ? nowMs : theirNow));
}

/** What went wrong, on one line and without the advice for programmers that some libraries add. */
function faultText(thrown: unknown): string {
  // Where several addresses were tried, Node wraps the reasons and says nothing itself.
  const inner: unknown = thrown instanceof AggregateError ? thrown.errors[0] : thrown;
  if (!(inner instanceof Error)) return messageOf(inner);
  if ('library' in inner && 'reason' in inner) return `TLS: ${String(inner.reason)}`;
  const [first = ''] = inner.message.split(/\n|\. (?=[A-Z])/);
  return first === '' && 'code' in inner ? String(inner.code) : first;
}
