// A machine that runs out: of processes, of descriptors, of disk, and of somebody who reads the log.

import assert from 'node:assert/strict';
import { chown } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort, launchBelfry, processesOfRun, startBelfry, until } from '../support/belfry.ts';
import { smallDisk } from '../support/disk.ts';
import { fault } from '../support/faults.ts';
import { execute } from '../support/postgres.ts';
import { startServer } from '../support/server.ts';
import { skipLoudly } from '../support/skip-loudly.ts';
import { entered, freshRuns, place, settledWell, startSeconds } from '../support/settled.ts';

const isRoot = process.getuid?.() === 0;

fault(
  {
    fault: 'a fork bomb under a process limit',
    seen: 'Belfry lives on; what can’t be started meanwhile has failed and is tried again; at its timeout the bomb is killed with all that it made',
  },
  async (t) => {
    if (!isRoot)
      return skipLoudly(t, 'a process limit binds other users than root, and only root can become one that has no processes yet');
    const at = await place(t);
    const options = await at.options({});
    // Limits are counted by user: one of its own, who has nothing else running.
    const user = 2_000_000 + process.pid;
    for (const path of [options.cwd, dirname(at.ledger)]) await chown(path, user, user);
    const under = ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups', 'prlimit', '--nproc=120'];
    const belfry = await startBelfry({ ...options, under });
    await startSeconds(at, belfry);
    const target = 'bomb() { bomb | bomb & sleep 1000; }; bomb';
    const name = 'bomb';
    await belfry.create({ name, expr: '@yearly', timeout: '15s', retry: { max_attempts: 1 }, command: { type: 'shell', target } });
    const run = await belfry.trigger(name);
    await until(() => processesOfRun(options.cwd, run).length > 50 || undefined);
    assert.equal((await fetch(`${belfry.address}/ping`)).status, 200);
    assert.equal((await belfry.finished(run)).reason, 'timed_out');
    await until(() => processesOfRun(options.cwd, run).length === 0 || undefined);
    await settledWell(at, belfry);
  },
);

fault(
  {
    fault: 'out of file descriptors',
    seen: 'what can’t be opened has failed and is tried again; Belfry lives on and needs no restart',
  },
  async (t) => {
    const at = await place(t, { config: 'worker.concurrency = 200' });
    const belfry = await startBelfry({ ...(await at.options({})), under: ['prlimit', '--nofile=150'] });
    await startSeconds(at, belfry);
    const retry = { max_attempts: 100, delay: '200ms', max_delay: '1s' };
    const runs: number[] = [];
    for (let index = 0; index < 100; index++) {
      await belfry.create({ name: `many-${index}`, expr: '@yearly', retry, ...entered(at, 'sleep 3') });
    }
    for (let index = 0; index < 100; index++) runs.push(await belfry.trigger(`many-${index}`));
    const starved = await until(async () => {
      const rows = await execute(at.url, `select error from belfry.records where failed_count > 0 and error like '%EMFILE%'`);
      return rows.length > 0 || undefined;
    }).catch(() => false);
    t.diagnostic(`commands that found no descriptor: ${starved ? 'some' : 'none'}`);
    await until(
      async () => (await execute(at.url, `select 1 from belfry.results where run_id in (${runs.join()})`)).length === 100 || undefined,
    );
    const ends = await execute(at.url, `select distinct state from belfry.records where job_name like 'many-%'`);
    assert.deepEqual(ends, [{ state: 'succeeded' }]);
    await settledWell(at, belfry);
  },
);

fault(
  {
    fault: 'a log viewer that never reads',
    seen: 'Belfry goes on; log lines that find no room are left out, and how many is told when there is room again',
  },
  async (t) => {
    const at = await place(t);
    const port = await freePort();
    const options = await at.options({ env: { BELFRY_ADDR: `127.0.0.1:${port}`, BELFRY_LOG_LEVEL: 'trace' } });
    const unread = await launchBelfry({ ...options, isUnread: true });
    const address = `http://127.0.0.1:${port}`;
    await until(() =>
      fetch(`${address}/ping`).then(
        ({ ok }) => ok || undefined,
        () => undefined,
      ),
    );
    const job = { name: 'every-second', expr: '* * * * * *', overlap: 'allow', retry: { max_attempts: 3 }, ...entered(at) };
    await fetch(`${address}/createJob`, { method: 'POST', body: JSON.stringify(job) });
    // Each is a line of some thousand bytes in the log: far more than any pipe holds.
    for (let count = 0; count < 3000; count += 50) {
      const answers = await Promise.all(Array.from({ length: 50 }, () => fetch(`${address}/${'x'.repeat(4000)}`)));
      for (const answer of answers) await answer.arrayBuffer();
    }
    await freshRuns(at, 3);
    unread.child.kill('SIGTERM');
    const code = await Promise.race([new Promise((ended) => unread.child.once('exit', ended)), sleep(30_000)]);
    assert.equal(code, 0, 'it stops in order');
    await settledWell(at, await at.start());
  },
);

fault(
  {
    fault: 'the disk of PostgreSQL full',
    seen: 'nothing is begun that could not be written down; when there is room (and PostgreSQL is up, which may have to be started again) all goes on',
  },
  async (t) => {
    const disk = await smallDisk(t, 160 * 1024);
    if (!disk) return;
    const server = await startServer(t, { within: disk.path, settings: ['wal_init_zero=on'] });
    const at = await place(t, { url: await server.database() });
    const belfry = await at.start();
    await startSeconds(at, belfry);
    await disk.fill();
    // What is still free in files that are there is used up by somebody else.
    const full = until(async () => {
      const written = execute(
        server.url,
        `create table if not exists hog (x text); insert into hog select repeat(md5(n::text), 100) from generate_series(1, 2000) n`,
      );
      return await written.then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
    });
    t.diagnostic(`PostgreSQL says: ${String(await full)}`);
    await sleep(5000);
    await disk.free();
    // It may end only now, or be in the middle of its recovery.
    await until(async () => {
      await server.start();
      return await execute(server.url, 'select 1').catch(() => undefined);
    });
    await settledWell(at, belfry);
  },
);
