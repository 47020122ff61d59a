// The server on real sockets: what no call without one shows.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import test, { after, describe } from 'node:test';
import { setInterval } from 'node:timers/promises';
import { Hono } from 'hono';
import type { DoorEnv } from '../src/api/wire.ts';
import type { Config } from '../src/config.ts';
import { Refusal } from '../src/errors.ts';
import { listen, makeApp, type Listening } from '../src/server.ts';
import { standingClock } from './support/clock.ts';
import { httpDefaults, openTestDoors, sample } from './support/doors.ts';
import { jobNow } from './support/jobs.ts';
import { keptLog } from './support/log.ts';

const limit = 10_000;
const doors = await openTestDoors(test, { bodyLimitBytes: limit });
const never = new AbortController().signal;

/** A connection to it; `answered` resolves with all that came once that is like this, `closed` when the other side has hung up. */
async function talkTo({ address }: Listening) {
  const { port, host } = new URL(address);
  const socket = connect(Number(port), '127.0.0.1');
  await once(socket, 'connect');
  let came = '';
  const closed = new Promise<string>((resolve) => socket.on('close', () => resolve(came)));
  socket.on('error', () => undefined);
  socket.on('data', (chunk) => (came += chunk.toString('latin1')));
  after(() => socket.destroy());
  return {
    socket,
    closed,
    say: (text: string) => socket.write(text, 'latin1'),
    /** One request with a Host and what else is said, and its body. */
    ask: (line: string, body = '', ...headers: string[]) =>
      socket.write([`${line} HTTP/1.1`, `host: ${host}`, `content-length: ${Buffer.byteLength(body)}`, ...headers, '', body].join('\r\n')),
    answered: async (like: RegExp): Promise<string> => {
      while (!like.test(came)) await Promise.race([once(socket, 'data'), hungUp(socket, () => came)]);
      return came;
    },
  };
}

async function hungUp(socket: Socket, came: () => string): Promise<never> {
  await once(socket, 'close');
  throw new Error(`hung up after: ${came()}`);
}

/** The doors on a socket of their own until the test ends. */
async function serve(
  t: { after: (fn: () => Promise<void>) => void },
  changed: Partial<Config['http']> = {},
  app = doors.app,
): Promise<Listening> {
  const listening = await listen(app, { ...httpDefaults, ...changed });
  t.after(() => listening.stop(0, never));
  return listening;
}

function accesses(): unknown[][] {
  return doors.lines.filter(({ msg }) => msg === 'accesslog_http').map(({ method, path, status }) => [method, path, status]);
}

describe('a request on a socket', { timeout: 30_000 }, () => {
  test('is taken as curl sends the sample calls', async (t) => {
    const peer = await talkTo(await serve(t));
    const form = 'content-type: application/x-www-form-urlencoded';
    peer.ask('POST /createJob', JSON.stringify(sample('by curl')), 'user-agent: curl/8.5.0', 'accept: */*', form);
    const answer = await peer.answered(/\}$/);
    assert.match(answer, /^HTTP\/1\.1 200 OK\r\ncontent-type: application\/json; charset=utf-8\r\n/);
    assert.match(answer, /\r\n\r\n\{"code":0,"message":"success","currentTime":\d+,"data":\{"id":\d+\}\}$/);
    await jobNow(doors, 'by curl');
  });

  for (const method of ['GET', 'TRACE', 'PROPFIND', 'QUERY', 'DELETE']) {
    test(`may have a body though it is a ${method}`, async (t) => {
      const peer = await talkTo(await serve(t));
      peer.ask(`${method} /createJob`, JSON.stringify(sample(`by ${method}`)));
      await peer.answered(/"message":"success"/);
      await jobNow(doors, `by ${method}`);
    });
  }

  test('may come in pieces, whatever letters they cut through', async (t) => {
    const peer = await talkTo(await serve(t));
    const body = Buffer.from(JSON.stringify(sample('größer ☃')));
    peer.say('POST /createJob HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n');
    for (const byte of body) peer.socket.write(Buffer.concat([Buffer.from('1\r\n'), Buffer.from([byte]), Buffer.from('\r\n')]));
    peer.say('0\r\n\r\n');
    await peer.answered(/"message":"success"/);
    await jobNow(doors, 'größer ☃');
  });

  test('with a body over the limit is refused before that is sent', async (t) => {
    const peer = await talkTo(await serve(t));
    peer.say(`POST /createJob HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${limit + 1}\r\n\r\n{`);
    const answer = await peer.answered(/\}$/);
    assert.match(answer, /^HTTP\/1\.1 413 .*\{"code":-2,"message":"body: expected at most 10000 bytes, got more",/s);
  });

  test('with a body over the limit in chunks is refused, and hung up on if it does not end', async (t) => {
    const peer = await talkTo(await serve(t));
    peer.say('POST /createJob HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n');
    const chunk = `3e8\r\n${'x'.repeat(1000)}\r\n`;
    for (let sent = 0; sent <= limit; sent += 1000) peer.say(chunk);
    assert.match(await peer.answered(/\}$/), /^HTTP\/1\.1 413 /);
    await peer.closed;
  });

  test('that follows one with a body over the limit is answered', async (t) => {
    const peer = await talkTo(await serve(t));
    peer.ask('POST /createJob', 'x'.repeat(limit + 1));
    peer.ask('GET /ping');
    assert.match(await peer.answered(/OK$/), /^HTTP\/1\.1 413 .*HTTP\/1\.1 200 OK\r\n.*\r\n\r\nOK$/s);
  });

  test('of HTTP/1.0 is answered if it names this machine as its Host', async (t) => {
    const server = await serve(t);
    const [named, nameless] = [await talkTo(server), await talkTo(server)];
    named.say('GET /ping HTTP/1.0\r\nhost: localhost\r\n\r\n');
    assert.match(await named.closed, /^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nOK$/s);
    nameless.say('GET /ping HTTP/1.0\r\n\r\n');
    assert.match(await nameless.closed, /^HTTP\/1\.1 403 .*Host: expected this machine .*, got nothing/s);
  });

  const refused: Record<string, [head: string, status: number]> = {
    'of HTTP/1.1 without a Host': ['GET /ping HTTP/1.1\r\n', 400],
    'with two Hosts': ['GET /ping HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n', 403],
    'with two Hosts that are the same': ['GET /ping HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n', 403],
    'with an empty Host': ['GET /ping HTTP/1.1\r\nhost:\r\n', 403],
    'with a Host that is none': ['GET /ping HTTP/1.1\r\nhost: a b\r\n', 400],
    'with a Host with a name in it': ['GET /ping HTTP/1.1\r\nhost: me@localhost\r\n', 400],
    'with a Host that is no address': ['GET /ping HTTP/1.1\r\nhost: [::1\r\n', 400],
    'with a path that is none': ['OPTIONS * HTTP/1.1\r\nhost: localhost\r\n', 400],
    'with a path with a backslash': ['GET /a\\b HTTP/1.1\r\nhost: localhost\r\n', 400],
    'with a path of two slashes': ['POST //createJob HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n', 404],
    'with a slash after its path': ['POST /createJob/ HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n', 404],
    'with a URL of which the parts are none': ['GET http://[/ping HTTP/1.1\r\nhost: localhost\r\n', 400],
    'with a method that nobody knows': ['FOO /ping HTTP/1.1\r\nhost: localhost\r\n', 400],
    'with a negative length': ['POST /createJob HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n', 400],
    'with two lengths': ['POST /createJob HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n', 400],
    'with a header of 20 000 characters': [`GET /ping HTTP/1.1\r\nhost: localhost\r\nx: ${'x'.repeat(20_000)}\r\n`, 431],
    'with ten thousand headers': [`GET /ping HTTP/1.1\r\nhost: localhost\r\n${'x:y\r\n'.repeat(10_000)}`, 431],
    'that asks for a tunnel to a page': [
      'GET /ping HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.example\r\nupgrade: websocket\r\n',
      403,
    ],
  };
  for (const [what, [head, status]] of Object.entries(refused)) {
    test(`${what} is refused: ${status}`, async (t) => {
      const peer = await talkTo(await serve(t));
      peer.say(`${head}\r\n`);
      assert.match(await peer.answered(/\r\n\r\n/), new RegExp(`^HTTP/1\\.1 ${status} `));
    });
  }

  test('of which path and Host make no URL is told so, traced and in the access log', async (t) => {
    doors.lines.length = 0;
    const peer = await talkTo(await serve(t));
    peer.ask('POST /a\\b', '{}');
    const answer = await peer.answered(/\}$/);
    assert.match(answer, /\r\nx-trace-id: [0-9a-f]{32}\r\n/);
    assert.match(answer, /\{"error":"bad_input","message":"request: expected a path and a Host that make a URL"\}$/);
    assert.deepEqual(accesses(), [['GET', '/', 400]]);
  });
});

describe('a client that is slow', { timeout: 30_000 }, () => {
  const impatient = { readTimeoutMs: 200, readHeaderTimeoutMs: 100 };

  test('to say anything is hung up on', async (t) => {
    const peer = await talkTo(await serve(t, impatient));
    assert.match(await peer.closed, /^HTTP\/1\.1 408 /);
  });

  test('with its headers is hung up on, however steadily it sends them', async (t) => {
    const peer = await talkTo(await serve(t, impatient));
    peer.say('GET /ping HTTP/1.1\r\nhost: localhost\r\n');
    for await (const _ of setInterval(20)) if (peer.socket.destroyed || !peer.say('x: y\r\n')) break;
    assert.match(await peer.closed, /^HTTP\/1\.1 408 /);
  });

  test('with its headers is hung up on also where a whole request may take for ever, and the other way round', async (t) => {
    for (const changed of [
      { readTimeoutMs: 0, readHeaderTimeoutMs: 100 },
      { readTimeoutMs: 100, readHeaderTimeoutMs: 0 },
    ]) {
      const peer = await talkTo(await serve(t, changed));
      peer.say('GET /ping HTTP/1.1\r\n');
      assert.match(await peer.closed, /^HTTP\/1\.1 408 /);
    }
  });

  test('with its body is hung up on, and nothing is done', async (t) => {
    doors.lines.length = 0;
    const peer = await talkTo(await serve(t, { readTimeoutMs: 800 }));
    const body = JSON.stringify(sample('never finished'));
    peer.say(`POST /createJob HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${body.length + 1}\r\n\r\n${body}`);
    assert.match(await peer.closed, /^HTTP\/1\.1 408 /);
    assert.equal(await doors.jobs.byName('never finished'), undefined);
    assert.deepEqual(accesses(), [['POST', '/createJob', 200]]);
  });

  test('and goes away in the middle of its body is nobody’s trouble', async (t) => {
    const server = await serve(t);
    const gone = await talkTo(server);
    gone.say('POST /createJob HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{"name":"gone"');
    gone.socket.resetAndDestroy();
    const next = await talkTo(server);
    next.ask('GET /ping');
    await next.answered(/OK$/);
  });
});

describe('stopping', { timeout: 30_000 }, () => {
  /** A server with a call /slow that is answered when the test wants it. */
  async function slow(t: { after: (fn: () => Promise<void>) => void }) {
    const [arrived, release] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const seed = new Hono<DoorEnv>()
      .get('/ping', (c) => c.text('OK'))
      .get('/slow', async (c) => {
        arrived.resolve();
        await release.promise;
        return c.text('done');
      });
    const app = makeApp({ clock: standingClock(), log: keptLog().log, http: httpDefaults, seed, v1: new Hono<DoorEnv>() });
    return { server: await serve(t, {}, app), arrived: arrived.promise, release: release.resolve };
  }

  test('waits for what is under way and for nobody who only keeps a connection', async (t) => {
    const { server, arrived, release } = await slow(t);
    const [idle, busy, silent] = [await talkTo(server), await talkTo(server), await talkTo(server)];
    idle.ask('GET /ping');
    await idle.answered(/OK$/);
    busy.ask('GET /slow');
    await arrived;
    const stopped = server.stop(30_000, never);
    await Promise.all([idle.closed, silent.closed]);
    await assert.rejects(talkTo(server), { code: 'ECONNREFUSED' });
    release();
    assert.match(await busy.closed, /\r\n\r\ndone$/);
    await stopped;
  });

  test('cuts off what is still under way at the end of its grace, or when it is told to stop at once', async (t) => {
    for (const [graceMs, atOnce] of [
      [10, never],
      [30_000, AbortSignal.timeout(10)],
      [30_000, AbortSignal.abort()],
    ] as const) {
      const { server, arrived } = await slow(t);
      const busy = await talkTo(server);
      busy.ask('GET /slow');
      await arrived;
      await server.stop(graceMs, atOnce);
      assert.equal(await busy.closed, '');
    }
  });
});

test('an address that is taken is refused by its name', async (t) => {
  const { address } = await serve(t);
  const port = Number(new URL(address).port);
  await assert.rejects(listen(doors.app, { ...httpDefaults, port }), (thrown) => {
    assert.ok(thrown instanceof Refusal);
    assert.deepEqual([thrown.kind, thrown.message], ['unavailable', `transport.http.addr: can't listen on 127.0.0.1:${port} (EADDRINUSE)`]);
    return true;
  });
});
