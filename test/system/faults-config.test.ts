// What becomes of config.toml while Belfry runs: the last good one is kept.

import assert from 'node:assert/strict';
import { rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, type TestContext } from 'node:test';
import { limitMs, until, type Belfry } from '../support/belfry.ts';
import { fault } from '../support/faults.ts';
import { place, settledWell, startSeconds, type Place } from '../support/settled.ts';

describe('config.toml', { timeout: 10 * limitMs, concurrency: 2 }, () => {
  fault(
    {
      fault: 'config.toml broken while running',
      seen: 'SIGHUP tells what is wrong and where, and the last good one goes on',
    },
    async (t) => {
      const { at, belfry, file } = await ticking(t);
      await writeFile(file, job('bad').replace('"shell"', '"shel"'));
      assert.match(await refused(belfry), /^config\.toml:\d+:\d+ jobs\[0\]\.command\.type: expected "shell" or "http", got "shel"/);
      await output(belfry, 'good');
      await settledWell(at, belfry);
    },
  );

  fault(
    {
      fault: 'config.toml half written while running',
      seen: 'SIGHUP tells where it breaks off, and the last good one goes on until the whole one is there',
    },
    async (t) => {
      const { at, belfry, file } = await ticking(t);
      const whole = job('new');
      await writeFile(file, whole.slice(0, -12));
      assert.match(await refused(belfry), /^config\.toml:\d+:\d+ expected TOML, got a fault in it: /);
      await output(belfry, 'good');
      await writeFile(file, whole);
      await reload(belfry);
      await output(belfry, 'new');
      await settledWell(at, belfry);
    },
  );

  fault(
    {
      fault: 'config.toml replaced while running',
      seen: 'SIGHUP reads what lies there now, also when it is another file of that name',
    },
    async (t) => {
      const { at, belfry, file } = await ticking(t);
      await writeFile(`${file}.new`, job('new'));
      await rename(`${file}.new`, file);
      await output(belfry, 'good');
      await reload(belfry);
      await output(belfry, 'new');
      await settledWell(at, belfry);
    },
  );

  fault(
    {
      fault: 'config.toml deleted while running',
      seen: 'SIGHUP says that it is not there, and the last good one goes on: its jobs stay as they are',
    },
    async (t) => {
      const { at, belfry, file } = await ticking(t);
      await rm(file);
      assert.match(await refused(belfry), /config\.toml: expected a configuration file that can be read/);
      await output(belfry, 'good');
      await settledWell(at, belfry);
    },
  );
});

/** A Belfry with a job of its file that says what it is called, every second. */
async function ticking(t: TestContext) {
  const at: Place = await place(t, { config: job('good') });
  const belfry = await at.start();
  await startSeconds(at, belfry);
  await output(belfry, 'good');
  return { at, belfry, file: join(String(at.homes.get('bell')), 'config.toml') };
}

function job(says: string): string {
  return `[[jobs]]\nname = "of-the-file"\nexpr = "* * * * * *"\n[jobs.command]\ntype = "shell"\ntarget = "echo ${says}"\n`;
}

async function refused(belfry: Belfry): Promise<string> {
  process.kill(belfry.pid, 'SIGHUP');
  return String((await belfry.logged(({ msg }) => msg === 'reload_config_failed'))['fault']);
}

async function reload(belfry: Belfry): Promise<void> {
  process.kill(belfry.pid, 'SIGHUP');
  await belfry.logged(({ msg }) => msg === 'reloaded_config');
}

/** Waits for a run of the file's job that is due from now on and says this. */
async function output(belfry: Belfry, says: string): Promise<void> {
  const now = new Date().toISOString();
  await until(async () => {
    const runs = await belfry.records({ name: 'of-the-file', state: 'succeeded' });
    return runs.find(({ due_time, result }) => due_time > now && (JSON.parse(result) as { out: string }).out === `${says}\n`);
  });
}
