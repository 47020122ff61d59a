// Ends a process group: the command and what it started. TERM first, so that it can tidy up, KILL after the grace.

import { setTimeout } from 'node:timers/promises';
import { groupHasLivingMember } from './processes.ts';

/** A process in an uninterruptible wait (a dead NFS server) does not even die of KILL; the attempt must end all the same. */
const unkillableAfterMs = 10_000;

/**
 * Sends TERM to the group and KILL to whatever is left of it after the grace. Returns whether the group is known to be
 * gone. `leaderEnded` is the end of the process that leads the group (its number is the group's).
 *
 * The whole group has the grace, not just its leader: a shell dies of TERM at once while the program it started tidies up.
 */
export async function endGroup(group: number, leaderEnded: Promise<unknown>, graceMs: number): Promise<boolean> {
  send(group, 'SIGTERM');
  if (await isGoneWithin(group, leaderEnded, graceMs)) return true;
  send(group, 'SIGKILL');
  return isGoneWithin(group, leaderEnded, unkillableAfterMs);
}

async function isGoneWithin(group: number, leaderEnded: Promise<unknown>, ms: number): Promise<boolean> {
  const until = performance.now() + ms;
  const timeUp = new AbortController();
  const wait = setTimeout(ms, undefined, { signal: timeUp.signal }).catch(() => undefined);
  await Promise.race([leaderEnded, wait]);
  timeUp.abort();
  // Members that outlive the leader are not our children: nobody tells us of their end, so it is looked up.
  for (let pauseMs = 5; lives(group); pauseMs = Math.min(pauseMs * 2, 250)) {
    const leftMs = until - performance.now();
    if (leftMs <= 0) return false;
    await setTimeout(Math.min(pauseMs, leftMs));
  }
  return true;
}

/** The number of a group is not given again while the group has members, so this never means a stranger's. */
function lives(group: number): boolean {
  return send(group, 0) && groupHasLivingMember(group);
}

/** Whether there was somebody to send it to. */
function send(group: number, signal: 'SIGTERM' | 'SIGKILL' | 0): boolean {
  try {
    return process.kill(-group, signal);
  } catch (thrown) {
    // EPERM: they are there but not ours to signal (a set-user-id program).
    return thrown instanceof Error && 'code' in thrown && thrown.code === 'EPERM';
  }
}
