// The clock that all of a node goes by: the database's, carried on by our own monotonic clock between two looks at it. So a node
// whose wall clock is wrong writes no wrong moment and forgets nothing too early; it only does not tick (clock-guard.ts).

import { every, type Clock, type Loop } from '../clock.ts';
import { judge, stateOf, timeAt, type ClockState, type Judgement } from './clock-guard.ts';
import type { Log } from '../observe/log.ts';

type Deps = {
  /** Our own. */
  readonly clock: Clock;
  readonly log: Log;
  /** The database's clock, at the moment of the answer. */
  readonly askNow: () => Promise<Date>;
};

export type DatabaseClock = {
  /** Its `now` is the database's, as last told, and goes on while the database is away. */
  readonly clock: Clock;
  /** Looks at the database's clock now; answers whether what is due may be decided by it. */
  readonly isRight: () => Promise<boolean>;
  /** What was thought of the clocks last. */
  readonly last: () => { readonly state: ClockState; readonly aheadMs: number };
  readonly start: () => void;
  readonly stop: () => Promise<void>;
};

const everyMs = 5000;

/** Looks for the first time; nobody may ask what time it is before that. */
export async function makeDatabaseClock({ clock, log, askNow }: Deps): Promise<DatabaseClock> {
  let judgement = await look();
  let loop: Loop | undefined;

  async function look(before?: Judgement): Promise<Judgement> {
    const wall = clock.now().getTime();
    const asked = clock.monotonic();
    const database = (await askNow()).getTime();
    return judge(before, { wall, asked, answered: clock.monotonic(), database });
  }

  const lookAgain = async (): Promise<void> => {
    const seen = await look(judgement);
    const { jumpedMs, heldUntil } = seen;
    if (jumpedMs !== undefined) log.warn({ by_ms: jumpedMs }, 'database_clock_jumped');
    else if (judgement.heldUntil !== undefined && heldUntil === undefined) log.warn('database_clock_believed');
    judgement = seen;
  };

  // One look at a time, as each goes on from the one before.
  let underWay: Promise<void> | undefined;
  const isRight = async (): Promise<boolean> => {
    underWay ??= lookAgain().finally(() => (underWay = undefined));
    await underWay;
    return stateOf(judgement) === 'right';
  };

  return {
    clock: { ...clock, now: () => new Date(timeAt(judgement, clock.monotonic())) },
    isRight,
    last: () => ({ state: stateOf(judgement), aheadMs: judgement.aheadMs }),
    start: () => {
      const step = async (): Promise<number> => {
        await isRight();
        return everyMs;
      };
      loop = every(clock, step, { onFault: (fault) => log.debug({ err: fault }, 'clock_look_failed') });
    },
    stop: async () => await loop?.stop(),
  };
}
