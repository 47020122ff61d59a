// Very many jobs due in the same second, made over HTTP and calling over HTTP.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { folder, limitMs, startBelfry, suiteScope, until, type Belfry, type Told } from '../support/belfry.ts';
import { execute, testDatabase } from '../support/postgres.ts';
import { testRedis } from '../support/redis.ts';
import { startTarget, type Asked } from '../support/target.ts';

// By hand: BELFRY_TEST_BURST=1000.
const count = Number(process.env['BELFRY_TEST_BURST'] ?? 300);
const names = Array.from({ length: count }, (_, index) => `burst-${index}`);
const atOnce = 20;

describe(`${count} jobs due in the same second`, { timeout: 3 * limitMs }, () => {
  const scope = suiteScope();
  let belfry: Belfry;
  let asked: readonly Asked[];
  let traces: ReadonlyMap<string, string>;
  let dueAt: string;
  let records: readonly Told[];

  before(async () => {
    const { url } = await testDatabase(scope, 'empty');
    const target = await startTarget(scope, () => ({ status: 200 }));
    asked = target.asked;
    belfry = await startBelfry({
      cwd: await folder(scope),
      env: { BELFRY_DATABASE_URL: url, BELFRY_REDIS_URL: testRedis().url, BELFRY_NODE: 'burst' },
    });
    traces = await createAll(belfry, target.url);
    // Made in time or not, on whatever machine: their second comes when all are there.
    const rows = await execute(url, `update belfry.jobs set next_due_at = date_trunc('second', now()) returning next_due_at`);
    dueAt = new Date(String(rows[0]?.['next_due_at'])).toISOString();
    records = await until(async () => {
      const all = await pagesOf(belfry);
      return all.length >= count && all.every((record) => record.finished_time !== null) ? all : undefined;
    });
  });

  test('are all recorded as done, each once, at its due time', () => {
    assert.deepEqual(records.map(({ name }) => name).toSorted(), names.toSorted());
    assert.deepEqual(
      new Set(records.map(({ due_time, state, attempts }) => `${due_time} ${state} ${attempts.length}`)),
      new Set([`${dueAt} succeeded 1`]),
    );
  });

  test('reach the server they call once each, with an Idempotency-Key of their own', () => {
    const keys = asked.map(({ headers }) => String(headers['idempotency-key']));
    assert.deepEqual(keys.toSorted(), records.map(({ id, name }) => `${name}:${dueAt}:${id}`).toSorted());
  });

  test('can be followed by trace id each, in order: from the request to the end of the run', async () => {
    await until(() => belfry.lines.filter(({ msg }) => msg === 'execed_job').length >= count || undefined);
    for (const { name, trace_id } of records) {
      assert.equal(trace_id, traces.get(name));
      const lines = belfry.lines.filter((line) => line['trace_id'] === trace_id);
      assert.deepEqual(
        lines.map(({ msg }) => msg),
        ['add_httpcreate_job_successed', 'accesslog_http', 'arrived_job', 'execed_job'],
      );
      assert.deepEqual(
        lines.map((line) => line['job'] ?? line['path']),
        [name, '/createJob', name, name],
      );
    }
  });
});

/** Makes the jobs, some at a time; answers the trace id that each request was given. */
async function createAll(belfry: Belfry, target: string): Promise<ReadonlyMap<string, string>> {
  const traces = new Map<string, string>();
  const left = names.values();
  const createOne = async (name: string): Promise<void> => {
    const job = { name, expr: '@yearly', command: { type: 'http', method: 'POST', target: `${target}/${name}` } };
    const answer = await fetch(`${belfry.address}/createJob`, { method: 'POST', body: JSON.stringify(job) });
    assert.equal(((await answer.json()) as { code: number }).code, 0);
    traces.set(name, answer.headers.get('x-trace-id') ?? '');
  };
  const createSome = async (): Promise<void> => {
    for (const name of left) await createOne(name);
  };
  await Promise.all(Array.from({ length: atOnce }, createSome));
  return traces;
}

async function pagesOf(belfry: Belfry): Promise<readonly Told[]> {
  const pages = Array.from({ length: Math.ceil(count / 100) + 1 }, (_, page) => belfry.records({ page }));
  return (await Promise.all(pages)).flat();
}
