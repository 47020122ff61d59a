// The private PostgreSQL of the quick start: a real server out of npm's platform packages, on loopback, with its data in the
// data directory. It starts with Belfry, is stopped by it, and never outlives it, not even by `kill -9`.

import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import * as fs from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { elsewhere, findPrograms, findUser, pathFor, run, type Place, type Programs, type User } from './embedded/programs.ts';
import { environmentAfter, failed, outlive, serve } from './embedded/postmaster.ts';
import { messageOf, Refusal } from './errors.ts';

/** A running private PostgreSQL. `exited` resolves when the server has gone, stopped or not; `stop` ends it and waits. */
export type Embedded = { url: string; exited: Promise<void>; stop(): Promise<void> };

type Options = { dataDir: string; progress?: (line: string) => void; signal?: AbortSignal };

const maxLogBytes = 10_000_000;

/**
 * Starts the private PostgreSQL in `<dataDir>/postgres`, made the first time with an empty database `belfry`. The signal gives
 * the start up; a started server is ended by `stop`. What cannot be here, a second Belfry in the same directory included, is
 * a Refusal that says what to do. The server's own words are in `<dataDir>/postgres.log`.
 */
export async function startEmbedded(options: Options): Promise<Embedded> {
  let unlock = () => {};
  try {
    const place = await openDataDir(options);
    unlock = lock(place);
    await tidy(place);
    const programs = await findPrograms(place);
    const isNew = !(await hasCluster(place, programs));
    const kept = await readPassword(place);
    const password = kept ?? randomBytes(24).toString('base64url');
    if (isNew) await createCluster(place, programs, password);
    const stale = await outlive(place);
    if (!isNew && kept === undefined) await alone(place, programs, place.cluster, [passwordIs(password)], stale);
    if (kept === undefined) await fs.writeFile(passwordFile(place), `${password}\n`, { mode: 0o600, flush: true });
    const server = await serve(place, programs, stale);
    let stopping: Promise<void> | undefined;
    return {
      url: `postgres://belfry:${password}@127.0.0.1:${server.port}/belfry`,
      exited: server.exited,
      stop: () => (stopping ??= server.stop().then(unlock)),
    };
  } catch (thrown) {
    unlock();
    throw told(options.dataDir, thrown);
  }
}

async function openDataDir({ dataDir, progress = () => {}, signal }: Options): Promise<Place> {
  const created = await fs.mkdir(resolve(dataDir), { recursive: true });
  const home = await fs.realpath(dataDir);
  await fs.access(home, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK);
  const cluster = join(home, 'postgres');
  const user = process.getuid?.() === 0 ? await findUser(cluster) : undefined;
  // The mode of a directory that was there before is its owner's decision.
  if (created !== undefined) await fs.chmod(home, user ? 0o711 : 0o700);
  const place = { shown: dataDir, home, cluster, log: join(home, 'postgres.log'), user, closed: false, progress, signal };
  return { ...place, closed: user !== undefined && (await isClosedTo(user, place)) };
}

/** Whether the server's user cannot come to the data directory, as in a checkout below /root. */
async function isClosedTo(user: User, place: Place): Promise<boolean> {
  const { code, output } = await run(place, '/bin/sh', ['-c', 'cd -- "$1"', 'sh', place.home]);
  const why = code === undefined ? `could not be run as ${user.name} (${output})` : `as ${user.name} cannot enter ${place.shown}`;
  // Linux has a way around: see pathFor.
  if (code === 0 || (code !== undefined && process.platform === 'linux')) return code !== 0;
  throw new Refusal('unavailable', `PostgreSQL does not run as root, and ${why}: choose another data_dir, or ${elsewhere}`);
}

/**
 * One Belfry a data directory. Node has no flock, but SQLite locks its file in the kernel, and such a lock ends with its
 * process: no stale ones, no race. The pid is in a file of its own, and only for the sentence: to close the locked file
 * anywhere else in this process would lose the lock.
 */
function lock(place: Place): () => void {
  const owner = join(place.home, 'belfry.pid');
  let file: DatabaseSync | undefined;
  try {
    file = new DatabaseSync(join(place.home, 'belfry.lock'), { timeout: 0 });
    file.exec('pragma journal_mode = memory');
    file.exec('begin exclusive');
    writeFileSync(owner, `${process.pid}\n`);
  } catch (thrown) {
    file?.close();
    const isTaken = thrown instanceof Error && 'errcode' in thrown && thrown.errcode === 5; // SQLITE_BUSY
    if (!isTaken) throw new Refusal('unavailable', `${place.shown} could not be locked: ${messageOf(thrown)}`);
    const who = existsSync(owner) ? ` (process ${readFileSync(owner, 'utf8').trim()})` : '';
    throw new Refusal('conflict', `another Belfry is using ${place.shown}${who}; stop it, or give this one its own BELFRY_DATA_DIR`);
  }
  return () => {
    rmSync(owner, { force: true });
    file.close();
  };
}

/** Clears away what earlier starts left half done, and a log that grew too long. */
async function tidy(place: Place): Promise<void> {
  const halfDone = (await fs.readdir(place.home)).filter((name) => /^postgres\.(new|copy)-/.test(name));
  // One may still be written to, by a child of a Belfry that was killed: then it goes the next time.
  for (const name of halfDone) await fs.rm(join(place.home, name), { recursive: true, force: true }).catch(() => {});
  const log = await fs.stat(place.log).catch(missing);
  if (log && log.size > maxLogBytes) await fs.truncate(place.log);
}

async function hasCluster(place: Place, programs: Programs): Promise<boolean> {
  const major = (await fs.readFile(join(place.cluster, 'PG_VERSION'), 'utf8').catch(missing))?.trim();
  if (major === programs.major) return true;
  const where = `${place.shown}/postgres`;
  if (major !== undefined) {
    const advice = `dump it with PostgreSQL ${major} and move it away, choose another data_dir, or ${elsewhere}`;
    throw new Refusal('unavailable', `${where} was made by PostgreSQL ${major}, and Belfry brings ${programs.major}: ${advice}`);
  }
  const found = (await fs.readdir(place.cluster).catch(missing)) ?? [];
  if (found.length > 0) throw new Refusal('conflict', `${where} holds other files than PostgreSQL's (no PG_VERSION): move them away`);
  return false;
}

/** Made beside and renamed: what an end in the middle leaves is never taken for a cluster. */
async function createCluster(place: Place, programs: Programs, password: string): Promise<void> {
  place.progress(`creating a private PostgreSQL in ${place.shown}/postgres`);
  const fresh = await fs.mkdtemp(join(place.home, 'postgres.new-'));
  if (place.user) await fs.chown(fresh, place.user.uid, place.user.gid);
  const locale = ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'];
  const access = ['--username=belfry', '--auth-local=reject', '--auth-host=scram-sha-256'];
  const args = ['-D', pathFor(place, fresh), ...locale, ...access, '--no-instructions'];
  const { code, output } = await run(place, join(programs.bin, 'initdb'), args, { cwd: fresh });
  if (code !== 0) throw failed('could not create its data directory', output);
  // Renaming is quicker than creating, and nobody needs the database that is there.
  await alone(place, programs, fresh, [passwordIs(password), 'alter database postgres rename to belfry;'], '');
  await fs.rename(fresh, place.cluster);
  const folder = await fs.open(place.home);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function passwordFile(place: Place): string {
  return join(place.home, 'postgres.password');
}

async function readPassword(place: Place): Promise<string | undefined> {
  return /^[\w-]{32}$/m.exec((await fs.readFile(passwordFile(place), 'utf8').catch(missing)) ?? '')?.[0];
}

function passwordIs(password: string): string {
  return `alter role belfry password '${password}';`;
}

/** Runs statements in a cluster that no server runs on. The statements stay out of every log: one has the password. */
async function alone(place: Place, programs: Programs, directory: string, statements: string[], stale: string): Promise<void> {
  const strict = ['-c', 'exit_on_error=on', '-c', 'log_min_error_statement=panic'];
  const args = ['--single', '-D', pathFor(place, directory), ...strict, 'template1'];
  const options = { cwd: directory, input: `${statements.join('\n')}\n`, env: environmentAfter(stale) };
  const { code, output } = await run(place, join(programs.bin, 'postgres'), args, options);
  if (code !== 0) throw failed('could not set up its data directory', output);
}

/** What stands in the way on this machine (rights, space) is told; anything else is a fault and passes as it is. */
function told(shown: string, thrown: unknown): unknown {
  const code = codeOf(thrown);
  if (code === undefined || !['EACCES', 'EPERM', 'EROFS', 'ENOSPC', 'EDQUOT', 'ENOTDIR', 'EEXIST'].includes(code)) return thrown;
  const advice = `choose another data_dir, or ${elsewhere}`;
  return new Refusal('unavailable', `a private PostgreSQL cannot live in ${shown} (${messageOf(thrown)}): ${advice}`);
}

/** For what may not be there. */
function missing(thrown: unknown): undefined {
  if (codeOf(thrown) !== 'ENOENT') throw thrown;
}

function codeOf(thrown: unknown): string | undefined {
  return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : undefined;
}
