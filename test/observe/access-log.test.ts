// The access log has one line of each request, however that ended, and nothing in it that is not for everybody's eyes.

import assert from 'node:assert/strict';
import test, { beforeEach, describe } from 'node:test';
import { Hono } from 'hono';
import type { DoorEnv } from '../../src/api/wire.ts';
import { makeApp } from '../../src/server.ts';
import { httpDefaults, openTestDoors, sample, type Envelope } from '../support/doors.ts';
import { standingClock } from '../support/clock.ts';
import { keptLog } from '../support/log.ts';

const { ask, app, lines } = await openTestDoors(test, { bodyLimitBytes: 10_000 });
const secret = 'hunter2-correct-horse';

beforeEach(() => {
  lines.length = 0;
});

function accesses(): unknown[][] {
  return lines.filter(({ msg }) => msg === 'accesslog_http').map(({ level, method, path, status }) => [level, method, path, status]);
}

describe('the access log', () => {
  test('has method, path, status and milliseconds of a request, under its trace', async () => {
    const answer = await ask('/ping', undefined, { method: 'GET' });
    const [{ time, ...line } = { time: undefined }] = lines;
    assert.ok(time !== undefined);
    assert.deepEqual(line, {
      level: 30,
      trace_id: answer.headers.get('x-trace-id'),
      method: 'GET',
      path: '/ping',
      status: 200,
      ms: 0,
      msg: 'accesslog_http',
    });
  });

  test('says how long it took, to the microsecond', async () => {
    const clock = standingClock();
    const kept = keptLog();
    const slow = new Hono<DoorEnv>().get('/slow', (c) => {
      clock.pass(12.3456789);
      return c.text('done');
    });
    const own = makeApp({ clock, log: kept.log, http: httpDefaults, seed: slow, v1: new Hono<DoorEnv>() });
    await own.request('/slow', { headers: { host: 'localhost' } });
    assert.equal(kept.lines[0]?.['ms'], 12.346);
  });

  test('has what was refused, too', async () => {
    await ask('/createJob', '{');
    await ask('/createJob', sample(''));
    await ask('/createJob', 'x'.repeat(10_001));
    await ask('/nothing');
    await ask('/v1/jobs/nobody', undefined, { method: 'GET' });
    await ask('/v1/jobs?limit=0', undefined, { method: 'GET' });
    await app.request('/createJob', { method: 'PUT', headers: { host: 'evil.example' } });
    assert.deepEqual(
      accesses(),
      [
        ['POST', '/createJob', 200],
        ['POST', '/createJob', 200],
        ['POST', '/createJob', 413],
        ['POST', '/nothing', 404],
        ['GET', '/v1/jobs/nobody', 404],
        ['GET', '/v1/jobs', 400],
        ['PUT', '/createJob', 403],
      ].map((line) => [30, ...line]),
    );
  });

  test('has nothing of a body, a header or a query, wherever the request fails', async () => {
    const headers = { authorization: `Bearer ${secret}`, cookie: `session=${secret}`, 'x-secret': secret, referer: `http://x/${secret}` };
    const command = { type: 'shell', target: `echo ${secret}`, env: { TOKEN: secret } };
    const bodies = [
      sample('discreet', { command }),
      sample('discreet', { command }),
      sample('discreet too', { command: { ...command, env: { TOKEN: `${secret}\0` } } }),
      sample('discreet too', { command: { type: 'http', target: `http://me:${secret}@example.org/` } }),
      sample('discreet too', { command: { type: 'http', target: 'http://example.org/', headers: { authorization: `${secret}\r\n` } } }),
      `{"name": "x", "secret": ${secret}}`,
      `${secret} ${secret}`,
      `name=${secret}`,
    ];
    for (const body of bodies) await ask(`/createJob?token=${secret}`, body, { headers });
    await ask(`/v1/jobs?limit=${secret}`, undefined, { method: 'GET', headers });
    await ask('/createJob', bodies[0], { headers: { ...headers, origin: `https://${secret}.example` } });
    assert.equal(accesses().length, bodies.length + 2);
    assert.ok(!JSON.stringify(lines).includes(secret));
  });

  test('has no more than the beginning of a very long path, and nothing in it that could move a terminal', async () => {
    await ask(`/${'x'.repeat(10_000)}`);
    await ask('/%1b%5b31m%0d%0a%e2%80%ae');
    const [[, , long] = [], [, , strange] = []] = accesses();
    assert.equal(String(long).length, 500);
    assert.ok(!/[\p{Cc}\p{Cf}]/u.test(String(strange)), JSON.stringify(strange));
  });
});

describe('a fault of ours', async () => {
  const broken = await openTestDoors(test);
  await broken.database.sql`drop schema belfry cascade`;

  test('is answered with status 500 and nothing of the inside', async () => {
    const answer = await broken.ask('/createJob', sample('never'));
    const { currentTime: _, ...envelope } = (await answer.json()) as Envelope;
    assert.deepEqual([answer.status, envelope], [500, { code: -10001, message: 'internal error', data: {} }]);
    const { status, json } = await broken.v1('GET', '/jobs');
    assert.deepEqual([status, json], [500, { error: 'internal', message: 'internal error' }]);
    assert.equal((await broken.ask('/ping')).status, 200);
  });

  test('is told once in the log, beside the access, under the trace of the request', async () => {
    broken.lines.length = 0;
    const answer = await broken.ask('/listJobRecord');
    const traceId = answer.headers.get('x-trace-id');
    assert.ok(traceId);
    assert.deepEqual(
      broken.lines.map((line) => [line['level'], line.msg, line['trace_id'], line['status']]),
      [
        [50, 'request_failed', traceId, undefined],
        [30, 'accesslog_http', traceId, 500],
      ],
    );
  });

  test('is one also when what is thrown is no error', async () => {
    const { log, lines: told } = keptLog();
    const thrower = new Hono<DoorEnv>().all('/createJob', () => {
      throw secret;
    });
    const own = makeApp({ clock: standingClock(), log, http: httpDefaults, seed: thrower, v1: new Hono<DoorEnv>() });
    const answer = await own.request('/createJob', { headers: { host: 'localhost' } });
    assert.equal(answer.status, 500);
    assert.equal(answer.headers.get('x-trace-id'), told[0]?.['trace_id']);
    assert.equal(((await answer.json()) as Envelope).code, -10001);
    assert.deepEqual(
      told.map(({ msg, status }) => [msg, status]),
      [
        ['request_failed', undefined],
        ['accesslog_http', 500],
      ],
    );
  });
});
