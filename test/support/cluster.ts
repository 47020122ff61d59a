// Several Belfrys as an installation of many nodes has them: a process each, which is started again when it ends, and each with
// its own wires to PostgreSQL and Redis.

import { launchBelfry, folder, until, type LogLine } from './belfry.ts';
import { startProxy, type Proxy } from './proxy.ts';

type Scope = { after(fn: () => Promise<void>): void };

type Options = {
  readonly databaseUrl: string;
  readonly redisUrl: string;
  /** Where the source lies, if not here. */
  readonly from?: string;
};

export type ClusterNode = {
  readonly name: string;
  /** The folder it lives in. */
  readonly home: string;
  readonly postgres: Proxy;
  readonly redis: Proxy;
  /** Where it answers, if it has the web duty and runs. */
  readonly address: () => string | undefined;
  /** Resolves when the process that is there, or comes next, is running. */
  readonly running: () => Promise<void>;
  /** Starts it and keeps it started. */
  readonly start: () => void;
  /** kill -9; it stays down until `start`. */
  readonly kill: () => Promise<void>;
  /** SIGTERM, and waits for the end. */
  readonly terminate: () => Promise<void>;
  readonly pause: () => void;
  readonly resume: () => void;
  /** What it said, its earlier processes included. */
  readonly lines: () => readonly LogLine[];
  /** What it should not have done: end by itself when it was running. */
  readonly faults: () => readonly string[];
};

type Process = Awaited<ReturnType<typeof launchBelfry>>;

// Six nodes have to fit into the 100 connections of a private PostgreSQL.
const config = 'shutdown_grace = "2s"\n[database]\nmax_connections = 4\n[worker]\nkill_grace = "1s"\n';

// Between an end that nobody asked for and the next start, as a supervisor has it.
const restartMs = 500;

/** Makes a node; it is down until `start`. Ends with the scope, and so does whatever it has started. */
export async function makeNode(scope: Scope, name: string, duties: string, options: Options): Promise<ClusterNode> {
  const cwd = await folder(scope);
  const postgres = await startProxy(scope, options.databaseUrl);
  const redis = await startProxy(scope, options.redisUrl);
  const processes: Process[] = [];
  const faults: string[] = [];
  let isWanted = false;
  let kept = Promise.resolve();

  const keep = async (): Promise<void> => {
    while (isWanted) {
      const env = {
        BELFRY_DATABASE_URL: postgres.url,
        BELFRY_REDIS_URL: redis.url,
        BELFRY_NODE: name,
        BELFRY_DUTIES: duties,
      };
      const process = await launchBelfry({ cwd, config, env, ...(options.from === undefined ? {} : { from: options.from }) });
      processes.push(process);
      if (!isWanted) process.child.kill('SIGKILL');
      const { code, signal } = await process.exited;
      if (isWanted && isRunning(process)) faults.push(`${name} ended by itself (${code ?? signal}): ${process.stderr().slice(-2000)}`);
      if (isWanted) await new Promise((resolve) => setTimeout(resolve, restartMs));
    }
  };
  const signal = (which: NodeJS.Signals): void => {
    processes.at(-1)?.child.kill(which);
  };
  const end = async (which: NodeJS.Signals): Promise<void> => {
    isWanted = false;
    signal(which);
    await kept;
  };
  scope.after(() => end('SIGKILL'));
  return {
    name,
    home: cwd,
    postgres,
    redis,
    address: () => {
      const line = processes.at(-1)?.lines.find(({ msg }) => msg === 'running');
      return line && String(line['address']);
    },
    running: async () => {
      await until(() => {
        const last = processes.at(-1);
        return (last && isRunning(last)) || undefined;
      });
    },
    start: () => {
      if (isWanted) return;
      isWanted = true;
      kept = kept.then(keep);
    },
    kill: () => end('SIGKILL'),
    terminate: () => end('SIGTERM'),
    pause: () => signal('SIGSTOP'),
    resume: () => signal('SIGCONT'),
    lines: () => processes.flatMap(({ lines }) => lines),
    faults: () => faults,
  };
}

/** Starts nodes; answers when all are running. */
export async function startAll(nodes: readonly ClusterNode[]): Promise<void> {
  for (const node of nodes) node.start();
  await Promise.all(nodes.map((node) => node.running()));
}

function isRunning({ lines }: Process): boolean {
  return lines.some(({ msg }) => msg === 'running');
}
