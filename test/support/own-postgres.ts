// A PostgreSQL of a test's own, which it may crash. It is where its data are, whatever port it gets: `moved` is told.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startEmbedded } from '../../src/embedded.ts';

type Scope = { after(fn: () => Promise<void>): void };

export type OwnPostgres = {
  /** Where it is now. */
  readonly url: () => string;
  /** Ends it as `pg_ctl stop -m immediate` does: nothing is written any more, and the next start has to recover. */
  readonly crash: () => Promise<void>;
  /** Starts it again; answers when it takes connections. */
  readonly start: () => Promise<void>;
};

/** Starts one in a folder. What it has committed is kept whatever happens: it has no settings but those of the quick start. */
export async function startOwnPostgres(scope: Scope, dataDir: string, moved: (url: string) => void = () => {}): Promise<OwnPostgres> {
  let server = await startEmbedded({ dataDir });
  moved(server.url);
  scope.after(() => server.stop());
  return {
    url: () => server.url,
    crash: async () => {
      const [pid] = (await readFile(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8')).split('\n');
      process.kill(Number(pid), 'SIGQUIT');
      await server.exited;
      await server.stop();
    },
    start: async () => {
      server = await startEmbedded({ dataDir });
      moved(server.url);
    },
  };
}
