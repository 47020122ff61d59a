import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { groupCommit } from '../../src/store/batch.ts';

/** A store whose statements wait until they are let through. */
function slowStore() {
  const statements: { items: readonly string[]; commit: () => void; fail: (fault: unknown) => void }[] = [];
  const { promise: firstSeen, resolve: seen } = Promise.withResolvers<void>();
  const write = (items: readonly string[]): Promise<string[]> =>
    new Promise((resolve, reject) => {
      statements.push({ items, commit: () => resolve(items.map((item) => `${item} done`)), fail: reject });
      seen();
    });
  return { statements, write, firstSeen };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('group commit', () => {
  test('of two at once, a second statement goes beside a slow one when many wait, and no third', async () => {
    const store = slowStore();
    const batched = groupCommit(store.write, { most: 100, atOnce: 2 });
    const added = [batched.add('first')];
    await store.firstSeen;
    for (let index = 0; index < 15; index++) added.push(batched.add('few'));
    await turn();
    assert.equal(store.statements.length, 1);
    added.push(batched.add('many'));
    await turn();
    for (let index = 0; index < 30; index++) added.push(batched.add('more'));
    await turn();
    assert.deepEqual(
      store.statements.map(({ items }) => items.length),
      [1, 16],
    );
    store.statements[1]?.commit();
    await turn();
    assert.equal(store.statements[2]?.items.length, 30);
    for (const { commit } of store.statements) commit();
    assert.equal((await Promise.all(added)).length, 47);
    await batched.idle();
    const last = batched.add('last');
    await turn();
    store.statements[3]?.commit();
    assert.equal(await last, 'last done');
  });

  test('of two at once, the second is no smaller than the first', async () => {
    const store = slowStore();
    const batched = groupCommit(store.write, { most: 100, atOnce: 2 });
    const added = Array.from({ length: 30 }, () => batched.add('first'));
    await store.firstSeen;
    for (let index = 0; index < 29; index++) added.push(batched.add('second'));
    await turn();
    assert.equal(store.statements.length, 1);
    added.push(batched.add('second'));
    await turn();
    assert.deepEqual(
      store.statements.map(({ items }) => items.length),
      [30, 30],
    );
    for (const { commit } of store.statements) commit();
    assert.equal((await Promise.all(added)).length, 60);
  });

  test('what arrives while a statement is under way rides in the next one', async () => {
    const store = slowStore();
    const batched = groupCommit(store.write, { most: 10 });
    const first = batched.add('a');
    await store.firstSeen;
    const others = [batched.add('b'), batched.add('c')];
    await turn();
    assert.deepEqual(
      store.statements.map((each) => each.items),
      [['a']],
    );
    store.statements[0]?.commit();
    assert.equal(await first, 'a done');
    await turn();
    store.statements[1]?.commit();
    assert.deepEqual(await Promise.all(others), ['b done', 'c done']);
    assert.deepEqual(
      store.statements.map((each) => each.items),
      [['a'], ['b', 'c']],
    );
  });

  test('a statement carries no more than its most', async () => {
    const written: number[] = [];
    const batched = groupCommit(
      (items: readonly number[]) => {
        written.push(items.length);
        return Promise.resolve(items);
      },
      { most: 3 },
    );
    await Promise.all(Array.from({ length: 7 }, (_, item) => batched.add(item)));
    assert.deepEqual(written, [3, 3, 1]);
  });

  test('a group that fails for one row is written row by row, and only that row fails', async () => {
    const batched = groupCommit(
      (items: readonly string[]) =>
        items.includes('bad') ? Promise.reject(Object.assign(new Error('no'), { code: '22P05' })) : Promise.resolve(items),
      { most: 10 },
    );
    const results = await Promise.allSettled(['good', 'bad', 'fine'].map((item) => batched.add(item)));
    assert.deepEqual(
      results.map((each) => each.status),
      ['fulfilled', 'rejected', 'fulfilled'],
    );
  });

  test("a fault that is no row's own fails the whole group once", async () => {
    let statements = 0;
    const batched = groupCommit(
      () => {
        statements++;
        return Promise.reject(new Error('the server went away'));
      },
      { most: 10 },
    );
    const results = await Promise.allSettled([batched.add('a'), batched.add('b')]);
    assert.ok(results.every((each) => each.status === 'rejected'));
    assert.equal(statements, 1);
  });

  test('after a failed group the next one goes through', async () => {
    let fails = true;
    const batched = groupCommit((items: readonly string[]) => (fails ? Promise.reject(new Error('away')) : Promise.resolve(items)), {
      most: 10,
    });
    await assert.rejects(batched.add('a'));
    fails = false;
    assert.equal(await batched.add('b'), 'b');
  });
});
