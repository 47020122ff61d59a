// A whole Belfry as its users have it: a process of its own, a folder of its own, spoken to over HTTP and by signals.

import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const checkout = fileURLToPath(new URL('../..', import.meta.url));

type Scope = { after(fn: () => Promise<void>): void };

type Options = {
  /** Made by `folder`: whatever is at home in it ends with the test. */
  readonly cwd: string;
  /** What its config.toml says; left out: it stays as it is. */
  readonly config?: string;
  /** Beside PATH, HOME, JSON logs and any free port. */
  readonly env?: Record<string, string | undefined>;
  /** By `npm start`, which builds it, instead of from the source. */
  readonly npm?: boolean;
  /** Where the source lies, if not here. */
  readonly from?: string;
  /** A program that becomes Belfry, with its arguments: `prlimit --nofile=64`. */
  readonly under?: readonly string[];
  /** Nobody reads what it logs. */
  readonly isUnread?: boolean;
};

export type LogLine = Record<string, unknown> & { readonly msg: string; readonly time: string };

export type Attempt = {
  readonly attempt: number;
  readonly node: string;
  readonly outcome: string;
  readonly started_at: string;
  readonly finished_at: string;
  readonly exit_code?: number;
  readonly status?: number;
  readonly error?: string;
};

/** A run as /listJobRecord tells of it. */
export type Told = {
  readonly id: number;
  readonly name: string;
  readonly type: string;
  readonly command: string;
  readonly result: string;
  readonly failed_cnt: number;
  readonly create_time: string;
  readonly started_time: string | null;
  readonly finished_time: string | null;
  readonly state: string;
  readonly attempts: readonly Attempt[];
  readonly due_time: string;
  readonly node: string | null;
  readonly trace_id: string;
  readonly reason: string | null;
  readonly error?: string;
  /** Of a row that stands for several due times. */
  readonly due_count?: number;
  readonly last_due_time?: string;
};

type Envelope<T> = { readonly code: number; readonly message: string; readonly currentTime: number; readonly data: T };

export type Belfry = Awaited<ReturnType<typeof startBelfry>>;

/** For whatever takes its time on a busy machine: no test waits longer for one thing, none passes by waiting. */
export const limitMs = 60_000;

/** For what `before` makes and the tests of a suite share; to be called in the function of `describe`. The last made ends first. */
export function suiteScope(): Scope {
  const endings: (() => Promise<void>)[] = [];
  after(async () => {
    for (let end = endings.pop(); end; end = endings.pop()) await end();
  });
  return { after: (end) => void endings.push(end) };
}

/** A folder that is gone after the test, with every process in it; others may enter it, as the private PostgreSQL's user must. */
export async function folder(t: Scope): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'belfry-test-'));
  await chmod(made, 0o755);
  t.after(async () => {
    await until(() => {
      const there = processesOf(made);
      for (const { pid } of there) kill(pid);
      return there.length === 0 || undefined;
    });
    await rm(made, { recursive: true, force: true });
  });
  return made;
}

/** Starts a Belfry; answers when it is running. Rejects with its last words when it ends instead. */
export async function startBelfry(options: Options) {
  const { child, exited, lines, logged, stderr, pressCtrlC, insist } = await launchBelfry(options);
  const address = String((await logged((line) => line.msg === 'running'))['address']);

  /** Calls with a JSON body (or none) and answers the parsed JSON. */
  const call = async <T>(path: string, body?: unknown, method = 'POST'): Promise<T> => {
    const answer = await fetch(address + path, { method, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
    return (await answer.json()) as T;
  };
  const records = async (filter: Record<string, unknown> = {}): Promise<readonly Told[]> =>
    (await call<Envelope<Told[]>>('/listJobRecord', { size: 100, ...filter })).data;

  return {
    pid: child.pid ?? 0,
    address,
    lines,
    logged,
    stderr,
    call,
    /** Makes a job; answers its id. */
    create: async (job: Record<string, unknown>): Promise<number> => {
      const { code, message, data } = await call<Envelope<{ id: number }>>('/createJob', job);
      assert.equal(code, 0, message);
      return data.id;
    },
    /** Runs a job now; answers the id of the run. */
    trigger: async (name: string): Promise<number> => (await call<{ id: number }>(`/v1/jobs/${name}/trigger`)).id,
    /** Runs, the newest first. */
    records,
    /** One run as it is at its end. */
    finished: (id: number): Promise<Told> =>
      until(async () => (await records({ cursor: id + 1, size: 1 })).find((run) => run.id === id && run.finished_time !== null)),
    /** The output of a run. */
    resultOf: async (id: number): Promise<Record<string, unknown>> =>
      (await call<Envelope<Record<string, unknown>>>('/getJobRecordResult', { recordId: id })).data,
    /** Sends a signal and waits for the end. */
    end: async (signal: NodeJS.Signals) => {
      child.kill(signal);
      return await exited;
    },
    pressCtrlC,
    insist,
    exited,
  };
}

/** Starts a Belfry that is expected to refuse; answers how it ended and what it said. */
export async function startRefused(options: Options): Promise<{ code: number | null; signal: NodeJS.Signals | null; stderr: string }> {
  const { exited, stderr } = await launchBelfry(options);
  return { ...(await exited), stderr: stderr() };
}

// Which of them live: they go with this process, also when it is ended from outside.
const living = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of living) child.kill('SIGKILL');
});
process.once('SIGTERM', () => process.exit(143));

/** Starts a Belfry; does not wait for it to run. */
export async function launchBelfry({ cwd, config, env, npm = false, from = checkout, under = [], isUnread = false }: Options) {
  if (config !== undefined) await writeFile(join(cwd, 'config.toml'), config);
  const [program, ...args] = npm ? ['npm', '--silent', 'start'] : [...under, process.execPath, join(from, 'src/main.ts')];
  const elsewhere = npm ? { BELFRY_CONFIG: join(cwd, 'config.toml'), BELFRY_DATA_DIR: join(cwd, 'data') } : {};
  const child = spawn(program, args, {
    cwd: npm ? checkout : cwd,
    env: { PATH: process.env['PATH'], HOME: cwd, BELFRY_ADDR: '127.0.0.1:0', BELFRY_LOG_FORMAT: 'json', ...elsewhere, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  living.add(child);
  // Not `exit`: the last lines may still be on their way then.
  const exited = once(child, 'close').then(([code, signal]) => {
    living.delete(child);
    return { code: code as number | null, signal: signal as NodeJS.Signals | null };
  });

  let stderr = '';
  child.stderr.on('data', (chunk) => (stderr += String(chunk)));
  const lines: LogLine[] = [];
  const looking = new Set<() => void>();
  const read = (line: string): void => {
    const told = wholeLine(line);
    if (told) lines.push(told);
    for (const look of looking) look();
  };
  if (!isUnread) createInterface(child.stdout).on('line', read);

  /** The first log line that is like this, also one that came before; an end of the process is the end of waiting. */
  const logged = (isIt: (line: LogLine) => boolean): Promise<LogLine> => {
    const { promise, resolve, reject } = Promise.withResolvers<LogLine>();
    const look = (): void => {
      const found = lines.find(isIt);
      if (!found) return;
      looking.delete(look);
      resolve(found);
    };
    looking.add(look);
    look();
    void exited.then(({ code, signal }) =>
      reject(new Error(`Belfry ended (${code ?? signal}) before that was logged; it said: ${stderr}`)),
    );
    // Whoever waits hears of it; nobody may be waiting any more.
    promise.catch(() => undefined);
    return promise;
  };
  /** What a terminal does on Ctrl-C: SIGINT for Belfry and everything else in the foreground. */
  const pressCtrlC = (): void => {
    if (child.pid !== undefined) kill(-child.pid, 'SIGINT');
  };
  /** Ctrl-C again and again, as somebody in a hurry presses it. */
  const insist = async () => {
    let isOver = false;
    void exited.then(() => (isOver = true));
    await until(() => {
      if (!isOver) pressCtrlC();
      return isOver || undefined;
    });
    return await exited;
  };
  return { child, exited, lines, logged, pressCtrlC, insist, stderr: () => stderr };
}

/** Whoever is killed while speaking leaves half a line. */
function wholeLine(text: string): LogLine | undefined {
  try {
    return JSON.parse(text) as LogLine;
  } catch (fault) {
    if (text.endsWith('}')) throw fault;
    return undefined;
  }
}

/** Looks until something is found; answers it. */
export async function until<T>(look: () => Promise<T | undefined> | T | undefined, withinMs = limitMs): Promise<T> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() >= deadline) throw new Error(`waited in vain for ${withinMs} ms`);
    await sleep(25);
  }
}

export type Process = { readonly pid: number; readonly name: string };

/** The processes of a folder's Belfry, itself included: at home in the folder, or with it for a HOME as all its commands have. */
export function processesOf(home: string): Process[] {
  return livingProcesses((pid) => `${readlinkSync(`/proc/${pid}/cwd`)}/`.startsWith(`${home}/`) || began(pid, `HOME=${home}`));
}

/** The processes of a run, wherever they went: they bear the folder, the run's id and a marker of Belfry. */
export function processesOfRun(home: string, id: number): Process[] {
  return livingProcesses((pid) => began(pid, `HOME=${home}`, `BELFRY_RUN_ID=${id}`, 'BELFRY_MARKER='));
}

function livingProcesses(isMeant: (pid: number) => boolean): Process[] {
  return readdirSync('/proc').flatMap((entry) => {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) return [];
    try {
      const [, name = '', state = ''] = /\((.*)\) (.)/s.exec(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? [];
      return !'ZX'.includes(state) && isMeant(pid) ? [{ pid, name }] : [];
    } catch {
      // Gone in the meantime, or of another user.
      return [];
    }
  });
}

/** Whether it began with these in its environment: whole variables, or the beginning of one up to its `=`. */
function began(pid: number, ...variables: string[]): boolean {
  const environment = `\0${readFileSync(`/proc/${pid}/environ`, 'latin1')}`;
  return variables.every((variable) => environment.includes(`\0${variable}${variable.endsWith('=') ? '' : '\0'}`));
}

/** A process, or a group by its negative number. */
function kill(pid: number, signal: NodeJS.Signals = 'SIGKILL'): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone already.
  }
}

/** A port of 127.0.0.1 that was free just now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((closed) => server.close(closed));
  return port;
}
