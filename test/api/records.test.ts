// What the seed calls tell of runs, which they call records.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import type { ClaimedRun } from '../../src/store/runs.ts';
import { openTestDoors } from '../support/doors.ts';
import { claim, failedOnce, fire, noon, outcome, placeJob, placeNode, queueRuns, seconds } from '../support/jobs.ts';

const doors = await openTestDoors(test);
const { call, runs } = doors;
const me = await placeNode(doors, 'node a');

type Listed = Record<string, unknown> & { id: number; result: string; command: string };

async function listed(request: Record<string, unknown>): Promise<Listed[]> {
  const { code, message, data } = await call<Listed[]>('/listJobRecord', request);
  assert.equal(code, 0, message);
  return data;
}

async function ids(request: Record<string, unknown>): Promise<number[]> {
  return (await listed(request)).map(({ id }) => id);
}

/** A job of that command with so many queued runs. */
async function queued(count: number, command: Record<string, unknown> = { type: 'noop' }) {
  const job = await placeJob(doors, { overlap: 'allow', command });
  return { name: job.name, oldestFirst: await queueRuns(doors, job, count) };
}

async function running(command?: Record<string, unknown>): Promise<ClaimedRun> {
  const { oldestFirst } = await queued(1, command);
  const [run] = await claim(doors, oldestFirst, me);
  assert.ok(run);
  return run;
}

async function resultOf(recordId: number): Promise<unknown> {
  const { code, message, data } = await call('/getJobRecordResult', { recordId });
  assert.equal(code, 0, message);
  return data;
}

test('records that are none are an empty list', async () => {
  assert.deepEqual(await listed({ name: 'nobody' }), []);
  const { oldestFirst } = await queued(1);
  assert.deepEqual(await listed({ page: 1, size: 100 }), []);
  assert.equal((await listed({ size: 100 })).length, oldestFirst.length);
});

describe('a list of records', () => {
  test('is newest first, in pages counted from 0', async () => {
    const { name, oldestFirst } = await queued(5);
    const newestFirst = oldestFirst.toReversed();
    assert.deepEqual(await ids({ name, size: 2 }), newestFirst.slice(0, 2));
    assert.deepEqual(await ids({ name, size: 2, page: 1 }), newestFirst.slice(2, 4));
    assert.deepEqual(await ids({ name, size: 2, page: 2 }), newestFirst.slice(4));
    assert.deepEqual(await ids({ name, size: 2, page: 3 }), []);
  });

  test('has three records where no size is said, or 0', async () => {
    const { name, oldestFirst } = await queued(7);
    const newestFirst = oldestFirst.toReversed();
    assert.deepEqual(await ids({ name }), newestFirst.slice(0, 3));
    assert.deepEqual(await ids({ name, size: 0 }), newestFirst.slice(0, 3));
    assert.deepEqual(await ids({ name, size: 0, page: 1 }), newestFirst.slice(3, 6));
    assert.deepEqual(await ids({ name, page: 2 }), newestFirst.slice(6));
  });

  test('has a hundred at most', async () => {
    const { name } = await queued(101);
    assert.equal((await ids({ name, size: 100 })).length, 100);
    const { code, message } = await call('/listJobRecord', { name, size: 101 });
    assert.deepEqual({ code, message }, { code: -2, message: 'size: expected a whole number from 0 to 100, got 101' });
  });

  test('goes on below a cursor, whatever has come since', async () => {
    const { name, oldestFirst } = await queued(4);
    const first = await ids({ name, size: 2 });
    await placeJob(doors);
    assert.deepEqual(await ids({ name, size: 2, cursor: first.at(-1) }), oldestFirst.slice(0, 2).toReversed());
    assert.deepEqual(await ids({ name, cursor: oldestFirst[0] }), []);
  });

  test('is of one job, one state, or the time in which a run was queued: from that moment on and before the other', async () => {
    const run = await running();
    await runs.record(outcome(run, { state: 'failed', reason: 'failed', failed: true }));
    assert.deepEqual(await ids({ name: run.jobName, state: 'failed' }), [run.id]);
    assert.deepEqual(await ids({ name: run.jobName, state: 'succeeded' }), []);
    const now = noon.toISOString();
    assert.deepEqual(await ids({ name: run.jobName, from: now, to: seconds(1).toISOString() }), [run.id]);
    assert.deepEqual(await ids({ name: run.jobName, from: now, to: now }), []);
    assert.deepEqual(await ids({ name: run.jobName, from: seconds(1).toISOString() }), []);
    assert.deepEqual(await ids({ name: run.jobName, to: '2100-01-01T14:00:01+02:00' }), [run.id]);
  });

  test('keeps the records of a job that is deleted', async () => {
    const { name, oldestFirst } = await queued(1);
    assert.equal((await doors.v1('DELETE', `/jobs/${name}`)).status, 204);
    assert.deepEqual(await ids({ name }), oldestFirst);
  });
});

describe('a record', () => {
  test('has the fields that its readers know, in order, command and result as JSON in a text', async () => {
    const run = await running({ type: 'shell', target: 'echo hello' });
    await runs.record(failedOnce(run, seconds(0)));
    const [again] = await claim(doors, [run.id], me);
    assert.ok(again);
    await runs.record(outcome(again, { result: { out: 'hello\n', err: '<nil>', stderr: '', exitCode: 0 } }));
    const [record] = await listed({ name: run.jobName });
    assert.deepEqual(Object.entries(record ?? {}), [
      ['id', run.id],
      ['name', run.jobName],
      ['type', 'shell'],
      ['command', '{"type":"shell","target":"echo hello"}'],
      ['result', '{"out":"hello\\n","err":"<nil>","stderr":"","exitCode":0}'],
      ['failed_cnt', 1],
      ['create_time', noon.toISOString()],
      ['started_time', seconds(3600).toISOString()],
      ['finished_time', seconds(3601).toISOString()],
      ['state', 'succeeded'],
      ['attempts', [failedOnce(run, noon).note, outcome(again).note]],
      ['due_time', noon.toISOString()],
      ['node', `node ${me}`],
      ['trace_id', run.traceId],
      ['reason', null],
    ]);
  });

  test('of a run that waits has no result, no moments to come and no node', async () => {
    const { name } = await queued(1);
    const [record] = await listed({ name });
    assert.ok(record);
    const { result, started_time, finished_time, state, node, attempts } = record;
    assert.deepEqual(
      { result, started_time, finished_time, state, node, attempts },
      { result: '{}', started_time: null, finished_time: null, state: 'queued', node: null, attempts: [] },
    );
  });

  test('of what went wrong says why at its end', async () => {
    const run = await running();
    await runs.record(outcome(run, { state: 'failed', reason: 'failed', failed: true, error: 'exit status 3' }));
    const [record] = await listed({ name: run.jobName });
    assert.deepEqual(Object.entries(record ?? {}).slice(-2), [
      ['reason', 'failed'],
      ['error', 'exit status 3'],
    ]);
  });

  test('that stands for many missed due times counts them', async () => {
    const job = await placeJob(doors);
    await fire(doors, job, { dueAt: noon, lastDueAt: seconds(240), dueCount: 5, reason: 'missed' });
    const [record] = await listed({ name: job.name });
    assert.ok(record);
    const { state, reason, due_time, due_count, last_due_time } = record;
    assert.deepEqual(
      { state, reason, due_time, due_count, last_due_time },
      { state: 'skipped', reason: 'missed', due_time: noon.toISOString(), due_count: 5, last_due_time: seconds(240).toISOString() },
    );
  });
});

describe('the result of a record', () => {
  test('is as its executor wrote it, keys in that order', async () => {
    const shell = { out: 'hello\n', err: '<nil>', stderr: '', exitCode: 0 };
    const http = { status: 200, body: '<p>', size: 3, title: '', summary: '', err: '<nil>' };
    for (const result of [shell, http]) {
      const run = await running();
      await runs.record(outcome(run, { result }));
      assert.equal(JSON.stringify(await resultOf(run.id)), JSON.stringify(result));
    }
  });

  test('is empty as long as there is none', async () => {
    const run = await running();
    assert.deepEqual(await resultOf(run.id), {});
  });

  test('of an unknown id is code -4 "record not found"', async () => {
    for (const recordId of [1_000_000, Number.MAX_SAFE_INTEGER]) {
      const { code, message, data } = await call('/getJobRecordResult', { recordId });
      assert.deepEqual({ code, message, data }, { code: -4, message: 'record not found', data: {} });
    }
  });
});
