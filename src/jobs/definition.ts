// A job as somebody wrote it down, in TOML, JSON or a row of the table, checked and with every default filled in. Pure.

import { z } from 'zod';
import { zoneIn } from '../crontab/expression.ts';
import { messageOf } from '../errors.ts';
import type { Executor } from '../executors/executor.ts';
import { faultsIn, faultsOf, hintFor, hostileFaults, isTable, show } from '../faults.ts';
import type { Fault } from '../faults.ts';
import { decimal, duration, flag, formatDuration, label, list, oneOf, parserOf, prose, refuse, table, wholeNumber } from '../shapes.ts';
import { parents, placeToRun, placingFaults } from './placing.ts';
import { blackouts, expressions, missingExpression, moment, scheduleFaults, zoneName } from './when.ts';

/** When a failed attempt is made again: see `decide` and `backoffMs` in runs/lifecycle. */
export type Retry = {
  /** All attempts, the first among them. */
  readonly maxAttempts: number;
  readonly delayMs: number;
  readonly maxDelayMs: number;
  readonly factor: number;
  /** 0 to 1: by what part of itself a delay is moved. */
  readonly jitter: number;
  /** Only these exit codes are tried again; absent: all. */
  readonly exitCodes?: readonly number[];
  /** Only these answers are tried again; absent: lifecycle's `defaultStatuses`. */
  readonly statuses?: readonly (number | StatusClass)[];
};

/** A hundred HTTP statuses: `5xx`. */
export type StatusClass = `${1 | 2 | 3 | 4 | 5}xx`;

export type JobDefinition = {
  readonly name: string;
  readonly remark: string;
  /** One expression a line; empty: it runs after others only. */
  readonly expr: string;
  readonly timezone: string;
  readonly enabled: boolean;
  /** As the `parse` of its executor returned it. */
  readonly command: { readonly type: string } & Readonly<Record<string, unknown>>;
  readonly retry: Retry;
  readonly timeoutMs: number;
  readonly log: boolean;
  readonly onLost: 'fail' | 'retry';
  readonly overlap: 'skip' | 'allow' | 'wait' | 'wait_all' | 'replace';
  readonly misfire: 'skip' | 'once' | 'all';
  readonly catchupWindowMs?: number;
  readonly maxCatchup: number;
  /** Its `except`: dates and expressions at which it is not run. */
  readonly blackouts: readonly string[];
  readonly startsAt?: Date;
  readonly endsAt?: Date;
  readonly maxRuns?: number;
  readonly spreadMs?: number;
  readonly pauseAfterFailures?: number;
  /** Empty: any worker. `all`, `label:gpu`, `node:n1`. */
  readonly runOn: string;
  /** Names of jobs whose runs it follows; `expr` may be empty then. */
  readonly afterJobs: readonly string[];
  readonly afterOn: 'success' | 'failure' | 'either';
  readonly concurrency?: number;
  readonly concurrencyKey?: string;
  readonly maxQueued: number;
};

export type Options = {
  readonly kinds: ReadonlyMap<string, Executor>;
  /** For a job that names no zone, neither in `timezone` nor in its expression. */
  readonly defaultTimezone: string;
  /** Also take numbers as texts of digits, as the scripts of the seed calls send them. */
  readonly coerceDigits?: boolean;
};

export type Parsed = { readonly ok: true; readonly definition: JobDefinition } | { readonly ok: false; readonly faults: Fault[] };

// A timer of Node's fires at once when it is set further ahead than 24.8 days.
const longestTimeout = '24d';
const defaultDelayMs = 1000;
const defaultMaxDelayMs = 300_000;

/**
 * Checks a job as written down (snake_case, lengths of time as text) and fills in what is left out. Never throws: whatever
 * comes, the answer is a definition or all of its faults.
 */
export function parseDefinition(input: unknown, options: Options): Parsed {
  const hostile = hostileFaults(input);
  if (hostile.length > 0) return { ok: false, faults: hostile };
  const { shape, parse } = options.coerceDigits === true ? withDigits : strict;
  const written = parse(input);
  const command = isTable(input) ? checkCommand(input['command'], options.kinds) : noCommand;
  const faults = [...(written.success ? [] : faultsOf(written.error, input, shape)), ...missingExpression(input), ...command.faults];
  if (!written.success || command.executor === undefined || faults.length > 0) return { ok: false, faults };
  return complete(written.data, command, options);
}

const strict = asWritten(false);
const withDigits = asWritten(true);

function asWritten(digits: boolean) {
  const shape = table({
    name: label(200),
    remark: prose(2000).default(''),
    expr: expressions().optional(),
    timezone: zoneName().optional(),
    enabled: flag().default(true),
    command: z.unknown().optional(),
    retry: table({
      max_attempts: wholeNumber(1, 100, digits).optional(),
      delay: duration('0s', '30d').optional(),
      max_delay: duration('0s', '30d').optional(),
      factor: decimal(1, 100, digits).default(2),
      jitter: decimal(0, 1, digits).default(0.2),
      exit_codes: list(wholeNumber(0, 255, digits), 256).optional(),
      statuses: list(status(digits), 500).optional(),
    }).prefault({}),
    timeout: duration('1ms', longestTimeout).optional(),
    log: flag().default(true),
    on_lost: oneOf('fail', 'retry').default('fail'),
    overlap: oneOf('skip', 'allow', 'wait', 'wait_all', 'replace').default('skip'),
    misfire: oneOf('skip', 'once', 'all').default('once'),
    catchup_window: duration('1s', '31d').optional(),
    max_catchup: wholeNumber(1, 1000, digits).default(100),
    except: blackouts().default([]),
    starts_at: moment().optional(),
    ends_at: moment().optional(),
    max_runs: wholeNumber(1, 1_000_000_000, digits).optional(),
    spread: duration('1s', '1d').optional(),
    pause_after_failures: wholeNumber(1, 1000, digits).optional(),
    run_on: placeToRun().optional(),
    after: parents().optional(),
    after_on: oneOf('success', 'failure', 'either').optional(),
    concurrency: wholeNumber(1, 10_000, digits).optional(),
    concurrency_key: label(200).optional(),
    max_queued: wholeNumber(1, 100_000, digits).default(1000),
  });
  return { shape, parse: parserOf(shape) };
}

type Written = z.output<typeof strict.shape>;
type Command = { readonly executor: Executor; readonly command: JobDefinition['command']; readonly faults: Fault[] };
type NoCommand = { readonly executor?: never; readonly faults: Fault[] };

const noCommand: NoCommand = { faults: [] };

// What needs more than one field: the zone, the schedule in that zone, and the defaults that come with the executor.
function complete(written: Written, { executor, command }: Command, options: Options): Parsed {
  const expr = written.expr ?? [];
  const timezone = written.timezone ?? expr.map(zoneIn).find((zone) => zone !== undefined) ?? options.defaultTimezone;
  const faults = [...scheduleFaults({ ...written, expr }, timezone), ...placingFaults(written)];
  const { delay, max_delay: longest } = written.retry;
  if (delay !== undefined && longest !== undefined && longest < delay) {
    const message = `expected at least the delay, ${formatDuration(delay)}, got "${formatDuration(longest)}"`;
    faults.push({ path: ['retry', 'max_delay'], message });
  }
  if (faults.length > 0) return { ok: false, faults };
  const definition: JobDefinition = {
    name: written.name,
    remark: written.remark,
    expr: expr.join('\n'),
    timezone,
    enabled: written.enabled,
    command,
    retry: completeRetry(written.retry, executor),
    timeoutMs: written.timeout ?? executor.defaults.timeoutMs,
    log: written.log,
    onLost: written.on_lost,
    overlap: written.overlap,
    misfire: written.misfire,
    ...(written.catchup_window === undefined ? {} : { catchupWindowMs: written.catchup_window }),
    maxCatchup: written.max_catchup,
    ...boundsOf(written),
    ...placingOf(written),
  };
  return { ok: true, definition };
}

function boundsOf(
  written: Written,
): Pick<JobDefinition, 'blackouts' | 'startsAt' | 'endsAt' | 'maxRuns' | 'spreadMs' | 'pauseAfterFailures'> {
  return {
    blackouts: written.except,
    ...(written.starts_at === undefined ? {} : { startsAt: written.starts_at }),
    ...(written.ends_at === undefined ? {} : { endsAt: written.ends_at }),
    ...(written.max_runs === undefined ? {} : { maxRuns: written.max_runs }),
    ...(written.spread === undefined ? {} : { spreadMs: written.spread }),
    ...(written.pause_after_failures === undefined ? {} : { pauseAfterFailures: written.pause_after_failures }),
  };
}

function placingOf(
  written: Written,
): Pick<JobDefinition, 'runOn' | 'afterJobs' | 'afterOn' | 'concurrency' | 'concurrencyKey' | 'maxQueued'> {
  return {
    runOn: written.run_on ?? '',
    afterJobs: written.after ?? [],
    afterOn: written.after_on ?? 'success',
    ...(written.concurrency === undefined ? {} : { concurrency: written.concurrency }),
    ...(written.concurrency_key === undefined ? {} : { concurrencyKey: written.concurrency_key }),
    maxQueued: written.max_queued,
  };
}

// A delay longer than the usual max_delay raises it, a max_delay shorter than the usual delay lowers that.
function completeRetry(written: Written['retry'], { defaults }: Executor): Retry {
  return {
    maxAttempts: written.max_attempts ?? defaults.maxAttempts,
    delayMs: written.delay ?? Math.min(defaultDelayMs, written.max_delay ?? defaultDelayMs),
    maxDelayMs: written.max_delay ?? Math.max(defaultMaxDelayMs, written.delay ?? 0),
    factor: written.factor,
    jitter: written.jitter,
    ...(written.exit_codes === undefined ? {} : { exitCodes: [...new Set(written.exit_codes)] }),
    ...(written.statuses === undefined ? {} : { statuses: [...new Set(written.statuses)] }),
  };
}

function checkCommand(command: unknown, kinds: ReadonlyMap<string, Executor>): Command | NoCommand {
  const known = [...kinds.keys()];
  const path = ['command'];
  if (!isTable(command)) {
    return { faults: [{ path, message: `expected a table such as { type = "${known[0] ?? 'shell'}", … }, got ${show(command)}` }] };
  }
  const type = command['type'];
  const executor = typeof type === 'string' ? kinds.get(type) : undefined;
  if (typeof type !== 'string' || executor === undefined) {
    const hint = typeof type === 'string' ? hintFor(type, known) : '';
    return { faults: [{ path: ['command', 'type'], message: `expected ${orList(known)}, got ${show(type)}${hint}` }] };
  }
  try {
    const parsed = executor.parse(command);
    if (!isTable(parsed)) return { faults: [{ path, message: `the executor ${show(type)} made ${show(parsed)} of it` }] };
    return { executor, command: { ...parsed, type }, faults: [] };
  } catch (thrown) {
    return { faults: faultsIn(messageOf(thrown), path) };
  }
}

function status(digits: boolean) {
  const isClass = (value: unknown): value is StatusClass => typeof value === 'string' && /^[1-5]xx$/.test(value);
  return z.unknown().transform((value, context): number | StatusClass => {
    if (isClass(value)) return value;
    const code = digits && typeof value === 'string' && /^\d{3}$/.test(value) ? Number(value) : value;
    if (typeof code === 'number' && Number.isInteger(code) && code >= 100 && code <= 599) return code;
    return refuse(context, value, 'expected an HTTP status such as 503 or "5xx"');
  });
}

function orList(words: readonly string[]): string {
  return words.length === 0 ? 'a known type' : words.map(show).join(' or ');
}
