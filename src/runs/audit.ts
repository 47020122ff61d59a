// A claim whose answer got lost leaves a run that names this node and that this node knows nothing of: nobody would ever make its
// attempt. The audit finds such runs and gives them back.

import { every, type Bell, type Clock, type Loop } from '../clock.ts';
import type { Log } from '../observe/log.ts';

type Held = { readonly id: number; readonly epoch: number };

type Deps = {
  readonly clock: Clock;
  readonly log: Log;
  readonly incarnation: () => number;
  readonly runs: {
    readonly idsHeldBy: (owner: number) => Promise<readonly Held[]>;
    readonly giveBack: (owner: number, held: readonly Held[]) => Promise<readonly number[]>;
  };
  /** Whether this node claims the run right now, or has begun the attempt of this claim and not recorded it yet. */
  readonly isKnown: (held: Held) => boolean;
  /** Told when something was given back. */
  readonly dispatch: Bell;
};

const everyMs = 10_000;

/** Looks every ten seconds until stopped. */
export function startAudit(deps: Deps): Loop {
  return every(deps.clock, () => audit(deps), { onFault: (fault) => deps.log.error({ err: fault }, 'audit_failed') });
}

/** Does it once; answers how many milliseconds the next time may wait. */
export async function audit(deps: Deps): Promise<number> {
  const owner = deps.incarnation();
  const held = await deps.runs.idsHeldBy(owner);
  // What is known is asked after the rows were read, and not before: whose claim stands in them and is not on its way any more has
  // begun by now, or never will. One that has begun and ended meanwhile has another epoch, or none.
  const unknown = held.filter((each) => !deps.isKnown(each));
  if (unknown.length === 0) return everyMs;
  const givenBack = await deps.runs.giveBack(owner, unknown);
  for (const run of givenBack) deps.log.warn({ run, incarnation: owner }, 'gave_back_run');
  deps.dispatch.ring();
  return everyMs;
}
