// The server process of the private PostgreSQL: what an earlier one left, the start, the watch over it, the stop.

import { spawn } from 'node:child_process';
import * as fs from 'node:fs/promises';
import { createServer, Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Refusal } from '../errors.ts';
import { environment, pathFor, run, type Place, type Programs } from './programs.ts';

/** A server that takes connections on `port` of 127.0.0.1, until `exited` resolves. `stop` ends it and waits for that. */
export type Server = { port: number; exited: Promise<void>; stop: () => Promise<void> };

type Launched = Omit<Server, 'port'> & { hasExited: () => boolean };

const lookEveryMs = 20;
const looksForTheLastOne = 500;

// Small, and nothing that could lose a commit: fsync and synchronous_commit are as PostgreSQL has them, on.
const settings = Object.entries({
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: 100,
  shared_buffers: '128MB',
  wal_level: 'minimal',
  wal_init_zero: 'off',
  max_wal_senders: 0,
  max_logical_replication_workers: 0,
  max_parallel_workers_per_gather: 0,
  io_method: 'sync',
  jit: 'off',
  log_checkpoints: 'off',
  logging_collector: 'off',
  timezone: 'UTC',
  log_timezone: 'UTC',
}).flatMap(([name, value]) => ['-c', `${name}=${value}`]);

// Runs the server and watches the pipe on 3. Its other end is in Belfry alone, so it ends however Belfry ends, and the server
// is shut down then: SIGINT is "fast", and SIGTERM adds nothing to it but ends a process that is not yet a server, which
// would ignore the first. The server and its children hold the pipe too: it ends for Belfry when the last of them has gone.
const watch = `
  "$@" & server=$!
  trap '' INT TERM HUP
  ( read -r _ <&3; kill -INT "$server"; kill -TERM "$server" ) 2>/dev/null & watcher=$!
  wait "$server"; code=$?
  kill -KILL "$watcher" 2>/dev/null
  exit "$code"`;

/**
 * Waits until the server of a Belfry that was killed has gone: its watcher is shutting it down. To be called with the lock
 * held, as a living Belfry's server is no different. Answers what the pid file says after that: nothing, or something stale.
 */
export async function outlive(place: Place): Promise<string> {
  for (let looks = 0; ; looks++) {
    const text = await readPidFile(place);
    const pid = pidIn(text);
    if (pid === 0) {
      // Emptied by a power loss: PostgreSQL would take it for one that is just being written.
      await fs.rm(pidFile(place), { force: true });
      return '';
    }
    if (!(await isServerOf(place, pid))) return text;
    if (looks === 0) place.progress(`waiting for the PostgreSQL of a Belfry that was killed (process ${pid}) to stop`);
    if (looks === looksForTheLastOne) {
      throw new Refusal('conflict', `a PostgreSQL server (process ${pid}) is using ${place.shown}/postgres; stop it first`);
    }
    place.signal?.throwIfAborted();
    await sleep(lookEveryMs);
  }
}

/**
 * The environment for a program that finds a stale pid file. To remove the file would also remove PostgreSQL's own guard
 * against orphans of that server (a shared memory key in it); a pid named like this is not believed, and the guard stays.
 */
export function environmentAfter(stale: string): NodeJS.ProcessEnv {
  return stale === '' ? environment : { ...environment, PG_GRANDPARENT_PID: String(pidIn(stale)) };
}

/** Starts the server on a free port and waits until it takes connections, as long as a recovery may need. */
export async function serve(place: Place, programs: Programs, stale: string): Promise<Server> {
  place.progress(`starting the private PostgreSQL in ${place.shown}/postgres`);
  for (let attempt = 1; ; attempt++) {
    const port = await freePort();
    if (port === undefined) throw new Refusal('unavailable', 'no port is free on 127.0.0.1');
    const { hasExited, ...server } = await launch(place, programs, port, stale);
    try {
      while (!hasExited()) {
        place.signal?.throwIfAborted();
        if (await isReady(place, stale)) return { port, ...server };
        await Promise.race([server.exited, sleep(lookEveryMs)]);
      }
    } catch (thrown) {
      await server.stop();
      throw thrown;
    }
    // Somebody took the port between our look and the server's.
    if (attempt < 3 && (await freePort(port)) === undefined) continue;
    throw failed('did not start', await fs.readFile(place.log, 'utf8'), ` (${place.shown}/postgres.log)`);
  }
}

/** The Refusal for a program of PostgreSQL that ended badly, with its last words. */
export function failed(what: string, output: string, where = ''): Refusal {
  const lines = output.split('\n').filter((line) => line.trim() !== '');
  return new Refusal('unavailable', `the private PostgreSQL ${what}. Its last words${where}:\n${lines.slice(-5).join('\n')}`);
}

async function launch(place: Place, programs: Programs, port: number, stale: string): Promise<Launched> {
  const server = [join(programs.bin, 'postgres'), '-D', pathFor(place, place.cluster), '-c', `port=${port}`, ...settings];
  const log = await fs.open(place.log, 'a', 0o600);
  const child = spawn('/bin/sh', ['-c', watch, 'belfry-postgres', ...server], {
    cwd: place.cluster,
    env: environmentAfter(stale),
    // A session of its own: a terminal's Ctrl-C is for Belfry, which still needs its database to stop well.
    detached: true,
    stdio: ['ignore', log.fd, log.fd, 'pipe'],
    ...place.user,
  });
  let gone = false;
  const exited = new Promise<void>((done) => {
    const end = () => {
      gone = true;
      done();
    };
    child.once('error', end).once('close', end);
  });
  await log.close();
  const pipe = child.stdio[3];
  if (!(pipe instanceof Socket)) throw new TypeError('expected a pipe to the watcher of PostgreSQL');
  // Its errors say that the other end has gone, which `exited` says too.
  pipe.on('error', () => {}).resume();
  const stop = async () => {
    pipe.end();
    await exited;
  };
  return { exited, hasExited: () => gone, stop };
}

/** The last line of the pid file says so; of ours, not of one that was there before. */
async function isReady(place: Place, stale: string): Promise<boolean> {
  const text = await readPidFile(place);
  return text !== stale && (text.split('\n')[7]?.startsWith('ready') ?? false);
}

/** A pid may be anybody's by now: only a postgres at home in our cluster counts. */
async function isServerOf(place: Place, pid: number): Promise<boolean> {
  if (process.platform !== 'linux') {
    const { output } = await run(place, '/bin/ps', ['-o', 'command=', '-p', String(pid)]);
    return output.includes('postgres') && output.includes(place.cluster);
  }
  const name = await fs.readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
  const directory = await fs.readlink(`/proc/${pid}/cwd`).catch(() => '');
  return name.trim() === 'postgres' && directory === place.cluster;
}

function pidFile(place: Place): string {
  return join(place.cluster, 'postmaster.pid');
}

async function readPidFile(place: Place): Promise<string> {
  return fs.readFile(pidFile(place), 'utf8').catch(() => '');
}

/** 0 if there is none. PostgreSQL writes it negative while it runs without a server. */
function pidIn(text: string): number {
  return Math.abs(Number.parseInt(text, 10)) || 0;
}

/** The port, or one that the system picks; undefined when it is taken. */
function freePort(wanted = 0): Promise<number | undefined> {
  return new Promise((done) => {
    const probe = createServer();
    probe.once('error', () => done(undefined));
    probe.listen(wanted, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => done(address !== null && typeof address === 'object' ? address.port : undefined));
    });
  });
}
