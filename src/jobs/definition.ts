// A job as somebody wrote it down, in TOML, JSON or a row of the table, checked and with every default filled in. Pure.

import { z } from 'zod';
import { zoneIn } from '../crontab/expression.ts';
import { rememberSchedules } from '../crontab/schedules.ts';
import { isTimezone, zoneExpected } from '../crontab/zone.ts';
import { messageOf, Refusal } from '../errors.ts';
import type { Executor } from '../executors/executor.ts';
import { faultsIn, faultsOf, hintFor, hostileFaults, isTable, show } from '../faults.ts';
import type { Fault } from '../faults.ts';
import { decimal, duration, flag, formatDuration, label, list, oneOf, prose, refuse, table, wholeNumber } from '../shapes.ts';

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
  const shape = options.coerceDigits === true ? shapeWithDigits : shapeStrict;
  const written = shape.safeParse(input);
  const command = isTable(input) ? checkCommand(input['command'], options.kinds) : noCommand;
  const faults = [...(written.success ? [] : faultsOf(written.error, input, shape)), ...command.faults];
  if (!written.success || command.executor === undefined || faults.length > 0) return { ok: false, faults };
  return complete(written.data, command, options);
}

const shapeStrict = shapeOf(false);
const shapeWithDigits = shapeOf(true);

function shapeOf(digits: boolean) {
  return table({
    name: label(200),
    remark: prose(2000).default(''),
    expr: expression(),
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
  });
}

type Written = z.output<typeof shapeStrict>;
type Command = { readonly executor: Executor; readonly command: JobDefinition['command']; readonly faults: Fault[] };
type NoCommand = { readonly executor?: never; readonly faults: Fault[] };

const noCommand: NoCommand = { faults: [] };

// What needs more than one field: the zone, the schedule in that zone, and the defaults that come with the executor.
function complete(written: Written, { executor, command }: Command, options: Options): Parsed {
  const timezone = written.timezone ?? zoneIn(written.expr) ?? options.defaultTimezone;
  const faults: Fault[] = [];
  const wrong = whyNoExpression(written.expr, timezone, written.name);
  if (wrong !== undefined) faults.push(wrong);
  const { delay, max_delay: longest } = written.retry;
  if (delay !== undefined && longest !== undefined && longest < delay) {
    const message = `expected at least the delay, ${formatDuration(delay)}, got "${formatDuration(longest)}"`;
    faults.push({ path: ['retry', 'max_delay'], message });
  }
  if (faults.length > 0) return { ok: false, faults };
  const definition: JobDefinition = {
    name: written.name,
    remark: written.remark,
    expr: written.expr,
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
  };
  return { ok: true, definition };
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

// Which zone it is in does not change whether it can be read, so it is told together with all other faults.
function expression() {
  return z.string('expected an expression such as "0 */5 * * * *"').superRefine((expr, context) => {
    const wrong = whyNoExpression(expr, zoneIn(expr) ?? 'UTC', '');
    if (wrong !== undefined) context.addIssue({ code: 'custom', message: wrong.message, input: expr });
  });
}

// What was read before needs no second reading; many jobs share an expression.
const readSchedule = rememberSchedules(1000);

function whyNoExpression(expr: string, timezone: string, name: string): Fault | undefined {
  try {
    readSchedule({ expr, timezone, name });
    return undefined;
  } catch (thrown) {
    if (!(thrown instanceof Refusal)) throw thrown;
    return faultsIn(thrown.message, [])[0];
  }
}

/** The name of a time zone, as `timezone` of a job and of [crontab] have it. */
export function zoneName() {
  return z.string(`expected ${zoneExpected}`).superRefine((zone, context) => {
    if (!isTimezone(zone)) refuse(context, zone, `expected ${zoneExpected}`);
  });
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
