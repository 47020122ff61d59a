// Puts the parts together, starts the duties in order and stops them in reverse. Knows everybody, decides nothing.

import { v1Api } from './api/v1.ts';
import { seedApi } from './api/seed.ts';
import { every, makeBell, systemClock } from './clock.ts';
import type { Config } from './config.ts';
import { startTicker } from './crontab/ticker.ts';
import { startEmbedded } from './embedded.ts';
import { Refusal } from './errors.ts';
import type { Executor } from './executors/executor.ts';
import { httpExecutor } from './executors/http.ts';
import type { BuiltIn } from './executors/registry.ts';
import { shellExecutor } from './executors/shell.ts';
import { killLeftovers } from './executors/leftovers.ts';
import { makeHeartbeat } from './heartbeat.ts';
import type { JobDefinition } from './jobs/definition.ts';
import { applyFile, createJob, deleteJob, pauseJob, resumeJob, setEnabled, workOut, type ManageDeps } from './jobs/manage.ts';
import { rememberSchedules } from './crontab/schedules.ts';
import type { Log } from './observe/log.ts';
import { beginWork, newTraceId } from './observe/tracing.ts';
import { openBackend } from './queue/backend.ts';
import { startConsumer } from './queue/consumer.ts';
import { startProducer } from './queue/producer.ts';
import { backfill, stopCancelled, trigger } from './runs/control.ts';
import { makeEvents } from './runs/events.ts';
import { perform } from './runs/perform.ts';
import { settle, startUpkeep } from './runs/upkeep.ts';
import { makeWorker } from './runs/worker.ts';
import { listen, makeApp } from './server.ts';
import { awaitDatabase, migrate, openDatabase } from './store/database.ts';
import { jobStore } from './store/jobs.ts';
import { nodeStore } from './store/nodes.ts';
import { recordStore } from './store/records.ts';
import { runStore } from './store/runs.ts';
import { makeStops, type Stops } from './stops.ts';

type Given = {
  readonly config: Config;
  readonly kinds: ReadonlyMap<string, Executor>;
  readonly definitions: readonly JobDefinition[];
  readonly version: string;
  readonly log: Log;
  /** One line at a time of what is being started, for a person who waits. */
  readonly progress: (line: string) => void;
  /** Aborted: don't finish starting. */
  readonly signal: AbortSignal;
  /** Told when Belfry can't go on, after it has started. */
  readonly failed: (why: string) => void;
};

export type App = {
  /** Where the web duty listens. */
  readonly address: string | undefined;
  /** How long runs may take to finish when it stops. */
  readonly graceMs: number;
  /** Brings the file's jobs in line with a file that was read again. */
  readonly reload: (definitions: readonly JobDefinition[]) => Promise<void>;
  /** Takes nothing more, lets what runs finish within the grace, records it. `atOnce` cuts the grace short. */
  readonly stop: (atOnce: AbortSignal) => Promise<void>;
};

/** Starts Belfry. Whatever was started is stopped again when a later part refuses. */
export async function startApp(given: Given): Promise<App> {
  const stops = makeStops();
  try {
    return await start(given, stops);
  } catch (fault) {
    await stops.run(AbortSignal.abort());
    throw fault;
  }
}

async function start(given: Given, stops: Stops): Promise<App> {
  const { config, kinds, definitions, version, log } = given;
  const clock = systemClock;
  const { duties } = config;
  const onError = (fault: unknown): void => log.warn({ err: fault }, 'connection_failed');

  const databaseUrl = config.database.url ?? (await startPrivateDatabase(given, stops));
  if (config.database.url !== undefined) given.progress('connecting to the PostgreSQL of database.url');
  await awaitDatabase({ url: databaseUrl, withinMs: 30_000, signal: given.signal });
  await migrate({ url: databaseUrl, folder: migrationsFolder });
  const connections = { url: databaseUrl, applicationName: `belfry ${config.nodeName}`, onError };
  const database = openDatabase({ ...connections, maxConnections: config.database.maxConnections, plans: 'by_index' });
  stops.add(() => database.close());
  // What people ask for has connections of its own, so that it neither waits for the work nor holds it up.
  const asked = openDatabase({ ...connections, maxConnections: readers });
  stops.add(() => asked.close());
  const store = { jobs: jobStore(database), runs: runStore(database), nodes: nodeStore(database), records: recordStore(asked) };

  const name = await database.holdLock(`node ${config.nodeName}`, () => log.error({ node: config.nodeName }, 'node_name_lost'));
  if (!name) {
    throw new Refusal(
      'conflict',
      `node.name: a Belfry named "${config.nodeName}" is running on this database already; give this one a name of its own (BELFRY_NODE)`,
    );
  }
  stops.add(() => name.release());

  const installation = await store.nodes.installationId();
  const backend = await openBackend({ redisUrl: config.redis.url, databaseUrl, installation, onError });
  stops.add(() => backend.close());

  const dispatchBell = makeBell(clock);
  const tickBell = makeBell(clock);
  const markerOf = (incarnation: number): string => `${installation}/${incarnation}`;

  // Others have settled the runs of what they called lost; only here can be ended what it left running.
  for (const incarnation of await store.nodes.lastLost(config.nodeName)) await killLeftovers(markerOf(incarnation));
  const heartbeat = await makeHeartbeat(
    {
      clock,
      log,
      nodes: store.nodes,
      self: {
        name: config.nodeName,
        version,
        address: duties.web ? `${config.http.host}:${config.http.port}` : undefined,
        pid: process.pid,
        duties: Object.entries(duties).flatMap(([duty, does]) => (does ? [duty] : [])),
        slots: duties.worker ? config.worker.concurrency : 0,
        labels: duties.worker ? config.labels : [],
      },
      busy: () => worker.busy(),
      onLost: () => worker.interruptAll(),
    },
    async (incarnation) => {
      const killed = await killLeftovers(markerOf(incarnation));
      const lost = await settle({ clock, log, runs: store.runs, jobs: store.jobs, nodes: store.nodes }, incarnation);
      if (killed + lost > 0) log.warn({ incarnation, killed, lost }, 'settled_earlier_start');
    },
  );
  const me = () => {
    const incarnation = heartbeat.incarnation();
    return { name: config.nodeName, incarnation, marker: markerOf(incarnation) };
  };

  const events = makeEvents();
  // A run that is tried again may be ready sooner than the producer means to look.
  events.on(({ kind }) => {
    if (kind === 'retrying') dispatchBell.ring();
  });
  const performing = {
    clock,
    log,
    kinds,
    me,
    killGraceMs: config.worker.killGraceMs,
    beginWork,
    record: store.runs.record,
    events,
    jobs: store.jobs,
  };
  const worker = makeWorker({
    clock,
    slots: config.worker.concurrency,
    me,
    runs: store.runs,
    perform: (run, signal) => perform(performing, run, signal),
    dispatch: dispatchBell,
  });

  // A request that is slow to come to its end keeps nobody from stopping; it needs the database, and so ends before that.
  let webStopped = Promise.resolve();
  stops.add(() => webStopped);
  stops.add(() => heartbeat.stop());
  stops.add(() => store.runs.idle());
  heartbeat.start();

  const upkeep = startUpkeep({ clock, log, runs: store.runs, jobs: store.jobs, nodes: store.nodes, retentionMs: config.retentionMs });
  const producer = startProducer(
    { clock, log, runs: store.runs, send: backend.send, capacity: heartbeat.capacity, catchupPerSecond: config.catchupPerSecond },
    dispatchBell,
  );
  stops.add(async () => {
    await upkeep.stop();
    await producer.stop();
  });

  if (duties.worker) {
    const consumer = await startConsumer(backend, worker.take);
    const cancelling = every(
      clock,
      async () => {
        await stopCancelled({ runs: store.runs, incarnation: heartbeat.incarnation, cancel: worker.cancel });
        return 1000;
      },
      { onFault: (fault) => log.error({ err: fault }, 'cancel_watch_failed') },
    );
    stops.add(async (atOnce) => {
      const ended = new AbortController();
      onceAborted(atOnce, async () => {
        // Told to end at once, commands have a moment for it, whatever their kill_grace is.
        await clock.sleep(lastMomentMs, ended.signal);
        if (!ended.signal.aborted) await killLeftovers(markerOf(heartbeat.incarnation()));
      });
      await Promise.all([worker.stop(config.shutdownGraceMs, atOnce), consumer.close()]);
      ended.abort();
      await cancelling.stop();
    });
  }

  const scheduleOf = rememberSchedules();
  const managing: ManageDeps = { clock, log, kinds, defaultTimezone: config.timezone, scheduleOf, newTraceId, jobs: store.jobs };
  const reload = async (read: readonly JobDefinition[]): Promise<void> => {
    if (duties.crontab && config.file !== undefined) await applyFile(managing, config.file, read);
  };

  if (duties.crontab) {
    await reload(definitions);
    const ticker = startTicker(
      {
        clock,
        log,
        jobs: store.jobs,
        workOut: (job, now) => workOut(managing, job, now),
        scheduleOf,
        disableFaulty: (job, fault) => store.jobs.disableFaulty(job.id, job.revision, fault),
        dispatch: dispatchBell,
      },
      tickBell,
    );
    const heard = await database.listen('belfry_jobs', tickBell.ring, tickBell.ring);
    stops.add(async () => {
      await heard.stop();
      await ticker.stop();
    });
  }

  if (!duties.web) return { address: undefined, graceMs: config.shutdownGraceMs, reload, stop: stops.run };
  const web = await listen(
    makeApp({
      clock,
      log,
      http: config.http,
      seed: seedApi({ createJob: (input, traceId) => createJob(managing, input, traceId), records: store.records }),
      v1: v1Api({
        defaultTimezone: config.timezone,
        scheduleOf,
        jobs: store.jobs,
        deleteJob: (job) => deleteJob(managing, job),
        setEnabled: (job, enabled) => setEnabled(managing, job, enabled),
        pause: (job, note) => pauseJob(managing, job, note),
        resume: (job) => resumeJob(managing, job),
        backfill: (job, options) =>
          backfill({ clock, log, jobs: store.jobs, runs: store.runs, scheduleOf, dispatch: dispatchBell }, job, options),
        trigger: (job, options) => trigger({ clock, log, jobs: store.jobs, runs: store.runs, dispatch: dispatchBell }, job, options),
      }),
    }),
    config.http,
  );
  stops.add(async (atOnce) => {
    webStopped = web.stop(config.shutdownGraceMs, atOnce);
  });
  log.info({ address: web.address }, 'start_http_server');
  return { address: web.address, graceMs: config.shutdownGraceMs, reload, stop: stops.run };
}

/** The executors that come with the house, as the config wants them. */
export function builtInExecutors(config: Config): BuiltIn[] {
  const { shell, http } = config.executors;
  const { outputLimitBytes } = config.worker;
  return [
    ...(shell.enabled ? [shellExecutor({ outputLimitBytes, inheritedEnv: config.inheritedEnv })] : []),
    // Loopback and private addresses are open as long as Belfry itself listens on loopback only, which is always so far.
    httpExecutor({
      responseLimitBytes: http.responseLimitBytes,
      keptBodyBytes: outputLimitBytes,
      allowAddress: () => true,
      userAgent: 'Belfry',
    }),
  ];
}

// Connections for reading records, beside those of the work.
const readers = 3;

// Between TERM and KILL for the commands that still run when Belfry shall end at once; less than main.ts has for all of it.
const lastMomentMs = 1000;

const migrationsFolder = new URL('../migrations', import.meta.url).pathname;

async function startPrivateDatabase({ config, progress, signal, failed }: Given, stops: Stops): Promise<string> {
  const embedded = await startEmbedded({ dataDir: config.dataDir, progress, signal });
  let stopping = false;
  stops.add(() => {
    stopping = true;
    return embedded.stop();
  });
  void embedded.exited.then(() => {
    if (!stopping) failed(`the private PostgreSQL ended on its own; its last words are in ${config.dataDir}/postgres.log`);
  });
  return embedded.url;
}

function onceAborted(signal: AbortSignal, act: () => Promise<void>): void {
  if (signal.aborted) void act();
  else signal.addEventListener('abort', () => void act(), { once: true });
}
