// Runs a shell command, or a program with its arguments, as a process group of its own, in our namespace where there is one.

import { type ChildProcess, spawn, type SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { messageOf } from '../errors.ts';
import { type Capture, capture } from './capture.ts';
import type { AttemptRequest, AttemptResult, Executor, PreviousRun } from './executor.ts';
import { endGroup } from './group.ts';
import { killLeftovers } from './leftovers.ts';
import { checkStartable, type Entrance, type Isolation, watchEntered } from './namespace.ts';
import { cleanText } from './output.ts';
import { pipeSource } from './pipes.ts';
import { parseShellCommand, type ShellCommand } from './shell-command.ts';
import { endedBy, type Ending, type StopCause, stoppedBefore, stopReasonOf } from './stop.ts';

export type { ShellCommand } from './shell-command.ts';

/** How long output is waited for after the command ended: a process that it left behind can hold the pipe for ever. */
const drainMs = 2_000;

const defaultShell = '/bin/sh';

type Exit = { readonly code: number | null; readonly signal: NodeJS.Signals | null };
type Child = {
  readonly pid: number;
  readonly exit: Promise<Exit>;
  /** The group that the command leads, if it still does. */
  readonly group: () => Promise<number | undefined>;
  /** Whether it may live on although `exit` tells of an end: not its own then, but of what waited for it. */
  readonly mayLiveOn: () => Promise<boolean>;
};

/**
 * The executor of `{ type: "shell" }`. `inheritedEnv` is what of our own environment a command may see;
 * `outputLimitBytes` is kept of stdout and of stderr each, as the command wrote it. Without `isolation` a command is a plain
 * process group.
 *
 * A command that leaves processes behind and ends well is let be; when it is stopped they are ended with it.
 */
export function shellExecutor(options: {
  readonly outputLimitBytes: number;
  readonly inheritedEnv: Record<string, string>;
  readonly isolation?: Isolation;
}): Executor<ShellCommand> {
  const nextPipe = pipeSource(options.inheritedEnv);

  async function execute(request: AttemptRequest<ShellCommand>): Promise<AttemptResult> {
    const output = request.keepOutput ? await openOutput() : undefined;
    const child = await start(request, options, output);
    if (!('pid' in child)) return notStarted(child, request);
    const cause = await stoppedBefore(child.exit, request);
    const mayLiveOn = cause !== undefined || (await child.mayLiveOn());
    const gone = !mayLiveOn || (await endTree(child, request));
    const exit = gone || cause === undefined ? await child.exit : { code: null, signal: null };
    await drain(output);
    return reportOf(request, child, exit, cause, gone, output);
  }

  async function openOutput(): Promise<Output> {
    const limit = options.outputLimitBytes;
    return { out: capture(await nextPipe(), limit), stderr: capture(await nextPipe(), limit) };
  }

  return { type: 'shell', defaults: { maxAttempts: 3, timeoutMs: 3_600_000 }, parse: parseShellCommand, execute };
}

type Output = { readonly out: Capture; readonly stderr: Capture };

/** Where commands are started, and what they get. */
type Setting = { readonly inheritedEnv: Record<string, string>; readonly isolation?: Isolation };

async function start(request: AttemptRequest<ShellCommand>, setting: Setting, output: Output | undefined): Promise<Child | Ending> {
  const begun = await spawnGroup(request, setting, output);
  if (!('pid' in begun)) for (const stream of [output?.out, output?.stderr]) stream?.dismiss();
  return begun;
}

/** The signal is looked at last before the child is there, and again by whoever waits for it: no stop is missed. */
async function spawnGroup(
  request: AttemptRequest<ShellCommand>,
  { inheritedEnv, isolation }: Setting,
  output: Output | undefined,
): Promise<Child | Ending> {
  const { cwd } = request.command;
  const argv = argvOf(request.command);
  try {
    const entrance = request.command.isolation === 'none' ? undefined : await isolation?.entrance();
    if (request.signal.aborted) return endedBy(stopReasonOf(request.signal), request.timeoutMs);
    const env = environmentOf(request, inheritedEnv);
    const stdio = output === undefined ? 'ignore' : ['ignore' as const, output.out.stdio, output.stderr.stdio];
    const child = spawnThrough(entrance, argv, cwd, { env, detached: true, stdio });
    if (child.pid === undefined) throw (await once(child, 'error'))[0];
    output?.out.start(child.stdout);
    output?.stderr.start(child.stderr);
    const { pid } = child;
    const exit = new Promise<Exit>((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
    if (entrance === undefined) return { pid, exit, group: async () => pid, mayLiveOn: async () => false };
    const { group, mayLiveOn } = watchEntered(pid, exit);
    return { pid, exit, group, mayLiveOn: async () => (await exit).signal !== null && mayLiveOn() };
  } catch (thrown) {
    return { outcome: 'failed', error: cleanText(`cannot start ${argv[0]}: ${reasonOf(thrown, cwd)}`) };
  }
}

function spawnThrough(
  entrance: Entrance | undefined,
  argv: readonly string[],
  cwd: string | undefined,
  options: SpawnOptions,
): ChildProcess {
  if (entrance === undefined) {
    const [program = '', ...args] = argv;
    return spawn(program, args, { ...options, ...(cwd === undefined ? {} : { cwd }) });
  }
  const there = cwd ?? process.cwd();
  checkStartable(argv[0] ?? '', there, options.env?.['PATH']);
  const [program = '', ...args] = entrance(argv, there);
  return spawn(program, args, options);
}

function argvOf({ argv, shell = defaultShell, target = '' }: ShellCommand): readonly string[] {
  return argv ?? [shell, '-c', target];
}

function environmentOf(
  { command, job, runId, attempt, dueAt, cause, previous, traceparent, marker }: AttemptRequest<ShellCommand>,
  inheritedEnv: Record<string, string>,
): Record<string, string> {
  return {
    ...inheritedEnv,
    ...command.env,
    BELFRY_JOB: job,
    BELFRY_RUN_ID: runId,
    BELFRY_ATTEMPT: String(attempt),
    BELFRY_DUE_AT: dueAt.toISOString(),
    BELFRY_CAUSE: cause,
    ...(previous === undefined ? {} : previousIn(previous)),
    BELFRY_MARKER: marker,
    TRACEPARENT: traceparent,
  };
}

function previousIn({ job, runId, state, result }: PreviousRun): Record<string, string> {
  return {
    BELFRY_PREVIOUS_JOB: job,
    BELFRY_PREVIOUS_RUN_ID: runId,
    BELFRY_PREVIOUS_STATE: state,
    BELFRY_PREVIOUS_RESULT: result.replaceAll('\0', '�'),
  };
}

/** A missing working directory comes as ENOENT of the program: tell them apart. */
function reasonOf(thrown: unknown, cwd: string | undefined): string {
  const code = thrown instanceof Error && 'code' in thrown ? thrown.code : undefined;
  if (code === 'ENOENT' && cwd !== undefined && !existsSync(cwd)) return `the directory ${cwd} does not exist`;
  if (code === 'ENOENT') return 'no such program';
  if (code === 'E2BIG') return 'the command and its environment are too long (E2BIG)';
  return messageOf(thrown);
}

/** The group, and whatever left the group but still carries our marker. Returns whether all is known to be gone. */
async function endTree(child: Child, request: AttemptRequest<ShellCommand>): Promise<boolean> {
  // Of a command that did not come to be, what was to start it is ended.
  const gone = await endGroup((await child.group()) ?? child.pid, child.exit, request.killGraceMs);
  await killLeftovers(request.marker, request.runId);
  return gone;
}

async function drain(output: Output | undefined): Promise<void> {
  if (output === undefined) return;
  const { promise: waitedEnough, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, drainMs);
  await Promise.race([Promise.all([output.out.ended, output.stderr.ended]), waitedEnough]);
  clearTimeout(timer);
  output.out.stop();
  output.stderr.stop();
}

function notStarted({ outcome, error }: Ending, { keepOutput }: AttemptRequest<ShellCommand>): AttemptResult {
  const result = { out: '', err: error, stderr: '', exitCode: null, ...(keepOutput ? {} : { kept: false }) };
  return { outcome, known: true, error, result };
}

function reportOf(
  request: AttemptRequest<ShellCommand>,
  child: Child,
  exit: Exit,
  cause: StopCause | undefined,
  gone: boolean,
  output: Output | undefined,
): AttemptResult {
  const { outcome, error: reason } = cause === undefined ? endedBySelf(exit) : endedBy(cause, request.timeoutMs);
  const error = gone ? reason : `${reason}; process group ${child.pid} did not die of KILL`;
  return {
    outcome,
    known: gone,
    ...(error === undefined ? {} : { error }),
    ...(exit.code === null ? {} : { exitCode: exit.code }),
    result: {
      out: output?.out.text() ?? '',
      err: error ?? '<nil>',
      stderr: output?.stderr.text() ?? '',
      exitCode: exit.code,
      ...(output === undefined ? { kept: false } : factsOf(output)),
    },
  };
}

function endedBySelf({ code, signal }: Exit): { outcome: 'succeeded' | 'failed'; error?: string } {
  if (code === 0) return { outcome: 'succeeded' };
  if (signal === null) return { outcome: 'failed', error: `exit status ${code}` };
  return { outcome: 'failed', error: `signal: ${signalNames[signal] ?? signal.slice(3).toLowerCase()}` };
}

/** When it spoke first and last, and how much of it was not kept. */
function factsOf({ out, stderr }: Output): Record<string, unknown> {
  const moments = [out.firstAt(), out.lastAt(), stderr.firstAt(), stderr.lastAt()].filter((at) => at !== undefined);
  const sorted = moments.map((at) => at.toISOString()).sort();
  const cut = out.cut() + stderr.cut();
  return {
    ...(sorted.length === 0 ? {} : { firstOutputAt: sorted[0], lastOutputAt: sorted.at(-1) }),
    ...(cut === 0 ? {} : { cut }),
  };
}

/** As Go prints them on Linux, which the first users' scripts look for. */
const signalNames: Partial<Record<NodeJS.Signals, string>> = {
  SIGHUP: 'hangup',
  SIGINT: 'interrupt',
  SIGQUIT: 'quit',
  SIGILL: 'illegal instruction',
  SIGTRAP: 'trace/breakpoint trap',
  SIGABRT: 'aborted',
  SIGBUS: 'bus error',
  SIGFPE: 'floating point exception',
  SIGKILL: 'killed',
  SIGUSR1: 'user defined signal 1',
  SIGSEGV: 'segmentation fault',
  SIGUSR2: 'user defined signal 2',
  SIGPIPE: 'broken pipe',
  SIGALRM: 'alarm clock',
  SIGTERM: 'terminated',
};
