// One attempt of a run, told from begin to record: execute, decide, record, announce. What may happen stands in lifecycle.ts.

import type { Clock } from '../clock.ts';
import { messageOf } from '../errors.ts';
import type { AttemptResult, Executor, PreviousRun, StopReason } from '../executors/executor.ts';
import type { Log } from '../observe/log.ts';
import type { Work } from '../observe/tracing.ts';
import type { AttemptNote, ClaimedRun, EndedRun, RunRecord } from '../store/runs.ts';
import type { Events } from './events.ts';
import { claimName, decide, type Verdict } from './lifecycle.ts';
import { pauseIfFailing, type PausingDeps } from './pausing.ts';
import type { Spool, Told } from './spool.ts';

type Deps = {
  readonly clock: Clock;
  readonly log: Log;
  readonly kinds: ReadonlyMap<string, Executor>;
  readonly me: () => { readonly name: string; readonly marker: string };
  readonly killGraceMs: number;
  readonly beginWork: (name: string, traceId: string, attributes: Record<string, string | number>) => Work;
  /** Records it, now or as soon as PostgreSQL is there; see the spool. */
  readonly recordAtLast: Spool['record'];
  /** The claims whose attempt was begun and is not recorded: nobody else may make it, whatever goes wrong here. */
  readonly unrecorded: Set<string>;
  readonly events: Events;
  readonly jobs: PausingDeps['jobs'];
  /** The end of a run, of which the one that comes after it is told. */
  readonly previous: (id: number) => Promise<EndedRun | undefined>;
};

/** Does one attempt of a run that this node holds. Never rejects: what goes wrong is logged and left to the lease. */
export async function perform(deps: Deps, run: ClaimedRun, signal: AbortSignal): Promise<void> {
  deps.unrecorded.add(claimName(run));
  const startedAt = deps.clock.now();
  const begun = deps.clock.monotonic();
  const work = deps.beginWork('attempt', run.traceId, { 'belfry.job': run.jobName, 'belfry.run': run.id, 'belfry.attempt': run.attempt });
  try {
    const result = await execute(deps, run, work.traceparent, signal);
    const finishedAt = deps.clock.now();
    const verdict = decide(run, { ...result, stopped: stopReason(result, signal) }, finishedAt);
    const note = noteOf(deps.me().name, run, result, startedAt, finishedAt);
    const told = await deps.recordAtLast(run, recordOf(run, result, verdict, note, finishedAt), signal);
    if (told !== 'kept') deps.unrecorded.delete(claimName(run));
    work.end(result.error);
    const tookMs = Math.round(deps.clock.monotonic() - begun);
    announce(deps.log, run, result, verdict, tookMs, told);
    if (told !== 'recorded') return;
    await pauseIfFailing(deps, run, verdict);
    const { outcome } = result;
    const lateMs = run.cause === 'schedule' ? startedAt.getTime() - run.dueAt.getTime() : undefined;
    const { id: runId, attempt } = run;
    deps.events.emit({ runId, state: verdict.state, attempt, type: String(run.command['type']), outcome, tookMs, lateMs });
  } catch (fault) {
    work.end(messageOf(fault));
    deps.log.error({ ...about(run), err: fault }, 'record_failed');
  }
}

async function execute(deps: Deps, run: ClaimedRun, traceparent: string, signal: AbortSignal): Promise<AttemptResult> {
  const executor = deps.kinds.get(String(run.command['type']));
  if (!executor) return notDone(`expected a command of type ${[...deps.kinds.keys()].join(' or ')}, got "${String(run.command['type'])}"`);
  try {
    const previous = run.parentId === null ? undefined : await readPrevious(deps, run.parentId, signal);
    return await executor.execute({
      command: executor.parse(run.command),
      job: run.jobName,
      runId: String(run.id),
      attempt: run.attempt,
      dueAt: run.dueAt,
      cause: run.cause,
      // With the id: a rerun has the due time of the run that it repeats, and with run_on = "all" each node has a run of its own.
      idempotencyKey: `${run.jobName}:${run.dueAt.toISOString()}:${run.id}`,
      ...(previous === undefined ? {} : { previous: toldNext(previous) }),
      traceparent,
      timeoutMs: run.policy.timeoutMs,
      killGraceMs: deps.killGraceMs,
      marker: deps.me().marker,
      keepOutput: run.policy.log,
      signal,
    });
  } catch (fault) {
    // The contract says that an executor does not throw; one from outside the house may all the same.
    return notDone(`the executor failed: ${messageOf(fault)}`);
  }
}

// Between two tries to read what the run before came to, should PostgreSQL be away.
const previousAgainMs = 1000;

/** However long it takes: what can't be read for a while is no failure of a run that has not begun. */
async function readPrevious({ clock, previous }: Deps, id: number, signal: AbortSignal): Promise<EndedRun | undefined> {
  while (!signal.aborted) {
    const stopped = new Promise<'stopped'>((resolve) => signal.addEventListener('abort', () => resolve('stopped'), { once: true }));
    const read = await Promise.race([previous(id).catch(() => 'away' as const), stopped]);
    if (read !== 'away' && read !== 'stopped') return read;
    await clock.sleep(previousAgainMs, signal);
  }
  return undefined;
}

// Linux takes up to 128 KiB for one variable of an environment, and the command has others.
const mostToldNext = 32 * 1024;

/** What a run that comes after another is told of it. */
function toldNext({ id, jobName, state, result }: EndedRun): PreviousRun {
  const said = result?.['out'] ?? result?.['body'] ?? result ?? '';
  const text = typeof said === 'string' ? said : JSON.stringify(said);
  return { job: jobName, runId: String(id), state, result: text.slice(0, mostToldNext) };
}

function notDone(error: string): AttemptResult {
  return { outcome: 'failed', known: true, error, result: { err: error } };
}

/** Why we ended it, where it did not come to its own end first. */
function stopReason(result: AttemptResult, signal: AbortSignal): StopReason | undefined {
  if (!signal.aborted || result.outcome === 'succeeded') return undefined;
  return signal.reason === 'interrupted' ? 'interrupted' : 'cancelled';
}

function noteOf(node: string, run: ClaimedRun, result: AttemptResult, startedAt: Date, finishedAt: Date): AttemptNote {
  return {
    attempt: run.attempt,
    node,
    started_at: startedAt.toISOString(),
    finished_at: finishedAt.toISOString(),
    outcome: result.outcome,
    ...(result.exitCode === undefined ? {} : { exit_code: result.exitCode }),
    ...(result.status === undefined ? {} : { status: result.status }),
    ...(result.error === undefined ? {} : { error: result.error }),
  };
}

/** What is written of an attempt; also of one that nobody saw the end of (upkeep). */
export function recordOf(
  run: ClaimedRun,
  result: Pick<AttemptResult, 'outcome' | 'error' | 'result'>,
  verdict: Verdict,
  note: AttemptNote,
  at: Date,
): RunRecord {
  return {
    id: run.id,
    epoch: run.epoch,
    state: verdict.state,
    ...('reason' in verdict ? { reason: verdict.reason } : {}),
    ...(verdict.state === 'retrying' ? { readyAt: verdict.readyAt } : { finishedAt: at }),
    failed: result.outcome !== 'succeeded' && result.outcome !== 'cancelled',
    note,
    result: result.result,
    ...(result.error === undefined ? {} : { error: result.error }),
  };
}

function announce(log: Log, run: ClaimedRun, result: AttemptResult, verdict: Verdict, ms: number, told: Told): void {
  const fields = {
    ...about(run),
    type: run.command['type'],
    outcome: result.outcome,
    state: verdict.state,
    ms,
    ...('readyAt' in verdict ? { ready_at: verdict.readyAt } : {}),
    ...(result.error === undefined ? {} : { error: result.error }),
  };
  if (told === 'too_late') log.warn(fields, 'result_came_too_late');
  else if (told === 'kept') log.warn(fields, 'kept_result');
  else if (result.outcome === 'succeeded') log.info(fields, 'execed_job');
  else log.warn(fields, 'execed_job_failed');
}

/** What every line about an attempt says. */
function about(run: ClaimedRun) {
  return { trace_id: run.traceId, job: run.jobName, run: run.id, attempt: run.attempt };
}
