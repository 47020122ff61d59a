// The only arrow back: a run's step is announced to whoever wants to hear. Nothing depends on being heard.

import type { AttemptResult } from '../executors/executor.ts';
import type { State } from './lifecycle.ts';

/** A step of a run that was recorded by this node. */
export type RunEvent = {
  readonly runId: number;
  /** What the run came to by this attempt. */
  readonly state: State;
  readonly attempt: number;
  /** The type of its command. */
  readonly type: string;
  readonly outcome: AttemptResult['outcome'];
  readonly tookMs: number;
  /** How long after its due time the attempt began; of a run of the schedule. */
  readonly lateMs: number | undefined;
};

export type Events = {
  readonly emit: (event: RunEvent) => void;
  /** Hears every event from now on; answers how to stop hearing. */
  readonly on: (hear: (event: RunEvent) => void) => () => void;
};

/** Makes a place to announce. A listener must not throw. */
export function makeEvents(): Events {
  const listeners = new Set<(event: RunEvent) => void>();
  return {
    emit: (event) => {
      for (const hear of listeners) hear(event);
    },
    on: (hear) => {
      listeners.add(hear);
      return () => listeners.delete(hear);
    },
  };
}
