// What happens to runs when Belfry goes: killed, told to stop, told again. And that schedules go on after it.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { folder, limitMs, processesOf, processesOfRun, startBelfry, until, type Belfry } from '../support/belfry.ts';
import { execute, testDatabase } from '../support/postgres.ts';

/** A tree of processes, one of them in a session of its own. */
const tree = 'setsid sleep 1000 & sleep 1000 & sleep 1000; true';
const everySecond = { name: 'every-second', expr: '* * * * * *', overlap: 'allow', command: { type: 'shell', target: 'true' } };

describe('Belfry killed by kill -9 while a run is under way, and started again', { timeout: 2 * limitMs }, () => {
  test('ends the run as lost and its processes, and goes on with its schedules', async (t) => {
    const cwd = await folder(t);
    // With the private PostgreSQL of the quick start, which has to survive it too. In a namespace no process outlives it.
    const killed = await startBelfry({ cwd, config: 'executors.shell.isolation = "none"' });
    await killed.create(everySecond);
    const { run } = await startLong(killed, cwd, { command: { type: 'shell', target: tree } });
    await until(() => processesOfRun(cwd, run).length === 4 || undefined);
    await killed.end('SIGKILL');
    assert.equal(processesOfRun(cwd, run).length, 4, 'its processes outlive it');

    const belfry = await startBelfry({ cwd });
    assert.deepEqual(processesOfRun(cwd, run), []);
    const ended = await belfry.finished(run);
    assert.deepEqual([ended.state, ended.reason, ended.failed_cnt], ['failed', 'lost', 1]);
    assert.deepEqual(
      ended.attempts.map(({ outcome }) => outcome),
      ['lost'],
    );
    const told = await belfry.logged(({ msg, run: id }) => msg === 'lost_job' && id === run);
    assert.deepEqual([told['job'], told['trace_id']], ['long', ended.trace_id]);
    await nextRunOf(belfry, 'every-second');

    assert.deepEqual(await belfry.end('SIGTERM'), { code: 0, signal: null });
    assert.deepEqual(processesOf(cwd), []);
  });

  test('tries a run of a job with on_lost = "retry" again, which then succeeds', async (t) => {
    const { cwd, start } = await place(t);
    const killed = await start();
    const { run } = await startLong(killed, cwd, {
      on_lost: 'retry',
      retry: { delay: '100ms' },
      command: { type: 'shell', target: '[ $BELFRY_ATTEMPT = 2 ] || sleep 1000; echo attempt $BELFRY_ATTEMPT' },
    });
    await killed.end('SIGKILL');

    const belfry = await start();
    const ended = await belfry.finished(run);
    assert.deepEqual([ended.state, ended.reason, ended.failed_cnt], ['succeeded', null, 1]);
    assert.deepEqual(
      ended.attempts.map(({ attempt, outcome }) => [attempt, outcome]),
      [
        [1, 'lost'],
        [2, 'succeeded'],
      ],
    );
    assert.equal((await belfry.resultOf(run))['out'], 'attempt 2\n');
    assert.deepEqual(processesOfRun(cwd, run), []);
  });
});

describe('Belfry that was not there at due times', { timeout: 2 * limitMs }, () => {
  test('runs the latest of them at the next start, and writes the others down as missed in one row', async (t) => {
    const { url, start } = await place(t);
    const stopped = await start();
    await stopped.create({ ...everySecond, name: 'every-minute', expr: '* * * * *' });
    await stopped.end('SIGTERM');
    // As if that had been an hour ago.
    await execute(url, `update belfry.installation set last_tick_at = last_tick_at - interval '1 hour'`);
    await execute(url, `update belfry.cursors set next_due_at = next_due_at - interval '1 hour'`);

    const belfry = await start();
    const [caughtUp, missed] = await until(async () => {
      const records = (await belfry.records({ name: 'every-minute' })).toReversed();
      // All of them: one that is due in this very minute may be done before the one that is caught up.
      const isOver = records.every(({ finished_time: at }) => at !== null);
      const succeeded = isOver ? records.find(({ state }) => state === 'succeeded') : undefined;
      return succeeded && [succeeded, records.filter(({ due_time }) => due_time < succeeded.due_time)];
    });
    const [row, ...others] = missed;
    assert.deepEqual([row?.state, row?.reason, others], ['skipped', 'missed', []]);
    const [first, last] = [Date.parse(String(row?.due_time)), Date.parse(String(row?.last_due_time))];
    assert.equal(row?.due_count, (last - first) / 60_000 + 1);
    assert.ok(row.due_count >= 55, `${row.due_count} are missed`);
    assert.equal(Date.parse(caughtUp.due_time), last + 60_000);
  });
});

describe('Belfry told to stop (SIGTERM) while a run is under way', { timeout: 3 * limitMs, concurrency: 2 }, () => {
  test('lets a run finish within shutdown_grace, records it, takes nothing more, and exits with 0', async (t) => {
    const { cwd, start } = await place(t, 'shutdown_grace = "1h"');
    const stopped = await start();
    await stopped.create(everySecond);
    const { run } = await startLong(stopped, cwd, {
      command: { type: 'shell', target: 'until [ -e go ]; do sleep 0.1; done; echo finished' },
    });
    const ending = stopped.end('SIGTERM');
    const stoppingAt = Date.parse((await stopped.logged(({ msg }) => msg === 'stopping')).time);
    // Several due times pass while it waits for the run.
    await until(() => Date.now() > stoppingAt + 3000 || undefined);
    await writeFile(join(cwd, 'go'), '');
    assert.deepEqual(await ending, { code: 0, signal: null });
    assert.deepEqual(processesOf(cwd), []);

    const belfry = await start();
    const ended = await belfry.finished(run);
    assert.deepEqual([ended.state, ended.attempts.length], ['succeeded', 1]);
    assert.equal((await belfry.resultOf(run))['out'], 'finished\n');
    const others = await belfry.records({ name: 'every-second', state: 'succeeded' });
    assert.deepEqual(
      others.filter(
        ({ due_time, started_time }) => Date.parse(due_time) > stoppingAt + 1000 && String(started_time) < String(ended.finished_time),
      ),
      [],
    );
    await nextRunOf(belfry, 'every-second');
  });

  test('ends a run that takes longer than shutdown_grace, with its processes, records that it was interrupted, and exits with 0', async (t) => {
    const { cwd, start } = await place(t, 'shutdown_grace = "200ms"');
    const stopped = await start();
    const { run } = await startLong(stopped, cwd, { retry: { max_attempts: 1 }, command: { type: 'shell', target: tree } });
    assert.deepEqual(await stopped.end('SIGTERM'), { code: 0, signal: null });
    assert.deepEqual(processesOf(cwd), []);

    const ended = await (await start()).finished(run);
    assert.deepEqual([ended.state, ended.reason, ended.error], ['failed', 'interrupted', 'interrupted: the service was shut down']);
  });

  test('keeps an interrupted run that has attempts left for the next start', async (t) => {
    const { cwd, start } = await place(t, 'shutdown_grace = "200ms"');
    const stopped = await start();
    const { run } = await startLong(stopped, cwd, {
      retry: { max_attempts: 2, delay: '100ms' },
      command: { type: 'shell', target: '[ $BELFRY_ATTEMPT = 2 ] || sleep 1000' },
    });
    assert.deepEqual(await stopped.end('SIGTERM'), { code: 0, signal: null });

    const ended = await (await start()).finished(run);
    assert.deepEqual(
      [ended.state, ended.failed_cnt, ended.attempts.map(({ outcome }) => outcome)],
      ['succeeded', 1, ['failed', 'succeeded']],
    );
    assert.equal(ended.attempts[0]?.error, 'interrupted: the service was shut down');
  });

  test('does not wait for a request that never comes to its end, and fires nothing meanwhile', async (t) => {
    const { start } = await place(t, 'shutdown_grace = "200ms"');
    const stopped = await start();
    await stopped.create(everySecond);
    const { hostname, port } = new URL(stopped.address);
    const slow = connect(Number(port), hostname).on('error', () => {});
    slow.write('POST /createJob HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{');
    await nextRunOf(stopped, 'every-second');
    assert.deepEqual(await stopped.end('SIGTERM'), { code: 0, signal: null });
    // One may have been due in the very moment; a look that was under way tells of what was due before.
    const stopping = (await stopped.logged(({ msg }) => msg === 'stopping')).time;
    assert.ok(stopped.lines.filter(({ msg, due_at: due }) => msg === 'arrived_job' && String(due) > stopping).length <= 1);
  });

  test('twice: ends the run at once, also one that takes no notice of TERM, and records that', async (t) => {
    const { cwd, start } = await place(t, 'shutdown_grace = "1h"\nworker.kill_grace = "10m"');
    const stopped = await start();
    const target = `trap '' TERM; ${tree}`;
    const { run } = await startLong(stopped, cwd, { retry: { max_attempts: 1 }, command: { type: 'shell', target } });
    stopped.pressCtrlC();
    await stopped.logged(({ msg }) => msg === 'stopping');
    assert.deepEqual(await stopped.insist(), { code: 0, signal: null });
    assert.deepEqual(processesOf(cwd), []);

    const ended = await (await start()).finished(run);
    assert.deepEqual([ended.state, ended.reason], ['failed', 'interrupted']);
  });
});

/** A folder and a database for several starts, one after another. */
async function place(t: { after(fn: () => Promise<void>): void }, config = '') {
  const { url } = await testDatabase(t, 'empty');
  const cwd = await folder(t);
  return { url, cwd, start: (): Promise<Belfry> => startBelfry({ cwd, config, env: { BELFRY_DATABASE_URL: url } }) };
}

/** Makes the job "long" and triggers it; answers the run when its command is under way. */
async function startLong(belfry: Belfry, cwd: string, job: Record<string, unknown>): Promise<{ run: number }> {
  await belfry.create({ name: 'long', expr: '@yearly', ...job });
  const run = await belfry.trigger('long');
  await until(() => processesOfRun(cwd, run).find(({ name }) => name === 'sleep'));
  return { run };
}

/** The schedule goes on: one more due time is reached and done. */
async function nextRunOf(belfry: Belfry, name: string): Promise<void> {
  const now = new Date().toISOString();
  await until(async () => (await belfry.records({ name, state: 'succeeded' })).find(({ due_time }) => due_time > now));
}
