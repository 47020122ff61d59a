// Puts the parts together, starts the duties in order and stops them in reverse. Knows everybody, decides nothing.

import { join } from 'node:path';
import { makeBell, systemClock } from './clock.ts';
import type { Config } from './config.ts';
import { startTicker } from './crontab/ticker.ts';
import { openDoors } from './doors.ts';
import type { Executor } from './executors/executor.ts';
import { killLeftovers } from './executors/leftovers.ts';
import type { Isolation } from './executors/namespace.ts';
import { joinNodes } from './node/joining.ts';
import type { JobDefinition } from './jobs/definition.ts';
import { applyFile, workOut, type ManageDeps } from './jobs/manage.ts';
import { rememberSchedules } from './crontab/schedules.ts';
import type { Log } from './observe/log.ts';
import { makeMetrics } from './observe/metrics.ts';
import { beginWork, newTraceId } from './observe/tracing.ts';
import { startPrivateDatabase } from './private-database.ts';
import { openBackend } from './queue/backend.ts';
import { startProducer } from './queue/producer.ts';
import { makeEvents } from './runs/events.ts';
import { perform } from './runs/perform.ts';
import { makeSpool } from './runs/spool.ts';
import { startUpkeep } from './runs/upkeep.ts';
import { makeWorker } from './runs/worker.ts';
import { listen } from './server.ts';
import { awaitDatabase, migrate, openDatabase } from './store/database.ts';
import { jobStore } from './store/jobs.ts';
import { nodeStore } from './store/nodes.ts';
import { recordStore } from './store/records.ts';
import { runStore } from './store/runs.ts';
import { watchSelf } from './node/self-watch.ts';
import { makeStops, type Stops } from './stops.ts';
import { startWorkerDuty, type WorkerDuty } from './worker-duty.ts';

type Given = {
  readonly config: Config;
  readonly kinds: ReadonlyMap<string, Executor>;
  readonly isolation: Isolation;
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
  const stops = makeStops({ clock: systemClock, log: given.log });
  try {
    return await start(given, stops);
  } catch (fault) {
    await stops.run(AbortSignal.abort());
    throw fault;
  }
}

async function start(given: Given, stops: Stops): Promise<App> {
  const { config, kinds, isolation, definitions, version, log } = given;
  const { duties } = config;
  const onError = (fault: unknown): void => log.warn({ err: fault }, 'connection_failed');

  const databaseUrl = config.database.url ?? (await startPrivateDatabase({ ...given, dataDir: config.dataDir }, stops));
  if (config.database.url !== undefined) given.progress('connecting to the PostgreSQL of database.url');
  await awaitDatabase({ url: databaseUrl, withinMs: 30_000, signal: given.signal });
  await migrate({ url: databaseUrl, folder: migrationsFolder });
  const connections = { url: databaseUrl, applicationName: `belfry ${config.nodeName}`, onError };
  const watch = await watchSelf({ connections, migrationsFolder, log }, stops);
  const { clock, isClockRight } = watch;
  const database = openDatabase({ ...connections, maxConnections: config.database.maxConnections, plans: 'by_index' });
  stops.addLeave(() => database.close());
  // What people ask for has connections of its own, so that it neither waits for the work nor holds it up.
  const asked = openDatabase({ ...connections, maxConnections: readers });
  stops.addLeave(() => asked.close());
  const store = { jobs: jobStore(database), runs: runStore(database), nodes: nodeStore(database), records: recordStore(asked) };

  const installation = await store.nodes.installationId();
  const backend = await openBackend({ redisUrl: config.redis.url, databaseUrl, installation, clock, log });
  stops.addLeave(() => backend.close());

  const dispatchBell = makeBell(clock);
  const tickBell = makeBell(clock);
  const markerOf = (incarnation: number): string => `${installation}/${incarnation}`;

  const stopping = new AbortController();
  const house = { clock, log, runs: store.runs, jobs: store.jobs, nodes: store.nodes };
  const spoolFolder = join(config.dataDir, 'spool', installation);
  const spool = makeSpool({ ...house, folder: spoolFolder, node: config.nodeName, stopping: stopping.signal });
  const keepingHouse = { ...house, replay: spool.replay };
  const { failed } = given;
  const joining = { config, version, database, connections, house: keepingHouse, markerOf, worker: () => worker, failed };
  const heartbeat = await joinNodes(joining, stops);
  // Also where all was settled by others: a result is believed as long as its attempt is not made again.
  await spool.replay(config.nodeName);
  const me = () => {
    const incarnation = heartbeat.incarnation();
    return { name: config.nodeName, incarnation, marker: markerOf(incarnation) };
  };

  const events = makeEvents();
  // A run that is tried again may be ready sooner than the producer means to look.
  events.on(({ state }) => {
    if (state === 'retrying') dispatchBell.ring();
  });
  const unrecorded = new Set<string>();
  const performing = {
    clock,
    log,
    kinds,
    me,
    killGraceMs: config.worker.killGraceMs,
    beginWork,
    recordAtLast: spool.record,
    unrecorded,
    events,
    jobs: store.jobs,
    previous: store.runs.ended,
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
  stops.addLeave(async () => {
    await heartbeat.stop();
    // Once it is written down as stopped others settle what it holds: what is known of that is told before, or it just falls silent.
    await spool.replay(config.nodeName);
    await heartbeat.end();
  });
  stops.addLeave(() => store.runs.idle());
  heartbeat.start();

  const { living } = heartbeat;
  const upkeep = startUpkeep({ ...keepingHouse, isClockRight, living, retentionMs: config.retentionMs });
  let workerDuty: WorkerDuty | undefined;
  const producer = startProducer(
    {
      clock,
      log,
      runs: store.runs,
      send: backend.send,
      capacity: heartbeat.capacity,
      catchupPerSecond: config.catchupPerSecond,
      lanesWaiting: (lanes) => workerDuty?.listenIn(lanes),
    },
    dispatchBell,
  );
  // What an end readied or brought on, whoever recorded it.
  const readied = await database.listen('belfry_ready', dispatchBell.ring, dispatchBell.ring);
  stops.addLeave(() => Promise.all([readied.stop(), upkeep.stop(), producer.stop()]));

  if (duties.worker) {
    stops.add(isolation.close);
    log.info(await isolation.open(), 'shell_isolation');
    const killAll = () => killLeftovers(markerOf(heartbeat.incarnation()));
    const working = { clock, log, config, backend, database, runs: store.runs, heartbeat, worker, spool, unrecorded, killAll };
    workerDuty = await startWorkerDuty({ ...working, dispatch: dispatchBell });
    stops.addLeave(workerDuty.leave);
    stops.add(async (atOnce) => {
      stopping.abort();
      await workerDuty?.stop(atOnce);
    });
  }

  const scheduleOf = rememberSchedules();
  const managing: ManageDeps = {
    clock,
    log,
    kinds,
    defaultTimezone: config.timezone,
    scheduleOf,
    newTraceId,
    jobs: store.jobs,
    dispatch: dispatchBell,
  };
  const reload = async (read: readonly JobDefinition[]): Promise<void> => {
    if (duties.crontab && config.file !== undefined) await applyFile(managing, config.file, read);
  };

  if (duties.crontab) {
    await reload(definitions);
    const ticker = startTicker(
      {
        clock,
        log,
        isClockRight: watch.lookAtClock,
        jobs: store.jobs,
        workOut: (job, now) => workOut(managing, job, now),
        scheduleOf,
        dispatch: dispatchBell,
      },
      tickBell,
    );
    const heard = await database.listen('belfry_jobs', tickBell.ring, tickBell.ring);
    stops.addLeave(() => Promise.all([heard.stop(), ticker.stop()]));
  }

  const slots = duties.worker ? config.worker.concurrency : 0;
  const health = watch.health({
    heartbeat,
    queue: () => (workerDuty === undefined ? (backend.trouble() ? 'unavailable' : 'ok') : workerDuty.queueState().state),
    slots,
    busy: worker.busy,
  });

  if (!duties.web) return { address: undefined, graceMs: config.shutdownGraceMs, reload, stop: stops.run };
  const metrics = makeMetrics(health.look);
  events.on(metrics.count);
  const { jobs, runs, records } = store;
  const doors = openDoors({
    ...managing,
    http: config.http,
    jobs,
    runs,
    records,
    nodes: nodeStore(asked),
    dispatch: dispatchBell,
    readiness: health.look,
    metrics,
  });
  const web = await listen(doors, config.http);
  stops.add(async (atOnce) => {
    health.stopping();
    webStopped = web.stop(config.shutdownGraceMs, atOnce);
  });
  log.info({ address: web.address }, 'start_http_server');
  return { address: web.address, graceMs: config.shutdownGraceMs, reload, stop: stops.run };
}

// Connections for reading records, beside those of the work.
const readers = 3;

const migrationsFolder = new URL('../migrations', import.meta.url).pathname;
