// The one command of the README. Between the terminal and Belfry stands npm, which hands on the signals that it gets.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { folder, limitMs, processesOf, startBelfry, until } from '../support/belfry.ts';
import { testDatabase } from '../support/postgres.ts';

describe('npm start', { timeout: 2 * limitMs }, () => {
  test('builds and starts Belfry; one Ctrl-C, of which npm makes two, lets the run under way finish', async (t) => {
    const { cwd, belfry } = await startWithRun(t);
    belfry.pressCtrlC();
    await belfry.logged(({ msg }) => msg === 'stopping');
    await writeFile(join(cwd, 'go'), '');
    await belfry.exited;
    assert.deepEqual(
      belfry.lines.filter(({ msg }) => /^(execed|exit)_/.test(msg)).map(({ msg }) => msg),
      ['execed_job', 'exit_server'],
    );
    assert.deepEqual(processesOf(cwd), []);
  });

  test('told to stop (SIGTERM), stops Belfry in order and leaves no process', async (t) => {
    const { cwd, belfry } = await startWithRun(t);
    const ending = belfry.end('SIGTERM');
    await belfry.logged(({ msg }) => msg === 'stopping');
    await writeFile(join(cwd, 'go'), '');
    await ending;
    assert.deepEqual(
      belfry.lines.filter(({ msg }) => /^(execed|exit)_/.test(msg)).map(({ msg }) => msg),
      ['execed_job', 'exit_server'],
    );
    assert.deepEqual(processesOf(cwd), []);
  });
});

/** A Belfry with a run under way that ends when there is a file "go". */
async function startWithRun(t: TestContext) {
  const { url } = await testDatabase(t, 'empty');
  const cwd = await folder(t);
  const belfry = await startBelfry({ cwd, config: '', npm: true, env: { BELFRY_DATABASE_URL: url } });
  const target = `until [ -e ${cwd}/go ]; do sleep 0.1; done`;
  await belfry.create({ name: 'long', expr: '@yearly', command: { type: 'shell', target } });
  await belfry.trigger('long');
  await until(() => processesOf(cwd).find(({ name }) => name === 'sleep'));
  return { cwd, belfry };
}
