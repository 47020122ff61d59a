import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { stringify } from 'smol-toml';
import { readToml, TomlFault } from '../src/toml.ts';

const document = `# a comment with [brackets] and = signs
title = "a [text] # with = all"

[owner]
"quoted key" = 1
dotted.inner.key = 'x'
dotted.other = """
[not.a.table]
x = 1 \\""" y"""

[[jobs]] # first
name = "a"

[[jobs]]
name = "b"
  retry = { delay = "1s", codes = [1, 2, { deep = 3 }] }
  [jobs.command]
  type = 'shell'
[[jobs.steps]]
at = 1979-05-27 07:32:00
[[jobs.steps]]
list = [
  "one", # comment, with ] and ,
  "two",
]
[other.part]
x = 1
`;

describe('the place of a key', () => {
  const { placeOf } = readToml(document);
  const golden: [path: (string | number)[], line: number, column: number][] = [
    [['title'], 2, 1],
    [['owner'], 4, 1],
    [['owner', 'quoted key'], 5, 1],
    [['owner', 'dotted'], 6, 1],
    [['owner', 'dotted', 'inner', 'key'], 6, 1],
    [['owner', 'dotted', 'other'], 7, 1],
    [['jobs'], 11, 1],
    [['jobs', 0], 11, 1],
    [['jobs', 0, 'name'], 12, 1],
    [['jobs', 1], 14, 1],
    [['jobs', 1, 'name'], 15, 1],
    [['jobs', 1, 'retry', 'delay'], 16, 13],
    [['jobs', 1, 'retry', 'codes', 1], 16, 39],
    [['jobs', 1, 'retry', 'codes', 2, 'deep'], 16, 44],
    [['jobs', 1, 'command'], 17, 3],
    [['jobs', 1, 'command', 'type'], 18, 3],
    [['jobs', 1, 'steps', 0, 'at'], 20, 1],
    [['jobs', 1, 'steps', 1], 21, 1],
    [['jobs', 1, 'steps', 1, 'list', 1], 24, 3],
    [['other', 'part', 'x'], 27, 1],
  ];
  for (const [path, line, column] of golden) {
    test(`${path.join('.')} is ${line}:${column}`, () => assert.deepEqual(placeOf(path), { line, column }));
  }

  test('that is not there is that of its nearest parent', () => {
    assert.deepEqual(placeOf(['jobs', 0, 'expr']), { line: 11, column: 1 });
    assert.deepEqual(placeOf(['jobs', 1, 'command', 'target', 'x']), { line: 17, column: 3 });
    assert.equal(placeOf(['nowhere']), undefined);
    assert.equal(placeOf([]), undefined);
  });

  test('is found for every key of any document', () => {
    const key = fc.oneof(
      fc.constantFrom('a', 'b', 'c'),
      fc.string({ maxLength: 5 }).filter((text) => text !== '__proto__'),
    );
    const { value } = fc.letrec<{ value: unknown; table: Record<string, unknown> }>((tie) => ({
      value: fc.oneof({ maxDepth: 3 }, fc.string(), fc.integer(), fc.boolean(), fc.array(tie('value'), { maxLength: 3 }), tie('table')),
      table: fc.dictionary(key, tie('value'), { maxKeys: 4, noNullPrototype: true }),
    }));
    fc.assert(
      fc.property(fc.dictionary(key, value, { maxKeys: 5, noNullPrototype: true }), (table) => {
        const text = stringify(table);
        const toml = readToml(text);
        const lines = text.split('\n');
        const visit = (inner: unknown, path: (string | number)[]): void => {
          if (path.length > 0) {
            const place = toml.placeOf(path);
            const parent = toml.placeOf(path.slice(0, -1));
            assert.ok(place && place.line <= lines.length, `${JSON.stringify(path)} in ${text}`);
            const there = (lines[place.line - 1] ?? '').slice(place.column - 1);
            const name = path.at(-1);
            // A key stands where it is said to, bare or quoted, itself or at the end of a header.
            if (typeof name === 'string') assert.ok(there.includes(name) || there.includes('"'), `${JSON.stringify(path)} in ${text}`);
            assert.ok(!parent || parent.line <= place.line || !Array.isArray(inner), `${JSON.stringify(path)} in ${text}`);
          }
          if (Array.isArray(inner)) inner.forEach((item, index) => visit(item, [...path, index]));
          else if (typeof inner === 'object' && inner !== null)
            Object.entries(inner).forEach(([name, item]) => visit(item, [...path, name]));
        };
        visit(toml.table, []);
      }),
      { numRuns: 500 },
    );
  });
});

describe('a text that is no TOML', () => {
  test('is refused with line and column, and without quoting the document', () => {
    assert.throws(
      () => readToml('a = 1\npassword = "hunter2\n'),
      (thrown) => {
        assert.ok(thrown instanceof TomlFault);
        assert.equal(thrown.place?.line, 2);
        return !thrown.message.includes('hunter2') && !thrown.message.includes('\n');
      },
    );
  });

  test('is refused when it is nested without end', () => {
    assert.throws(() => readToml(`a = ${'['.repeat(100_000)}`), TomlFault);
  });

  test('is refused or read, never a crash', () => {
    const character = fc.constantFrom(...'ab=.[]{}"\'\\\n# 1,\r\t'.split(''), '[[', ']]', '"""', "'''");
    fc.assert(
      fc.property(fc.string({ unit: character, maxLength: 60 }), (text) => {
        try {
          readToml(text).placeOf(['a', 'b']);
        } catch (thrown) {
          assert.ok(thrown instanceof TomlFault);
        }
      }),
      { numRuns: 5000 },
    );
  });
});
