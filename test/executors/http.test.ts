import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { ask, httpHere, type Routes, serve } from './subjects.ts';
import { attempt, dueAt, limit, traceparent } from './support.ts';
import { fault } from '../support/faults.ts';

const http = httpHere();

describe('an HTTP command', limit, () => {
  test('sends what it says, and who it is', async (t) => {
    const server = await serve(t, { '/hook?a=b%20c': (_, answer) => answer.end() });
    await attempt(http, {
      type: 'http',
      method: 'put',
      target: `${server.url}/hook?a=b c#part`,
      headers: { 'X-Key': 'k', Accept: 'text/plain' },
      body: { deep: [1, 'ä'] },
    });
    const [seen] = server.seen;
    assert.deepEqual([seen?.method, seen?.body], ['PUT', '{"deep":[1,"ä"]}']);
    const { host: _, connection: __, ...headers } = seen?.headers ?? {};
    assert.deepEqual(headers, {
      'user-agent': 'Belfry/test',
      'accept-encoding': 'identity',
      'content-type': 'application/json',
      'content-length': '17',
      'x-key': 'k',
      accept: 'text/plain',
      'idempotency-key': `nightly:${dueAt.toISOString()}`,
      traceparent,
      'x-belfry-job': 'nightly',
      'x-belfry-run-id': '42',
      'x-belfry-attempt': '2',
      'x-belfry-due-at': dueAt.toISOString(),
    });
  });

  test('may say who it is, and what its body is, itself', async (t) => {
    const server = await serve(t, {});
    await attempt(http, {
      type: 'http',
      method: 'POST',
      target: server.url,
      headers: { 'User-Agent': 'me', 'Content-Type': 'x/y' },
      body: {},
    });
    assert.deepEqual([server.seen[0]?.headers['user-agent'], server.seen[0]?.headers['content-type']], ['me', 'x/y']);
  });

  test('has a job name of any letters percent-encoded', async (t) => {
    const server = await serve(t, {});
    await attempt(http, { type: 'http', target: server.url }, { job: 'nächtlich €\n', idempotencyKey: 'ä' });
    assert.equal(server.seen[0]?.headers['x-belfry-job'], 'n%C3%A4chtlich%20%E2%82%AC%0A');
    assert.equal(server.seen[0]?.headers['idempotency-key'], '%C3%A4');
  });

  test('is answered with status, body and size', async (t) => {
    const { status, result } = await ask(t, (_, answer) => answer.writeHead(201).end('mäde'));
    assert.equal(status, 201);
    assert.deepEqual(result, { status: 201, body: 'mäde', size: 5, err: '<nil>' });
  });

  test('is answered with title and summary of a page', async (t) => {
    const page = '<!doctype html><title>Shop &amp; more</title><script>var a = "<p>";</script><p>All <b>is</b> well</p>';
    const { result } = await ask(t, (_, answer) => answer.setHeader('content-type', 'text/html').end(page));
    assert.deepEqual([result['title'], result['summary']], ['Shop & more', 'All is well']);
  });

  for (const method of ['GET', 'HEAD']) {
    test(`succeeds without a body: ${method}`, async (t) => {
      const answered = await ask(t, (_, answer) => answer.writeHead(method === 'GET' ? 204 : 200, { 'content-encoding': 'gzip' }).end(), {
        method,
      });
      assert.deepEqual([answered.outcome, answered.result['body'], answered.result['size']], ['succeeded', '', 0]);
    });
  }
});

describe('what an HTTP command expects', limit, () => {
  test('is any 2xx, unless it says otherwise', async (t) => {
    const server = await serve(t, {
      '/503': (_, answer) => answer.writeHead(503).end(),
      '/302': (_, answer) => answer.writeHead(302, { location: '/503' }).end(),
    });
    const outcomes = async (path: string, expected: object) => {
      const { outcome, known, error } = await attempt(http, { type: 'http', target: server.url + path, ...expected });
      return [outcome, known, error];
    };
    assert.deepEqual(await outcomes('/503', {}), ['failed', true, 'unexpected status 503']);
    assert.deepEqual(await outcomes('/302', {}), ['failed', true, 'unexpected status 302']);
    assert.deepEqual(await outcomes('/503', { expect_status: [200, '5xx'] }), ['succeeded', true, undefined]);
    assert.deepEqual(await outcomes('/503', { expect_status: 503 }), ['succeeded', true, undefined]);
    assert.deepEqual(await outcomes('/302', { expect_status: [200] }), ['failed', true, 'unexpected status 302']);
  });

  test('may be found in the body', async (t) => {
    const answer: Routes[string] = (_, response) => response.end('{"health": "green"}');
    assert.equal((await ask(t, answer, { expect_body: '"health":\\s*"green"' })).outcome, 'succeeded');
    const { outcome, known, error } = await ask(t, answer, { expect_body: '"health":\\s*"red"' });
    assert.deepEqual([outcome, known, error], ['failed', true, 'body does not match /"health":\\s*"red"/']);
  });

  test('is looked for in all of the body that is read, also where it is not kept', async (t) => {
    const answer: Routes[string] = (_, response) => response.end(`${'x'.repeat(500_000)}needle${'x'.repeat(500_000)}`);
    const { outcome, result } = await ask(t, answer, { expect_body: 'needle' });
    assert.deepEqual([outcome, String(result['body']).includes('needle')], ['succeeded', false]);
  });

  test('cannot hang the service by a catastrophic pattern', async (t) => {
    const { outcome, error } = await ask(t, (_, answer) => answer.end(`${'a'.repeat(100)}!`), { expect_body: '^(a+)+$' });
    assert.deepEqual([outcome, error], ['failed', 'expect_body: /^(a+)+$/ took too long']);
  });
});

describe('an HTTP answer', limit, () => {
  test('that asks to wait is heard: in seconds, and until a date', async (t) => {
    const seconds = await ask(t, (_, answer) => answer.writeHead(429, { 'retry-after': '7' }).end());
    assert.equal(seconds.retryAfterMs, 7000);
    const headers = { date: 'Sun, 29 Mar 2026 01:30:00 GMT', 'retry-after': 'Sun, 29 Mar 2026 01:31:00 GMT' };
    const date = await ask(t, (_, answer) => answer.writeHead(503, headers).end());
    assert.equal(date.retryAfterMs, 60_000);
    const nonsense = await ask(t, (_, answer) => answer.writeHead(503, { 'retry-after': '-1' }).end());
    assert.equal(nonsense.retryAfterMs, undefined);
  });

  fault({ fault: 'an endless body', seen: 'it is read up to the limit, kept in part, and judged by its status' }, async (t) => {
    const { outcome, result } = await ask(t, (_, answer) => {
      const fill = (): void => void (answer.write('y'.repeat(65_536)) && setImmediate(fill));
      answer.on('drain', fill);
      fill();
    });
    assert.equal(outcome, 'succeeded');
    assert.deepEqual([result['size'], result['cut'], result['whole']], [1024 * 1024, 768 * 1024, false]);
    assert.match(String(result['body']), /^y+\n… 786432 bytes left out …\ny+\n… not read on after 1048576 bytes …\n$/);
  });

  fault({ fault: 'a gzip bomb', seen: 'it is unpacked up to the limit, and judged by its status' }, async (t) => {
    const bomb = gzipSync(Buffer.alloc(100_000_000));
    const { outcome, result } = await ask(t, (_, answer) => answer.setHeader('content-encoding', 'gzip').end(bomb));
    assert.deepEqual([outcome, result['size'], result['whole']], ['succeeded', 1024 * 1024, false]);
  });

  test('that is compressed unasked is read', async (t) => {
    const { result } = await ask(t, (_, answer) => answer.setHeader('content-encoding', 'gzip').end(gzipSync('plain')));
    assert.deepEqual([result['body'], result['size']], ['plain', 5]);
  });

  test('that says it is compressed and is not has failed, its effect unknown', async (t) => {
    const { outcome, known, error } = await ask(t, (_, answer) => answer.setHeader('content-encoding', 'gzip').end('plain'));
    assert.deepEqual([outcome, known, error], ['failed', false, 'the answer broke off after 0 bytes: incorrect header check']);
  });

  fault({ fault: 'an answer that drips', seen: 'the attempt ends at its timeout, its effect unknown' }, async (t) => {
    const server = await serve(t, {
      '/': (_, answer) => {
        const drip = setInterval(() => answer.write('.'), 5);
        answer.on('close', () => clearInterval(drip));
      },
    });
    const { outcome, known, result } = await attempt(http, { type: 'http', target: server.url }, { timeoutMs: 1000 });
    assert.deepEqual([outcome, known, result['status']], ['timed_out', false, 200]);
    assert.match(String(result['body']), /^\.+$/);
  });

  test('that is refused while it drips is a known failure', async (t) => {
    const server = await serve(t, { '/': (_, answer) => answer.writeHead(500).write('.') });
    const { outcome, known, status } = await attempt(http, { type: 'http', target: server.url }, { timeoutMs: 1000 });
    assert.deepEqual([outcome, known, status], ['timed_out', true, 500]);
  });

  test('that breaks off has failed, its effect unknown', async (t) => {
    const { outcome, known, error, result } = await ask(t, (_, answer) => {
      answer.write('part', () => answer.socket?.resetAndDestroy());
    });
    assert.deepEqual([outcome, known, result['body'], result['status']], ['failed', false, 'part', 200]);
    assert.match(error ?? '', /^the answer broke off after 4 bytes: /);
  });

  test('with an endless head is none', async (t) => {
    const { outcome, known, error } = await ask(t, (_, answer) => answer.setHeader('x-long', 'y'.repeat(100_000)).end());
    assert.deepEqual([outcome, known, error], ['failed', false, 'no answer: Headers Overflow Error']);
  });

  test('that is no HTTP is none', async (t) => {
    const server = createServer((socket) => socket.on('error', () => undefined).end('SSH-2.0-OpenSSH\r\n')).listen(0, '127.0.0.1');
    t.after(() => server.close());
    await once(server, 'listening');
    const { outcome, known, status } = await attempt(http, {
      type: 'http',
      target: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    });
    assert.deepEqual([outcome, known, status], ['failed', false, undefined]);
  });
});

describe('an HTTP request without answer', limit, () => {
  test('is of unknown effect once it was sent', async (t) => {
    const lost = await ask(t, (request) => request.socket.resetAndDestroy());
    assert.deepEqual([lost.outcome, lost.known, lost.result['status'], lost.result['body']], ['failed', false, 0, '']);
    assert.match(lost.error ?? '', /^no answer: /);
    const server = await serve(t, { '/': () => undefined });
    const stop = new AbortController();
    const arrived = server.next();
    const stopped = attempt(http, { type: 'http', target: server.url }, { signal: stop.signal });
    await arrived;
    stop.abort('interrupted');
    assert.deepEqual([(await stopped).outcome, (await stopped).known], ['failed', false]);
  });

  fault({ fault: 'a server that never answers (slow-loris)', seen: 'the attempt ends at its timeout, its effect unknown' }, async (t) => {
    const server = await serve(t, { '/': () => undefined, '/head': (_, answer) => answer.socket?.write('HTTP/1.1 200 OK\r\nx-one: ') });
    for (const path of ['/', '/head']) {
      const slow = await attempt(http, { type: 'http', target: `${server.url}${path}` }, { timeoutMs: 1000 });
      assert.deepEqual([slow.outcome, slow.known, slow.status], ['timed_out', false, undefined]);
    }
  });

  test('is known to have done nothing when nobody listened', async () => {
    const { outcome, known, error } = await attempt(http, { type: 'http', target: 'http://127.0.0.1:1/' });
    assert.deepEqual([outcome, known, error], ['failed', true, 'cannot connect: connect ECONNREFUSED 127.0.0.1:1']);
  });

  test('is known to have done nothing when the name does not resolve', async () => {
    const { outcome, known, error } = await attempt(http, { type: 'http', target: 'http://nowhere.invalid/' });
    assert.deepEqual([outcome, known], ['failed', true]);
    assert.match(error ?? '', /^cannot connect: getaddrinfo E\w+ nowhere\.invalid$/);
  });

  test('is known to have done nothing when the other side speaks no TLS', async (t) => {
    const server = await serve(t, {});
    const { outcome, known, error } = await attempt(http, { type: 'http', target: `https://127.0.0.1:${server.port}/` });
    assert.deepEqual([outcome, known, error], ['failed', true, 'cannot connect: TLS: wrong version number']);
  });

  test('is known to have done nothing when it timed out or was cancelled while connecting', async (t) => {
    // Accepts connections and never says a word: the TLS handshake hangs.
    const server = createServer().listen(0, '127.0.0.1');
    t.after(() => server.close());
    await once(server, 'listening');
    server.on('connection', (socket) => t.after(() => socket.destroy()));
    const target = `https://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const slow = await attempt(http, { type: 'http', target }, { timeoutMs: 100 });
    assert.deepEqual([slow.outcome, slow.known], ['timed_out', true]);
    const stop = new AbortController();
    const connected = once(server, 'connection');
    const stopped = attempt(http, { type: 'http', target }, { signal: stop.signal });
    await connected;
    stop.abort('cancelled');
    assert.deepEqual([(await stopped).outcome, (await stopped).known], ['cancelled', true]);
  });
});
