// The list of the faults that are tried: each has its test, and the README tells what the tests say.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, test } from 'node:test';
import { faultList, faultsTried, readmeFile, readmeWithTable } from './support/fault-list.ts';

describe('the faults that are tried', () => {
  test('have one test each', async () => {
    const tried = (await faultsTried()).map(({ fault }) => fault);
    assert.deepEqual(tried.toSorted(), faultList.toSorted());
  });

  test('are listed once', () => {
    assert.deepEqual(faultList, [...new Set(faultList)]);
  });

  test('stand in the README with what is seen (npm run faults)', async () => {
    assert.equal(await readFile(readmeFile, 'utf8'), await readmeWithTable());
  });
});
