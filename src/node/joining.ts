// This process becomes one of the nodes: it holds its name, puts right what an earlier start of it left, is written down as
// living, and hears of what changes about nodes.

import type { Clock } from '../clock.ts';
import type { Config } from '../config.ts';
import { killLeftovers } from '../executors/leftovers.ts';
import { makeHeartbeat, type Heartbeat } from './heartbeat.ts';
import { holdNodeName } from './name.ts';
import type { Log } from '../observe/log.ts';
import { settle } from '../runs/upkeep.ts';
import type { Worker } from '../runs/worker.ts';
import type { Stops } from '../stops.ts';
import type { Database } from '../store/database.ts';
import type { NodeStore } from '../store/nodes.ts';
import { startPulse } from '../store/pulse.ts';

type House = Parameters<typeof settle>[0] & { readonly clock: Clock; readonly log: Log; readonly nodes: NodeStore };

type Deps = {
  readonly config: Config;
  readonly version: string;
  readonly database: Pick<Database, 'holdLock' | 'listen'>;
  /** How the pulse connects, which has a connection of its own. */
  readonly connections: { readonly url: string; readonly applicationName: string };
  /** What settles an earlier start of it. */
  readonly house: House;
  /** What the processes of an incarnation bear. */
  readonly markerOf: (incarnation: number) => string;
  /** There when the heartbeat is started. */
  readonly worker: () => Worker;
  /** Told when another process has our name by now. */
  readonly failed: (why: string) => void;
};

/** Joins; the heartbeat is to be started when the worker is there. Refusal `conflict` when a node of this name runs already. */
export async function joinNodes(deps: Deps, stops: Stops): Promise<Heartbeat> {
  const { config, version, connections, markerOf } = deps;
  const { clock, log, nodes } = deps.house;
  const { duties, nodeName: name } = config;

  const held = await holdNodeName({
    clock,
    log,
    name,
    holdLock: deps.database.holdLock,
    isTaken: async () => (await nodes.living()).some((node) => node.name === name && node.incarnation !== heartbeat.incarnation()),
    onTaken: async () => {
      deps.worker().interruptAll();
      await killLeftovers(markerOf(heartbeat.incarnation()));
      deps.failed(`node.name: another Belfry named "${name}" has started while the database could not be reached from here`);
    },
  });
  stops.addLeave(() => held.release());

  // Others have settled the runs of what they called lost; only here can be ended what it left running.
  for (const incarnation of await nodes.lastLost(name)) await killLeftovers(markerOf(incarnation));
  const heartbeat = await makeHeartbeat(
    {
      clock,
      log,
      nodes,
      startPulse: (first, events) => startPulse(connections, first, events),
      self: {
        name,
        version,
        address: duties.web ? `${config.http.host}:${config.http.port}` : undefined,
        pid: process.pid,
        duties: Object.entries(duties).flatMap(([duty, does]) => (does ? [duty] : [])),
        slots: duties.worker ? config.worker.concurrency : 0,
        labels: duties.worker ? config.labels : [],
      },
      busy: () => deps.worker().busy(),
      onLost: () => deps.worker().interruptAll(),
      onDrain: (isDraining) => deps.worker().hold(isDraining),
    },
    async (incarnation, end) => {
      const killed = await killLeftovers(markerOf(incarnation));
      await deps.house.replay(name);
      await end();
      const lost = await settle(deps.house, incarnation);
      if (killed + lost > 0) log.warn({ incarnation, killed, lost }, 'settled_earlier_start');
    },
  );
  const heard = await deps.database.listen('belfry_nodes', heartbeat.look, heartbeat.look);
  stops.addLeave(() => heard.stop());
  return heartbeat;
}
