import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { loadConfig, type LoadedConfig } from '../../src/config.ts';
import { loadExecutors } from '../../src/executors/registry.ts';
import { shellExecutor } from '../../src/executors/shell.ts';
import { belfry, folderWith } from '../support/command.ts';

type Scope = { after(fn: () => Promise<void>): void };

describe('belfry import crontab', () => {
  test('turns every line into a job that our own loader takes, doing as cron does', async (t) => {
    const { jobs, err } = await imported(t, '30 2 * * * /usr/local/bin/backup.sh --all\n@daily  /bin/true\n', ['--tz', 'Europe/Berlin']);
    assert.equal(err, '');
    assert.deepEqual(
      jobs.map(({ name, expr, timezone, command }) => [name, expr, timezone, command]),
      [
        ['backup', '30 2 * * *', 'Europe/Berlin', { type: 'shell', target: '/usr/local/bin/backup.sh --all' }],
        ['true', '@daily', 'Europe/Berlin', { type: 'shell', target: '/bin/true' }],
      ],
    );
    const [{ overlap, misfire, retry, timeoutMs } = assert.fail()] = jobs;
    assert.deepEqual([overlap, misfire, retry.maxAttempts, timeoutMs], ['allow', 'skip', 1, 24 * 86_400_000]);
  });

  test('gives the jobs the environment lines above them, and no others', async (t) => {
    const crontab = `SHELL=/bin/bash\nHOME = /srv/app\nLEVEL="info 1"\n'ODD'= it's\n* * * * * a\nLEVEL=debug\n* * * * * b\n`;
    const { jobs } = await imported(t, crontab);
    const common = { type: 'shell', shell: '/bin/bash', cwd: '/srv/app' };
    assert.deepEqual(
      jobs.map(({ command }) => ({ ...command, env: { ...(command['env'] as object) } })),
      [
        { ...common, target: 'a', env: { HOME: '/srv/app', LEVEL: 'info 1', ODD: "it's" } },
        { ...common, target: 'b', env: { HOME: '/srv/app', LEVEL: 'debug', ODD: "it's" } },
      ],
    );
  });

  test('writes PATH into the command, as a job may not set it beside', async (t) => {
    const { jobs } = await imported(t, `PATH=/opt/it's/bin:/bin\n* * * * * run "it" \\\\ 'so'\n`);
    assert.equal(jobs[0]?.command['target'], `export PATH='/opt/it'\\''s/bin:/bin'; run "it" \\\\ 'so'`);
  });

  test('takes CRON_TZ for the zone of the lines below, before --tz', async (t) => {
    const { jobs } = await imported(t, '0 1 * * * a\nCRON_TZ=Asia/Tokyo\n0 1 * * * b\n', ['--tz', 'Europe/Berlin']);
    assert.deepEqual(
      jobs.map(({ timezone }) => timezone),
      ['Europe/Berlin', 'Asia/Tokyo'],
    );
  });

  test('ends the command at the first %, and makes \\% a %', async (t) => {
    const { jobs, err } = await imported(t, '* * * * * date +\\%F\n* * * * * mail me%Hello%you\n', ['--tz', 'UTC']);
    assert.deepEqual(
      jobs.map(({ command }) => command['target']),
      ['date +%F', 'mail me'],
    );
    assert.equal(
      err,
      'standard input:2: everything after the first % was standard input under cron; commands of Belfry have none, so "Hello\\nyou" is left out\n',
    );
  });

  test('knows the user of a system crontab, by --system or when every command begins with root', async (t) => {
    const line = '17 * * * * root cd / && run-parts --report /etc/cron.hourly\n';
    for (const [crontab, args] of [
      [line, []],
      [`${line}0 1 * * * www-data /bin/b\n`, ['--system']],
    ] as const) {
      const { jobs, err } = await imported(t, crontab, [...args, '--tz', 'UTC']);
      assert.equal(jobs[0]?.command['target'], 'cd / && run-parts --report /etc/cron.hourly');
      assert.equal(jobs[0].name, 'run-parts');
      assert.match(err, /^standard input:1: runs as the user "root" under cron; Belfry runs it as its own user\n/);
    }
    assert.match((await imported(t, line, ['--user'])).err, /the command begins with "root": if that is a user, say --system/);
  });

  test('writes a day of month with a starred step and a weekday with a +, as cron asks both there', async (t) => {
    const { jobs, err } = await imported(t, '0 0 */2 * MON a\n0 0 13 * 5 b\n', ['--tz', 'UTC']);
    assert.deepEqual(
      jobs.map(({ expr }) => expr),
      ['0 0 */2 * +MON', '0 0 13 * 5'],
    );
    assert.match(
      err,
      /input:1: day of month and day of week: cron asks both .*\n.*input:2: day of month and day of week are both given: due when either/,
    );
  });

  for (const [what, line, warning] of [
    ['@reboot', '@reboot a', '@reboot: Belfry knows of no boot; left out (a unit of systemd can run it)'],
    [
      'what is no line of a crontab',
      '* * a',
      'expected five fields and a command, @daily and a command, or NAME=value, got "* * a"; left out',
    ],
    ['a line without a command', '* * * * *', 'expected a command, got nothing; left out'],
    [
      'an expression that never fires',
      '0 0 30 2 * a',
      'expr: "0 0 30 2 *" never fires: there is no such day in these months and years; left out',
    ],
    ['a field that is none', '61 * * * * a', 'expr: minute: expected 0-59, got "61" at column 1; left out'],
    ['mail', 'MAILTO=me', 'MAILTO: Belfry sends no mail of what a command prints; the output is kept with each run instead'],
    ['a variable that no job may set', 'LD_PRELOAD=x', undefined],
  ] as const) {
    test(`leaves out ${what}, and says so with the line`, async (t) => {
      const { jobs, err } = await imported(t, `# comment\n\n${line}\n${line.startsWith('LD') ? '' : '@daily b\n'}`, ['--tz', 'UTC']);
      assert.equal(jobs.length, line.startsWith('LD') ? 0 : 1);
      assert.equal(err, warning === undefined ? '' : `standard input:3: ${warning}\n`);
    });
  }

  test('warns that cron had a zone of its machine where none is named', async (t) => {
    assert.match((await imported(t, '@daily a\n')).err, /^belfry: cron reads these times in the zone of its machine.*--tz/);
  });

  test('gives every job a name of its own', async (t) => {
    const { jobs } = await imported(t, '@daily /bin/a\n@daily b/a.sh x\n@daily A=1 sudo -u x a\n@daily a-2\n@daily [ -x /c ] && d\n');
    assert.equal(new Set(jobs.map(({ name }) => name)).size, 5);
    assert.equal(jobs[0]?.name, 'a');
  });

  test('reads a file, and prints JSON with -o json', async (t) => {
    const cwd = await folderWith(t, '');
    await writeFile(join(cwd, 'mine'), '@daily /bin/true\n');
    const { code, out } = await belfry(['import', 'crontab', 'mine', '-o', 'json'], { cwd });
    assert.equal(code, 0);
    const { jobs } = JSON.parse(out) as { jobs: { name: string; expr: string }[] };
    assert.deepEqual(
      jobs.map(({ name, expr }) => [name, expr]),
      [['true', '@daily']],
    );
  });

  for (const [what, args] of [
    ['a file that is not there', ['crontab', 'nowhere']],
    ['no file', ['crontab']],
    ['another kind', ['systemd', '-']],
    ['two opposites', ['crontab', '-', '--user', '--system']],
    ['a zone that is none', ['crontab', '-', '--tz', 'Berlin']],
  ] as const) {
    test(`refuses ${what}, with exit code 2`, async () => {
      const { code, out, err } = await belfry(['import', ...args]);
      assert.deepEqual([code, out], [2, '']);
      assert.match(err, /^belfry: .*expected .*, got .*\n$/);
    });
  }
});

/** Imports a crontab by the command line, and loads what came of it as a config.toml. */
async function imported(t: Scope, crontab: string, args: readonly string[] = []) {
  const { code, out, err } = await belfry(['import', 'crontab', '-', ...args], { input: crontab });
  assert.equal(code, 0, err);
  const { definitions } = await loaded(await folderWith(t, out));
  return { jobs: definitions, err };
}

function loaded(cwd: string): Promise<LoadedConfig> {
  const shell = shellExecutor({ outputLimitBytes: 0, inheritedEnv: {} });
  return loadConfig({ env: {}, cwd, loadExecutors: () => loadExecutors([shell], {}, cwd) });
}
