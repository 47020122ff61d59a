// Ends what a crash, or a run that escaped its process group, left behind: every process that we start, and all that it
// starts, carries our marker in its environment.

import { setImmediate, setTimeout } from 'node:timers/promises';
import { beganWith, processIds, statOf } from './processes.ts';

/** A fork bomb makes new ones as fast as they are killed: it ends when its machine or these rounds do. */
const maxRounds = 50;

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
  for (let round = 0; round < maxRounds; round++) {
    const found = await findMarked(variables);
    for (const pid of found) {
      const startedAt = kill(pid, variables);
      if (startedAt !== undefined) killed.add(`${pid}@${startedAt}`);
    }
    if (found.length === 0) break;
    // The killed vanish from /proc when the kernel has torn them down.
    await setTimeout(Math.min(100, 5 * (round + 1)));
  }
  return killed.size;
}

async function findMarked(variables: readonly string[]): Promise<number[]> {
  const found: number[] = [];
  for (const [at, pid] of processIds().entries()) {
    if (pid !== process.pid && beganWith(pid, variables)) found.push(pid);
    if (at % turn === turn - 1) await setImmediate();
  }
  return found;
}

/**
 * Looks again right before, since the number may belong to somebody else by now. Returns when the killed process
 * had started. Its group is killed with it, for those members that cleaned their environment; never our own.
 */
function kill(pid: number, variables: readonly string[]): number | undefined {
  const stat = statOf(pid);
  if (stat === undefined || !beganWith(pid, variables)) return undefined;
  const own = statOf(process.pid);
  if (stat.group > 1 && stat.session !== own?.session && stat.group !== own?.group) sendKill(-stat.group);
  return sendKill(pid) ? stat.startedAt : undefined;
}

function sendKill(target: number): boolean {
  try {
    return process.kill(target, 'SIGKILL');
  } catch {
    // Gone already, or not ours to kill: the next round tells.
    return false;
  }
}
