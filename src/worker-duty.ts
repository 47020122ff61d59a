// The worker duty put together: what is listened to, what is claimed without it, and how runs are stopped.

import { every, makeBell, type Bell, type Clock } from './clock.ts';
import type { Config } from './config.ts';
import type { Heartbeat } from './node/heartbeat.ts';
import type { Log } from './observe/log.ts';
import { makeConsumer } from './queue/consumer.ts';
import type { Backend } from './queue/transport.ts';
import { startAudit } from './runs/audit.ts';
import { stopCancelled } from './runs/control.ts';
import { startCutOffWatch } from './runs/cut-off.ts';
import { startFallback, type QueueSeen } from './runs/fallback.ts';
import { lanesOf } from './runs/lanes.ts';
import { claimName } from './runs/lifecycle.ts';
import type { Spool } from './runs/spool.ts';
import type { Worker } from './runs/worker.ts';
import { onceAborted } from './stops.ts';
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
  readonly spool: Pick<Spool, 'start'>;
  /** The claims whose attempt was begun here and is not recorded yet. */
  readonly unrecorded: ReadonlySet<string>;
  /** Ends whatever runs of this incarnation. */
  readonly killAll: () => Promise<unknown>;
  readonly dispatch: Bell;
};

export type WorkerDuty = {
  /** Listens in lanes in which something waits, as far as this node serves them. */
  readonly listenIn: (lanes: readonly string[]) => void;
  /** Whether messages come here, as far as is known. */
  readonly queueState: () => QueueSeen;
  /** Takes nothing more; answers when what runs is at its end. */
  readonly stop: (atOnce: AbortSignal) => Promise<void>;
  /** Takes leave of the servers. */
  readonly leave: () => Promise<unknown>;
};

// Between TERM and KILL for the commands that still run when Belfry shall end at once; less than main.ts has for all of it.
const lastMomentMs = 1000;

/** Starts it: from here on runs are taken. */
export async function startWorkerDuty(deps: Deps): Promise<WorkerDuty> {
  const { clock, log, config, backend, runs, heartbeat, worker, killAll, dispatch } = deps;
  const { incarnation } = heartbeat;
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
  const heard = await deps.database.listen('belfry_cancel', bell.ring, bell.ring);
  const isKnown = (held: { id: number; epoch: number }): boolean => worker.isClaiming(held.id) || deps.unrecorded.has(claimName(held));
  const loops = [cancelling, deps.spool.start(), startAudit({ clock, log, incarnation, runs, isKnown, dispatch })];
  if (config.worker.onCutOff === 'kill') {
    const { lastBeatAt } = heartbeat;
    loops.push(startCutOffWatch({ clock, log, lastBeatAt, interruptAll: worker.interruptAll, killAll }));
  }
  let closed: Promise<unknown> = Promise.resolve();
  return {
    listenIn: consumer.listenIn,
    queueState: fallback.state,
    stop: async (atOnce) => {
      const ended = new AbortController();
      onceAborted(atOnce, async () => {
        // Told to end at once, commands have a moment for it, whatever their kill_grace is.
        await clock.sleep(lastMomentMs, ended.signal);
        if (!ended.signal.aborted) await killAll();
      });
      closed = Promise.all([consumer.close(), fallback.stop()]);
      closed.catch(() => undefined);
      await worker.stop(config.shutdownGraceMs, atOnce);
      ended.abort();
    },
    leave: () => Promise.all([closed, heard.stop(), ...loops.map((loop) => loop.stop())]),
  };
}
