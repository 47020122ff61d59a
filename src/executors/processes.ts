// The processes of this machine as the kernel shows them in /proc (proc(5)). Where there is no /proc, nothing is found.

import { readdirSync, readFileSync } from 'node:fs';

/** What is needed to tell one process from another that got its number later. */
export type ProcessStat = {
  readonly state: string;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
  /** Clock ticks since boot: a number that was given again has another one. */
  readonly startedAt: number;
  readonly isKernelThread: boolean;
};

/** PF_KTHREAD of include/linux/sched.h. */
const kernelThreadFlag = 0x00200000;

/** The numbers of all processes that are there now. */
export function processIds(): number[] {
  try {
    return readdirSync('/proc').map(Number).filter(Number.isInteger);
  } catch {
    return [];
  }
}

/** Undefined when the process is gone. */
export function statOf(pid: number): ProcessStat | undefined {
  const text = readProc(pid, 'stat')?.toString('latin1');
  if (text === undefined) return undefined;
  // The second field is the program's name in parentheses and may hold anything, parentheses and blanks too.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state = '', parent, group, session] = fields;
  return {
    state,
    parent: Number(parent),
    group: Number(group),
    session: Number(session),
    startedAt: Number(fields[19]),
    isKernelThread: (Number(fields[6]) & kernelThreadFlag) !== 0,
  };
}

/** The numbers of the processes that a process of one thread has started and not yet waited for. */
export function childrenOf(pid: number): number[] {
  const text = readProc(pid, `task/${pid}/children`)?.toString('latin1');
  if (text !== undefined) return text.split(' ').filter(Boolean).map(Number);
  // A kernel may be built without that list, which is much the faster.
  return statOf(pid) === undefined ? [] : processIds().filter((id) => statOf(id)?.parent === pid);
}

/**
 * Whether the process began with every one of these `NAME=value` in its environment; undefined while it is becoming another
 * program, when that cannot be seen. False for a process of another user, whose environment may not be read, and for one that
 * wrote over its own.
 */
export function beganWith(pid: number, variables: readonly string[]): boolean | undefined {
  const environ = readProc(pid, 'environ');
  if (environ === undefined) return false;
  if (environ.length === 0) return isBecomingAnother(pid) ? undefined : false;
  return variables.every((variable) => {
    const entry = Buffer.from(`${variable}\0`);
    return environ.subarray(0, entry.length).equals(entry) || environ.includes(Buffer.concat([Buffer.from('\0'), entry]));
  });
}

/** In the middle of execve(2) a process has neither arguments nor environment, as kernel threads and zombies have always. */
function isBecomingAnother(pid: number): boolean {
  const stat = statOf(pid);
  return stat !== undefined && !stat.isKernelThread && !'ZX'.includes(stat.state) && readProc(pid, 'cmdline')?.length === 0;
}

/** Whether a member of this process group still lives; a zombie that nobody reaps does not. */
export function groupHasLivingMember(group: number): boolean {
  const pids = processIds();
  // Without /proc the kernel's answer to kill(2), which brought us here, has to do.
  return pids.length === 0 || pids.some((pid) => isLivingMember(statOf(pid), group));
}

function isLivingMember(stat: ProcessStat | undefined, group: number): boolean {
  return stat?.group === group && !'ZX'.includes(stat.state);
}

/** Undefined when the process is gone or is not ours to look at. */
function readProc(pid: number, file: 'stat' | 'environ' | 'cmdline' | `task/${number}/children`): Buffer | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`);
  } catch {
    return undefined;
  }
}
