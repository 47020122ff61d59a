// A PostgreSQL of a test's own, which it may stop, kill and starve.

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { startEmbedded } from '../../src/embedded.ts';
import { environment, findPrograms, findUser } from '../../src/embedded/programs.ts';
import { folder, freePort, until } from './belfry.ts';
import { execute } from './postgres.ts';

type Scope = { after(fn: () => Promise<void>): void };

/** As pg_ctl has them: connections are cut and all is written, or it goes at once and recovers at its start. */
type Mode = 'fast' | 'immediate';

export type Server = {
  /** Its first database, for a hand beside the code under test. */
  readonly url: string;
  /** An empty database. */
  readonly database: () => Promise<string>;
  readonly stop: (mode: Mode) => Promise<void>;
  /** Starts it on its port; nothing when it runs. */
  readonly start: () => Promise<void>;
};

const living = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of living) child.kill('SIGKILL');
});

/** Starts one, in a folder of its own or in a given one that its user may enter. */
export async function startServer(scope: Scope, { settings = [], within }: { settings?: string[]; within?: string } = {}): Promise<Server> {
  const home = join(within ?? (await folder(scope)), 'server');
  const made = await startEmbedded({ dataDir: home });
  await made.stop();
  const cluster = join(home, 'postgres');
  const user = process.getuid?.() === 0 ? await findUser(cluster) : undefined;
  const { bin } = await findPrograms({ home, user, closed: false, progress: () => {}, signal: undefined });
  const url = new URL(made.url);
  url.port = String(await freePort());
  const given = [`port=${url.port}`, 'listen_addresses=127.0.0.1', 'unix_socket_directories=', 'fsync=off', 'timezone=UTC', ...settings];
  let child: ChildProcess | undefined;

  const start = async (): Promise<void> => {
    if (child?.exitCode === null && child.signalCode === null) return;
    const args = ['-D', cluster, ...given.flatMap((setting) => ['-c', setting])];
    child = spawn(join(bin, 'postgres'), args, { cwd: cluster, env: environment, stdio: 'ignore', ...user });
    living.add(child);
    await until(() => execute(url.href, 'select 1').catch(() => undefined));
  };
  const stop = async (mode: Mode): Promise<void> => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill(mode === 'fast' ? 'SIGINT' : 'SIGQUIT');
    await exited;
    living.delete(child);
  };
  await start();
  scope.after(() => stop('immediate'));
  let databases = 0;
  return {
    url: url.href,
    start,
    stop,
    database: async () => {
      const name = `test_${++databases}`;
      await execute(url.href, `create database ${name}`);
      return Object.assign(new URL(url), { pathname: `/${name}` }).href;
    },
  };
}
