import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { configOf, cwd, faultsOf } from './support/config.ts';

describe('the environment', () => {
  test('wins over the file', async () => {
    const config = await configOf({
      toml: 'data_dir = "a"\nduties = ["web"]\ntransport.http.addr = ":1"\ndatabase.url = "postgres://file/x"\nlog.level = "warn"\nworker.concurrency = 3',
      env: {
        BELFRY_ADDR: ':2',
        BELFRY_DATA_DIR: 'b',
        BELFRY_DATABASE_URL: 'postgres://env/x',
        DATABASE_URL: 'postgres://other/x',
        REDIS_URL: 'redis://env',
        BELFRY_DUTIES: 'crontab, worker',
        BELFRY_LOG_LEVEL: 'debug',
        BELFRY_LOG_FORMAT: 'json',
        BELFRY_NODE: 'n2',
        BELFRY_CONCURRENCY: '9',
        PORT: '3',
      },
    });
    assert.deepEqual([config.http.port, config.dataDir, config.nodeName], [2, join(cwd, 'b'), 'n2']);
    assert.deepEqual([config.database.url, config.redis.url], ['postgres://env/x', 'redis://env']);
    assert.deepEqual(config.duties, { web: false, crontab: true, worker: true });
    assert.deepEqual([config.log, config.worker.concurrency], [{ level: 'debug', format: 'json' }, 9]);
    assert.deepEqual(config.warnings, []);
  });

  test('set to nothing counts as not set', async () => {
    const config = await configOf({
      toml: 'log.level = "warn"',
      env: { BELFRY_LOG_LEVEL: '', PORT: '', BELFRY_CONFIG: '', DATABASE_URL: '' },
    });
    assert.deepEqual([config.log.level, config.http.port, config.database.url], ['warn', 9000, undefined]);
  });

  test('PORT changes the port and nothing else of the address', async () => {
    const { http, nodeName } = await configOf({ toml: 'transport.http.addr = "[::1]:1"', env: { PORT: '8080' } });
    assert.deepEqual([http.host, http.port, nodeName], ['::1', 8080, `${hostname()}:8080`]);
  });

  test('may name files that hold the two URLs', async () => {
    await writeFile(join(cwd, 'secret'), 'postgres://u:pw@h/db\n');
    const config = await configOf({ env: { BELFRY_DATABASE_URL_FILE: 'secret' } });
    assert.equal(config.database.url, 'postgres://u:pw@h/db');
    assert.deepEqual(config.warnings, []);
    const faults = await faultsOf({ env: { DATABASE_URL: 'postgres://h', DATABASE_URL_FILE: 'secret', REDIS_URL_FILE: 'nowhere' } });
    assert.deepEqual(faults, [
      'DATABASE_URL: expected either DATABASE_URL or DATABASE_URL_FILE, got both',
      'REDIS_URL_FILE: expected a file that can be read, got "nowhere": there is no such file',
    ]);
  });

  test('is told about by the names of its variables', async () => {
    const faults = await faultsOf({
      env: { BELFRY_ADDR: '9', BELFRY_DUTIES: 'web,cron', BELFRY_LOG_LEVEL: 'loud', BELFRY_CONCURRENCY: '0', BELFRY_NODE: 'a\nb' },
    });
    assert.deepEqual(faults.toSorted(), [
      'BELFRY_ADDR: expected an address such as ":9000" or "127.0.0.1:9000" with a port up to 65535, got "9"',
      'BELFRY_CONCURRENCY: expected a whole number from 1 to 10000, got 0',
      'BELFRY_DUTIES: expected "web", "crontab" or "worker", got "cron"; did you mean "crontab"?',
      'BELFRY_LOG_LEVEL: expected "trace", "debug", "info", "warn", "error", "fatal" or "silent", got "loud"',
      'BELFRY_NODE: expected no line breaks, control or invisible characters, got "a\\nb"',
    ]);
    assert.deepEqual(await faultsOf({ env: { PORT: '70000' } }), ['PORT: expected a port from 0 to 65535, got "70000"']);
  });

  test('is never told with its secrets', async () => {
    const urls = ['mysql://u:hunter2@h/db', 'postgres//u:hunter2@h', 'hunter2', 'postgres://u:hunter2 @h', 'hunter2:foo', '\u202ehunter2'];
    for (const url of urls) {
      const faults = await faultsOf({ env: { BELFRY_DATABASE_URL: url, REDIS_URL: url }, toml: `database.url = ${JSON.stringify(url)}` });
      assert.match(faults.join('\n'), /^BELFRY_DATABASE_URL: expected a URL such as .*\nREDIS_URL: expected a URL such as /);
      assert.ok(!faults.join().includes('hunter2'), faults.join());
    }
    const inFile = await faultsOf({ toml: 'database.url = "mysql://u:hunter2@h/db"\nredis.url = ["hunter2"]' });
    assert.equal(inFile.length, 2);
    assert.ok(!inFile.join().includes('hunter2'), inFile.join());
  });

  test('with a variable that only looks like ours gives a warning', async () => {
    const { warnings } = await configOf({ env: { BELFRY_ADRR: 'x', BELFRY_ZZZZZZZZZ: 'x', BELFRY_TEST_DATABASE: 'x', OTHER: 'x' } });
    assert.deepEqual(warnings, [
      'BELFRY_ADRR is not a variable that Belfry knows; did you mean BELFRY_ADDR?',
      'BELFRY_ZZZZZZZZZ is not a variable that Belfry knows',
    ]);
  });
});

describe('what commands inherit', () => {
  test('is the usual few and what is named, never what is ours', async () => {
    const usual = {
      PATH: '/usr/bin',
      HOME: '/h',
      USER: 'u',
      LOGNAME: 'u',
      SHELL: '/bin/sh',
      LANG: 'C',
      LC_ALL: 'C',
      LC_TIME: 'C',
      TZ: 'UTC',
      TMPDIR: '/t',
    };
    const { inheritedEnv } = await configOf({
      toml: '[executors.shell]\ninherit_env = ["GOPATH"]',
      env: {
        ...usual,
        GOPATH: '/go',
        BELFRY_LOG_LEVEL: 'info',
        DATABASE_URL: 'postgres://x',
        REDIS_URL: 'redis://x',
        npm_config_x: '1',
        NODE_OPTIONS: '',
        LC_: 'x',
      },
    });
    assert.deepEqual(inheritedEnv, { ...usual, GOPATH: '/go' });
  });

  for (const name of ['BELFRY_ADDR', 'DATABASE_URL', 'REDIS_URL', 'DATABASE_URL_FILE', 'A B', 'A=B', '', 5]) {
    test(`cannot be ${JSON.stringify(name)}`, async () => {
      const [fault] = await faultsOf({ toml: `[executors.shell]\ninherit_env = [${JSON.stringify(name)}]` });
      assert.match(fault ?? '', /^config.toml:2:16 executors.shell.inherit_env\[0\]: expected /);
    });
  }

  test('is a PATH without what npm put in front of it', async () => {
    const pathOf = async (PATH: string): Promise<string | undefined> => (await configOf({ env: { PATH } })).inheritedEnv['PATH'];
    assert.equal(await pathOf('/a/node_modules/.bin:/node_modules/.bin/:/x/node-gyp-bin:/usr/bin:/bin'), '/usr/bin:/bin');
    assert.equal(await pathOf('/a/node_modules/.bin'), undefined);
  });
});
