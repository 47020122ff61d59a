import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { configOf, cwd, faultsOf, kinds, load } from './support/config.ts';

describe('the configuration', () => {
  test('without a file is all defaults and no jobs', async () => {
    const { config, definitions } = await load({});
    assert.deepEqual(definitions, []);
    assert.deepEqual(config, {
      env: 'prod',
      file: undefined,
      nodeName: `${hostname()}:9000`,
      dataDir: join(cwd, 'data'),
      labels: [],
      duties: { web: true, crontab: true, worker: true },
      shutdownGraceMs: 30_000,
      http: {
        host: '127.0.0.1',
        port: 9000,
        hosts: [],
        readTimeoutMs: 30_000,
        readHeaderTimeoutMs: 10_000,
        writeTimeoutMs: 30_000,
        idleTimeoutMs: 60_000,
        bodyLimitBytes: 1_048_576,
      },
      database: { url: undefined, maxConnections: 10 },
      redis: { url: undefined },
      worker: { concurrency: 50, killGraceMs: 10_000, outputLimitBytes: 262_144, onCutOff: 'continue' },
      log: { level: 'info', format: 'auto' },
      timezone: 'UTC',
      catchupPerSecond: 100,
      retentionMs: 30 * 86_400_000,
      executors: { shell: { enabled: true, isolation: 'auto' }, http: { responseLimitBytes: 1_048_576 }, modules: {} },
      inheritedEnv: {},
      warnings: [],
    });
  });

  test('of the original loads unchanged', async () => {
    const { config, definitions } = await load({
      toml: `env = "dev"
[transport.http]
addr = ":9000"            # ours: a bare ":9000" means 127.0.0.1:9000 unless auth is configured
read_timeout = 0.5        # float seconds
read_header_timeout = 1
write_timeout = 10
idle_timeout = 30
[[jobs]]
name = "job-1"
expr = "0 */1 * * * *"
[jobs.command]
type = "http"
method = "GET"
target = "http://127.0.0.1:9000/ping"
[[jobs]]
name = "job-2"
expr = "0/15 * * * * *"
[jobs.command]
type = "shell"
target = "echo 'hello, world'"
`,
    });
    assert.equal(config.env, 'dev');
    const { host, port, readTimeoutMs, writeTimeoutMs, idleTimeoutMs } = config.http;
    assert.deepEqual([host, port, readTimeoutMs, writeTimeoutMs, idleTimeoutMs], ['127.0.0.1', 9000, 500, 10_000, 30_000]);
    assert.deepEqual(
      definitions.map(({ name, expr, command }) => [name, expr, command]),
      [
        ['job-1', '0 */1 * * * *', { type: 'http', method: 'GET', target: 'http://127.0.0.1:9000/ping' }],
        ['job-2', '0/15 * * * * *', { type: 'shell', target: "echo 'hello, world'" }],
      ],
    );
  });

  test('never waits longer for the head of a request than for the whole, which Node would refuse', async () => {
    const { http } = await configOf({ toml: '[transport.http]\nread_timeout = 0.5\nread_header_timeout = 1' });
    assert.deepEqual([http.readTimeoutMs, http.readHeaderTimeoutMs], [500, 500]);
    const none = await configOf({ toml: '[transport.http]\nread_timeout = 0\nread_header_timeout = 1' });
    assert.deepEqual([none.http.readTimeoutMs, none.http.readHeaderTimeoutMs], [0, 1000]);
  });

  test('can say all of it', async () => {
    const config = await configOf({
      toml: `env = "test"
data_dir = "./elsewhere"
duties = ["worker"]
shutdown_grace = "5s"
transport.http = { addr = "[::1]:9100", hosts = ["Belfry.lan"], body_limit = "2MiB" }
database = { url = "postgres://belfry@localhost/belfry", max_connections = 5 }
redis.url = "rediss://:pw@localhost:6380/1"
node.name = "n1"
worker = { concurrency = 7, kill_grace = "1s", output_limit = 1000, on_cut_off = "kill" }
log = { level = "debug", format = "json" }
crontab.timezone = "Europe/Berlin"
retention.runs = 0
executors.shell = { enabled = false, inherit_env = ["GOPATH"], isolation = "none" }
executors.http.response_limit = "64KiB"
executors.mine.module = "./mine.js"
`,
      env: { GOPATH: '/go', OTHER: 'x' },
    });
    assert.equal(config.dataDir, join(cwd, 'elsewhere'));
    assert.equal(config.file, join(cwd, 'config.toml'));
    assert.deepEqual(config.duties, { web: false, crontab: false, worker: true });
    assert.deepEqual(
      [config.http.host, config.http.port, config.http.hosts, config.http.bodyLimitBytes],
      ['::1', 9100, ['belfry.lan'], 2_097_152],
    );
    assert.deepEqual(config.database, { url: 'postgres://belfry@localhost/belfry', maxConnections: 5 });
    assert.deepEqual(config.redis, { url: 'rediss://:pw@localhost:6380/1' });
    assert.deepEqual(config.worker, { concurrency: 7, killGraceMs: 1000, outputLimitBytes: 1000, onCutOff: 'kill' });
    assert.deepEqual(
      [config.nodeName, config.shutdownGraceMs, config.timezone, config.retentionMs],
      ['n1', 5000, 'Europe/Berlin', undefined],
    );
    assert.deepEqual(config.executors, {
      shell: { enabled: false, isolation: 'none' },
      http: { responseLimitBytes: 65_536 },
      modules: { mine: { module: './mine.js' } },
    });
    assert.deepEqual(config.inheritedEnv, { GOPATH: '/go' });
  });

  test('is frozen through and through', async () => {
    const config = await configOf({ toml: 'executors.mine.module = "./mine.js"' });
    const visit = (value: unknown): void => {
      if (typeof value !== 'object' || value === null) return;
      assert.ok(Object.isFrozen(value));
      Object.values(value).forEach(visit);
    };
    visit(config);
  });

  test('hands what it says of executors, and its own folder, to whoever makes them', async () => {
    let asked: unknown;
    await load({
      toml: 'executors.mine = { module = "./mine.js", level = 3 }\nworker.output_limit = 7',
      loadExecutors: (executors, baseDir, config) => {
        asked = [executors.modules, baseDir, config.worker.outputLimitBytes];
        return Promise.resolve(kinds);
      },
    });
    assert.deepEqual(asked, [{ mine: { module: './mine.js', level: 3 } }, cwd, 7]);
  });
});

describe('an address', () => {
  const golden: [text: string, host: string, port: number][] = [
    [':9000', '127.0.0.1', 9000],
    ['localhost:80', 'localhost', 80],
    ['LocalHost:80', 'localhost', 80],
    ['127.0.0.1:0', '127.0.0.1', 0],
    ['127.8.255.1:65535', '127.8.255.1', 65_535],
    ['[::1]:9000', '::1', 9000],
  ];
  for (const [text, host, port] of golden) {
    test(`${text} is ${host}, port ${port}`, async () => {
      const { http } = await configOf({ env: { BELFRY_ADDR: text } });
      assert.deepEqual([http.host, http.port], [host, port]);
    });
  }
  for (const text of [
    '0.0.0.0:9000',
    '[::]:9000',
    '192.168.1.2:9000',
    'belfry.lan:9000',
    '127.1:9000',
    '0x7f000001:9000',
    '127.0.0.256:9000',
    '[::ffff:127.0.0.1]:9000',
    'localhost.evil.com:9000',
  ]) {
    test(`${text} is refused until sign-in exists`, async () => {
      assert.match(
        (await faultsOf({ env: { BELFRY_ADDR: text } })).join(),
        /^BELFRY_ADDR: expected a loopback address .*\(until sign-in exists, .*\), got "/,
      );
    });
  }
  for (const text of ['9000', 'localhost', ':70000', ':', '::1:9000', ':-1', ':9000 ', 'a b:1', 'http://localhost:9000']) {
    test(`${JSON.stringify(text)} is none`, async () => {
      assert.match((await faultsOf({ env: { BELFRY_ADDR: text } })).join(), /^BELFRY_ADDR: expected an address such as ":9000"/);
    });
  }
});

describe('the config.toml that comes with Belfry', () => {
  const path = new URL('../config.toml', import.meta.url);

  test('has sample jobs that all are due within a minute and need no network', async () => {
    const { definitions } = await load({ toml: await readFile(path) });
    assert.deepEqual(
      definitions.map(({ name }) => name),
      ['hello', 'ping', 'sometimes'],
    );
    for (const { expr, command } of definitions) {
      assert.match(expr, /^0\/(5|15|30) \* \* \* \* \*$/);
      assert.doesNotMatch(String(command['target']), /https?:\/\/(?!127\.0\.0\.1:9000\/)/);
    }
  });

  test('shows every key, commented out, with the value that is its default', async () => {
    const text = await readFile(path, 'utf8');
    const given = { ...(await configOf({ toml: text })) };
    const shown = await configOf({ toml: text.replaceAll(/^#(?=[a-z_]+ = )/gm, '') });
    assert.deepEqual(shown, given);
    assert.deepEqual({ ...given, file: undefined }, await configOf({}));
    const keys = text.matchAll(/^# ?([a-z_]+) = /gm);
    assert.deepEqual(
      [...keys].map(([, key]) => key),
      [
        'env',
        'data_dir',
        'duties',
        'shutdown_grace',
        'addr',
        'hosts',
        'read_timeout',
        'read_header_timeout',
        'write_timeout',
        'idle_timeout',
        'body_limit',
        'url',
        'max_connections',
        'url',
        'name',
        'labels',
        'concurrency',
        'kill_grace',
        'output_limit',
        'on_cut_off',
        'level',
        'format',
        'timezone',
        'catchup_rate',
        'runs',
        'enabled',
        'inherit_env',
        'isolation',
        'response_limit',
        'module',
      ],
    );
  });
});
