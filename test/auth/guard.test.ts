// Who may come in: programs of this machine, and not what its browsers are told by pages from elsewhere.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { openTestDoors, sample } from '../support/doors.ts';

const { app, jobs, lines } = await openTestDoors(test, { hosts: ['belfry.lan', 'cron.example.org'] });

/** Asks with just these headers. */
async function statusOf(path: string, headers: Record<string, string>, method = 'GET'): Promise<number> {
  return (await app.request(path, { method, headers })).status;
}

async function refusalOf(headers: Record<string, string>): Promise<string> {
  const answer = await app.request('/v1/jobs', { headers });
  const { error, message } = (await answer.json()) as { error: string; message: string };
  assert.deepEqual([answer.status, error], [403, 'not_allowed']);
  return message;
}

const here = { host: '127.0.0.1:9000' };

describe('a call from elsewhere', () => {
  // Every route with a method and a path that reach it.
  const reached = app.routes
    .filter(({ path }) => path !== '/*')
    .map(({ method, path }) => ({ method: method === 'ALL' ? 'POST' : method, path: path.replace(':name', 'some-job') }));
  const foreign: Record<string, Record<string, string>> = {
    'a foreign Host': { host: 'evil.example:9000' },
    'no Host': {},
    'a foreign Origin': { ...here, origin: 'https://evil.example' },
    'the Origin null': { ...here, origin: 'null' },
    'another site': { ...here, 'sec-fetch-site': 'cross-site' },
    'another host of the same site': { ...here, 'sec-fetch-site': 'same-site' },
  };
  for (const [what, headers] of Object.entries(foreign)) {
    test(`with ${what} is refused on every route`, async () => {
      assert.ok(reached.length >= 10);
      for (const { method, path } of reached) assert.equal(await statusOf(path, headers, method), 403, `${method} ${path}`);
      assert.equal(await statusOf('/no-such-call', headers), 403);
    });
  }

  test('is told what was expected and what came', async () => {
    assert.equal(
      await refusalOf({ host: 'evil.example' }),
      'Host: expected this machine (localhost, 127.0.0.1) or a name listed in transport.http.hosts, got "evil.example"',
    );
    assert.match(await refusalOf({}), /^Host: expected .*, got nothing$/);
    assert.equal(await refusalOf({ ...here, origin: 'null' }), 'Origin: expected no call from a web page of another origin, got "null"');
    assert.equal(
      await refusalOf({ ...here, 'sec-fetch-site': 'same-site' }),
      'Sec-Fetch-Site: expected no call from a web page of another site, got "same-site"',
    );
  });

  test('that is a form of another site does not make a job, as a browser sends it', async () => {
    const answer = await app.request('/createJob', {
      method: 'POST',
      headers: {
        host: '127.0.0.1:9000',
        'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0',
        accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8',
        'content-type': 'text/plain',
        origin: 'https://evil.example',
        referer: 'https://evil.example/',
        'upgrade-insecure-requests': '1',
        'sec-fetch-dest': 'document',
        'sec-fetch-mode': 'navigate',
        'sec-fetch-site': 'cross-site',
        'sec-fetch-user': '?1',
      },
      body: JSON.stringify(sample('forged')),
    });
    const { code } = (await answer.json()) as { code: number };
    assert.deepEqual({ status: answer.status, code }, { status: 403, code: -10 });
    assert.equal(await jobs.byName('forged'), undefined);
  });

  test('by a page whose name was pointed at this machine is refused, though to the browser it is the same origin', async () => {
    const headers = { host: 'rebound.example:9000', origin: 'http://rebound.example:9000', 'sec-fetch-site': 'same-origin' };
    assert.equal(await statusOf('/createJob', headers, 'POST'), 403);
  });

  test('is refused before its body is read', async () => {
    const headers = { ...here, origin: 'null', 'content-length': '99999999999' };
    assert.equal(await statusOf('/createJob', headers, 'POST'), 403);
  });

  test('is in the access log', async () => {
    lines.length = 0;
    await statusOf('/createJob', { host: 'evil.example' }, 'POST');
    assert.deepEqual(
      lines.map(({ msg, method, path, status }) => ({ msg, method, path, status })),
      [{ msg: 'accesslog_http', method: 'POST', path: '/createJob', status: 403 }],
    );
  });
});

describe('a Host', () => {
  for (const host of [
    'localhost',
    'localhost:9000',
    'LocalHost:80',
    '127.0.0.1',
    '127.0.0.1:65535',
    '127.8.9.10:9000',
    '[::1]',
    '[::1]:9000',
  ]) {
    test(`of this machine may come in: ${host}`, async () => assert.equal(await statusOf('/ping', { host }), 200));
  }

  for (const host of ['belfry.lan', 'BELFRY.lan:9000', 'cron.example.org:443']) {
    test(`that is configured may come in: ${host}`, async () => assert.equal(await statusOf('/ping', { host }), 200));
  }

  const others = [
    '',
    'evil.example',
    'localhost.evil.example',
    'evil.example#localhost',
    'localhost@evil.example',
    'evil.example:80@localhost',
    'localhost:9000:9000',
    'localhost:',
    'localhost:123456',
    'localhost/',
    'localhost, evil.example',
    '127.0.0.1, 127.0.0.1',
    '127.0.0.1.evil.example',
    'belfry.lan.',
    'sub.belfry.lan',
    '0.0.0.0',
    '127.1',
    '0x7f000001',
    '2130706433',
    '[::ffff:127.0.0.1]',
    '[::]',
    '::1',
    '[::1',
    '[::1]evil.example',
    '192.168.1.7',
    `${'a'.repeat(8000)}.example`,
  ];
  for (const host of others) {
    test(`that is none of these is refused: ${host.slice(0, 30) || 'an empty one'}`, async () => {
      assert.equal(await statusOf('/ping', { host }), 403);
    });
  }
});

describe('a page', () => {
  const same = [
    ['127.0.0.1:9000', 'http://127.0.0.1:9000'],
    ['localhost', 'http://localhost'],
    ['LOCALHOST:9000', 'http://localhost:9000'],
    ['[::1]:9000', 'http://[::1]:9000'],
    ['belfry.lan', 'https://belfry.lan'],
  ] as const;
  for (const [host, origin] of same) {
    test(`of ${origin} may call ${host}`, async () => {
      assert.equal(await statusOf('/ping', { host, origin, 'sec-fetch-site': 'same-origin' }), 200);
    });
  }

  const other = [
    ['127.0.0.1:9000', 'http://127.0.0.1:9001'],
    ['127.0.0.1:9000', 'http://127.0.0.1'],
    ['127.0.0.1:9000', 'http://localhost:9000'],
    ['[::1]:9000', 'http://[::2]:9000'],
    ['belfry.lan', 'https://belfry.lan:8443'],
    ['belfry.lan', 'https://cron.example.org'],
    ['localhost:9000', 'file://localhost:9000'],
    ['localhost:9000', 'localhost:9000'],
    ['localhost:9000', 'http://localhost:9000/'],
    ['localhost:9000', 'http://localhost:9000 http://localhost:9000'],
    ['localhost:9000', ''],
  ] as const;
  for (const [host, origin] of other) {
    test(`of ${origin || 'an empty origin'} may not call ${host}`, async () =>
      assert.equal(await statusOf('/ping', { host, origin }), 403));
  }

  test('that a person opened by its address may be read', async () => {
    assert.equal(await statusOf('/', { ...here, 'sec-fetch-site': 'none', 'sec-fetch-mode': 'navigate' }), 200);
  });

  test('asks in vain whether it may call from another origin', async () => {
    const preflight = { ...here, origin: 'https://evil.example', 'access-control-request-method': 'POST', 'sec-fetch-site': 'cross-site' };
    const answer = await app.request('/createJob', { method: 'OPTIONS', headers: preflight });
    assert.equal(answer.status, 403);
    assert.equal(answer.headers.get('access-control-allow-origin'), null);
  });
});

describe('a call that a job makes', () => {
  const byJob = { ...here, 'x-belfry-run-id': '42' };

  test('is refused wherever it goes, and told why, and nothing is done', async () => {
    const reached = app.routes.filter(({ path }) => path !== '/*' && !['/ping', '/healthz', '/readyz', '/metrics'].includes(path));
    assert.ok(reached.length > 10);
    for (const { method, path } of reached) {
      const answer = await app.request(path.replace(':name', 'some-job'), { method: method === 'ALL' ? 'POST' : method, headers: byJob });
      assert.equal(answer.status, 403, `${method} ${path}`);
    }
    const body = JSON.stringify(sample('by a job'));
    const answer = await app.request('/createJob', { method: 'POST', headers: byJob, body });
    const { code, message } = (await answer.json()) as { code: number; message: string };
    assert.deepEqual([answer.status, code], [403, -10]);
    assert.equal(
      message,
      'X-Belfry-Run-Id: a job may not call Belfry itself, but for /ping, /healthz, /readyz, /metrics; got a call of run "42"',
    );
    assert.equal(await jobs.byName('by a job'), undefined);
  });

  test('is refused also with an empty mark, or another spelling of it', async () => {
    for (const mark of ['x-belfry-run-id', 'X-BELFRY-RUN-ID'])
      for (const value of ['', '0', 'x']) assert.equal(await statusOf('/v1/jobs', { ...here, [mark]: value }), 403);
  });

  test('may ask whether Belfry is there', async () => {
    for (const path of ['/ping', '/healthz', '/readyz']) assert.equal(await statusOf(path, byJob), 200);
    for (const path of ['/ping/', '//ping', '/ping/../createJob', '/PING']) assert.equal(await statusOf(path, byJob), 403);
  });
});
