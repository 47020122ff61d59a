// Jobs as rows, on a real PostgreSQL: made, changed, edited by hand.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { claim, edited, fire, jobNow, noon, openStores, outcome, placeJob, placeNode, runNow, seconds, written } from '../support/jobs.ts';
import { execute, testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const { jobs } = stores;

/** In how many transactions the jobs lie that were written while `work` was done. */
async function transactionsOf(work: () => Promise<unknown>): Promise<number> {
  const count = async (): Promise<number> => {
    const rows = await execute(url, `select count(distinct xmin::text)::integer as n from belfry.jobs`);
    return Number(rows[0]?.['n']);
  };
  const before = await count();
  await work();
  return (await count()) - before;
}

describe('a job that is written down', () => {
  test('is there as it was written', async () => {
    const job = written({
      remark: 'every "minute" – ☃',
      retry: { max_attempts: 2 },
      catchupWindowMs: 60_000,
      blackouts: ['2030-12-24/2031-01-01', '* * * * 7'],
      startsAt: seconds(0),
      endsAt: seconds(1),
      maxRuns: 5,
      spreadMs: 30_000,
      pauseAfterFailures: 3,
      source: 'file',
      configId: '/a.toml',
    });
    const id = await jobs.insert(job);
    const { id: found, revision, endedAt, fault, deletedAt, pausedAt, pauseNote, ...rest } = await jobNow(stores, job.name);
    const { createdAt: _, updatedAt: __, ...row } = rest;
    assert.deepEqual(row, job);
    assert.deepEqual(
      { found, revision, endedAt, fault, deletedAt, pausedAt, pauseNote },
      { found: id, revision: 1, endedAt: null, fault: null, deletedAt: null, pausedAt: null, pauseNote: null },
    );
  });

  test('is there as it was written beside others of other shapes, whatever their texts hold', async () => {
    const texts = ['plain', 'NULL', '{a,b}', 'a "b"', 'a\\b', '\\"', 'two\nlines\t', "it's", '☃ 😀'];
    const all = texts.map((text, index) =>
      written({
        name: `shape ${text}`,
        remark: text,
        expr: index % 2 === 0 ? '' : '0 0 * * *',
        command: { type: 'shell', target: text, env: { WORD: text } },
        blackouts: index % 3 === 0 ? [] : [text, '2030-12-24'],
        afterJobs: index % 2 === 0 ? [text, 'NULL', ''] : [],
        concurrencyKey: text,
        concurrency: index + 1,
        timeoutMs: index % 2 === 0 ? null : 1000,
        policy: index === 0 ? null : { word: text },
        nextDueAt: index % 2 === 0 ? null : seconds(index),
      }),
    );
    await Promise.all(all.map((job) => jobs.insert(job)));
    for (const job of all) {
      const row: Record<string, unknown> = await jobNow(stores, job.name);
      for (const [column, value] of Object.entries(job)) assert.deepEqual(row[column], value, `${column} of ${job.name}`);
    }
  });

  test('is refused when its name is taken, and the one that has it stays', async () => {
    const job = await placeJob(stores, { remark: 'first' });
    assert.equal(await jobs.insert(written({ name: job.name, remark: 'second' })), undefined);
    assert.deepEqual(await jobNow(stores, job.name), job);
  });

  test('at one moment with another of its name: the first has it', async () => {
    const [first, second] = await Promise.all([
      jobs.insert(written({ name: 'twins', remark: 'first' })),
      jobs.insert(written({ name: 'twins', remark: 'second' })),
    ]);
    assert.equal(second, undefined);
    const { id, remark } = await jobNow(stores, 'twins');
    assert.deepEqual({ id, remark }, { id: first, remark: 'first' });
  });

  test('by two nodes under one name is written by one', async (t) => {
    const other = openStores(t, url);
    const names = Array.from({ length: 50 }, (_, index) => `contested ${index}`);
    const made = await Promise.all(names.flatMap((name) => [jobs.insert(written({ name })), other.jobs.insert(written({ name }))]));
    assert.equal(made.filter((id) => id !== undefined).length, names.length);
  });

  test('together with 499 others shares a few statements with them', async () => {
    const transactions = await transactionsOf(async () => {
      const ids = await Promise.all(Array.from({ length: 500 }, () => jobs.insert(written())));
      assert.equal(new Set(ids).size, 500);
    });
    assert.ok(transactions <= 3, `${transactions} transactions`);
  });

  test('beside one that cannot be is written all the same', async () => {
    const [bad, good] = await Promise.allSettled([jobs.insert(written({ overlap: 'nonsense' })), jobs.insert(written({ name: 'beside' }))]);
    assert.equal(bad.status, 'rejected');
    assert.equal(good.status, 'fulfilled');
    await jobNow(stores, 'beside');
  });
});

describe('a job that is changed', () => {
  test('has a new revision, is due as written, and is neither ended nor faulty any more', async () => {
    const job = await placeJob(stores);
    await execute(url, `update belfry.jobs set ended_at = now(), fault = 'bad' where id = ${job.id}`);
    await jobs.update(job.id, { ...written({ name: job.name }), expr: '0 * * * *', nextDueAt: seconds(3600) }, edited);
    const { revision, expr, nextDueAt, endedAt, fault } = await jobNow(stores, job.name);
    assert.deepEqual(
      { revision, expr, nextDueAt, endedAt, fault },
      { revision: job.revision + 1, expr: '0 * * * *', nextDueAt: seconds(3600), endedAt: null, fault: null },
    );
  });

  test('after it was deleted stays as it was', async () => {
    const job = await placeJob(stores);
    await jobs.remove(job.id, edited);
    await jobs.update(job.id, written({ name: job.name, remark: 'too late' }), edited);
    assert.deepEqual(await execute(url, `select remark from belfry.jobs where id = ${job.id}`), [{ remark: '' }]);
  });

  test('and switched off and on goes on from what it is given', async () => {
    const job = await placeJob(stores);
    await jobs.setEnabled(job.id, false, undefined, edited);
    const off = await jobNow(stores, job.name);
    assert.deepEqual([off.enabled, off.nextDueAt, off.revision], [false, null, job.revision + 1]);
    await jobs.setEnabled(job.id, true, seconds(60), edited);
    const on = await jobNow(stores, job.name);
    assert.deepEqual([on.enabled, on.nextDueAt, on.revision], [true, seconds(60), job.revision + 2]);
  });

  test('to what it is already keeps its cursor', async () => {
    const job = await placeJob(stores);
    await jobs.setEnabled(job.id, true, seconds(60), edited);
    assert.deepEqual(await jobNow(stores, job.name), job);
  });

  test('by its fault is switched off, unless it was edited since it was looked at', async () => {
    const job = await placeJob(stores);
    await jobs.disableFaulty(job.id, job.revision - 1, 'seen on an older row');
    assert.deepEqual(await jobNow(stores, job.name), job);
    await jobs.disableFaulty(job.id, job.revision, 'expr: expected five fields');
    const { enabled, fault } = await jobNow(stores, job.name);
    assert.deepEqual({ enabled, fault }, { enabled: false, fault: 'expr: expected five fields' });
  });
});

describe('a job that is deleted', () => {
  test('gives its name back, and its runs stay under it', async () => {
    const job = await placeJob(stores);
    const [run] = await fire(stores, job, noon);
    assert.ok(run);
    assert.equal(await jobs.remove(job.id, edited), true);
    assert.equal(await jobs.byName(job.name), undefined);
    const successor = await placeJob(stores, { name: job.name });
    assert.notEqual(successor.id, job.id);
    assert.equal((await runNow(stores, run.id)).jobName, job.name);
  });

  test('is deleted once', async () => {
    const { id } = await placeJob(stores);
    assert.deepEqual((await Promise.all([jobs.remove(id, edited), jobs.remove(id, edited)])).sort(), [false, true]);
    assert.equal(await jobs.remove(id + 1, edited), false);
  });

  test('can still have its runs claimed and recorded', async () => {
    const job = await placeJob(stores);
    const [run] = await fire(stores, job, noon);
    assert.ok(run);
    await jobs.remove(job.id, edited);
    const [claimed] = await claim(stores, [run.id], await placeNode(stores, 'after'));
    assert.ok(claimed && (await stores.runs.record(outcome(claimed))));
  });
});

describe('an edit by plain SQL', () => {
  test('counts as a revision, and the due time is worked out afresh', async () => {
    const job = await placeJob(stores);
    await execute(url, `update belfry.jobs set expr = '0 * * * *' where id = ${job.id}`);
    const { revision, nextDueAt } = await jobNow(stores, job.name);
    assert.deepEqual({ revision, nextDueAt }, { revision: job.revision + 1, nextDueAt: null });
  });

  test('brings an ended job back', async () => {
    const job = await placeJob(stores);
    await jobs.fire([{ jobId: job.id, revision: job.revision, seen: noon, next: undefined, fires: [] }], noon);
    assert.deepEqual((await jobNow(stores, job.name)).endedAt, noon);
    await execute(url, `update belfry.jobs set expr = '0 * * * *' where id = ${job.id}`);
    assert.equal((await jobNow(stores, job.name)).endedAt, null);
  });

  test('of a remark changes no due time', async () => {
    const job = await placeJob(stores);
    await execute(url, `update belfry.jobs set remark = 'for Anna' where id = ${job.id}`);
    assert.deepEqual(await jobNow(stores, job.name), { ...job, remark: 'for Anna' });
  });
});

describe('who listens for jobs', () => {
  const changes: [string, boolean, () => Promise<unknown>][] = [
    ['is made and due at once', true, () => placeJob(stores, { nextDueAt: new Date() })],
    ['is made by hand', true, () => execute(url, `insert into belfry.jobs (name, expr, command) values ('heard', '* * * * *', '{}')`)],
    [
      'is edited',
      true,
      () => placeJob(stores).then(({ id }) => execute(url, `update belfry.jobs set expr = '0 * * * *' where id = ${id}`)),
    ],
    ['is made and due in years', false, () => placeJob(stores)],
    ['is fired', false, () => placeJob(stores).then((job) => fire(stores, job, noon))],
    ['is switched off', false, () => placeJob(stores).then(({ id }) => jobs.setEnabled(id, false, undefined, edited))],
  ];
  for (const [what, isTold, change] of changes) {
    test(`is ${isTold ? '' : 'not '}told when one ${what}`, async (t) => {
      const other = openStores(t, url);
      const { promise, resolve } = Promise.withResolvers<void>();
      let told = false;
      await other.database.listen('belfry_jobs', (payload) => {
        if (payload === 'last') resolve();
        else told = true;
      });
      await change();
      await execute(url, `notify belfry_jobs, 'last'`);
      await promise;
      assert.equal(told, isTold);
    });
  }
});
