// What may happen to a run. Pure: who asks gets a verdict, `perform` and the store carry it out.
//
//   queued ──► running ──► succeeded | failed | cancelled
//     │           │  ▲
//     │           ▼  │
//     │        retrying ──► cancelled
//     └──► skipped | cancelled

import type { AttemptResult, StopReason } from '../executors/executor.ts';
import type { Retry } from '../jobs/definition.ts';

/** Where a run is. The last four are final: nothing follows. */
export type State = 'queued' | 'running' | 'retrying' | 'succeeded' | 'failed' | 'cancelled' | 'skipped';

export const states: readonly State[] = ['queued', 'running', 'retrying', 'succeeded', 'failed', 'cancelled', 'skipped'];

/** Names one claim of a run, and with it one attempt: a node may still be ending one when it is handed the next. */
export function claimName({ id, epoch }: { readonly id: number; readonly epoch: number }): string {
  return `${id}-${epoch}`;
}

/** What of a job's definition goes with each of its runs, as it was when the run was made. */
export type Policy = {
  readonly retry: Retry;
  readonly timeoutMs: number;
  readonly onLost: 'fail' | 'retry';
  readonly log: boolean;
  /** After so many failed runs in a row its job is paused. */
  readonly pauseAfterFailures?: number;
};

/** What becomes of a run after an attempt. `reason` tells why a run ended as it did. */
export type Verdict =
  | { readonly state: 'succeeded' }
  | { readonly state: 'failed'; readonly reason: 'failed' | 'timed_out' | 'lost' | 'interrupted' | 'no_answer' }
  | { readonly state: 'cancelled'; readonly reason: 'cancelled' }
  | { readonly state: 'retrying'; readonly readyAt: Date };

/** What an attempt came to, as far as it decides; `stopped` when we ended it ourselves. */
export type Ended = Pick<AttemptResult, 'outcome' | 'known' | 'exitCode' | 'status' | 'retryAfterMs'> & {
  readonly stopped?: StopReason | undefined;
};

/**
 * Decides after attempt number `attempt` of a run. An attempt whose effect is not known is tried again only where the job
 * says `on_lost = "retry"`; a known failure where its retry policy says so; and never more than `max_attempts` in all.
 */
export function decide(run: { readonly id: number; readonly attempt: number; readonly policy: Policy }, ended: Ended, now: Date): Verdict {
  const { policy, attempt } = run;
  if (ended.outcome === 'succeeded') return { state: 'succeeded' };
  if (ended.outcome === 'cancelled') return { state: 'cancelled', reason: 'cancelled' };
  const permitted = ended.known ? isRetried(policy.retry, ended) : policy.onLost === 'retry';
  if (!permitted || attempt >= policy.retry.maxAttempts) return { state: 'failed', reason: reasonOf(ended) };
  const wait = Math.max(backoffMs(policy.retry, run.id, attempt), Math.min(ended.retryAfterMs ?? 0, longestAskedMs));
  return { state: 'retrying', readyAt: new Date(now.getTime() + wait) };
}

// However long the other side asks us to wait, a run is not put off for more than this.
const longestAskedMs = 3_600_000;

/**
 * Milliseconds to wait after attempt number `attempt` failed: delay × factor^(attempt-1), at most max_delay, moved by up to
 * ± jitter. The jitter is a value, not a throw of dice: it comes from the run's id, so that it can be told beforehand.
 */
export function backoffMs(retry: Retry, runId: number, attempt: number): number {
  const plain = Math.min(retry.delayMs * retry.factor ** (attempt - 1), retry.maxDelayMs);
  return Math.round(plain * (1 + retry.jitter * (2 * spreadOf(runId, attempt) - 1)));
}

function reasonOf(ended: Ended): 'failed' | 'timed_out' | 'lost' | 'interrupted' | 'no_answer' {
  if (ended.stopped === 'interrupted') return 'interrupted';
  if (ended.outcome === 'timed_out' || ended.outcome === 'lost') return ended.outcome;
  return ended.known ? 'failed' : 'no_answer';
}

function isRetried(retry: Retry, ended: Ended): boolean {
  if (ended.stopped === 'interrupted') return true;
  if (ended.exitCode !== undefined && retry.exitCodes) return retry.exitCodes.includes(ended.exitCode);
  if (ended.status !== undefined && ended.status > 0) return isListed(retry.statuses ?? defaultStatuses, ended.status);
  return true;
}

/** Answers that ask to come again: 408, 425, 429 and all of 5xx (RFC 9110, RFC 8470, RFC 6585). */
export const defaultStatuses: readonly (number | string)[] = [408, 425, 429, '5xx'];

function isListed(list: readonly (number | string)[], status: number): boolean {
  return list.some((each) => each === status || each === `${Math.floor(status / 100)}xx`);
}

/** A number in [0, 1) that is always the same for the same run and attempt (splitmix32). */
function spreadOf(runId: number, attempt: number): number {
  let mixed = (Math.imul(runId | 0, 0x9e3779b9) + Math.imul(attempt, 0x85ebca6b)) | 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
  return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32;
}
