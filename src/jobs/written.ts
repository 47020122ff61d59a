// Between a definition and its row: the columns carry the words of config.toml, so that either can be made of the other.

import type { Policy } from '../runs/lifecycle.ts';
import type { JobRow, WrittenJob } from '../store/jobs.ts';
import { expressionsIn } from '../crontab/schedules.ts';
import { formatDuration } from '../shapes.ts';
import type { JobDefinition } from './definition.ts';
import { placingOfRow } from './placing.ts';

/** The columns of a definition, all defaults filled in, and the policy that its runs will carry. */
export function writtenOf(definition: JobDefinition): Omit<WrittenJob, 'source' | 'configId' | 'traceId' | 'nextDueAt'> {
  const { retry, timeoutMs, onLost, log } = definition;
  return {
    name: definition.name,
    remark: definition.remark,
    expr: definition.expr,
    timezone: definition.timezone,
    enabled: definition.enabled,
    command: definition.command,
    retry: {
      max_attempts: retry.maxAttempts,
      delay: formatDuration(retry.delayMs),
      max_delay: formatDuration(retry.maxDelayMs),
      factor: retry.factor,
      jitter: retry.jitter,
      ...(retry.exitCodes ? { exit_codes: retry.exitCodes } : {}),
      ...(retry.statuses ? { statuses: retry.statuses } : {}),
    },
    timeoutMs,
    log,
    onLost,
    overlap: definition.overlap,
    misfire: definition.misfire,
    catchupWindowMs: definition.catchupWindowMs ?? null,
    maxCatchup: definition.maxCatchup,
    blackouts: [...definition.blackouts],
    startsAt: definition.startsAt ?? null,
    endsAt: definition.endsAt ?? null,
    maxRuns: definition.maxRuns ?? null,
    spreadMs: definition.spreadMs ?? null,
    pauseAfterFailures: definition.pauseAfterFailures ?? null,
    runOn: definition.runOn,
    afterJobs: [...definition.afterJobs],
    afterOn: definition.afterOn,
    concurrency: definition.concurrency ?? null,
    concurrencyKey: definition.concurrencyKey ?? null,
    maxQueued: definition.maxQueued,
    policy: {
      retry,
      timeoutMs,
      onLost,
      log,
      ...(definition.pauseAfterFailures === undefined ? {} : { pauseAfterFailures: definition.pauseAfterFailures }),
    } satisfies Policy,
  };
}

/** A row as it would be written in a file: what parseDefinition takes. */
export function inputOfRow(job: JobRow): Record<string, unknown> {
  return {
    name: job.name,
    remark: job.remark,
    ...(job.expr === '' && job.afterJobs.length > 0 ? {} : { expr: oneOrMore(expressionsIn(job.expr)) }),
    ...(job.timezone === null ? {} : { timezone: job.timezone }),
    enabled: job.enabled,
    command: job.command,
    retry: job.retry,
    ...(job.timeoutMs === null ? {} : { timeout: formatDuration(job.timeoutMs) }),
    log: job.log,
    on_lost: job.onLost,
    overlap: job.overlap,
    misfire: job.misfire,
    ...(job.catchupWindowMs === null ? {} : { catchup_window: formatDuration(job.catchupWindowMs) }),
    max_catchup: job.maxCatchup,
    ...(job.blackouts.length === 0 ? {} : { except: job.blackouts }),
    ...(job.startsAt === null ? {} : { starts_at: job.startsAt.toISOString() }),
    ...(job.endsAt === null ? {} : { ends_at: job.endsAt.toISOString() }),
    ...(job.maxRuns === null ? {} : { max_runs: job.maxRuns }),
    ...(job.spreadMs === null ? {} : { spread: formatDuration(job.spreadMs) }),
    ...(job.pauseAfterFailures === null ? {} : { pause_after_failures: job.pauseAfterFailures }),
    ...placingOfRow(job),
  };
}

function oneOrMore(expressions: readonly string[]): string | readonly string[] {
  return expressions.length === 1 ? expressions.join() : expressions;
}
