// Real pipes for a child's output. Node gives a child sockets, and on Linux a socket cannot be opened by name: under it
// `echo trouble > /dev/stderr`, common in scripts, fails with "No such device or address". Node cannot make a pipe, so
// named ones are made by mkfifo(1), many at a time, opened at both ends and unlinked; from there they are as good.

import { execFile } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** Two file descriptors, closed on exec: a child gets only what is handed to it. */
export type Pipe = { readonly readFd: number; readonly writeFd: number };

/** Each waits with two descriptors; a run takes two pipes. */
const batchSize = 32;

/**
 * Makes a source of pipes. It resolves to undefined where they cannot be had (another system, a full disk, out of
 * descriptors): the caller then makes do with what Node gives.
 */
export function pipeSource(env: Record<string, string>): () => Promise<Pipe | undefined> {
  const ready: Pipe[] = [];
  let filling: Promise<void> | undefined;

  async function fill(): Promise<void> {
    const dir = await mkdtemp(join(tmpdir(), 'belfry-pipes-'));
    try {
      const names = Array.from({ length: batchSize }, (_, at) => join(dir, String(at)));
      await promisify(execFile)('mkfifo', ['-m', '600', ...names], { env });
      for (const name of names) ready.push(openBothEnds(name));
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  }

  return async () => {
    if (process.platform !== 'linux') return undefined;
    // Several callers may wait for one batch and find it taken: each looks again, and gives up after a failed try.
    while (ready.length === 0) {
      filling ??= fill().finally(() => (filling = undefined));
      try {
        await filling;
      } catch {
        return ready.pop();
      }
    }
    return ready.pop();
  };
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
