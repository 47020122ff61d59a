// Ends what a crash, or a run that escaped its process group, left behind: every process that we start, and all that it
// starts, carries our marker in its environment.

import { setImmediate, setTimeout } from 'node:timers/promises';
import { beganWith, processIds, statOf } from './processes.ts';

/** A fork bomb makes new ones as fast as they are killed: it ends when its machine or these rounds do. */
const maxRounds = 50;

/** So often a process that cannot be judged is waited for; one that hid its traces on purpose stays so. */
const unsureRounds = 10;

/** Reading /proc blocks: in a crowd of processes others get their turn after so many. */
const turn = 250;

/**
 * Kills every process of this machine that was started with `BELFRY_MARKER=<marker>` (and, when a run is named, for that
 * run), together with its process group, until none is left. Returns how many bore the marker. Does nothing where there
 * is no /proc.
 */
export async function killLeftovers(marker: string, runId?: string): Promise<number> {
  const variables = [`BELFRY_MARKER=${marker}`, ...(runId === undefined ? [] : [`BELFRY_RUN_ID=${runId}`])];
  const killed = new Set<string>();
  // Nobody may be found twice in a row: one that starts another and ends while we look can be missed once.
  for (let round = 0, emptyRounds = 0; round < maxRounds && emptyRounds < 2; round++) {
    const { marked, isSure } = await findMarked(variables);
    for (const { pid, startedAt } of marked) {
      kill(pid, startedAt, variables);
      killed.add(`${pid}@${startedAt}`);
    }
    emptyRounds = marked.length === 0 && (isSure || round >= unsureRounds) ? emptyRounds + 1 : 0;
    // The killed vanish from /proc when the kernel has torn them down.
    await setTimeout(Math.min(100, 5 * (round + 1)));
  }
  return killed.size;
}

type Found = { readonly marked: { readonly pid: number; readonly startedAt: number }[]; readonly isSure: boolean };

async function findMarked(variables: readonly string[]): Promise<Found> {
  const marked: { pid: number; startedAt: number }[] = [];
  let isSure = true;
  for (const [at, pid] of processIds().entries()) {
    const isMarked = pid === process.pid ? false : beganWith(pid, variables);
    const startedAt = isMarked === true ? statOf(pid)?.startedAt : undefined;
    if (startedAt !== undefined) marked.push({ pid, startedAt });
    if (isMarked === undefined) isSure = false;
    if (at % turn === turn - 1) await setImmediate();
  }
  return { marked, isSure };
}

/**
 * Looks again right before, since the number may belong to somebody else by now. The group is killed too, for those
 * members that cleaned their environment; never our own.
 */
function kill(pid: number, startedAt: number, variables: readonly string[]): void {
  const stat = statOf(pid);
  if (stat?.startedAt !== startedAt || beganWith(pid, variables) !== true) return;
  const own = statOf(process.pid);
  if (stat.group > 1 && stat.session !== own?.session && stat.group !== own?.group) sendKill(-stat.group);
  sendKill(pid);
}

function sendKill(target: number): void {
  try {
    process.kill(target, 'SIGKILL');
  } catch {
    // Gone already, or not ours to kill: the next round tells.
  }
}
