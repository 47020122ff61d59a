import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Cron } from 'croner';
import { belfry, folderWith } from '../support/command.ts';

type Peak = { at: string; runs: number; jobs: string[]; more_jobs: number };
type Simulated = {
  from: string;
  to: string;
  runs: number;
  jobs: { name: string; runs: number; enabled: boolean; first: string | null }[];
  collisions: { seconds_with_one: number; seconds_with_several: number };
  busiest_second: Peak | null;
  busiest_minute: Peak | null;
};

const june = ['--from', '2026-06-01', '--to', '2026-06-02'];

describe('belfry simulate', () => {
  test('tells how often each job of the config.toml here would run, and when several are due at once', async (t) => {
    const cwd = await folderWith(t, job('hourly', '0 * * * *') + job('nightly', '0 2 * * *') + job('off', '* * * * *', 'enabled = false'));
    const { code, out, err } = await belfry(['simulate', ...june, '-o', 'json'], { cwd });
    assert.deepEqual([code, err], [0, '']);
    const told = JSON.parse(out) as Simulated;
    assert.deepEqual(
      told.jobs.map(({ name, runs, enabled, first }) => [name, runs, enabled, first]),
      [
        ['hourly', 24, true, '2026-06-01T00:00:00.000Z'],
        ['nightly', 1, true, '2026-06-01T02:00:00.000Z'],
        ['off', 0, false, null],
      ],
    );
    const peak = { at: '2026-06-01T02:00:00.000Z', runs: 2, jobs: ['hourly', 'nightly'], more_jobs: 0 };
    const { jobs: _, ...rest } = told;
    assert.deepEqual(rest, {
      from: '2026-06-01T00:00:00.000Z',
      to: '2026-06-02T00:00:00.000Z',
      runs: 25,
      collisions: { seconds_with_one: 23, seconds_with_several: 1 },
      busiest_second: peak,
      busiest_minute: peak,
    });
  });

  test('knows of blackouts, bounds, a number of runs, a spread, and several expressions', async (t) => {
    const cwd = await folderWith(
      t,
      [
        job('blackouts', '0 * * * *', 'except = ["* 0-11 * * *"]'),
        job('bounds', '0 * * * *', 'starts_at = "2026-06-01T20:00:00Z"\nends_at = "2026-06-01T22:00:00Z"'),
        job('runs', '0 * * * *', 'max_runs = 5'),
        job('spread', '0 * * * *', 'spread = "1h"'),
        job('several', '0 2 * * *').replace('"0 2 * * *"', '["0 2 * * *", "0 14 * * *", "0 2 1 * *"]'),
      ].join(''),
    );
    const { out, err } = await belfry(['simulate', ...june, '-o', 'json'], { cwd });
    assert.equal(err, '');
    const { jobs } = JSON.parse(out) as Simulated;
    assert.deepEqual(
      jobs.map(({ name, runs }) => [name, runs]),
      [
        ['blackouts', 12],
        ['bounds', 3],
        ['runs', 5],
        ['spread', 24],
        ['several', 2],
      ],
    );
    assert.deepEqual([jobs[0]?.first, jobs[1]?.first], ['2026-06-01T12:00:00.000Z', '2026-06-01T20:00:00.000Z']);
    assert.notEqual(jobs[3]?.first, '2026-06-01T00:00:00.000Z');
  });

  test('tells a person the same', async (t) => {
    const cwd = await folderWith(t, job('hourly', '0 * * * *') + job('nightly', '0 2 * * *'));
    assert.deepEqual(await belfry(['simulate', ...june], { cwd }), {
      code: 0,
      out: `From 2026-06-01 00:00 UTC to before 2026-06-02 00:00 UTC: 25 runs of 2 jobs

    24  hourly  (0 * * * *, UTC)
     1  nightly  (0 2 * * *, UTC)

Seconds in which one is due: 23; in which several are: 1
The busiest second: 2026-06-01T02:00:00Z with 2 (hourly, nightly)
The busiest minute: 2026-06-01T02:00:00Z with 2 (hourly, nightly)
`,
      err: '',
    });
  });

  test('goes through ten thousand jobs over a year in seconds, and counts what another program counts', { timeout: 180_000 }, async (t) => {
    const jobs = tenThousand();
    const cwd = await folderWith(t, jobs.map(({ name, expr, timezone }) => job(name, expr, `timezone = "${timezone}"`)).join(''));
    const { code, out } = await belfry(['simulate', '--from', '2026-01-01', '--to', '2027-01-01', '-o', 'json'], { cwd });
    assert.equal(code, 0);
    const told = JSON.parse(out) as Simulated;
    assert.equal(told.jobs.length, 10_000);
    assert.equal(
      told.runs,
      told.jobs.reduce((sum, { runs }) => sum + runs, 0),
    );
    // croner knows neither H nor @every, and takes its time: the first few of the kinds that it reads the same.
    for (const index of [0, 1, 3, 7, 8, 9, 11, 15, 2503, 5007]) {
      const { expr = '', timezone = '', name = '' } = jobs[index] ?? {};
      assert.equal(told.jobs[index]?.runs, countByCroner(expr, timezone), `${name}: ${expr} in ${timezone}`);
    }
    const { busiest_second: second, busiest_minute: minute } = told;
    assert.ok(second && minute && second.runs >= 1250 && minute.runs > second.runs);
    assert.equal(second.jobs.length, 10);
  });

  test('has nothing to tell of a configuration without jobs', async (t) => {
    const told = JSON.parse((await belfry(['simulate', '-o', 'json'], { cwd: await folderWith(t, '') })).out) as Simulated;
    assert.deepEqual([told.runs, told.jobs, told.busiest_second], [0, [], null]);
  });

  test('tells every fault of the configuration, with exit code 78', async (t) => {
    const cwd = await folderWith(t, job('a', '61 * * * *'));
    const { code, out, err } = await belfry(['simulate'], { cwd });
    assert.deepEqual([code, out], [78, '']);
    assert.match(err, /^config\.toml:3:1 jobs\[0\]\.expr: minute: expected 0-59, got "61" at column 1\n$/);
  });

  test('asks for a configuration where there is none, with exit code 78', async () => {
    const { code, err } = await belfry(['simulate']);
    assert.deepEqual([code, err], [78, 'expected a config.toml here, or the name of one: belfry simulate FILE\n']);
    assert.equal((await belfry(['simulate', 'nowhere.toml'])).code, 78);
  });

  for (const [what, args] of [
    ['that ends before it begins', ['--from', '2026-06-02', '--to', '2026-06-01']],
    ['of nothing', ['--from', '2026-06-01', '--to', '2026-06-01']],
    ['of a lifetime', ['--from', '2026-06-01', '--to', '2099-06-01']],
  ] as const) {
    test(`refuses a range ${what}, with exit code 2`, async (t) => {
      const { code, err } = await belfry(['simulate', ...args], { cwd: await folderWith(t, '') });
      assert.equal(code, 2);
      assert.match(err, /^belfry: --to: expected /);
    });
  }
});

function job(name: string, expr: string, more = ''): string {
  return `[[jobs]]\nname = "${name}"\nexpr = "${expr}"\n${more}\n[jobs.command]\ntype = "shell"\ntarget = "true"\n`;
}

// Of all sorts, spread over four zones.
function tenThousand(): { name: string; expr: string; timezone: string }[] {
  const zones = ['UTC', 'Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe'];
  const kinds = [
    (index: number) => `${index % 60} ${index % 24} * * *`,
    (index: number) => `${index % 60},${(index * 7) % 60} * * * *`,
    (index: number) => `*/${1 + (index % 15)} ${index % 12}-${12 + (index % 12)} * * MON-FRI`,
    (index: number) => `${index % 60} ${index % 60} */${1 + (index % 6)} * * *`,
    () => 'H H * * *',
    () => '@every 5m',
    () => '*/5 * * * * *',
    (index: number) => `0 ${index % 24} ${1 + (index % 28)} * *`,
  ];
  return Array.from({ length: 10_000 }, (_, index) => ({
    name: `job-${index}`,
    expr: kinds[index % kinds.length]?.(Math.floor(index / kinds.length)) ?? '',
    timezone: zones[Math.floor(index / 3) % zones.length] ?? 'UTC',
  }));
}

function countByCroner(expr: string, timezone: string): number {
  const cron = new Cron(expr, { timezone, paused: true, sloppyRanges: true, fixedTimeRule: 'no-wildcard' });
  const end = new Date('2027-01-01T00:00:00Z');
  let count = 0;
  for (let at = cron.nextRun(new Date('2025-12-31T23:59:59Z')); at && at < end; at = cron.nextRun(at)) count++;
  return count;
}
