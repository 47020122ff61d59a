// The PostgreSQL of the quick start, as long as Belfry runs.

import { startEmbedded } from './embedded.ts';
import type { Stops } from './stops.ts';

type Given = {
  readonly dataDir: string;
  readonly progress: (line: string) => void;
  readonly signal: AbortSignal;
  /** Told when it ends on its own. */
  readonly failed: (why: string) => void;
};

/** Starts it, to be stopped with all else; answers its URL. */
export async function startPrivateDatabase({ dataDir, progress, signal, failed }: Given, stops: Stops): Promise<string> {
  const embedded = await startEmbedded({ dataDir, progress, signal });
  let stopping = false;
  stops.add(() => {
    stopping = true;
    return embedded.stop();
  });
  void embedded.exited.then(() => {
    if (!stopping) failed(`the private PostgreSQL ended on its own; its last words are in ${dataDir}/postgres.log`);
  });
  return embedded.url;
}
