// /v1/runs: one run, stopped and made again.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { openTestDoors } from '../support/doors.ts';
import { claim, noon, outcome, placeJob, placeNode, queueRuns, seconds, wayOf } from '../support/jobs.ts';

const doors = await openTestDoors(test);
const me = await placeNode(doors, 'node a');

async function oneQueued(): Promise<number> {
  const [id = 0] = await queueRuns(doors, await placeJob(doors, { overlap: 'allow' }), 1);
  return id;
}

async function oneEnded(): Promise<number> {
  const [run] = await claim(doors, [await oneQueued()], me);
  await doors.runs.record(outcome(run ?? assert.fail(), { result: { out: 'done' } }));
  return run?.id ?? 0;
}

describe('a run', () => {
  test('is shown with its attempts and its result', async () => {
    const { status, json } = await doors.v1('GET', `/runs/${await oneEnded()}`);
    assert.equal(status, 200);
    const { state, cause, result, due_at: dueAt, attempt, waits_for_others: waits } = json;
    assert.deepEqual(
      { state, cause, result, dueAt, attempt, waits },
      { state: 'succeeded', cause: 'schedule', result: { out: 'done' }, dueAt: noon.toISOString(), attempt: 1, waits: false },
    );
  });

  test('that has not begun is cancelled, and told as it is then', async () => {
    const id = await oneQueued();
    const { status, json } = await doors.v1('POST', `/runs/${id}/cancel`);
    assert.deepEqual([status, json['state'], json['reason']], [202, 'cancelled', 'cancelled']);
    assert.equal(doors.lines.at(-2)?.msg, 'cancelled_run');
  });

  test('that is on is told to stop, and shows when it was', async () => {
    const id = await oneQueued();
    await claim(doors, [id], me);
    const { status, json } = await doors.v1('POST', `/runs/${id}/cancel`);
    assert.deepEqual([status, json['state'], json['cancel_at'] !== null], [202, 'running', true]);
  });

  test('that is at its end can be run again, as it was, and is not cancelled any more', async () => {
    const id = await oneEnded();
    const again = await doors.v1('POST', `/runs/${id}/rerun`);
    assert.equal(again.status, 202);
    const { json } = await doors.v1('GET', `/runs/${Number(again.json['id'])}`);
    assert.deepEqual([json['cause'], json['rerun_of'], json['state'], json['due_at']], ['rerun', id, 'queued', seconds(0).toISOString()]);
    assert.equal((await wayOf(doors, Number(again.json['id'])))?.lane, '');
    assert.equal((await doors.v1('POST', `/runs/${id}/cancel`)).status, 409);
  });

  test('that is on its way is not run again, nor one of a job that is gone', async () => {
    assert.equal((await doors.v1('POST', `/runs/${await oneQueued()}/rerun`)).status, 409);
    const id = await oneEnded();
    await doors.v1('DELETE', `/jobs/${encodeURIComponent(String((await doors.records.byId(id))?.jobName))}`);
    assert.equal((await doors.v1('POST', `/runs/${id}/rerun`)).status, 409);
  });

  for (const id of ['0', '-1', '1.5', 'x', '9'.repeat(30), '%00']) {
    test(`called ${id} is refused as bad input`, async () => {
      for (const [method, path] of [
        ['GET', ''],
        ['POST', '/cancel'],
        ['POST', '/rerun'],
      ] as const) {
        assert.equal((await doors.v1(method, `/runs/${id}${path}`)).status, 400);
      }
    });
  }

  test('that there is not is not found', async () => {
    assert.equal((await doors.v1('GET', '/runs/123456')).status, 404);
    assert.equal((await doors.v1('POST', '/runs/123456/cancel')).status, 404);
    assert.equal((await doors.v1('POST', '/runs/123456/rerun')).status, 404);
  });
});
