import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { takeOut } from '../src/under-way.ts';

describe('taking out of what is under way', () => {
  it('leaves all others, whatever stood where', () => {
    for (const item of ['a', 'b', 'c']) {
      const list = ['a', 'b', 'c'];
      takeOut(list, item);
      assert.deepEqual(
        list.toSorted(),
        ['a', 'b', 'c'].filter((each) => each !== item),
      );
    }
  });

  it('empties a list of one, and takes one of two that are equal', () => {
    const one = ['a'];
    takeOut(one, 'a');
    assert.deepEqual(one, []);
    const two = ['a', 'a'];
    takeOut(two, 'a');
    assert.deepEqual(two, ['a']);
  });

  it('leaves a list alone that does not have it', () => {
    const list = ['a', 'b'];
    takeOut(list, 'c');
    assert.deepEqual(list, ['a', 'b']);
  });
});
