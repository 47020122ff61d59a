import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { formatDuration, parseDuration } from '../src/shapes.ts';

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
