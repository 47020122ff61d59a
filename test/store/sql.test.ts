// What a statement takes as a parameter, on a real PostgreSQL: lists, which we write ourselves.

import assert from 'node:assert/strict';
import test, { describe, it } from 'node:test';
import { openDatabase } from '../../src/store/database.ts';
import { testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test, 'empty');
const { sql, close } = openDatabase({ url, applicationName: 'belfry test' });
test.after(close);

describe('a list as a parameter', () => {
  const words = [
    'plain',
    '',
    ' ',
    'NULL',
    'null',
    '{a,b}',
    'a"b',
    'a\\b',
    '\\"',
    '\\n',
    '\\\n',
    'a\nb',
    '\t',
    '\u0001',
    '\u2028',
    '😀',
    "it's",
  ];
  // Alone, with another, and the same again.
  const each = words.flatMap((word) => [[word], [word, 'another'], [word, word]]);
  for (const list of [...each, words, [...words, null], [null], [null, null], []]) {
    it(`of texts comes as it went: ${JSON.stringify(list)}`, async () => {
      assert.deepEqual(await sql`select ${list}::text[] as list`, [{ list }]);
    });
  }

  it('holds numbers, flags, moments, bytes and lists, or nothing', async () => {
    const at = new Date('2030-01-23T09:00:00.123Z');
    const [row] = await sql`
      select ${[1, null, -2.5, NaN, Infinity]}::float8[] as numbers, ${[9007199254740993n]}::text[] as great, ${[true, null, false]}::boolean[] as flags,
             ${[at, null]}::timestamptz[] as moments, ${[Buffer.from('a"\\')]}::bytea[] as bytes, ${[
               ['a', 'b"'],
               ['c', 'd\n'],
             ]}::text[] as nested`;
    assert.deepEqual(row, {
      numbers: [1, null, -2.5, NaN, Infinity],
      great: ['9007199254740993'],
      flags: [true, null, false],
      moments: [at, null],
      bytes: [Buffer.from('a"\\')],
      nested: [
        ['a', 'b"'],
        ['c', 'd\n'],
      ],
    });
  });

  it('holds JSON, given as text or as tables', async () => {
    const table = { text: 'a "b" \\ c\nd', list: [1, null] };
    const [row] = await sql`select ${[table, table]}::jsonb[] as tables, ${[JSON.stringify(table), null]}::jsonb[] as texts`;
    assert.deepEqual(row, { tables: [table, table], texts: [table, null] });
  });

  it('is refused with a moment that is none', async () => {
    await assert.rejects(sql`select ${[new Date(Number.NaN)]}::timestamptz[]`, RangeError);
  });
});
