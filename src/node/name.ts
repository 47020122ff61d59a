// One name, one process: a lock in the database holds the name of this node, and is taken again when its connection was lost.

import { every, makeBell, type Clock } from '../clock.ts';
import { Refusal } from '../errors.ts';
import type { Log } from '../observe/log.ts';

type Lock = { release(): Promise<void> };

type Deps = {
  readonly clock: Clock;
  readonly log: Log;
  readonly name: string;
  readonly holdLock: (name: string, onLost: () => void) => Promise<Lock | undefined>;
  /** Whether another process of this name has written itself down and lives. */
  readonly isTaken: () => Promise<boolean>;
  /** Told when another process has the name by now: this one can't go on. */
  readonly onTaken: () => Promise<void>;
};

const againEveryMs = 1000;
const idleMs = 60_000;

/** Holds the name until released. Refusal `conflict` when somebody holds it. */
export async function holdNodeName(deps: Deps): Promise<Lock> {
  const { clock, log, name } = deps;
  const bell = makeBell(clock);
  const lost = (): void => {
    held = undefined;
    log.warn({ node: name }, 'node_name_lost');
    bell.ring();
  };
  let held = await deps.holdLock(`node ${name}`, lost);
  if (!held) {
    throw new Refusal(
      'conflict',
      `node.name: a Belfry named "${name}" is running on this database already; give this one a name of its own (BELFRY_NODE)`,
    );
  }

  let isTaken = false;
  const step = async (signal: AbortSignal): Promise<number> => {
    if (held || isTaken) return idleMs;
    held = await deps.holdLock(`node ${name}`, lost);
    if (held) {
      log.info({ node: name }, 'node_name_taken_again');
    } else if (!signal.aborted && (await deps.isTaken())) {
      await deps.onTaken();
      isTaken = true;
    }
    // Held, but by nobody who lives: our own connection that is gone, of which the server doesn't know yet; or somebody just starts.
    return againEveryMs;
  };
  const loop = every(clock, step, { bell, onFault: (fault) => log.warn({ err: fault }, 'take_node_name_failed') });
  return {
    release: async () => {
      await loop.stop();
      await held?.release();
    },
  };
}
