import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { shellHere } from './subjects.ts';
import { messageThrownBy } from './support.ts';

const { parse } = shellHere();

function refusal(command: Record<string, unknown>): string {
  return messageThrownBy(() => parse({ type: 'shell', ...command }));
}

describe('a shell command as written down', () => {
  test('is kept as it is', () => {
    const command = { type: 'shell', target: 'echo hello', shell: 'bash', cwd: '/srv', env: { LEVEL: 'info', HOME: '/root' } };
    assert.deepEqual(parse(command), command);
    assert.deepEqual(parse({ type: 'shell', argv: ['ls', ''] }), { type: 'shell', argv: ['ls', ''] });
    assert.deepEqual(parse({ type: 'shell', target: 'x', isolation: 'none' }), { type: 'shell', target: 'x', isolation: 'none' });
  });

  test('may have the empty method of the oldest API', () => {
    assert.deepEqual(parse({ type: 'shell', method: '', target: 'echo hello' }), { type: 'shell', target: 'echo hello' });
    assert.match(refusal({ target: 'x', method: 'GET' }), /^command\.method: expected no method with a shell command, got "GET"$/);
  });

  const refused: [string, Record<string, unknown>, RegExp][] = [
    ['neither target nor argv', {}, /^command\.target: expected target or argv, got neither$/],
    ['both', { target: 'x', argv: ['x'] }, /^command\.argv: expected target or argv, got both$/],
    ['a shell for argv', { argv: ['x'], shell: '/bin/sh' }, /^command\.shell: expected no shell with argv, got both$/],
    ['an empty target', { target: ' \n' }, /^command\.target: expected a shell command such as "echo hello" .*, got " \\n"$/],
    ['NUL', { target: 'a\0b' }, /^command\.target: expected .*, got "a\\u0000b"$/],
    ['half a character', { target: 'a\ud800' }, /^command\.target: expected .*, got "a\\ud800"$/],
    ['128 KiB', { target: 'x'.repeat(128 * 1024) }, /^command\.target: expected .*, got "x{40}"… \(131072 characters\)$/],
    ['a target that is a number', { target: 7 }, /^command\.target: expected .*, got 7$/],
    ['null', { target: null }, /^command\.target: expected .*, got null$/],
    ['an isolation that there is not', { target: 'x', isolation: 'full' }, /^command\.isolation: expected "none", .*, got "full"$/],
    ['an empty argv', { argv: [] }, /^command\.argv: expected a program and its arguments .*, got a list of 0$/],
    ['an argv without program', { argv: ['', 'x'] }, /^command\.argv: expected/],
    ['an argv with a number', { argv: ['x', 7] }, /^command\.argv: expected/],
    ['an argv that is too long', { argv: Array.from({ length: 40_000 }, () => 'x') }, /^command\.argv: expected .*, got a list of 40000$/],
    [
      'a directory that is not absolute',
      { target: 'x', cwd: 'here' },
      /^command\.cwd: expected an absolute path such as "\/srv\/app", got "here"$/,
    ],
    ['an empty shell', { target: 'x', shell: '' }, /^command\.shell: expected a shell such as/],
    [
      'an unknown key',
      { target: 'x', tagret: 'y' },
      /^command\.tagret: expected one of type, target, .*, got an unknown key; did you mean "target"\?$/,
    ],
    ['a key of another executor', { target: 'x', headers: {} }, /^command\.headers: expected one of .*, got an unknown key$/],
    ['an env that is a list', { target: 'x', env: ['A=b'] }, /^command\.env: expected names and values such as .*, got a list of 1$/],
    ['an env name with a dash', { target: 'x', env: { 'a-b': '' } }, /^command\.env\.a-b: expected a name of letters/],
    ['an env name with "="', { target: 'x', env: { 'A=B': '' } }, /^command\.env\["A=B"\]: expected a name of letters/],
    ['an env value that is a number', { target: 'x', env: { A: 7 } }, /^command\.env\.A: expected a text of at most .*, got 7$/],
    [
      'an env value with NUL, unseen',
      { target: 'x', env: { A: 'secret\0' } },
      /^command\.env\.A: expected .*, got a text of 7 characters$/,
    ],
  ];
  for (const [what, command, message] of refused) {
    test(`is refused with ${what}`, () => assert.match(refusal(command), message));
  }

  for (const name of [
    'PATH',
    'LD_PRELOAD',
    'LD_LIBRARY_PATH',
    'NODE_OPTIONS',
    'BASH_ENV',
    'IFS',
    'BELFRY_MARKER',
    'BELFRY_X',
    'TRACEPARENT',
  ]) {
    test(`may not set ${name}`, () => {
      assert.equal(refusal({ target: 'x', env: { [name]: 'y' } }), `command.env.${name}: expected a name that a job may set, got ${name}`);
    });
  }

  test('is told everything that is wrong with it at once', () => {
    const message = refusal({ target: '', cwd: 'x', env: { PATH: 'x', 'a b': 'y' }, unheardof: 1 });
    const fields = message.split('; ').map((fault) => fault.split(': ')[0]);
    const wrong = ['command.cwd', 'command.env.PATH', 'command.env["a b"]', 'command.target', 'command.unheardof'];
    assert.deepEqual(new Set(fields), new Set(wrong));
    assert.equal(fields.length, wrong.length);
  });
});
