import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { cleanJson, cleanText, outputKeeper } from '../../src/executors/output.ts';
import { isStorable, messageThrownBy } from './support.ts';

function kept(limitBytes: number, ...parts: (string | number[] | Uint8Array)[]) {
  const keeper = outputKeeper(limitBytes);
  for (const part of parts) keeper.add(Buffer.from(part as string));
  return { text: keeper.text(), size: keeper.size(), cut: keeper.cut() };
}

describe('what a command says', () => {
  test('is kept whole within the limit', () => {
    assert.deepEqual(kept(10, 'hello', 'world'), { text: 'helloworld', size: 10, cut: 0 });
  });

  test('keeps its beginning and its end beyond the limit, with a line that says how much is missing', () => {
    assert.deepEqual(kept(10, 'hello, ', 'cruel ', 'world'), { text: 'hello\n… 8 bytes left out …\nworld', size: 18, cut: 8 });
  });

  test('keeps the last of many pieces, whatever their length', () => {
    const all = Array.from({ length: 1000 }, (_, at) => `${at},`);
    assert.equal(kept(20, ...all).text, '0,1,2,3,4,\n… 3870 bytes left out …\n7,998,999,');
  });

  test('may be read into the same buffer again and again', () => {
    const keeper = outputKeeper(8);
    const buffer = Buffer.alloc(4);
    for (const part of ['abcd', 'efgh', 'ijkl']) {
      buffer.write(part);
      keeper.add(buffer);
    }
    assert.equal(keeper.text(), 'abcd\n… 4 bytes left out …\nijkl');
  });

  test('keeps characters whole that came in pieces', () => {
    const letters = [...Buffer.from('ä€😀')].map((byte) => [byte]);
    assert.equal(kept(100, ...letters).text, 'ä€😀');
  });

  test('keeps characters whole at the border of head and tail', () => {
    assert.equal(kept(5, 'ab€').text, 'ab€');
  });

  test('leaves a character out whole that the cut would split', () => {
    assert.deepEqual(kept(8, 'abc€----€xyz'), { text: 'abc\n… 10 bytes left out …\nxyz', size: 16, cut: 10 });
  });

  test('shows NUL and what is no UTF-8 as U+FFFD', () => {
    assert.equal(kept(100, 'a\0b', [0xff], 'c', [0xed, 0xa0, 0x80]).text, 'a\uFFFDb\uFFFDc\uFFFD\uFFFD\uFFFD');
  });

  test('may be kept not at all', () => {
    assert.deepEqual(kept(0, 'abc'), { text: '\n… 3 bytes left out …\n', size: 3, cut: 3 });
    assert.deepEqual(kept(1, 'abc'), { text: 'a\n… 2 bytes left out …\n', size: 3, cut: 2 });
    assert.deepEqual(kept(0), { text: '', size: 0, cut: 0 });
  });

  test('is accounted for to the byte, however it came, and can always be stored', () => {
    const pieces = fc.array(
      fc.oneof(
        fc.uint8Array({ maxLength: 40 }),
        fc.string({ unit: 'binary' }).map((text) => Buffer.from(text)),
      ),
    );
    fc.assert(
      fc.property(pieces, fc.nat({ max: 64 }), (parts, limitBytes) => {
        const all = Buffer.concat(parts);
        const { text, size, cut } = kept(limitBytes, ...parts);
        assert.equal(size, all.length);
        assert.ok(isStorable(text));
        if (all.length <= limitBytes) assert.deepEqual({ text, cut }, { text: cleanText(all.toString()), cut: 0 });
        else assert.ok(cut >= size - limitBytes && cut <= size - limitBytes + 6);
      }),
    );
  });
});

describe('a value made fit to be stored', () => {
  test('has no NUL and no lone surrogate, in texts and in keys', () => {
    assert.deepEqual(cleanJson({ 'a\0': ['b\ud800', { c: 1 }] }), { 'a\uFFFD': ['b\uFFFD', { c: 1 }] });
  });

  test('is what JSON makes of it', () => {
    assert.deepEqual(cleanJson({ at: new Date(0), gone: undefined, odd: Number.NaN }), { at: '1970-01-01T00:00:00.000Z', odd: null });
    assert.equal(cleanJson(undefined), null);
  });

  test('is refused when JSON cannot say it', () => {
    assert.match(
      messageThrownBy(() => cleanJson({ n: 1n })),
      /BigInt/,
    );
  });
});
