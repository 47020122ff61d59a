// The worker duty put together: what is listened to, what is claimed without it, and how runs are stopped.

import { every, makeBell, type Clock } from './clock.ts';
import type { Config } from './config.ts';
import { killLeftovers } from './executors/leftovers.ts';
import type { Heartbeat } from './heartbeat.ts';
import type { Log } from './observe/log.ts';
import { makeConsumer } from './queue/consumer.ts';
import type { Backend } from './queue/transport.ts';
import { stopCancelled } from './runs/control.ts';
import { startFallback, type QueueState } from './runs/fallback.ts';
import { lanesOf } from './runs/lanes.ts';
import type { Worker } from './runs/worker.ts';
import type { Database } from './store/database.ts';
import type { RunStore } from './store/runs.ts';

type Deps = {
  readonly clock: Clock;
  readonly log: Log;
  readonly config: Pick<Config, 'nodeName' | 'labels' | 'worker' | 'catchupPerSecond' | 'shutdownGraceMs'>;
  readonly backend: Backend;
  readonly database: Pick<Database, 'listen'>;
  readonly runs: RunStore;
  readonly heartbeat: Heartbeat;
  readonly worker: Worker;
  /** What children of this incarnation bear in their environment. */
  readonly marker: () => string;
};

export type WorkerDuty = {
  /** Listens in lanes in which something waits, as far as this node serves them. */
  readonly listenIn: (lanes: readonly string[]) => void;
  /** Whether messages come here, as far as is known. */
  readonly queueState: () => QueueState;
  readonly stop: (atOnce: AbortSignal) => Promise<void>;
};

// Between TERM and KILL for the commands that still run when Belfry shall end at once; less than main.ts has for all of it.
const lastMomentMs = 1000;

/** Starts it: from here on runs are taken. */
export async function startWorkerDuty({
  clock,
  log,
  config,
  backend,
  database,
  runs,
  heartbeat,
  worker,
  marker,
}: Deps): Promise<WorkerDuty> {
  const lanes = lanesOf({ name: config.nodeName, labels: config.labels });
  const isDraining = (): boolean => heartbeat.living().some((node) => node.incarnation === heartbeat.incarnation() && node.isDraining);
  const fallback = startFallback({
    clock,
    log,
    runs,
    lanes: () => (isDraining() ? [] : lanes),
    freeSlots: () => config.worker.concurrency - worker.busy(),
    take: worker.take,
    relisten: () => consumer.relisten(),
    trouble: backend.trouble,
    catchupPerSecond: () => config.catchupPerSecond / Math.max(1, heartbeat.capacity().workers),
  });
  const consumer = makeConsumer({
    backend,
    lanes,
    take: worker.take,
    heard: fallback.heard,
    onFault: (fault) => log.error({ err: fault }, 'consume_failed'),
  });
  await consumer.start();
  const bell = makeBell(clock);
  const cancelling = every(
    clock,
    async () => {
      await stopCancelled({ runs, incarnation: heartbeat.incarnation, cancel: worker.cancel });
      return 1000;
    },
    { bell, onFault: (fault) => log.error({ err: fault }, 'cancel_watch_failed') },
  );
  const heard = await database.listen('belfry_cancel', bell.ring, bell.ring);
  return {
    listenIn: consumer.listenIn,
    queueState: fallback.state,
    stop: async (atOnce) => {
      const ended = new AbortController();
      onceAborted(atOnce, async () => {
        // Told to end at once, commands have a moment for it, whatever their kill_grace is.
        await clock.sleep(lastMomentMs, ended.signal);
        if (!ended.signal.aborted) await killLeftovers(marker());
      });
      await Promise.all([worker.stop(config.shutdownGraceMs, atOnce), consumer.close(), fallback.stop()]);
      ended.abort();
      await heard.stop();
      await cancelling.stop();
    },
  };
}

function onceAborted(signal: AbortSignal, act: () => Promise<void>): void {
  if (signal.aborted) void act();
  else signal.addEventListener('abort', () => void act(), { once: true });
}
