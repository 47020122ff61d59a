// Where jobs come from: the file and its owner's rights, rows written by SQL, and who wins where two want one name.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { folder, limitMs, startBelfry, until, type Belfry } from '../support/belfry.ts';
import { execute, testDatabase } from '../support/postgres.ts';

type Job = { name: string; enabled: boolean; source: string; command: { target: string }; fault: string | null };

describe('config.toml', { timeout: 2 * limitMs, concurrency: 2 }, () => {
  test('is read again on SIGHUP: jobs are changed, made, and disabled in line with it', async (t) => {
    const { cwd, start } = await place(t);
    const belfry = await start(everySecond('kept', 'echo one') + everySecond('dropped', 'true'));
    await output(belfry, 'kept', 'one\n');

    await writeFile(join(cwd, 'config.toml'), everySecond('kept', 'echo two') + everySecond('new', 'echo new'));
    process.kill(belfry.pid, 'SIGHUP');
    await belfry.logged(({ msg }) => msg === 'reloaded_config');
    await output(belfry, 'kept', 'two\n');
    await output(belfry, 'new', 'new\n');
    assert.equal((await job(belfry, 'dropped')).enabled, false);
  });

  test('with a fault in it is told on SIGHUP, and the last good one goes on', async (t) => {
    const { cwd, start } = await place(t);
    const belfry = await start(everySecond('good', 'echo good'));
    await writeFile(join(cwd, 'config.toml'), 'dutys = []\n' + everySecond('good', 'echo bad'));
    process.kill(belfry.pid, 'SIGHUP');
    const told = await belfry.logged(({ msg }) => msg === 'reload_config_failed');
    assert.equal(told['fault'], 'config.toml:1:1 dutys: unknown key; did you mean "duties"?');
    await output(belfry, 'good', 'good\n', told.time);
  });

  test('edited again and again, also while nobody is up, drops no due time: each is written down once', async (t) => {
    const { cwd, url, start } = await place(t);
    let belfry = await start(everySecond('edited', 'echo 0'));
    await output(belfry, 'edited', '0\n');
    for (let edit = 1; edit <= 20; edit++) {
      // Every other time it is to be due by another clock, if at the same times: its cursor is made anew.
      const zone = edit % 4 < 2 ? 'Europe/Berlin' : 'UTC';
      const edited = everySecond('edited', `echo ${edit}`, `timezone = "${zone}"\nmax_catchup = ${edit}`);
      if (edit % 10 === 0) {
        await belfry.end('SIGTERM');
        // For longer than is called late.
        await sleep(7000);
        belfry = await start(edited);
      } else {
        await writeFile(join(cwd, 'config.toml'), edited);
        process.kill(belfry.pid, 'SIGHUP');
      }
      await output(belfry, 'edited', `${edit}\n`);
    }
    const [told] = await execute(
      url,
      `select sum(due_count)::integer as times, extract(epoch from max(coalesce(last_due_at, due_at)) - min(due_at))::integer + 1 as seconds,
              count(*) filter (where reason = 'missed') as missed
         from belfry.records where job_name = 'edited'`,
    );
    assert.equal(told?.['times'], told?.['seconds'], 'of every second one');
    assert.ok(Number(told?.['missed']) >= 2, 'and of when nobody was up, that');
  });

  test('that no longer has a job disables it at the next start, and enables it when it is back', async (t) => {
    const { start } = await place(t);
    const first = await start(everySecond('kept', 'true') + everySecond('dropped', 'true'));
    assert.equal((await job(first, 'dropped')).enabled, true);
    await first.end('SIGTERM');

    const second = await start(everySecond('kept', 'true'));
    assert.deepEqual([(await job(second, 'kept')).enabled, (await job(second, 'dropped')).enabled], [true, false]);
    assert.ok(second.lines.some((line) => line.msg === 'disabled_job_not_in_file' && line['job'] === 'dropped'));
    await second.end('SIGTERM');

    const third = await start(everySecond('kept', 'true') + everySecond('dropped', 'echo back'));
    await output(third, 'dropped', 'back\n');
  });

  test('does not get a name that a job made over HTTP has: it stays that one’s, and the log says so', async (t) => {
    const { cwd, start } = await place(t);
    const belfry = await start('');
    await belfry.create({ name: 'taken', expr: '@yearly', command: { type: 'shell', target: 'echo of the request' } });
    await writeFile(join(cwd, 'config.toml'), everySecond('taken', 'echo of the file') + everySecond('free', 'true'));
    process.kill(belfry.pid, 'SIGHUP');
    const told = await belfry.logged(({ msg }) => msg === 'add_job_failed');
    assert.deepEqual(
      [told['level'], told['job'], told['fault']],
      ['error', 'taken', 'the name is taken by a job that this file does not own'],
    );
    await belfry.logged((line) => line.msg === 'add_job_successed' && line['job'] === 'free');
    const { source, command } = await job(belfry, 'taken');
    assert.deepEqual([source, command.target], ['api', 'echo of the request']);
  });
});

describe('a row written into the table by SQL', { timeout: 2 * limitMs, concurrency: 2 }, () => {
  test('is a job: it runs, and an update of it counts as an edit', async (t) => {
    const { url, start } = await place(t);
    const belfry = await start('');
    await insert(url, 'by-hand', '* * * * * *', { type: 'shell', target: 'echo one' });
    await output(belfry, 'by-hand', 'one\n');
    await belfry.logged((line) => line.msg === 'add_db_job_successed' && line['job'] === 'by-hand');
    assert.equal((await job(belfry, 'by-hand')).source, 'table');

    await execute(url, `update belfry.jobs set command = '{"type": "shell", "target": "echo two"}'`);
    await output(belfry, 'by-hand', 'two\n');
  });

  test('is disabled when it is bad, with every fault on it', async (t) => {
    const { url, start } = await place(t);
    const belfry = await start('');
    await insert(url, 'bad', 'now and then', { type: 'shel' });
    const told = await belfry.logged(({ msg }) => msg === 'add_db_job_failed');
    const { enabled, fault } = await job(belfry, 'bad');
    assert.deepEqual([told['job'], told['fault'], enabled], ['bad', fault, false]);
    assert.match(String(fault), /^expr: .*; command\.type: expected "shell" or "http", got "shel"; did you mean "shell"\?$/);
  });
});

/** A folder and a database for several starts, one after another. */
async function place(t: TestContext) {
  const { url } = await testDatabase(t, 'empty');
  const cwd = await folder(t);
  return { url, cwd, start: (config: string): Promise<Belfry> => startBelfry({ cwd, config, env: { BELFRY_DATABASE_URL: url } }) };
}

function everySecond(name: string, target: string, more = ''): string {
  return `[[jobs]]\nname = "${name}"\nexpr = "* * * * * *"\n${more}\n[jobs.command]\ntype = "shell"\ntarget = "${target}"\n`;
}

async function job(belfry: Belfry, name: string): Promise<Job> {
  return await belfry.call<Job>(`/v1/jobs/${name}`, undefined, 'GET');
}

async function insert(url: string, name: string, expr: string, command: Record<string, unknown>): Promise<void> {
  await execute(url, `insert into belfry.jobs (name, expr, command) values ('${name}', '${expr}', '${JSON.stringify(command)}')`);
}

/** Waits for a run of that job, due after a moment, with this output. */
async function output(belfry: Belfry, name: string, expected: string, after = ''): Promise<void> {
  await until(async () => {
    const runs = await belfry.records({ name, state: 'succeeded' });
    return runs.find(({ due_time, result }) => due_time > after && (JSON.parse(result) as { out: string }).out === expected);
  });
}
