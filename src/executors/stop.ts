// An attempt that is ended before its time: by its timeout, by a person, or because this node shuts down. One place, so
// that every executor says the same.

import type { AttemptRequest, Outcome, StopReason } from './executor.ts';

export type StopCause = 'timed_out' | StopReason;

export type Ending = { readonly outcome: Outcome; readonly error: string };

/** `setTimeout` fires at once when told to wait longer than this. */
const longestTimerMs = 2 ** 31 - 1;

/**
 * Waits until the work is over, the timeout has passed or the signal aborts, whichever is first; tells the cause of
 * the stop, or undefined when the work was over. A rejection of `work` counts as over and is the caller's to handle.
 */
export async function stoppedBefore(
  work: Promise<unknown>,
  { timeoutMs, signal }: Pick<AttemptRequest, 'timeoutMs' | 'signal'>,
): Promise<StopCause | undefined> {
  if (signal.aborted) return stopReasonOf(signal);
  const { promise, resolve } = Promise.withResolvers<StopCause | undefined>();
  const onAbort = (): void => resolve(stopReasonOf(signal));
  let timer: NodeJS.Timeout | undefined;
  const arm = (leftMs: number): void => {
    const ms = Math.min(leftMs, longestTimerMs);
    timer = setTimeout(() => (leftMs > ms ? arm(leftMs - ms) : resolve('timed_out')), ms);
  };
  arm(timeoutMs);
  signal.addEventListener('abort', onAbort, { once: true });
  const over = (): void => resolve(undefined);
  work.then(over, over);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}

/** How a stopped attempt counts, and why, in plain words. */
export function endedBy(cause: StopCause, timeoutMs: number): Ending {
  const endings: Record<StopCause, Ending> = {
    timed_out: { outcome: 'timed_out', error: `timed out after ${durationText(timeoutMs)}` },
    cancelled: { outcome: 'cancelled', error: 'cancelled' },
    interrupted: { outcome: 'failed', error: 'interrupted: the service was shut down' },
  };
  return endings[cause];
}

/** Which StopReason the signal carries; an abort that does not say is a cancellation. */
export function stopReasonOf(signal: AbortSignal): StopReason {
  return signal.reason === 'interrupted' ? 'interrupted' : 'cancelled';
}

/** Milliseconds as people write a duration: `250ms`, `1.5s`, `1m30s`, `2h`. */
function durationText(ms: number): string {
  if (ms < 1000) return `${ms}ms`;
  const hours = Math.floor(ms / 3_600_000);
  const minutes = Math.floor((ms % 3_600_000) / 60_000);
  const seconds = (ms % 60_000) / 1000;
  return `${hours > 0 ? `${hours}h` : ''}${minutes > 0 ? `${minutes}m` : ''}${seconds > 0 ? `${seconds}s` : ''}`;
}
