import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { killLeftovers } from '../../src/executors/leftovers.ts';
import { until } from '../support/belfry.ts';
import { leave, left, limit, lives, marker, tempDir } from './support.ts';

/** Starts a shell in a group of its own with this environment; resolves to its number and that of a child of its. */
async function leaveBehind(t: TestContext, env: Record<string, string>, child: string): Promise<number[]> {
  const dir = await tempDir(t);
  const target = `${child} & ${leave(`${dir}/pids`, '$$ $!')}; wait`;
  const shell = spawn('/bin/sh', ['-c', target], { env: { PATH: '/usr/bin:/bin', ...env }, detached: true, stdio: 'ignore' });
  t.after(() => {
    if (shell.exitCode === null && shell.signalCode === null && shell.pid !== undefined) process.kill(-shell.pid, 'SIGKILL');
  });
  return (await left(dir, 'pids')).split(' ').map(Number);
}

describe('leftovers', limit, () => {
  test('of our marker are killed, with what they started and what left their group', async (t) => {
    const plain = await leaveBehind(t, { BELFRY_MARKER: `${marker}-a` }, 'sleep 1000');
    const escaped = await leaveBehind(t, { BELFRY_MARKER: `${marker}-a` }, 'setsid sleep 1000');
    // A shell that is about to become its command may be counted as well.
    assert.ok((await killLeftovers(`${marker}-a`)) >= 4);
    assert.deepEqual([...plain, ...escaped].map(lives), [false, false, false, false]);
  });

  test('that cleaned their environment are killed with their group', async (t) => {
    const pids = await leaveBehind(t, { BELFRY_MARKER: `${marker}-b` }, 'env -i sleep 1000');
    await killLeftovers(`${marker}-b`);
    // What bears no marker is killed and not waited for.
    await until(() => !pids.some(lives) || undefined);
  });

  test('of another marker are let be, also of one that begins the same', async (t) => {
    const pids = await leaveBehind(t, { BELFRY_MARKER: `${marker}-c2`, OTHER: `BELFRY_MARKER=${marker}-c` }, 'sleep 1000');
    assert.equal(await killLeftovers(`${marker}-c`), 0);
    assert.deepEqual(pids.map(lives), [true, true]);
  });

  test('of one run are killed alone when it is named', async (t) => {
    const one = await leaveBehind(t, { BELFRY_MARKER: `${marker}-d`, BELFRY_RUN_ID: '1' }, 'sleep 1000');
    const other = await leaveBehind(t, { BELFRY_MARKER: `${marker}-d`, BELFRY_RUN_ID: '12' }, 'sleep 1000');
    assert.ok((await killLeftovers(`${marker}-d`, '1')) >= 2);
    assert.deepEqual([...one, ...other].map(lives), [false, false, true, true]);
  });

  test('are never the process that looks for them, though it bears the marker', async () => {
    const own = `${marker}-e`;
    const script = `
      import { killLeftovers } from '${join(import.meta.dirname, '../../src/executors/leftovers.ts')}';
      console.log(await killLeftovers('${own}'));
    `;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module-typescript', '-e', script], {
      env: { BELFRY_MARKER: own },
    });
    assert.equal(stdout, '0\n');
  });

  test('of nobody are none', async () => {
    assert.equal(await killLeftovers(`${marker}-nobody`), 0);
  });
});
