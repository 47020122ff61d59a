// The only arrow back: a run's step is announced to whoever wants to hear. Nothing depends on being heard.

/** A step of a run that was recorded by this node. */
export type RunEvent = { readonly kind: 'retrying' | 'finished'; readonly runId: number };

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
