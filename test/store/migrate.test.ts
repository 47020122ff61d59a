// Migrations on a real PostgreSQL: whole or not at all, by one process at a time, never backwards.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { Refusal } from '../../src/errors.ts';
import { migrate } from '../../src/store/database.ts';
import { execute, testDatabase } from '../support/postgres.ts';
import { fault } from '../support/faults.ts';

const houses = 'create table belfry.houses (id int)';
const rooms = 'create table belfry.rooms (id int);\n--> statement-breakpoint\ninsert into belfry.rooms values (1)';

/** A folder of migrations, written as drizzle wants it. */
async function folderOf(t: TestContext, ...files: string[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'belfry-migrations-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await mkdir(join(folder, 'meta'));
  const entries = files.map((_, idx) => ({ idx, version: '7', when: 1764000000000 + idx, tag: `000${idx + 1}_step`, breakpoints: true }));
  await writeFile(join(folder, 'meta/_journal.json'), JSON.stringify({ version: '7', dialect: 'postgresql', entries }));
  for (const [index, text] of files.entries()) await writeFile(join(folder, `000${index + 1}_step.sql`), text);
  return folder;
}

async function tablesIn(url: string): Promise<unknown[]> {
  const rows = await execute(url, `select tablename as name from pg_tables where schemaname = 'belfry' order by 1`);
  return rows.map((row) => row['name']);
}

describe('migrate', { timeout: 180_000 }, () => {
  it('applies what is missing, in order', async (t) => {
    const { url } = await testDatabase(t, 'empty');
    assert.deepEqual(await migrate({ url, folder: await folderOf(t, houses) }), { applied: 1 });
    assert.deepEqual(await migrate({ url, folder: await folderOf(t, houses, rooms, 'drop table belfry.houses') }), { applied: 2 });
    assert.deepEqual(await migrate({ url, folder: await folderOf(t, houses, rooms, 'drop table belfry.houses') }), { applied: 0 });
    assert.deepEqual(await tablesIn(url), ['__migrations', 'rooms']);
  });

  it('by several processes at once is done by one', async (t) => {
    const { url } = await testDatabase(t, 'empty');
    const folder = await folderOf(t, houses, rooms);
    const done = await Promise.all([1, 2, 3].map(() => migrate({ url, folder })));
    assert.deepEqual(
      done.map(({ applied }) => applied).sort((a, b) => a - b),
      [0, 0, 2],
    );
  });

  it('that fails is undone, and those before it stay', async (t) => {
    const { url } = await testDatabase(t, 'empty');
    const folder = await folderOf(t, houses, 'create table belfry.half (id int);\n--> statement-breakpoint\nselect 1 / 0');
    await assert.rejects(migrate({ url, folder }), /division by zero/);
    assert.deepEqual(await tablesIn(url), ['__migrations', 'houses']);
    assert.deepEqual(await migrate({ url, folder: await folderOf(t, houses, rooms) }), { applied: 1 });
  });

  fault(
    { fault: 'a migration killed half way', seen: 'PostgreSQL undoes it, also while its statement still runs, and the next start does it' },
    async (t) => {
      const { url } = await testDatabase(t, 'empty');
      const slow = await folderOf(t, houses, 'create table belfry.half (id int);\n--> statement-breakpoint\nselect pg_sleep(1000)');
      const database = import.meta.resolve('../../src/store/database.ts');
      const program = `import { migrate } from '${database}'; await migrate(${JSON.stringify({ url, folder: slow })})`;
      const child = spawn(process.execPath, ['--input-type=module', '--eval', program], { stdio: 'inherit' });
      const exited = once(child, 'exit');
      let half: unknown[] = [];
      while (half.length === 0)
        half = await execute(url, `select 1 from pg_stat_activity where query like '%pg_sleep(1000)' and pid <> pg_backend_pid()`);
      child.kill('SIGKILL');
      await exited;
      assert.deepEqual(await migrate({ url, folder: await folderOf(t, houses, rooms) }), { applied: 1 });
      assert.deepEqual(await tablesIn(url), ['__migrations', 'houses', 'rooms']);
    },
  );

  fault(
    { fault: 'a database newer than the program', seen: 'Belfry refuses to start and says what to do; nothing is touched' },
    async (t) => {
      const { url } = await testDatabase(t, 'empty');
      await migrate({ url, folder: await folderOf(t, houses, rooms) });
      await assert.rejects(migrate({ url, folder: await folderOf(t, houses) }), (thrown) => {
        assert.ok(thrown instanceof Refusal);
        assert.match(thrown.message, /^database schema 2 is newer than this Belfry knows \(1\): /);
        return true;
      });
    },
  );
});
