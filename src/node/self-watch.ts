// How a node watches itself: the clock it goes by and the health it tells of, put together and stopped with all else.

import { systemClock, type Clock } from '../clock.ts';
import { makeDatabaseClock } from './database-clock.ts';
import { makeHealth, type Health, type HealthDeps } from './health.ts';
import type { Heartbeat } from './heartbeat.ts';
import type { Log } from '../observe/log.ts';
import { watchLoopLag } from '../observe/loop-lag.ts';
import type { Stops } from '../stops.ts';
import { openVitals } from '../store/vitals.ts';

type Given = {
  readonly connections: { readonly url: string; readonly applicationName: string; readonly onError: (fault: unknown) => void };
  readonly migrationsFolder: string;
  readonly log: Log;
};

export type SelfWatch = {
  /** The database's, as it goes on here; see `DatabaseClock`. */
  readonly clock: Clock;
  /** Whether the clocks were right when they were looked at last. */
  readonly isClockRight: () => boolean;
  /** Looks at the clocks now. */
  readonly lookAtClock: () => Promise<boolean>;
  /** Begins to tell of the node's health. */
  readonly health: (parts: Pick<HealthDeps, 'queue' | 'slots' | 'busy'> & { heartbeat: Heartbeat }) => Health;
};

/** Begins to watch; answers once it is known what time it is. */
export async function watchSelf({ connections, migrationsFolder, log }: Given, stops: Stops): Promise<SelfWatch> {
  const vitals = openVitals(connections, migrationsFolder);
  stops.addLeave(() => vitals.close());
  const time = await makeDatabaseClock({ clock: systemClock, log, askNow: vitals.now });
  stops.addLeave(() => time.stop());
  time.start();
  const { clock } = time;
  const loopLag = watchLoopLag(clock);
  stops.add(() => loopLag.stop());

  return {
    clock,
    isClockRight: () => time.last().state === 'right',
    lookAtClock: time.isRight,
    health: ({ heartbeat, ...parts }) => {
      const isDraining = (): boolean => heartbeat.living().some((node) => node.incarnation === heartbeat.incarnation() && node.isDraining);
      const health = makeHealth({ ...parts, clock, log, look: vitals.look, clockState: time.last, loopLagMs: loopLag.worstMs, isDraining });
      stops.addLeave(() => health.stop());
      health.start();
      return health;
    },
  };
}
