// The program: starts Belfry and stops it on a signal, or does what the command line asks for. The only file that may end
// the process. What only Belfry itself needs is imported when it starts: `belfry next` shall answer at once.

import { readFile } from 'node:fs/promises';
import { text as textOf } from 'node:stream/consumers';
import type { App } from './app.ts';
import { isStart, runCommand } from './cli/cli.ts';
import { systemClock } from './clock.ts';
import { ConfigError, loadConfig, type Kinds } from './config.ts';
import { messageOf, Refusal } from './errors.ts';
import type { Log } from './observe/log.ts';

// Exit codes as in sysexits.h.
const exitUnavailable = 69;
const exitBadConfig = 78;

// After a second signal, so long for runs to be recorded before the process ends whatever hangs.
const lastGraceMs = 5000;

// After the grace of the runs, so long for recording them and letting go of the servers.
const longestStopMs = 20_000;

// npm hands on to us a Ctrl-C that the terminal has sent to us already: so soon, a second signal is the same one.
const sameSignalMs = 500;

const args = process.argv.slice(2);
if (isStart(args)) await start();
else await answer();

/** Does a sub-command of a moment. The process ends by itself, when all of its output has been taken. */
async function answer(): Promise<void> {
  // Whoever reads may have seen enough, as `head` does.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (fault: NodeJS.ErrnoException) => {
      if (fault.code !== 'EPIPE') throw fault;
    });
  }
  process.exitCode = await runCommand(
    {
      now: systemClock.now(),
      cwd: process.cwd(),
      version: await version(),
      out: (written) => void process.stdout.write(written),
      err: (written) => void process.stderr.write(written),
      readInput: () => textOf(process.stdin),
      loadJobs: async (file) => {
        const { config, definitions } = await load(file);
        return { file: config.file, definitions };
      },
      kinds: shippedKinds,
    },
    args,
  );
}

async function start(): Promise<void> {
  const hangup = reloadOnHangup();
  const [{ startApp }, { makeLog }] = await Promise.all([import('./app.ts'), import('./observe/log.ts')]);
  const loaded = await load().catch(endWith);
  const { config } = loaded;
  const log = makeLog(config.log);
  const progress = (line: string): void => {
    if (config.log.format !== 'json') process.stderr.write(`belfry: ${line}\n`);
  };
  for (const warning of config.warnings) log.warn(warning);

  const stopping = stopOnSignals(log, progress);
  const failed = (why: string): void => {
    log.fatal(why);
    process.exit(1);
  };
  try {
    const app = await startApp({ ...loaded, version: await version(), log, progress, signal: stopping.starting, failed });
    stopping.started(app);
    hangup.started({ app, log, file: config.file });
    log.info({ node: config.nodeName, address: app.address }, 'running');
    if (app.address !== undefined) progress(`open ${app.address}`);
    progress('running; stop with Ctrl-C');
  } catch (fault) {
    if (stopping.starting.aborted) process.exit(0);
    endWith(fault);
  }
}

async function load(file?: string) {
  const { makeIsolation } = await import('./executors/namespace.ts');
  let isolation = makeIsolation({ isWanted: false, isRoot: false, path: undefined });
  const loaded = await loadConfig({
    cwd: process.cwd(),
    ...(file === undefined ? {} : { file }),
    loadExecutors: async (executors, baseDir, config) => {
      const [{ builtInExecutors }, { loadExecutors }] = await Promise.all([import('./built-in.ts'), import('./executors/registry.ts')]);
      const isWanted = executors.shell.enabled && executors.shell.isolation === 'auto';
      isolation = makeIsolation({ isWanted, isRoot: process.getuid?.() === 0, path: config.inheritedEnv['PATH'] });
      return await loadExecutors(builtInExecutors(config, isolation), executors.modules, baseDir);
    },
  });
  return { ...loaded, isolation };
}

/** The executor that judges the commands of a crontab. */
async function shippedKinds(): Promise<Kinds> {
  const [{ shellExecutor }, { loadExecutors }] = await Promise.all([import('./executors/shell.ts'), import('./executors/registry.ts')]);
  return await loadExecutors([shellExecutor({ outputLimitBytes: 0, inheritedEnv: {} })], {}, process.cwd());
}

async function version(): Promise<string> {
  const text = await readFile(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

function endWith(fault: unknown): never {
  if (fault instanceof ConfigError) end(fault.message, exitBadConfig);
  if (fault instanceof Refusal) end(`belfry: ${fault.message}`, fault.kind === 'unavailable' ? exitUnavailable : 1);
  throw fault;
}

function end(message: string, code: number): never {
  process.stderr.write(`${message}\n`);
  process.exit(code);
}

/** The first signal: stop in order, also while starting. A second one later: at once. */
function stopOnSignals(log: Log, progress: (line: string) => void) {
  let firstAt = 0;
  const starting = new AbortController();
  const atOnce = new AbortController();
  let app: App | undefined;
  const hear = (signal: NodeJS.Signals): void => {
    if (!starting.signal.aborted) {
      firstAt = performance.now();
      progress('stopping; what runs may finish (again: at once)');
      log.info({ signal }, 'stopping');
      starting.abort();
      if (app) void stop(app, log, atOnce.signal);
    } else if (performance.now() - firstAt >= sameSignalMs) {
      atOnce.abort();
      setTimeout(() => process.exit(1), lastGraceMs).unref();
    }
  };
  process.on('SIGINT', hear);
  process.on('SIGTERM', hear);
  return {
    starting: starting.signal,
    started: (it: App): void => {
      app = it;
      if (starting.signal.aborted) void stop(app, log, atOnce.signal);
    },
  };
}

async function stop(app: App, log: Log, atOnce: AbortSignal): Promise<void> {
  // With its servers away nothing can be recorded, and waiting for them helps nobody.
  setTimeout(() => {
    log.error({ fault: 'it took too long: what could not be recorded is settled at the next start' }, 'exit_server');
    process.exit(1);
  }, app.graceMs + longestStopMs).unref();
  try {
    await app.stop(atOnce);
    log.info('exit_server');
    process.exit(0);
  } catch (fault) {
    log.error({ err: fault }, 'exit_server');
    process.exit(1);
  }
}

type Running = { readonly app: App; readonly log: Log; readonly file: string | undefined };

/**
 * SIGHUP reads the file again; with a fault in it, or without the file, the last good one stays. It is heard from the beginning on,
 * as it would end a process that does not, and minded when Belfry runs: one time after the other.
 */
function reloadOnHangup(): { readonly started: (running: Running) => void } {
  const { promise: started, resolve } = Promise.withResolvers<Running>();
  let last: Promise<unknown> = started;
  process.on('SIGHUP', () => {
    last = last.then(async () => reload(await started));
  });
  return { started: resolve };
}

async function reload({ app, log, file }: Running): Promise<void> {
  try {
    // By its name: a file that is gone is a fault now, not one that nobody ever wrote.
    const { definitions } = await load(file);
    await app.reload(definitions);
    log.info('reloaded_config');
  } catch (fault) {
    log.error({ fault: messageOf(fault) }, 'reload_config_failed');
  }
}
