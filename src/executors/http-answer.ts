// Judges an HTTP exchange. The hardest question is not what came back but, when nothing did, whether the other side may have
// acted: what was not sent is known to have had no effect, what was sent and not answered is not.

import type { IncomingHttpHeaders } from 'node:http';
import type { AttemptRequest, AttemptResult, Outcome } from './executor.ts';
import { expectsStatus, type HttpCommand } from './http-command.ts';
import { cleanText, type OutputKeeper, outputKeeper } from './output.ts';
import { describePage, isPage } from './page.ts';
import { isFound } from './pattern.ts';
import { endedBy, type StopCause } from './stop.ts';

/** How far an exchange has come; written as it happens, since a stop may come at any point. */
export type Exchange = {
  /** Of the latest request: a redirect begins another. */
  stage: 'unsent' | 'sent' | 'answered';
  /** Of the answer that counts, redirects that are followed aside; 0 while there is none. */
  status: number;
  headers: IncomingHttpHeaders;
  /** Whether the body was read to its end, or reading stopped at the limit. */
  isWhole: boolean;
  /** Why it broke off. */
  fault?: string;
  readonly kept: OutputKeeper;
  /** The body as far as it was read; only where an expectation needs it. */
  readonly whole: Buffer[];
};

/** The part of a page that its title and summary are looked for in. */
const pageLength = 64 * 1024;

const withoutAnswer = { unsent: 'cannot connect', sent: 'no answer', answered: 'cannot follow the redirect' };

export function newExchange(keptBodyBytes: number): Exchange {
  return { stage: 'unsent', status: 0, headers: {}, isWhole: true, kept: outputKeeper(keptBodyBytes), whole: [] };
}

/** What the attempt came to; `cause` when it was ended before its time. */
export function reportOf(
  { command, keepOutput, timeoutMs }: AttemptRequest<HttpCommand>,
  exchange: Exchange,
  cause?: StopCause,
): AttemptResult {
  const { outcome, error } = cause === undefined ? judge(command, exchange) : endedBy(cause, timeoutMs);
  const { status, headers } = exchange;
  const retryAfterMs = outcome === 'succeeded' ? undefined : retryAfter(headers, Date.now());
  return {
    outcome,
    known: isKnown(command, exchange, cause === undefined),
    ...(error === undefined ? {} : { error }),
    ...(status === 0 ? {} : { status }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    result: { status, ...bodyFacts(exchange, keepOutput), err: error ?? '<nil>' },
  };
}

function judge(command: HttpCommand, exchange: Exchange): { outcome: Outcome; error?: string } {
  const wrong = whatIsWrong(command, exchange);
  return wrong === undefined ? { outcome: 'succeeded' } : { outcome: 'failed', error: cleanText(wrong) };
}

/** Undefined when the answer is what the command expects. */
function whatIsWrong(command: HttpCommand, { stage, status, fault, kept, whole }: Exchange): string | undefined {
  if (status !== 0 && !expectsStatus(command, status)) return `unexpected status ${status}`;
  if (fault !== undefined && status !== 0) return `the answer broke off after ${kept.size()} bytes: ${fault}`;
  if (fault !== undefined) return `${withoutAnswer[stage]}: ${fault}`;
  if (command.expect_body === undefined) return undefined;
  const isAsExpected = isFound(command.expect_body, Buffer.concat(whole).toString('utf8'));
  if (isAsExpected === undefined) return `expect_body: /${command.expect_body}/ took too long`;
  return isAsExpected ? undefined : `body does not match /${command.expect_body}/`;
}

/** An answer that is complete, or that refuses, tells the effect; so does a request that never left. */
function isKnown(command: HttpCommand, { stage, status, fault }: Exchange, isOver: boolean): boolean {
  if (stage !== 'answered') return stage === 'unsent';
  return (isOver && fault === undefined) || status === 0 || !expectsStatus(command, status);
}

function bodyFacts({ headers, isWhole, kept }: Exchange, keepOutput: boolean): Record<string, unknown> {
  const size = kept.size();
  const unread = isWhole ? {} : { whole: false };
  if (!keepOutput) return { body: '', size, ...unread, kept: false };
  const text = kept.text();
  return {
    body: isWhole ? text : `${text}\n… not read on after ${size} bytes …\n`,
    size,
    ...(isPage(headers['content-type'], text) ? describePage(text.slice(0, pageLength)) : {}),
    ...(kept.cut() === 0 ? {} : { cut: kept.cut() }),
    ...unread,
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
