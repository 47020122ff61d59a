import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { ConfigError, loadConfig } from '../src/config.ts';
import type { Kinds } from '../src/config.ts';
import { Refusal } from '../src/errors.ts';
import { cwd, faultsOf, kinds, load } from './support/config.ts';

describe('the faults of a configuration', () => {
  test('are all told at once, each with its line and column', async () => {
    const faults = await faultsOf({
      toml: `env = 5
dutys = 1
[transport.http]
addr = "0.0.0.0:9000"
[executors]
bad.enabled = true
[[jobs]]
name = "a"
command = { type = "shell", target = 5 }
[[jobs]]
name = "a"
expr = "0 0 30 2 *"
retry = { delay = "x", factor = 0 }
timeout = "30"
[jobs.command]
type = "shel"
[database]
max_connections = 0
`,
      env: { PORT: '70000' },
    });
    assert.deepEqual(faults, [
      'config.toml:1:1 env: expected a text of 1 to 50 characters, got 5',
      'config.toml:2:1 dutys: unknown key; did you mean "duties"?',
      'config.toml:4:1 transport.http.addr: expected a loopback address such as "127.0.0.1:9000" (until sign-in exists, Belfry can be reached from its own machine only), got "0.0.0.0:9000"',
      'config.toml:6:1 executors.bad.module: expected a module such as "./mine.js" (every executor but shell and http has one), got nothing',
      'config.toml:7:1 jobs[0].expr: expected an expression such as "0 */5 * * * *", got nothing',
      'config.toml:11:1 jobs[1].name: expected a name that no other job has, got "a", the name of jobs[0] in line 8',
      'config.toml:12:1 jobs[1].expr: "0 0 30 2 *" never fires: there is no such day in these months and years',
      'config.toml:13:11 jobs[1].retry.delay: expected a duration such as "30s", got "x"',
      'config.toml:13:24 jobs[1].retry.factor: expected a number from 1 to 100, got 0',
      'config.toml:14:1 jobs[1].timeout: expected a duration such as "30s", got "30"',
      'config.toml:18:1 database.max_connections: expected a whole number from 1 to 1000, got 0',
      'PORT: expected a port from 0 to 65535, got "70000"',
    ]);
  });

  test('of a command stand in the line of its field', async () => {
    const toml =
      '[[jobs]]\nname = "a"\nexpr = "@daily"\n[jobs.command]\ntype = "shell"\ntarget = 5\n[[jobs]]\nname = "b"\nexpr = "@daily"\ncommand.type = "shel"\n';
    assert.deepEqual(await faultsOf({ toml }), [
      'config.toml:6:1 jobs[0].command.target: expected a text, got something else',
      'config.toml:10:1 jobs[1].command.type: expected "shell" or "http", got "shel"; did you mean "shell"?',
    ]);
  });

  test('of the commands are told also where other settings are at fault, and are not where [executors] is', async () => {
    const job = '[[jobs]]\nname = "a"\nexpr = "@daily"\ncommand = { type = "shell" }\n';
    assert.deepEqual(await faultsOf({ toml: `log.level = 1\n${job}` }), [
      'config.toml:1:1 log.level: expected "trace", "debug", "info", "warn", "error", "fatal" or "silent", got 1',
      'config.toml:5:1 jobs[0].command.target: expected a text, got something else',
    ]);
    assert.deepEqual(await faultsOf({ toml: `executors = 1\n${job}` }), ['config.toml:1:1 executors: expected a table, got 1']);
  });

  test('are not what a bug in the loading of executors is', async () => {
    await assert.rejects(load({ loadExecutors: () => Promise.reject(new TypeError('a bug')) }), new TypeError('a bug'));
  });

  test('of an executor that cannot be made stand in its line, and no command is blamed for it', async () => {
    const toml = '[[jobs]]\nname = "a"\nexpr = "@daily"\ncommand = { type = "mine" }\n[executors.mine]\nmodule = "./mine.js"\n';
    const loadExecutors = (): Promise<Kinds> =>
      Promise.reject(new Refusal('bad_input', 'executors.mine.module: expected a module, got nothing there'));
    assert.deepEqual(await faultsOf({ toml, loadExecutors }), [
      'config.toml:6:1 executors.mine.module: expected a module, got nothing there',
    ]);
  });

  const single: [what: string, toml: string | Uint8Array, fault: RegExp][] = [
    ['a syntax error', 'a = 1\nb = \n', /^config\.toml:2:\d+ expected TOML, got a fault in it: /],
    ['a key that is there twice', 'env = "a"\nenv = "b"', /^config\.toml:2:1 expected TOML, .*redefine/],
    [
      'bytes that are no UTF-8',
      new Uint8Array([0x61, 0xff, 0xfe]),
      /^config\.toml: expected a configuration file that can be read: it is no UTF-8 text$/,
    ],
    ['__proto__', '[__proto__]\nenv = "x"', /^config\.toml:1:1 .*__proto__/],
    [
      '__proto__ in a job',
      '[[jobs]]\nname = "a"\nexpr = "@daily"\ncommand = { type = "shell", target = "x", __proto__ = { a = 1 } }',
      /^config\.toml:4:43 jobs\[0\]\.command\.__proto__: this key is not allowed$/,
    ],
    ['jobs that are no list', 'jobs = 5', /^config\.toml:1:1 jobs: expected tables headed \[\[jobs\]\], got 5$/],
    ['a job that is no table', 'jobs = [5]', /^config\.toml:1:9 jobs\[0\]: expected a table, got 5$/],
    ['a table that is a number', 'transport = 5', /^config\.toml:1:1 transport: expected a table, got 5$/],
    ['executors that are a number', 'executors = 5', /^config\.toml:1:1 executors: expected a table, got 5$/],
    ['nan', 'worker.concurrency = nan', /^config\.toml:1:1 worker\.concurrency: expected a finite number, got NaN$/],
    ['a date', 'env = 1979-05-27', /^config\.toml:1:1 env: expected .* got a date$/],
    ['NUL in a text', 'env = "\\u0000"', /^config\.toml:1:1 env: expected a text without NUL$/],
    [
      '2^53',
      'worker.concurrency = 9007199254740993',
      /^config\.toml:1:\d+ expected TOML, got a fault in it: integer value cannot be represented losslessly$/,
    ],
    [
      'a size in other units',
      'worker.output_limit = "1MB"',
      /^config\.toml:1:1 worker\.output_limit: expected a number of bytes such as 1048576, "256KiB" or "1MiB", got "1MB"$/,
    ],
    ['a retention without unit', 'retention.runs = 30', /^config\.toml:1:1 retention\.runs: expected a duration such as "30s", got 30$/],
    ['a zone that is none', 'crontab.timezone = "Mars/Phobos"', /^config\.toml:1:1 crontab\.timezone: expected an IANA time zone/],
    ['no duties', 'duties = []', /^config\.toml:1:1 duties: expected at least one of "web", "crontab" and "worker", got a list$/],
    [
      'an executor with an odd name',
      '[executors."../x"]\nmodule = "x"',
      /^config\.toml:1:1 executors\."\.\.\/x": expected a name of small letters/,
    ],
    [
      'a host with a port',
      'transport.http.hosts = ["a:1"]',
      /^config\.toml:1:25 transport\.http\.hosts\[0\]: expected the name of a host, without port/,
    ],
  ];
  for (const [what, toml, fault] of single) {
    test(`tell of ${what}`, async () => {
      const faults = await faultsOf({ toml });
      assert.match(faults[0] ?? '', fault);
      assert.equal(faults.length, 1, faults.join('\n'));
    });
  }

  const unreadable: [file: string, why: string][] = [
    ['nowhere.toml', 'there is no such file'],
    ['.', 'it is a directory'],
    ['/proc/self/mem', 'EIO'],
    ['config.toml/x', 'ENOTDIR'],
  ];
  for (const [file, why] of unreadable) {
    test(`tell of a file that cannot be read: ${file}, ${why}`, async () => {
      const faults = await faultsOf({ toml: '', env: { BELFRY_CONFIG: file } });
      assert.equal(faults.length, 1);
      assert.match(faults[0] ?? '', new RegExp(`: expected a configuration file that can be read: ${why}$`));
    });
  }

  test('name a file outside the working directory in full', async () => {
    const file = join(cwd, 'outside.toml');
    await writeFile(file, 'x = 1');
    await assert.rejects(
      loadConfig({ env: {}, cwd: tmpdir() + '/nowhere', file, loadExecutors: () => Promise.resolve(kinds) }),
      (thrown) => {
        return thrown instanceof ConfigError && thrown.message.startsWith(`${file}:1:1 x: unknown key`);
      },
    );
  });
});
