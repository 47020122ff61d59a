import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { describe, test } from 'node:test';
import { belfry, bin, pathOfOthers, run } from '../support/command.ts';

const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string };

describe('belfry', () => {
  test('--version says which one this is', async () => {
    assert.deepEqual(await belfry(['--version']), { code: 0, out: `${version}\n`, err: '' });
  });

  for (const args of [['--help'], ['-h'], ['help']]) {
    test(`${args.join(' ')} names every command and exit code`, async () => {
      const { code, out, err } = await belfry(args);
      assert.deepEqual([code, err], [0, '']);
      for (const word of ['start', 'next', 'simulate', 'import', '--version', '69', '78'])
        assert.match(out, new RegExp(`\\b${word}\\b|${word}`));
    });
  }

  for (const command of ['start', 'next', 'simulate', 'import']) {
    test(`help ${command} says the same as ${command} --help`, async () => {
      const [help, option] = await Promise.all([belfry(['help', command]), belfry([command, '--help'])]);
      assert.equal(help.code, 0);
      assert.match(help.out, new RegExp(`^Usage: belfry ${command}`));
      assert.deepEqual(help, option);
    });
  }

  for (const [what, args, message] of [
    ['a command it does not know', ['nxt'], 'belfry: unknown command "nxt"; did you mean "next"?\n'],
    ['help for one', ['help', 'smulate'], 'belfry: unknown command "smulate"; did you mean "simulate"?\n'],
    ['an option it does not know', ['--versoin'], 'belfry: unknown option "--versoin"; did you mean "--version"?\n'],
    [
      'an option that a command does not know',
      ['next', '@daily', '--form', 'now'],
      'belfry: unknown option "--form"; did you mean "--from"?\n',
    ],
    [
      'an option without its value',
      ['next', '@daily', '--tz'],
      'belfry: --tz: expected a time zone such as Europe/Berlin after it, got nothing\n',
    ],
    ['an option that is not of start', ['start', '--now'], 'belfry: unknown option "--now"; known: --help\n'],
    ['a word too many', ['start', 'now'], 'belfry: expected no more words, got "now" as well\n'],
    [
      'another kind of output',
      ['next', '@daily', '-o', 'jsn'],
      'belfry: --output: expected "text" or "json", got "jsn"; did you mean "json"?\n',
    ],
  ] as const) {
    test(`refuses ${what} in a sentence, with exit code 2 and no output`, async () => {
      assert.deepEqual(await belfry(args), { code: 2, out: '', err: message });
    });
  }

  test('takes it well when whoever reads its output has seen enough', async () => {
    const child = spawn(process.execPath, [bin, 'next', '* * * * * *', '-n', '10000']);
    let err = '';
    child.stderr.on('data', (chunk) => (err += String(chunk)));
    child.stdout.once('data', () => child.stdout.destroy());
    const [code] = (await once(child, 'close')) as [number | null];
    assert.deepEqual([code, err], [0, '']);
  });
});

describe('belfry under the Node of somebody else', () => {
  test('runs: with the Node that npm brought along where that one is too old', async () => {
    const { code, out, err } = await run(bin, ['next', '@daily', '--from', '2026-01-01', '-n', '1', '-o', 'json'], {
      env: { PATH: pathOfOthers },
    });
    assert.deepEqual({ code, out, err }, { code: 0, out: '["2026-01-02T00:00:00.000Z"]\n', err: '' });
  });

  test('hands on exit codes, and what is piped in', async () => {
    assert.equal((await run(bin, ['next', 'nonsense'], { env: { PATH: pathOfOthers } })).code, 2);
    const { code, out } = await run(bin, ['import', 'crontab', '-', '--tz', 'UTC'], {
      env: { PATH: pathOfOthers },
      input: '@daily /bin/true\n',
    });
    assert.equal(code, 0);
    assert.match(out, /target = "\/bin\/true"/);
  });
});
