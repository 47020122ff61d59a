// The little of /v1 that a person needs at once.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { openTestDoors, sample } from '../support/doors.ts';
import { claim, fire, jobNow, outcome, placeJob, placeNode, runNow } from '../support/jobs.ts';

const doors = await openTestDoors(test);
const { ask, call, v1 } = doors;

async function made(name: string, changed: Record<string, unknown> = {}): Promise<string> {
  const { code, message } = await call('/createJob', sample(name, changed));
  assert.equal(code, 0, message);
  return name;
}

async function namesOf(query: string): Promise<{ names: string[]; next: unknown }> {
  const { status, json } = await v1('GET', `/jobs${query}`);
  assert.equal(status, 200);
  return { names: (json['jobs'] as { name: string }[]).map(({ name }) => name), next: json['next'] };
}

describe('a list of jobs', () => {
  test('is empty where there are none', async () => assert.deepEqual(await v1('GET', '/jobs'), { status: 200, json: { jobs: [] } }));

  test('is in order of their names, in pages, each of which names the next', async () => {
    for (const name of ['list c', 'list a', 'list d', 'list b']) await made(name);
    assert.deepEqual(await namesOf(''), { names: ['list a', 'list b', 'list c', 'list d'], next: undefined });
    assert.deepEqual(await namesOf('?limit=3'), { names: ['list a', 'list b', 'list c'], next: 'list c' });
    assert.deepEqual(await namesOf('?limit=3&after=list%20c'), { names: ['list d'], next: undefined });
    assert.deepEqual(await namesOf('?limit=4'), { names: ['list a', 'list b', 'list c', 'list d'], next: undefined });
    assert.deepEqual(await namesOf('?after=zzz'), { names: [], next: undefined });
  });

  test('goes on after a name of any letters, however long', async () => {
    const name = await made(`${'z'.repeat(100)}${'🕰'.repeat(100)}`);
    assert.equal((await namesOf('?limit=4')).next, 'list d');
    assert.deepEqual(await namesOf('?after=list%20d'), { names: [name], next: undefined });
    assert.deepEqual(await namesOf(`?after=${encodeURIComponent(name)}`), { names: [], next: undefined });
  });
});

describe('one job', () => {
  test('is shown as it is written down, and what became of that', async () => {
    await made('one', { remark: 'mine', timeout: '90s', retry: { delay: '2s' } });
    const row = await jobNow(doors, 'one');
    assert.deepEqual(await v1('GET', '/jobs/one'), {
      status: 200,
      json: {
        id: row.id,
        name: 'one',
        remark: 'mine',
        expr: '0/5 * * * * *',
        timezone: 'UTC',
        enabled: true,
        command: { type: 'shell', target: 'echo hello' },
        retry: { max_attempts: 3, delay: '2s', max_delay: '5m', factor: 2, jitter: 0.2 },
        timeout: '1m30s',
        log: true,
        on_lost: 'fail',
        overlap: 'skip',
        misfire: 'once',
        max_catchup: 100,
        max_queued: 1000,
        source: 'api',
        next_due_at: row.nextDueAt?.toISOString(),
        ended_at: null,
        paused_at: null,
        pause_note: null,
        fault: null,
        revision: 1,
        created_at: row.createdAt.toISOString(),
        updated_at: row.updatedAt.toISOString(),
      },
    });
  });

  const names = ['a/b', '../..', '100%', 'a%2Fb', '%41', 'what?', '#1', 'a+b', 'größer', '日本', '<script>alert(1)</script>', '"', '\\'];
  for (const name of names) {
    test(`is found by its name in the path, percent-encoded: ${name}`, async () => {
      await made(name);
      const { status, json } = await v1('GET', `/jobs/${encodeURIComponent(name)}`);
      assert.deepEqual([status, json['name']], [200, name]);
      assert.equal((await v1('DELETE', `/jobs/${encodeURIComponent(name)}`)).status, 204);
    });
  }

  test('that is none is 404, whatever is asked of it', async () => {
    const expected = { status: 404, json: { error: 'not_found', message: 'job not found: "nobody"' } };
    for (const [method, path] of [
      ['GET', ''],
      ['DELETE', ''],
      ['POST', '/enable'],
      ['POST', '/disable'],
      ['POST', '/trigger'],
    ] as const) {
      assert.deepEqual(await v1(method, `/jobs/nobody${path}`), expected);
    }
  });
});

describe('a job that is deleted', () => {
  test('is gone, its runs stay, and its name is free for another', async () => {
    const job = await placeJob(doors);
    const [run] = await fire(doors, job, { reason: 'missed' });
    assert.ok(run);
    assert.deepEqual(await v1('DELETE', `/jobs/${job.name}`), { status: 204, json: {} });
    assert.equal((await v1('GET', `/jobs/${job.name}`)).status, 404);
    assert.equal((await v1('DELETE', `/jobs/${job.name}`)).status, 404);
    assert.equal((await v1('POST', `/jobs/${job.name}/trigger`)).status, 404);
    assert.equal((await runNow(doors, run.id)).jobName, job.name);
    await made(job.name);
    assert.notEqual((await jobNow(doors, job.name)).id, job.id);
    assert.ok(doors.lines.some((line) => line.msg === 'deleted_job' && line['job'] === job.name));
  });
});

describe('a job that is switched', () => {
  test('off is due no more, and on again is due from now on', async () => {
    await made('switched');
    const off = await v1('POST', '/jobs/switched/disable');
    assert.deepEqual([off.status, off.json['enabled'], off.json['next_due_at']], [200, false, null]);
    const on = await v1('POST', '/jobs/switched/enable');
    assert.deepEqual([on.status, on.json['enabled']], [200, true]);
    assert.ok(new Date(String(on.json['next_due_at'])) > doors.clock.now());
  });

  test('to what it is already stays as it is', async () => {
    await made('still');
    const before = await jobNow(doors, 'still');
    assert.equal((await v1('POST', '/jobs/still/enable')).status, 200);
    assert.deepEqual(await jobNow(doors, 'still'), before);
  });
});

describe('a job that is paused', () => {
  test('says since when and why, and is due as before', async () => {
    await made('paused');
    const { json } = await v1('POST', '/jobs/paused/pause', { note: 'the disk is full' });
    const { paused_at, pause_note, next_due_at } = json;
    assert.deepEqual([paused_at, pause_note], [doors.clock.now().toISOString(), 'the disk is full']);
    assert.equal(next_due_at, (await jobNow(doors, 'paused')).nextDueAt?.toISOString());
    const again = await v1('POST', '/jobs/paused/pause', { note: 'another' });
    assert.equal(again.json['pause_note'], 'the disk is full');
  });

  test('goes on when it is resumed', async () => {
    const { status, json } = await v1('POST', '/jobs/paused/resume');
    assert.deepEqual([status, json['paused_at'], json['pause_note']], [200, null, null]);
  });

  test('is not found under a name that no job has', async () => {
    assert.equal((await v1('POST', '/jobs/nobody/pause')).status, 404);
    assert.equal((await v1('POST', '/jobs/nobody/resume')).status, 404);
  });
});

describe('a job that is triggered', () => {
  test('has a run at once, under the trace of the request', async () => {
    await made('triggered');
    const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
    const headers = { traceparent: `00-${traceId}-00f067aa0ba902b7-01` };
    const answer = await ask('/v1/jobs/triggered/trigger', undefined, { headers });
    assert.equal(answer.status, 202);
    const { id } = (await answer.json()) as { id: number };
    const { jobName, cause, state, traceId: ofRun } = await runNow(doors, id);
    assert.deepEqual({ jobName, cause, state, ofRun }, { jobName: 'triggered', cause: 'manual', state: 'queued', ofRun: traceId });
  });

  test('runs also when it is switched off', async () => {
    await made('off', { enabled: false });
    assert.equal((await v1('POST', '/jobs/off/trigger')).status, 202);
  });

  test('has no second run beside one that is not at its end, unless that is asked for', async () => {
    await made('busy');
    const first = await v1('POST', '/jobs/busy/trigger');
    const second = await v1('POST', '/jobs/busy/trigger');
    assert.deepEqual([second.status, second.json['error']], [409, 'conflict']);
    assert.match(String(second.json['message']), /^job busy has a run that is not at its end; .* add "override": true$/);
    const beside = await v1('POST', '/jobs/busy/trigger', { override: true });
    assert.equal(beside.status, 202);
    const me = await placeNode(doors, 'node a');
    for (const { id } of [first.json, beside.json] as { id: number }[]) {
      const [run] = await claim(doors, [id], me);
      if (run) await doors.runs.record(outcome(run));
    }
    assert.equal((await runNow(doors, Number(beside.json['id']))).state, 'succeeded');
  });
});

describe('a call that is none', () => {
  for (const [method, path] of [
    ['GET', '/v1'],
    ['GET', '/v1/'],
    ['GET', '/v1/nothing'],
    ['PUT', '/v1/jobs'],
    ['POST', '/v1/jobs'],
    ['OPTIONS', '/v1/jobs'],
    ['PATCH', '/v1/jobs/x'],
    ['GET', '/v1/jobs/x/trigger'],
    ['POST', '/v1/jobs/x/nothing'],
    ['PROPFIND', '/v1/jobs/x'],
    ['POST', '/'],
    ['GET', '/nothing'],
    ['POST', '/createjob'],
    ['POST', '/createJob/'],
    ['POST', '//createJob'],
    ['POST', '/v1/createJob'],
  ] as const) {
    test(`is 404 and says so: ${method} ${path}`, async () => {
      const answer = await doors.app.request(`http://localhost${path}`, { method, headers: { host: 'localhost' } });
      const json = await answer.json();
      assert.deepEqual([answer.status, json], [404, { error: 'not_found', message: `no such call: ${method} "${path}"` }]);
    });
  }

  test('is answered without a body where only the head was asked for', async () => {
    await made('head');
    for (const [path, status] of [
      ['/v1/jobs', 200],
      ['/v1/jobs/head', 200],
      ['/v1/jobs/nobody', 404],
      ['/v1/nothing', 404],
    ] as const) {
      const answer = await ask(path, undefined, { method: 'HEAD' });
      assert.deepEqual([answer.status, await answer.text()], [status, '']);
    }
  });
});
