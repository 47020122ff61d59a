// The calls that users already have, as their scripts make them.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { openTestDoors, sample, type Envelope } from '../support/doors.ts';
import { jobNow, placeJob, queueRuns } from '../support/jobs.ts';

const doors = await openTestDoors(test);
const { ask, call, clock } = doors;

/** The ids of the records in an answer. */
function idsIn({ code, message, data }: Envelope<{ id: number }[]>): number[] {
  assert.equal(code, 0, message);
  return data.map(({ id }) => id);
}

describe('the envelope', () => {
  test('has its keys in order, seconds, and a content type with a charset', async () => {
    const answer = await ask('/createJob', sample('envelope'));
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get('content-type'), 'application/json; charset=utf-8');
    const { id } = await jobNow(doors, 'envelope');
    const now = clock.now().getTime() / 1000;
    assert.equal(await answer.text(), `{"code":0,"message":"success","currentTime":${now},"data":{"id":${id}}}`);
  });

  test('is the same of a refusal, with nothing in data and status 200', async () => {
    const answer = await ask('/getJobRecordResult', { recordId: 999_999 });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get('content-type'), 'application/json; charset=utf-8');
    const now = clock.now().getTime() / 1000;
    assert.equal(await answer.text(), `{"code":-4,"message":"record not found","currentTime":${now},"data":{}}`);
  });

  test('comes with status 403 and code -10 of what is not allowed', async () => {
    const answer = await ask('/listJobRecord', {}, { headers: { origin: 'https://evil.example' } });
    const { code, data } = (await answer.json()) as Envelope;
    assert.deepEqual({ status: answer.status, code, data }, { status: 403, code: -10, data: {} });
  });

  test('takes currentTime in whole seconds', async () => {
    clock.pass(1999);
    assert.equal((await call('/listJobRecord')).currentTime, Math.floor(clock.now().getTime() / 1000));
  });
});

describe('a request', () => {
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
    test(`may be a ${method}`, async () => {
      const answer = await ask('/createJob', sample(`by ${method}`), { method });
      assert.equal(((await answer.json()) as Envelope).code, 0);
      assert.equal((await jobNow(doors, `by ${method}`)).source, 'api');
    });
  }

  test('without a body asks for nothing in particular, also as a GET; what a query says is not heard', async () => {
    const runs = await queueRuns(doors, await placeJob(doors, { overlap: 'allow' }), 4);
    const newest = runs.slice(1).toReversed();
    for (const path of ['/listJobRecord', '/listJobRecord?size=1']) {
      const answer = await ask(path, undefined, { method: 'GET' });
      assert.deepEqual(idsIn((await answer.json()) as Envelope<{ id: number }[]>), newest);
    }
    assert.deepEqual(idsIn(await call('/listJobRecord', ' \n')), newest);
  });

  for (const type of ['application/x-www-form-urlencoded', 'text/plain', 'multipart/form-data; boundary=x', 'application/json', '?']) {
    test(`is JSON though its content type says ${type}`, async () => {
      const answer = await ask('/createJob', sample(`typed ${type}`), { headers: { 'content-type': type } });
      assert.equal(((await answer.json()) as Envelope).message, 'success');
    });
  }

  test('may have a byte order mark', async () => {
    assert.equal((await call('/createJob', `\ufeff${JSON.stringify(sample('marked'))}`)).message, 'success');
  });

  test('may write numbers as texts of digits', async () => {
    const job = await placeJob(doors, { overlap: 'allow' });
    const [first] = await queueRuns(doors, job, 3);
    assert.deepEqual(idsIn(await call('/listJobRecord', { name: job.name, page: '1', size: '2' })), [first]);
    assert.equal((await call('/getJobRecordResult', { recordId: String(first) })).code, 0);
    assert.equal((await call('/createJob', sample('digits', { retry: { max_attempts: '4' } }))).message, 'success');
    assert.equal((await jobNow(doors, 'digits')).retry['max_attempts'], 4);
  });
});

describe('/ping', () => {
  test('answers OK as plain text, by any method', async () => {
    for (const method of ['GET', 'POST', 'DELETE']) {
      const answer = await ask('/ping', undefined, { method });
      assert.equal(answer.status, 200);
      assert.match(answer.headers.get('content-type') ?? '', /^text\/plain; charset=utf-8$/i);
      assert.equal(await answer.text(), 'OK');
    }
  });
});

describe('/createJob', () => {
  test('stores the job before it answers, with every default, and says its id', async () => {
    const { data } = await call<{ id: number }>('/createJob', sample('stored'));
    const job = await jobNow(doors, 'stored');
    const { id, expr, timezone, enabled, command, source, nextDueAt } = job;
    assert.deepEqual(
      { id, expr, timezone, enabled, command, source },
      {
        id: data.id,
        expr: '0/5 * * * * *',
        timezone: 'UTC',
        enabled: true,
        command: { type: 'shell', target: 'echo hello' },
        source: 'api',
      },
    );
    assert.ok(nextDueAt && nextDueAt > clock.now());
  });

  test('takes every further field of a job', async () => {
    const further = {
      remark: 'every\nnight',
      timezone: 'Europe/Berlin',
      enabled: false,
      retry: { max_attempts: 5, delay: '30s', max_delay: '1h', factor: 3, jitter: 0.5, exit_codes: [1], statuses: [503, '4xx'] },
      timeout: '10m',
      log: false,
      on_lost: 'retry',
      overlap: 'wait',
      misfire: 'all',
      catchup_window: '2h',
      max_catchup: 7,
    };
    assert.equal((await call('/createJob', sample('further', further))).message, 'success');
    const { json } = await doors.v1('GET', '/jobs/further');
    const { id: _, ...shown } = json;
    assert.deepEqual({ ...shown, ...sample('further', further) }, shown);
  });

  test('takes an empty method with a shell command, as the oldest scripts send it', async () => {
    const command = { type: 'shell', method: '', target: 'true' };
    assert.equal((await call('/createJob', sample('methodless', { command }))).message, 'success');
  });

  test('answers code -5 of a name that is taken, and the job that has it stays as it is', async () => {
    await call('/createJob', sample('taken'));
    const before = await jobNow(doors, 'taken');
    const { code, message, data } = await call('/createJob', sample('taken', { expr: '@daily' }));
    assert.deepEqual({ code, message, data }, { code: -5, message: 'name: a job named "taken" exists already', data: {} });
    assert.deepEqual(await jobNow(doors, 'taken'), before);
  });

  test('under one name by many at once makes one job', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => call('/createJob', sample('contested'))));
    assert.deepEqual(
      answers.map(({ code }) => code).toSorted((a, b) => b - a),
      [0, ...Array.from({ length: 19 }, () => -5)],
    );
  });

  test('is told in the log, made or not, under the trace of the request', async () => {
    const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
    const headers = { traceparent: `00-${traceId}-00f067aa0ba902b7-01` };
    await ask('/createJob', sample('logged'), { headers });
    await ask('/createJob', sample('logged'), { headers });
    const job = await jobNow(doors, 'logged');
    const told = doors.lines
      .filter((line) => line['trace_id'] === traceId && line.msg.startsWith('add_'))
      .map((line) => [line.msg, line['job'] ?? line['fault'], line['id']]);
    assert.deepEqual(told, [
      ['add_httpcreate_job_successed', 'logged', job.id],
      ['add_httpcreate_job_failed', 'name: a job named "logged" exists already', undefined],
    ]);
    assert.equal(job.traceId, traceId);
  });
});
