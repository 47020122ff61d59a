// What is left of the commands of a Belfry that is killed: nothing, before anybody starts it again.

import assert from 'node:assert/strict';
import { folder, processesOf, processesOfRun, startBelfry, until } from '../support/belfry.ts';
import { fault } from '../support/faults.ts';
import { testDatabase } from '../support/postgres.ts';
import { skipLoudly } from '../support/skip-loudly.ts';

const count = 20;

/** One process in a session of its own, one without any trace of us but its directory. */
const tree = 'setsid sleep 1000 & setsid env -i sleep 1000 & sleep 1000; true';

fault(
  {
    fault: 'twenty trees of shells with escapees, killed with their worker',
    seen: 'where there are PID namespaces none of their processes is left within a second, also of those that left their session and their environment',
  },
  async (t) => {
    const { url } = await testDatabase(t, 'empty');
    const cwd = await folder(t);
    const belfry = await startBelfry({ cwd, env: { BELFRY_DATABASE_URL: url } });
    const { way, why } = await belfry.logged(({ msg }) => msg === 'shell_isolation');
    if (way === 'none') return skipLoudly(t, `there is no namespace here: ${String(why)}`);
    const names = Array.from({ length: count }, (_, at) => `tree-${at}`);
    for (const name of names) await belfry.create({ name, expr: '@yearly', command: { type: 'shell', target: tree, cwd } });
    const runs: number[] = [];
    for (const name of names) runs.push(await belfry.trigger(name));
    const sleeping = (): number => processesOf(cwd).filter(({ name }) => name === 'sleep').length;
    await until(() => sleeping() === 3 * count || undefined);
    assert.ok(runs.every((run) => processesOfRun(cwd, run).length >= 3));

    await belfry.end('SIGKILL');
    await until(() => processesOf(cwd).length === 0 || undefined, 10_000);
  },
);
