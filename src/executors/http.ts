// Makes one HTTP request and follows how far it comes; what that means is judged in http-answer.ts.

import { Agent, type Dispatcher, interceptors, request as send } from 'undici';
import { messageOf } from '../errors.ts';
import { type AllowAddress, guardedConnector } from './address-guard.ts';
import type { AttemptRequest, AttemptResult, Executor, PreviousRun } from './executor.ts';
import { type Exchange, newExchange, reportOf } from './http-answer.ts';
import { readBody } from './http-body.ts';
import { type HttpCommand, parseHttpCommand } from './http-command.ts';
import { stoppedBefore, stopReasonOf } from './stop.ts';

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

/** Headers that say nothing about who asks; a redirect to another origin loses all others that the command set. */
const harmlessHeaders = new Set(['accept', 'accept-language', 'content-type', 'user-agent']);

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
    const exchange = newExchange(options.keptBodyBytes);
    if (request.signal.aborted) return reportOf(request, exchange, stopReasonOf(request.signal));
    const stop = new AbortController();
    const cause = await stoppedBefore(converse(agent, request, options, exchange, stop.signal), request);
    // Told before the connection is torn down: what that does to the exchange is our own doing.
    const report = reportOf(request, exchange, cause);
    if (cause !== undefined) stop.abort();
    return report;
  }

  return { type: 'http', defaults: { maxAttempts: 1, timeoutMs: 30_000 }, parse: parseHttpCommand, execute };
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
    ...(request.previous === undefined ? {} : previousIn(request.previous)),
  };
}

/** Of the run before, without what it said: a header is no place for that. */
function previousIn({ job, runId, state }: PreviousRun): Record<string, string> {
  return { 'x-belfry-previous-job': headerText(job), 'x-belfry-previous-run-id': headerText(runId), 'x-belfry-previous-state': state };
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

/** What went wrong, on one line and without the advice for programmers that some libraries add. */
function faultText(thrown: unknown): string {
  // Where several addresses were tried, Node wraps the reasons and says nothing itself.
  const inner: unknown = thrown instanceof AggregateError ? thrown.errors[0] : thrown;
  if (!(inner instanceof Error)) return messageOf(inner);
  if ('library' in inner && 'reason' in inner) return `TLS: ${String(inner.reason)}`;
  const [first = ''] = inner.message.split(/\n|\. (?=[A-Z])/);
  return first === '' && 'code' in inner ? String(inner.code) : first;
}
