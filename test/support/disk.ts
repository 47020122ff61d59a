// A disk of a test's own that is soon full.

import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { skipLoudly } from './skip-loudly.ts';

export type Disk = {
  readonly path: string;
  /** Takes up all the room that there is. */
  readonly fill: () => Promise<void>;
  /** Gives that room back. */
  readonly free: () => Promise<void>;
};

/**
 * Mounts one of so many kilobytes; it is gone after the test. Only root may do that: for others the test is loudly skipped and the
 * answer is undefined; in CI that is a failure.
 */
export async function smallDisk(t: TestContext, kilobytes: number): Promise<Disk | undefined> {
  const path = await mkdtemp(join(tmpdir(), 'belfry-disk-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${kilobytes}k,mode=755`, 'tmpfs', path], { stdio: 'pipe' });
  } catch (thrown) {
    await rm(path, { recursive: true });
    skipLoudly(t, `a small disk has to be mounted, which only root may: ${String(thrown)}`);
    return undefined;
  }
  t.after(async () => {
    execFileSync('umount', ['--lazy', path]);
    await rm(path, { recursive: true });
  });
  const filler = join(path, 'filler');
  return {
    path,
    fill: async () => {
      const { bavail, bsize } = await statfs(path);
      await writeFile(filler, Buffer.alloc(bavail * bsize, 1)).catch(() => undefined);
    },
    free: () => rm(filler),
  };
}
