// Whether what happened is what Belfry promises: the due times by plain arithmetic, the table of runs, and the ledger that the
// commands kept themselves, held against each other. Pure; every violation is a sentence.

import { failingExit, type Ledger, type Line } from './ledger.ts';

/** A job as the suite made it. Due at every `everyMs` since 1970 that is not before `from`. Moments are milliseconds. */
export type HistoryJob = {
  readonly name: string;
  readonly everyMs: number;
  readonly from: number;
  readonly maxAttempts: number;
  readonly onLost: 'fail' | 'retry';
  readonly overlap: 'skip' | 'wait' | 'allow';
  readonly misfire: 'skip' | 'once' | 'all';
};

export type Note = { readonly attempt: number; readonly outcome: string; readonly exit_code?: number; readonly error?: string };

/** A row of the table of runs. `way` is what else is known of one that is not at its end, for a person to read. */
export type HistoryRun = {
  readonly id: number;
  readonly job: string;
  readonly dueAt: number;
  readonly lastDueAt: number | undefined;
  readonly dueCount: number;
  readonly state: string;
  readonly reason: string | undefined;
  readonly catchup: boolean;
  readonly attempts: readonly Note[];
  readonly readyAt: number | undefined;
  readonly way?: string;
};

export type History = {
  readonly jobs: readonly HistoryJob[];
  readonly runs: readonly HistoryRun[];
  readonly ledger: Ledger;
  /** Ticks up to here must be there; later ones may be. */
  readonly upTo: number;
};

const finalStates = new Set(['succeeded', 'failed', 'cancelled', 'skipped']);

/** All that is wrong with a history whose runs are at their end. */
export function violationsIn(history: History): string[] {
  const { jobs, runs, ledger } = history;
  const known = new Set(jobs.map(({ name }) => name));
  const byId = new Map(runs.map((run) => [run.id, run]));
  const linesOf = Map.groupBy(ledger.lines, ({ runId }) => runId);
  const runsOf = Map.groupBy(runs, ({ job }) => job);
  return [
    ...ledger.torn.map((text) => `the ledger has a line that is not whole: ${JSON.stringify(text)}`),
    ...runs.filter(({ job }) => !known.has(job)).map((run) => `${named(run)} is of a job that nobody made`),
    ...ledger.lines.flatMap((line) => strayed(line, byId.get(line.runId))),
    ...jobs.flatMap((job) => {
      const its = runsOf.get(job.name) ?? [];
      return [
        ...ticksOf(job, its, history.upTo),
        ...its.flatMap((run) => [...attemptsOf(job, run, linesOf.get(run.id) ?? []), ...recordOf(job, run, linesOf.get(run.id) ?? [])]),
        ...(job.overlap === 'allow' ? [] : overlapsOf(its, linesOf, ledger.lines)),
      ];
    }),
  ];
}

/** The due times of a job, worked out without Belfry's engine. */
export function ticks({ everyMs, from }: Pick<HistoryJob, 'everyMs' | 'from'>, upTo: number): number[] {
  const first = Math.ceil(from / everyMs) * everyMs;
  return Array.from({ length: Math.max(0, Math.floor((upTo - first) / everyMs) + 1) }, (_, index) => first + index * everyMs);
}

/** Runs due up to `upTo` that are not at their end and wait for nothing that is right. */
export function unsettledIn({ jobs, runs }: Pick<History, 'jobs' | 'runs'>, upTo: number, now: number): string[] {
  const minding = new Set(jobs.filter(({ overlap }) => overlap !== 'allow').map(({ name }) => name));
  const open = runs.filter((run) => run.dueAt <= upTo && !finalStates.has(run.state));
  const isTurnOfAnother = (run: HistoryRun): boolean =>
    run.state === 'queued' &&
    (minding.has(run.job) || run.catchup) &&
    open.some((other) => other.job === run.job && other.id !== run.id && (other.state !== 'queued' || other.id < run.id));
  return open
    .filter((run) => !isTurnOfAnother(run) && !(run.state === 'retrying' && (run.readyAt ?? 0) > now))
    .map((run) => `${named(run)} is not at its end: ${run.state} ${run.way ?? ''}`.trimEnd());
}

/** Jobs of which nothing that is due after `since` was begun. */
export function stalledIn({ jobs, ledger }: Pick<History, 'jobs' | 'ledger'>, since: number): string[] {
  const fresh = new Set(ledger.lines.filter(({ dueAt }) => dueAt > since).map(({ job }) => job));
  return jobs.filter(({ name }) => !fresh.has(name)).map(({ name }) => `fresh ticks of ${name} are not started again`);
}

function named(run: Pick<HistoryRun, 'id' | 'job' | 'dueAt'>): string {
  return `run ${run.id} (${run.job}, due ${new Date(run.dueAt).toISOString()})`;
}

/** A line of the ledger that belongs to no run, or to another than it says. */
function strayed(line: Line, run: HistoryRun | undefined): string[] {
  if (line.event === 'end') return [];
  if (!run) return [`run ${line.runId} (${line.job}) is in the ledger and in no record`];
  if (run.job !== line.job || run.dueAt !== line.dueAt)
    return [`${named(run)} began as ${line.job} due ${new Date(line.dueAt).toISOString()}`];
  return run.state === 'skipped' ? [`${named(run)} is recorded as skipped and was executed`] : [];
}

function ticksOf(job: HistoryJob, runs: readonly HistoryRun[], upTo: number): string[] {
  const found: string[] = [];
  const rowsAt = new Map<number, number>();
  for (const run of runs) {
    const covered = coveredBy(job, run);
    if (covered.length !== run.dueCount)
      found.push(`${named(run)} says it stands for ${run.dueCount} due times, and covers ${covered.length}`);
    if (covered[0] !== run.dueAt) found.push(`${named(run)} is outside of its schedule`);
    for (const due of covered) rowsAt.set(due, (rowsAt.get(due) ?? 0) + 1);
    found.push(...misfiresOf(job, run));
  }
  found.push(...notMadeUpFor(job, runs, upTo));
  for (const due of ticks(job, upTo)) {
    const rows = rowsAt.get(due) ?? 0;
    if (rows === 0) found.push(`the tick of ${job.name} at ${new Date(due).toISOString()} is missing`);
    if (rows > 1) found.push(`the tick of ${job.name} at ${new Date(due).toISOString()} is recorded ${rows} times`);
  }
  return found;
}

function coveredBy(job: HistoryJob, run: HistoryRun): number[] {
  return ticks({ everyMs: job.everyMs, from: Math.max(run.dueAt, job.from) }, run.lastDueAt ?? run.dueAt);
}

/** What the suite's jobs ask for when ticks were missed: `all` goes back as far as any outage here. */
function misfiresOf({ misfire, overlap }: HistoryJob, run: HistoryRun): string[] {
  if (run.state === 'cancelled') return [`${named(run)} is cancelled, and nobody asked for it`];
  if (run.dueCount > 1 && run.reason !== 'missed') return [`${named(run)} stands for ${run.dueCount} due times and was not missed`];
  if (run.catchup && misfire === 'skip') return [`${named(run)} is caught up, and misfire is skip`];
  if (run.state !== 'skipped') return [];
  if (run.reason === 'missed') return misfire === 'all' ? [`${named(run)} is not caught up, and misfire is all`] : [];
  if (run.reason === 'overlap' && overlap !== 'allow') return [];
  return [`${named(run)} is skipped for no reason of its job: ${run.reason ?? 'none'}`];
}

/** Whether it was executed as often as its job asks and no more, by the ledger. */
function attemptsOf(job: HistoryJob, run: HistoryRun, lines: readonly Line[]): string[] {
  const begun = lines.filter(({ event }) => event === 'begin').map(({ attempt }) => attempt);
  const found: string[] = [];
  if (begun.length > job.maxAttempts) found.push(`${named(run)} began ${begun.length} times, of ${job.maxAttempts} permitted`);
  for (const [attempt, times] of countOf(begun)) {
    if (times > 1) found.push(`${named(run)} began its attempt ${attempt} ${times} times`);
    if (attempt > job.maxAttempts) found.push(`${named(run)} began an attempt ${attempt}, of ${job.maxAttempts} permitted`);
    if (job.onLost === 'fail' && !areKnown(run, attempt - 1))
      found.push(`${named(run)} began attempt ${attempt} while the outcome of an earlier one was unknown, and on_lost is fail`);
  }
  return found;
}

function areKnown({ attempts }: HistoryRun, upTo: number): boolean {
  return Array.from({ length: upTo }, (_, index) => index + 1).every((attempt) =>
    attempts.some((note) => note.attempt === attempt && note.outcome !== 'lost'),
  );
}

/** Whether what is recorded of the attempts is what the ledger saw, and the state what follows from it. */
function recordOf(job: HistoryJob, run: HistoryRun, lines: readonly Line[]): string[] {
  const { attempts } = run;
  const found: string[] = [];
  const numbers = attempts.filter(({ outcome }) => outcome !== 'lost').map(({ attempt }) => attempt);
  for (const [attempt, times] of countOf(numbers)) if (times > 1) found.push(`${named(run)} has ${times} outcomes of attempt ${attempt}`);
  if (new Set(attempts.map(({ attempt }) => attempt)).size > job.maxAttempts || attempts.some(({ attempt }) => attempt > job.maxAttempts))
    found.push(`${named(run)} has a record of ${attempts.length} attempts, of ${job.maxAttempts} permitted`);
  for (const { attempt, outcome, exit_code } of attempts) {
    if (outcome !== 'succeeded' && exit_code !== failingExit) continue;
    const seen = lines.filter((line) => line.attempt === attempt).map(({ event }) => event);
    if (!seen.includes('begin') || !seen.includes('end'))
      found.push(`${named(run)} has an attempt ${attempt} that ${outcome}, and not in the ledger`);
  }
  return [...found, ...endOf(job, run, lines)];
}

function endOf(job: HistoryJob, run: HistoryRun, lines: readonly Line[]): string[] {
  const { state, attempts } = run;
  if (state === 'succeeded') {
    const won = attempts.find(({ outcome }) => outcome === 'succeeded')?.attempt;
    if (won === undefined) return [`${named(run)} is succeeded, and none of its attempts is`];
    const later = lines.find(({ attempt }) => attempt > won);
    return later ? [`${named(run)} is succeeded by attempt ${won}, though attempt ${later.attempt} had begun`] : [];
  }
  if (state !== 'failed') return [];
  const last = attempts.at(-1);
  if (!last) return [`${named(run)} is failed without an attempt`];
  if (attempts.some(({ outcome }) => outcome === 'succeeded')) return [`${named(run)} is failed, and an attempt of it succeeded`];
  const isTriedAgain = last.outcome === 'lost' ? job.onLost === 'retry' : last.outcome === 'failed';
  return isTriedAgain && last.attempt < job.maxAttempts
    ? [`${named(run)} was given up after attempt ${last.attempt} of ${job.maxAttempts}`]
    : [];
}

/**
 * Runs of one job that were executed at the same time, from the begin of the first attempt to the end of the last. Told by the
 * order of the lines, which needs no clock: a command ends after its last line, and before that no other may write its first.
 * Runs given up as lost may be overlapped.
 */
function overlapsOf(runs: readonly HistoryRun[], linesOf: ReadonlyMap<number, readonly Line[]>, all: readonly Line[]): string[] {
  const places = new Map(all.map((line, place) => [line, place]));
  const spans = runs
    .filter(({ attempts }) => !attempts.some(({ outcome }) => outcome === 'lost'))
    .flatMap((run) => {
      const its = (linesOf.get(run.id) ?? []).map((line) => places.get(line) ?? 0);
      return its.length > 0 ? [{ run, begin: Math.min(...its), end: Math.max(...its) }] : [];
    })
    .sort((a, b) => a.begin - b.begin);
  const found: string[] = [];
  let before = spans[0];
  for (const span of spans.slice(1)) {
    if (before && span.begin < before.end) found.push(`${named(span.run)} ran while ${named(before.run)} did, and its job minds overlap`);
    if (!before || span.end > before.end) before = span;
  }
  return found;
}

/** With misfire = once the tick after those that were missed is caught up in place of them all. */
function notMadeUpFor({ name, misfire, everyMs }: HistoryJob, runs: readonly HistoryRun[], upTo: number): string[] {
  if (misfire !== 'once') return [];
  const caughtUp = new Set(runs.filter(({ catchup }) => catchup).map(({ dueAt }) => dueAt));
  return runs
    .filter(({ reason }) => reason === 'missed')
    .map((run) => run.lastDueAt ?? run.dueAt)
    .filter((last) => last + everyMs <= upTo && !caughtUp.has(last + everyMs))
    .map((last) => `the missed ticks of ${name} up to ${new Date(last).toISOString()} are not made up for by the next`);
}

function countOf(numbers: readonly number[]): Map<number, number> {
  const counts = new Map<number, number>();
  for (const number of numbers) counts.set(number, (counts.get(number) ?? 0) + 1);
  return counts;
}
