// What is left of the commands of a Belfry that is killed: nothing, before anybody starts it again.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { folder, limitMs, processesOf, processesOfRun, startBelfry, until } from '../support/belfry.ts';
import { testDatabase } from '../support/postgres.ts';

const count = 20;

/** One process in a session of its own, one without any trace of us but its directory. */
const tree = 'setsid sleep 1000 & setsid env -i sleep 1000 & sleep 1000; true';

describe('Belfry killed by kill -9 while it runs twenty shell commands that started others', { timeout: 2 * limitMs }, () => {
  test('leaves none of their processes, also of those that left their session and their environment', async (t) => {
    const { url } = await testDatabase(t, 'empty');
    const cwd = await folder(t);
    const belfry = await startBelfry({ cwd, env: { BELFRY_DATABASE_URL: url } });
    const { way, why } = await belfry.logged(({ msg }) => msg === 'shell_isolation');
    if (way === 'none' && process.env['CI'] !== 'true') {
      t.skip(`NOT TESTED: there is no namespace here: ${String(why)}`);
      return;
    }
    assert.notEqual(way, 'none', String(why));
    const names = Array.from({ length: count }, (_, at) => `tree-${at}`);
    for (const name of names) await belfry.create({ name, expr: '@yearly', command: { type: 'shell', target: tree, cwd } });
    const runs: number[] = [];
    for (const name of names) runs.push(await belfry.trigger(name));
    const sleeping = (): number => processesOf(cwd).filter(({ name }) => name === 'sleep').length;
    await until(() => sleeping() === 3 * count || undefined);
    assert.ok(runs.every((run) => processesOfRun(cwd, run).length >= 3));

    await belfry.end('SIGKILL');
    await until(() => processesOf(cwd).length === 0 || undefined, 10_000);
  });
});
