// A whole Belfry as its users have it: a process of its own, a folder of its own, spoken to over HTTP and signals.

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

export type LogLine = Record<string, unknown> & { msg: string };

export type Record_ = {
  id: number;
  name: string;
  state: string;
  reason: string | null;
  failed_cnt: number;
  result: string;
  error?: string;
  due_time: string;
  create_time: string;
  started_time: string | null;
  finished_time: string | null;
  trace_id: string;
  node: string | null;
  attempts: { attempt: number; outcome: string; started_at: string; finished_at: string; exit_code?: number; error?: string }[];
};

export type Belfry = Awaited<ReturnType<typeof startBelfry>>;

/** A folder that is gone after the test; others may enter it, as the private PostgreSQL's user must. */
export async function folder(t: { after: (fn: () => Promise<void>) => void }): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'belfry-test-'));
  await chmod(made, 0o755);
  t.after(() => rm(made, { recursive: true, force: true }));
  return made;
}

/** Starts a Belfry in `cwd` with this config.toml and environment; answers when it listens or says that it runs. */
export async function startBelfry(options: { cwd: string; config?: string; env?: Record<string, string>; killed?: (fn: () => Promise<void>) => void }) {
  if (options.config !== undefined) await writeFile(join(options.cwd, 'config.toml'), options.config);
  const child = spawn(process.execPath, [main], {
    cwd: options.cwd,
    env: { PATH: process.env['PATH'], BELFRY_ADDR: '127.0.0.1:0', BELFRY_LOG_FORMAT: 'json', ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  const lines: LogLine[] = [];
  const waiting = new Set<() => void>();
  let stderr = '';
  child.stderr.on('data', (chunk) => (stderr += String(chunk)));
  createInterface(child.stdout).on('line', (line) => {
    lines.push(JSON.parse(line) as LogLine);
    for (const look of waiting) look();
  });

  /** The first log line that is like this, also one that came before; an end of the process is the end of waiting. */
  const logged = (isIt: (line: LogLine) => boolean): Promise<LogLine> => {
    const { promise, resolve, reject } = Promise.withResolvers<LogLine>();
    const look = (): void => {
      const found = lines.find(isIt);
      if (!found) return;
      waiting.delete(look);
      resolve(found);
    };
    waiting.add(look);
    look();
    void exited.then(([code, signal]) => reject(new Error(`ended with ${code ?? signal} before that was logged; stderr: ${stderr}`)));
    promise.catch(() => undefined);
    return promise;
  };
  const started = await logged((line) => line.msg === 'start_http_server' || line.msg === 'running');
  const address = String(started['address']);

  return {
    child,
    address,
    lines,
    logged,
    stderr: () => stderr,
    /** Calls with a JSON body (or none) and answers the parsed JSON. */
    call: async <T = { code: number; message: string; data: unknown }>(path: string, body?: unknown, method = 'POST'): Promise<T> => {
      const answer = await fetch(address + path, { method, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
      return (await answer.json()) as T;
    },
    /** Records newest first. */
    records: async (filter: Record<string, unknown> = {}): Promise<Record_[]> => {
      const answer = await fetch(`${address}/listJobRecord`, { method: 'POST', body: JSON.stringify({ size: 100, ...filter }) });
      return ((await answer.json()) as { data: Record_[] }).data;
    },
    /** Sends a signal and answers how it ended. */
    end: async (signal: NodeJS.Signals): Promise<{ code: number | null; signal: NodeJS.Signals | null }> => {
      child.kill(signal);
      const [code, by] = await exited;
      return { code, signal: by };
    },
  };
}

/** Looks until it is so; answers what was found. The test's own timeout is the limit. */
export async function until<T>(look: () => Promise<T | undefined> | T | undefined): Promise<T> {
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** Ends a process by its own id, if it still runs. */
export async function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}
