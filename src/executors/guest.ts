// Holds an executor that somebody else wrote to the contract: whatever it does, the run gets an outcome, in time, and a
// result that can be stored.

import { messageOf } from '../errors.ts';
import type { AttemptRequest, AttemptResult, Executor, Outcome } from './executor.ts';
import { cleanJson, cleanText } from './output.ts';
import { endedBy, type Ending, stoppedBefore, stopReasonOf } from './stop.ts';

const outcomes: ReadonlySet<unknown> = new Set<Outcome>(['succeeded', 'failed', 'timed_out', 'cancelled', 'lost']);

const resultLimitBytes = 1024 * 1024;

/** An error is kept with the attempt, with the run and in its result, and told in logs and notices. */
const errorLimit = 16 * 1024;

/**
 * The same executor, except that what it throws is a failure of unknown effect, that its result is made fit to be
 * stored, and that an attempt which goes on after its timeout or a stop, and `killGraceMs` more, is given up.
 */
export function heldToContract(guest: Executor): Executor {
  return {
    type: guest.type,
    defaults: guest.defaults,
    parse: (command) => guest.parse(command),
    async execute(request) {
      if (request.signal.aborted) return gaveNothing(endedBy(stopReasonOf(request.signal), request.timeoutMs), true);
      let told: AttemptResult | undefined;
      const attempt = resultOf(guest, request).then((result) => (told = result));
      const cause = await stoppedBefore(attempt, request);
      const never = new AbortController().signal;
      if (cause !== undefined) await stoppedBefore(attempt, { timeoutMs: request.killGraceMs, signal: never });
      return told ?? gaveNothing(endedBy(cause ?? 'timed_out', request.timeoutMs), false);
    },
  };
}

async function resultOf(guest: Executor, request: AttemptRequest): Promise<AttemptResult> {
  try {
    return checked(await guest.execute(request), request.keepOutput);
  } catch (thrown) {
    return gaveNothing({ outcome: 'failed', error: errorText(messageOf(thrown)) }, false);
  }
}

/** What is missing or wrong in its answer counts against it: an effect is known only when it says so. */
function checked(told: Partial<AttemptResult> | undefined, keepOutput: boolean): AttemptResult {
  if (told === undefined || !outcomes.has(told.outcome) || told.outcome === undefined) {
    throw new Error(`the executor answered with outcome ${String(told?.outcome)}, which there is not`);
  }
  const { outcome, error, exitCode, status, retryAfterMs } = told;
  return {
    outcome,
    known: told.known === true,
    ...(typeof error === 'string' ? { error: errorText(error) } : {}),
    ...(Number.isInteger(exitCode) ? { exitCode: Number(exitCode) } : {}),
    ...(Number.isInteger(status) ? { status: Number(status) } : {}),
    ...(Number.isFinite(retryAfterMs) && Number(retryAfterMs) >= 0 ? { retryAfterMs: Number(retryAfterMs) } : {}),
    result: keepOutput ? storable(told.result) : { err: typeof error === 'string' ? errorText(error) : '<nil>', kept: false },
  };
}

function storable(result: unknown): Record<string, unknown> {
  const clean = cleanJson(result);
  const bytes = Buffer.byteLength(JSON.stringify(clean));
  if (bytes > resultLimitBytes) return { note: `a result of ${bytes} bytes was not kept: the limit is ${resultLimitBytes}` };
  return typeof clean === 'object' && clean !== null && !Array.isArray(clean) ? { ...clean } : { value: clean };
}

function errorText(text: string): string {
  const cut = text.length - errorLimit;
  return cleanText(cut > 0 ? `${text.slice(0, errorLimit)}… ${cut} characters left out …` : text);
}

function gaveNothing({ outcome, error }: Ending, known: boolean): AttemptResult {
  return { outcome, known, error, result: { err: error } };
}
