import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { z } from 'zod';
import { formatDuration, label, list, parseDuration, parserOf, table, wholeNumber } from '../src/shapes.ts';

describe('a duration', () => {
  const golden: [text: string, ms: number | undefined][] = [
    ['30s', 30_000],
    ['500ms', 500],
    ['1h30m', 5_400_000],
    ['1.5s', 1500],
    ['1d', 86_400_000],
    ['1m500ms', 60_500],
    ['2d3h4m5s6ms', 183_845_006],
    ['90m', 5_400_000],
    ['0s', 0],
    ['100000d', 8_640_000_000_000],
    ['', undefined],
    ['s', undefined],
    ['30', undefined],
    ['30 s', undefined],
    ['-1s', undefined],
    ['1e3s', undefined],
    ['1s1s', undefined],
    ['1s1h', undefined],
    ['.5s', undefined],
    ['1.s', undefined],
    ['٣s', undefined],
    ['1w', undefined],
    ['1S', undefined],
    ['100001d', undefined],
    ['9'.repeat(400) + 's', undefined],
  ];
  for (const [text, ms] of golden) {
    test(`${JSON.stringify(text.slice(0, 20))} is ${ms === undefined ? 'none' : `${ms} ms`}`, () => assert.equal(parseDuration(text), ms));
  }

  test('is read again as it was written', () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 100_000 * 86_400_000 }), (ms) => parseDuration(formatDuration(ms)) === ms));
  });
});

describe('a parser of tables', () => {
  const values = {
    name: fc.constant('a name'),
    note: fc.constant('a note'),
    most: fc.constant(3),
    least: fc.constant(4),
    words: fc.constant(['one']),
    inner: fc.constantFrom({}, { factor: 3 }),
    'a b': fc.boolean(),
    a: fc.boolean(),
    b: fc.boolean(),
  };
  const schema = table({
    name: label(20),
    note: label(20).exactOptional(),
    most: wholeNumber(1, 9).optional(),
    least: wholeNumber(1, 9).default(1),
    words: list(label(5), 2).default([]),
    inner: table({ factor: wholeNumber(1, 9).default(2) }).prefault({}),
    'a b': z.boolean().optional(),
    a: z.boolean().optional(),
    b: z.boolean().optional(),
  });
  const parse = parserOf(schema);
  const saysTheSame = (input: unknown): void => {
    const told = ({ success, data, error }: ReturnType<typeof parse>) => ({ success, data, issues: error?.issues });
    assert.deepEqual(told(parse(input)), told(schema.safeParse(input)));
  };

  test('says of anything what its schema says', () => {
    const any = fc.oneof(fc.integer({ min: 0, max: 10 }), fc.string({ maxLength: 6 }), fc.boolean(), fc.constant(undefined), fc.object());
    const wrong = fc.dictionary(fc.constantFrom(...Object.keys(values), 'constructor', 'toString', 'nam', ''), any);
    const right = fc.record(values, { requiredKeys: ['name'] });
    fc.assert(fc.property(fc.oneof(right, wrong, any), saysTheSame), { numRuns: 2000 });
  });

  test('goes on with that after more sets of keys than it keeps schemas for', () => {
    const keys = fc.shuffledSubarray(['most', 'least', 'a b', 'a', 'b'] as const);
    const inputs = keys.chain((some) =>
      fc
        .tuple(...some.map((key) => values[key]))
        .map((all) => ({ name: 'a name', ...Object.fromEntries(some.map((key, at) => [key, all[at]])) })),
    );
    const seen = new Set<string>();
    fc.assert(
      fc.property(inputs, (input) => {
        seen.add(Object.keys(input).join(' '));
        saysTheSame(input);
      }),
      { numRuns: 1000 },
    );
    assert.ok(seen.size > 100, `${seen.size} sets of keys`);
  });
});
