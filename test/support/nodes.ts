// Nodes of a database, each with a clock that stands still until the test lets it go on.

import assert from 'node:assert/strict';
import { makeHeartbeat, type Heartbeat } from '../../src/node/heartbeat.ts';
import type { NewNode } from '../../src/store/nodes.ts';
import { startPulse, type Pulse, type PulseEvents, type Sign } from '../../src/store/pulse.ts';
import { standingClock, type StandingClock } from './clock.ts';
import type { Stores } from './jobs.ts';
import { keptLog } from './log.ts';
import { execute } from './postgres.ts';

type Given = {
  name: string;
  duties?: string[];
  slots?: number;
  labels?: string[];
  nodes?: Stores['nodes'];
  beatEveryMs?: number;
  /** A beat of another kind than the real one. */
  startPulse?: (first: Sign, events: PulseEvents) => Pulse;
  takeOver?: (incarnation: number, end: () => Promise<unknown>) => Promise<void>;
};

/** What makes nodes on a database, and looks at their rows. */
export function nodesOn(url: string, stores: Pick<Stores, 'nodes'>) {
  return { nodeOf, beatOf, rowOf };

  /** A node with its own clock; `steps` lets it beat so many times, `ms` of its time apart. */
  async function nodeOf(t: { after: (fn: () => Promise<void>) => void }, given: Given) {
    const { name, duties = ['worker'], slots = 10, labels = [], nodes = stores.nodes, beatEveryMs = 600_000 } = given;
    const clock = standingClock();
    const { log, messages } = keptLog();
    const self: NewNode = { name, version: 'test', address: undefined, pid: 1, duties, slots, labels };
    let timesLost = 0;
    const drains: boolean[] = [];
    const heartbeat = await makeHeartbeat(
      {
        clock,
        log,
        nodes,
        // Of its own time: it beats once when it starts, and then when the tests are long over.
        startPulse:
          given.startPulse ?? ((first, events) => startPulse({ url, applicationName: 'belfry test', everyMs: beatEveryMs }, first, events)),
        self,
        busy: () => 3,
        onLost: () => timesLost++,
        onDrain: (isDraining) => drains.push(isDraining),
      },
      given.takeOver ?? (async (_, end) => void (await end())),
    );
    t.after(() => heartbeat.stop());
    return {
      heartbeat,
      clock,
      messages,
      drains,
      timesLost: () => timesLost,
      steps: (count: number, ms = 10_000) => steps(clock, count, ms),
    };
  }

  /** A beat from elsewhere. */
  async function beatOf({ heartbeat }: { heartbeat: Heartbeat }): Promise<void> {
    await execute(url, `update belfry.nodes set beat = beat + 1 where incarnation = ${heartbeat.incarnation()}`);
  }

  async function rowOf({ heartbeat }: { heartbeat: Heartbeat }, incarnation = heartbeat.incarnation()): Promise<Record<string, unknown>> {
    const [row] = await execute(
      url,
      `select name, beat::integer, busy, end_reason as ended from belfry.nodes where incarnation = ${incarnation}`,
    );
    assert.ok(row);
    return row;
  }
}

async function steps(clock: StandingClock, count: number, ms: number): Promise<void> {
  for (let step = 0; step < count; step++) {
    await clock.asleep(10_000);
    clock.pass(ms);
  }
  await clock.asleep(10_000);
}
