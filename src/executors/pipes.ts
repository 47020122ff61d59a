// Real pipes for a child's output. Node gives a child sockets, and on Linux a socket cannot be opened by name: under it
// `echo trouble > /dev/stderr`, common in scripts, fails with "No such device or address". Node cannot make a pipe, so
// named ones are made by mkfifo(1), many at a time, opened at both ends and unlinked; from there they are as good.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, unlinkSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Two file descriptors, closed on exec: a child gets only what is handed to it. */
export type Pipe = { readonly readFd: number; readonly writeFd: number };

/** A run takes two pipes. Each waits with two descriptors; mkfifo costs as much as a run, whatever it makes. */
const batchSize = 64;

/** Below this the next batch is begun, so that a burst of runs does not wait for it. */
const lowMark = 24;

/**
 * Makes a source of pipes. It resolves to undefined where they cannot be had (another system, a full disk, out of
 * descriptors): the caller then makes do with what Node gives.
 */
export function pipeSource(env: Record<string, string>): () => Promise<Pipe | undefined> {
  const ready: Pipe[] = [];
  let filling: Promise<void> | undefined;

  function fill(): Promise<void> {
    filling ??= makePipes(env, ready).finally(() => (filling = undefined));
    return filling;
  }

  return async () => {
    if (process.platform !== 'linux') return undefined;
    try {
      // Several callers may wait for one batch and find it taken: each looks again, and gives up when a try fails.
      while (ready.length === 0) await fill();
      // A batch that is made ahead and fails is tried again, and told, by whoever then waits for it.
      if (ready.length < lowMark) fill().catch(() => undefined);
    } catch {
      return ready.pop();
    }
    return ready.pop();
  };
}

/** Adds a batch to `ready`; no name is left behind, whatever goes wrong. */
async function makePipes(env: Record<string, string>, ready: Pipe[]): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'belfry-pipes-'));
  try {
    const names = Array.from({ length: batchSize }, (_, at) => join(dir, String(at)));
    const mkfifo = spawn('mkfifo', ['-m', '600', ...names], { env, stdio: 'ignore' });
    await once(mkfifo, 'exit');
    if (mkfifo.exitCode !== 0) throw new Error(`mkfifo ended with ${mkfifo.exitCode ?? mkfifo.signalCode}`);
    for (const name of names) {
      ready.push(openBothEnds(name));
      unlinkSync(name);
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** The reading end is opened without waiting for a writer; the writing end then finds its reader at once. */
function openBothEnds(name: string): Pipe {
  const readFd = openSync(name, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    return { readFd, writeFd: openSync(name, constants.O_WRONLY) };
  } catch (thrown) {
    closeSync(readFd);
    throw thrown;
  }
}
