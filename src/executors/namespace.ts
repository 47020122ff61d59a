// A PID namespace for the shell commands of this process: when Belfry dies, of kill -9 too, the kernel ends every process
// that they started, wherever it went. Its /proc shows no process from outside, ours and our environment included.
//
// One namespace serves all runs. A small init (a shell) lives in it as PID 1, reaps orphans and reads from a pipe that
// we hold: the end of the pipe is the end of the init, and that of the namespace. One for each run would also end with
// its run, but costs more than entering one that is there.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { text as textOf } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../errors.ts';
import { childrenOf, statOf } from './processes.ts';

/** How commands are isolated: by our rights as root, by a user namespace, or not at all and why. */
export type IsolationFound = { readonly way: 'root' | 'user_namespace' } | { readonly way: 'none'; readonly why: string };

/** Makes of a program and its arguments those that run it in the namespace, in this directory. */
export type Entrance = (argv: readonly string[], cwd: string) => readonly string[];

export type Isolation = {
  /** Finds out, once, what the kernel allows, and makes the namespace. */
  readonly open: () => Promise<IsolationFound>;
  /**
   * The way into the namespace, which is made again when somebody ended it; undefined where there is none to be had.
   * Rejects when it cannot be made again.
   */
  readonly entrance: () => Promise<Entrance | undefined>;
  /** Lets be what commands left behind: the namespace then ends with the last process in it. */
  readonly close: () => Promise<void>;
};

/**
 * Commands run as the user that Belfry runs as, in a user namespace too. `isRoot` picks the way: only root can make a PID
 * namespace without a user namespace, and in one of those root would not be root any more. `path` is the PATH that
 * our programs (of util-linux 2.38 and coreutils 8) are found in. Nothing is done before it is opened.
 */
export function makeIsolation(options: {
  readonly isWanted: boolean;
  readonly isRoot: boolean;
  readonly path: string | undefined;
}): Isolation {
  const way = options.isRoot ? 'root' : 'user_namespace';
  const env = options.path === undefined ? {} : { PATH: options.path };
  let found: Promise<IsolationFound> | undefined;
  let made: Promise<Space> | undefined;

  async function find(): Promise<IsolationFound> {
    if (!options.isWanted) return { way: 'none', why: 'the config does not want it' };
    if (process.platform !== 'linux') return { way: 'none', why: 'there are PID namespaces on Linux only' };
    try {
      await probe(entranceTo(await make(), way), env);
      return { way };
    } catch (thrown) {
      await close();
      return { way: 'none', why: messageOf(thrown) };
    }
  }

  function make(): Promise<Space> {
    if (made !== undefined) return made;
    const making = openSpace(way, env);
    made = making;
    const forget = (): void => void (made = made === making ? undefined : made);
    making.then(({ ended }) => ended.then(forget), forget);
    return making;
  }

  async function close(): Promise<void> {
    const space = await made?.catch(() => undefined);
    await space?.letBe();
  }

  const open = (): Promise<IsolationFound> => (found ??= find());
  return {
    open,
    entrance: async () => ((await open()).way === 'none' ? undefined : entranceTo(await make(), way)),
    close,
  };
}

type Space = { readonly pid: number; readonly ended: Promise<unknown>; readonly letBe: () => Promise<void> };

/**
 * PID 1. A shell that waits for one child reaps the others as well. grep ends with 0 at a line (let be: stay until nobody
 * is left), with 1 at the end of the pipe (Belfry is gone: end, and all else with us), otherwise when a command killed it.
 * What a command sends to all processes that it sees is not meant for us; commands are no children of ours and inherit none of it.
 */
const init = `
trap '' HUP INT QUIT TERM
echo ready
while :; do
  grep -q . 2>/dev/null
  case $? in
    0) while kill -s 0 -- -1; do sleep 1; done; exit 0 ;;
    1) exit 0 ;;
  esac
done 2>/dev/null`;

/** Mounts are shared with the rest of the machine as ever, but for /proc. */
async function openSpace(way: 'root' | 'user_namespace', env: Record<string, string>): Promise<Space> {
  const user = way === 'root' ? [] : ['--user', '--map-current-user'];
  const args = [...user, '--pid', '--fork', '--mount-proc', '--propagation', 'unchanged', '/bin/sh', '-c', init];
  // Whatever happens to our directory, the namespace does not hold it.
  const child = spawn('unshare', args, { cwd: '/', env, detached: true, stdio: 'pipe' });
  const ended = endOf(child);
  const lines = createInterface(child.stdout);
  const ready = once(lines, 'line').then(() => true);
  const said = textOf(child.stderr).catch(() => '');
  child.stdin.on('error', () => undefined);
  if (!(await Promise.race([ready, ended.then(() => false)])) || child.pid === undefined) throw new Error(await whyOf(ended, said));
  // Should it be ended from outside, what is left of it ends too.
  void ended.then(() => child.stdin.destroy());
  return {
    pid: child.pid,
    ended,
    letBe: async () => {
      await new Promise<void>((told) => child.stdin.end('stay\n', () => told()));
      child.unref();
    },
  };
}

/**
 * nsenter has only its children in the namespace; timeout, with no time limit, starts the one, waits for it and then ends
 * as it ended, by a signal too; setsid makes it the leader of its own group, which it sees as one. nsenter waits by itself, but
 * stays stopped when a command was stopped and goes on; so does `unshare --fork` wait, but does not die of KILL.
 */
function entranceTo({ pid }: Space, way: 'root' | 'user_namespace'): Entrance {
  const space = `/proc/${pid}/ns`;
  const user = way === 'root' ? [] : [`--user=${space}/user`, '--preserve-credentials'];
  const enter = ['nsenter', ...user, `--pid=${space}/pid_for_children`, `--mount=${space}/mnt`, '--no-fork'];
  return (argv, cwd) => [...enter, `--wdns=${cwd}`, '--', 'timeout', '0', 'setsid', ...argv];
}

/** Whether a command is where it was sent, leads its group, and is seen to die of KILL. */
async function probe(entrance: Entrance, env: Record<string, string>): Promise<void> {
  const test = '[ "$(pwd -P)" = /proc ] && [ -e "/proc/$$/stat" ] && kill -s KILL -- "-$$"';
  const [program = '', ...args] = entrance(['/bin/sh', '-c', test], '/proc');
  const child = spawn(program, args, { cwd: '/', env, detached: true, stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = endOf(child);
  const said = textOf(child.stderr).catch(() => '');
  if ((await ended) !== 'SIGKILL') throw new Error(await whyOf(ended, said));
}

type End = number | NodeJS.Signals | Error | null;

function endOf(child: ChildProcess): Promise<End> {
  return new Promise((tell) => {
    child.once('error', tell);
    child.once('exit', (code, signal) => tell(signal ?? code));
  });
}

/** Its own words (`unshare: unshare failed: Operation not permitted`), or how it ended. */
async function whyOf(ended: Promise<End>, said: Promise<string>): Promise<string> {
  const end = await ended;
  if (end instanceof Error) return end.message;
  const [line = ''] = (await said).trim().split('\n');
  return line === '' ? `a command in a namespace of its own ended with ${String(end)}` : line;
}

/** A command that was started through an entrance: it is no child of ours, what waits for it is. */
export type Entered = {
  /**
   * The group that it leads: to be waited for when it has only just been started. Undefined when it has ended, or does not come
   * to be.
   */
  readonly group: () => Promise<number | undefined>;
  /** Once what waits for it has died of a signal: whether it may live on. */
  readonly mayLiveOn: () => boolean;
};

/**
 * Watches the command behind process `pid`, until `exit`. Who leads the group is found out early: what waits for it can be killed
 * (by the OOM killer, by a person), and the command is then nobody's child and may have no trace of us in its environment.
 */
export function watchEntered(pid: number, exit: Promise<unknown>): Entered {
  let leader: { readonly pid: number; readonly startedAt: number } | undefined;
  let hasEnded = false;
  let pauseMs = firstLookMs;
  let timer = setTimeout(again, pauseMs);

  function look(): void {
    leader ??= leaderBelow(pid);
  }

  function again(): void {
    look();
    if (leader === undefined) timer = setTimeout(again, (pauseMs = Math.min(2 * pauseMs, 1000)));
  }

  void exit.then(() => {
    hasEnded = true;
    clearTimeout(timer);
  });
  const isThere = (): boolean => leader !== undefined && statOf(leader.pid)?.startedAt === leader.startedAt;

  return {
    group: async () => {
      const until = performance.now() + longestEntryMs;
      for (look(); leader === undefined && !hasEnded && performance.now() < until; look()) await sleep(5);
      return isThere() ? leader?.pid : undefined;
    },
    // Of one that nobody saw it is not known.
    mayLiveOn: () => leader === undefined || isThere(),
  };
}

/** Entering takes some milliseconds on a machine that has any to spare. Most short commands have ended at the first look. */
const longestEntryMs = 5_000;
const firstLookMs = 20;

function leaderBelow(parent: number) {
  for (const pid of childrenOf(parent)) {
    const stat = statOf(pid);
    if (stat?.parent === parent && stat.group === pid) return { pid, startedAt: stat.startedAt };
  }
  return undefined;
}

/**
 * Throws what `spawn` would say of a program that cannot be run or a directory that cannot be entered (ENOENT, EACCES, …):
 * through an entrance, `spawn` only sees the first of several programs. Looks where execvp(3) looks.
 */
export function checkStartable(program: string, cwd: string, path = '/bin:/usr/bin'): void {
  accessSync(`${cwd}/.`, constants.X_OK);
  const places = program.includes('/') ? [program] : path.split(':').map((folder) => `${folder === '' ? '.' : folder}/${program}`);
  const faults = places.map((place) => faultOf(resolve(cwd, place)));
  if (faults.includes(undefined)) return;
  throw faults.find((fault) => codeOf(fault) !== 'ENOENT') ?? faults[0];
}

function faultOf(file: string): unknown {
  try {
    accessSync(file, constants.X_OK);
    if (statSync(file).isDirectory()) throw Object.assign(new Error(`EACCES: ${file} is a directory`), { code: 'EACCES' });
    return undefined;
  } catch (thrown) {
    return thrown;
  }
}

function codeOf(thrown: unknown): unknown {
  return thrown instanceof Error && 'code' in thrown ? thrown.code : undefined;
}
