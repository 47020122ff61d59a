// The migrations themselves: a database of any age becomes the newest one, with what people have in it.

import assert from 'node:assert/strict';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { describe, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { migrate } from '../../src/store/database.ts';
import { definitionsIn } from '../support/catalog.ts';
import { execute, testDatabase } from '../support/postgres.ts';

const folder = fileURLToPath(new URL('../../migrations', import.meta.url));

type Journal = { readonly entries: readonly { readonly idx: number; readonly when: number; readonly tag: string }[] };

const journal = JSON.parse(await readFile(join(folder, 'meta/_journal.json'), 'utf8')) as Journal;
const { url: fresh } = await testDatabase(test);

/** The migrations as they were when there were so many. */
async function firstOf(t: TestContext, count: number): Promise<string> {
  const copy = await mkdtemp(join(tmpdir(), 'belfry-migrations-'));
  t.after(() => rm(copy, { recursive: true }));
  await cp(folder, copy, { recursive: true });
  await writeFile(join(copy, 'meta/_journal.json'), JSON.stringify({ ...journal, entries: journal.entries.slice(0, count) }));
  return copy;
}

// A row of each kind that people have, in columns that the first migration made and later ones still have.
const rows = [
  `insert into belfry.nodes (name, version, pid, duties, ended_at, end_reason) values ('gone', '0', 1, '{worker}', now(), 'lost')`,
  `insert into belfry.nodes (name, version, pid, duties) values ('here', '0', 1, '{web,crontab,worker}')`,
  `insert into belfry.jobs (name, expr, command) values ('by hand', '* * * * *', '{"type": "shell", "command": "true"}')`,
  `insert into belfry.jobs (name, expr, timezone, command, policy, source, config_id, trace_id, next_due_at)
   values ('of a file', '* * * * *', 'UTC', '{"type": "shell", "command": "true"}', '{}', 'file', '/config.toml', 'trace', now())`,
  `insert into belfry.jobs (name, expr, command, deleted_at) values ('deleted', '* * * * *', '{}', now())`,
];

const states = `unnest(array[null, null, null, 'succeeded', 'failed', 'cancelled', 'skipped']) with ordinality as s(final, n)`;
const onTheirWay = `insert into belfry.unfinished (run_id, job_id, state, overlap, ready_at, owner)
   select id, job_id, (array['queued', 'running', 'retrying'])[id % 3 + 1], 'skip', now(), case when id % 3 = 1 then 1 end`;

// Runs, at their end and on their way, as each age had them.
const runsOfAges = [
  [
    `insert into belfry.runs (job_id, job_name, due_at, state, reason, command, attempts, failed_count, queued_at, finished_at, trace_id)
     select id, name, now() + n * interval '1 second', final, 'reason', '{}', '[{"attempt": 1, "error": "no"}, {"attempt": 2}]', 1, now(),
            case when final is not null then now() end, 'trace'
       from belfry.jobs cross join ${states} where deleted_at is null`,
    `${onTheirWay} from belfry.runs r where state is null and not exists (select from belfry.unfinished u where u.run_id = r.id)`,
  ],
  [
    `insert into belfry.runs (job_id, job_name, due_at, command, queued_at, trace_id)
     select id, name, now() + n * interval '1 second', '{}', now(), 'trace' from belfry.jobs cross join ${states} where deleted_at is null`,
    `insert into belfry.results (run_id, state, reason, finished_at)
     select id, 'skipped', 'reason', now()
       from belfry.runs r where id % 2 = 0 and not exists (select from belfry.records e where e.id = r.id and e.state is not null)`,
    `${onTheirWay} from belfry.runs r where not exists (select from belfry.records e where e.id = r.id and e.state is not null)`,
  ],
];

/** What people have in a database of that age. */
function rowsOf(age: number): string[] {
  return [...rows, ...(runsOfAges[Math.min(age, runsOfAges.length - 1)] ?? [])];
}

async function counts(url: string): Promise<Record<string, unknown>[]> {
  return await execute(
    url,
    `select (select count(*) from belfry.nodes) as nodes, (select count(*) from belfry.jobs) as jobs, (select count(*) from belfry.runs) as runs, (select count(*) from belfry.unfinished) as unfinished,
            (select count(*) from belfry.installation) as installations`,
  );
}

async function namesIn(url: string): Promise<Record<string, unknown>[]> {
  return await execute(
    url,
    `select j.name, r.state, r.due_at, r.attempts, r.failed_count from belfry.jobs j join belfry.records r on r.job_id = j.id order by r.id`,
  );
}

describe('the migrations', { timeout: 120_000 }, () => {
  test('are all in the journal, in the order of their numbers and of their moments', async () => {
    const files = (await readdir(folder)).filter((name) => name.endsWith('.sql')).sort();
    assert.deepEqual(
      files,
      journal.entries.map(({ tag }) => `${tag}.sql`),
    );
    assert.deepEqual(
      journal.entries.map(({ idx }) => idx),
      files.map((_, index) => index),
    );
    for (const [index, { tag }] of journal.entries.entries()) assert.match(tag, new RegExp(`^${String(index + 1).padStart(4, '0')}_`));
    const moments = journal.entries.map(({ when }) => when);
    assert.deepEqual(
      moments,
      [...new Set(moments)].sort((a, b) => a - b),
    );
  });

  for (const [index, { tag }] of journal.entries.entries()) {
    test(`bring a database from ${tag} to the newest, and all its rows with it`, async (t) => {
      const { url } = await testDatabase(t, 'empty');
      await migrate({ url, folder: await firstOf(t, index + 1) });
      for (const row of rowsOf(index)) await execute(url, row);
      const [had, named] = [await counts(url), await namesIn(url)];
      assert.deepEqual(await migrate({ url, folder }), { applied: journal.entries.length - index - 1 });
      assert.deepEqual(await definitionsIn(url), await definitionsIn(fresh));
      assert.deepEqual([await counts(url), await namesIn(url)], [had, named]);
    });
  }

  test('bring a database through every age, one by one, with rows from each', async (t) => {
    const { url } = await testDatabase(t, 'empty');
    for (const index of journal.entries.keys()) {
      assert.deepEqual(await migrate({ url, folder: await firstOf(t, index + 1) }), { applied: 1 });
      // Their names are taken again.
      await execute(url, `update belfry.jobs set deleted_at = now() where deleted_at is null`);
      for (const row of rowsOf(index)) await execute(url, row);
    }
    assert.deepEqual(await definitionsIn(url), await definitionsIn(fresh));
  });
});
