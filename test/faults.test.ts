// The list of the faults that are tried: each has its test, and the README tells what the tests say.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, test } from 'node:test';
import { faultList, faultsTried, nameOf, readmeFile, readmeWithTable } from './support/fault-list.ts';

describe('the faults that are tried', () => {
  test('have one test each', async () => {
    const tried = (await faultsTried()).map(({ fault }) => fault);
    const wanted = faultList.filter((listed) => typeof listed === 'string');
    assert.deepEqual(tried.toSorted(), wanted.toSorted(), 'one that is listed with `comesIn` and has its test loses that mark');
  });

  test('are listed once', () => {
    const names = faultList.map(nameOf);
    assert.deepEqual(names, [...new Set(names)]);
  });

  test('stand in the README with what is seen (npm run faults)', async () => {
    assert.equal(await readFile(readmeFile, 'utf8'), await readmeWithTable());
  });
});
