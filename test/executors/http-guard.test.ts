import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import { ask, httpHere, serve } from './subjects.ts';
import { attempt, limit } from './support.ts';
import { fault } from '../support/faults.ts';

const http = httpHere();

describe('a redirect', limit, () => {
  test('is followed as often as the command allows', async (t) => {
    const server = await serve(t, {
      '/1': (_, answer) => answer.writeHead(302, { location: '/2' }).end(),
      '/2': (_, answer) => answer.writeHead(307, { location: '/3' }).end(),
      '/3': (_, answer) => answer.end('there'),
    });
    const followed = await attempt(http, { type: 'http', target: `${server.url}/1`, redirects: 2 });
    assert.deepEqual([followed.outcome, followed.result['body']], ['succeeded', 'there']);
    const given = await attempt(http, { type: 'http', target: `${server.url}/1`, redirects: 1 });
    assert.deepEqual([given.outcome, given.error], ['failed', 'unexpected status 307']);
  });

  test('to another origin loses what the command set, harmless headers aside', async (t) => {
    const other = await serve(t, { '/there': (_, answer) => answer.end() });
    const headers = { Authorization: 'Bearer x', 'X-Api-Key': 'secret', Accept: 'text/plain' };
    const server = await serve(t, {
      '/here': (_, answer) => answer.writeHead(302, { location: '/near' }).end(),
      '/near': (_, answer) => answer.writeHead(302, { location: `${other.url}/there` }).end(),
    });
    await attempt(http, { type: 'http', target: `${server.url}/here`, headers, redirects: 2 });
    assert.equal(server.seen[1]?.headers['x-api-key'], 'secret');
    const { authorization, accept, ...rest } = other.seen[0]?.headers ?? {};
    assert.deepEqual([authorization, rest['x-api-key'], accept, rest['x-belfry-run-id']], [undefined, undefined, 'text/plain', '42']);
  });

  fault({ fault: 'redirects in a circle', seen: 'they are followed once around; the attempt has failed and says so' }, (t) =>
    goesNoFurther(t, '/'),
  );
  fault(
    {
      fault: 'a redirect to a private address',
      seen: 'it is not followed where the address is not allowed; what the cloud keeps for itself never is',
    },
    (t) => goesNoFurther(t, 'http://169.254.169.254/latest'),
  );
  test('to a file has failed, known to have gone no further', (t) => goesNoFurther(t, 'file:///etc/passwd'));
  test('to where nobody listens has failed, known to have gone no further', (t) => goesNoFurther(t, 'http://127.0.0.1:1/'));
});

async function goesNoFurther(t: TestContext, location: string): Promise<void> {
  const { outcome, known, error } = await ask(t, (_, answer) => answer.writeHead(302, { location }).end(), { redirects: 5 });
  assert.deepEqual([outcome, known], ['failed', true]);
  assert.match(error ?? '', /^cannot follow the redirect: /);
}

describe('the guard of addresses', limit, () => {
  const metadata =
    '169.254.169.254 [::ffff:169.254.169.254] [::ffff:a9fe:a9fe] [::169.254.169.254] [64:ff9b::a9fe:a9fe] [2002:a9fe:a9fe::1]';
  const others = '[fe80::1] [fd00:ec2::254] 100.100.100.200 0xa9fea9fe 2852039166 169.254.43518';
  for (const host of `${metadata} ${others}`.split(' ')) {
    test(`always refuses ${host}`, async () => {
      const { outcome, known, error } = await attempt(http, { type: 'http', target: `http://${host}/` }, { timeoutMs: 5_000 });
      assert.deepEqual([outcome, known], ['failed', true]);
      assert.match(error ?? '', /^cannot connect: the address \S+ is not allowed$/);
    });
  }

  for (const [host, seen] of [
    ['127.1', '127.0.0.1'],
    ['0x7f000001', '127.0.0.1'],
    ['0.0.0.0', '127.0.0.1'],
    ['[::]', '127.0.0.1'],
    ['[::1]', '127.0.0.1'],
    ['[::ffff:127.0.0.1]', '127.0.0.1'],
    ['[64:ff9b::10.0.0.1]', '10.0.0.1'],
    ['[2001:DB8:0:0::1]', '2001:db8::1'],
  ] as const) {
    test(`asks the rules about ${host} as ${seen}`, async () => {
      const asked: string[] = [];
      const guarded = httpHere({ allowAddress: (ip) => asked.push(ip) < 0 });
      const { error } = await attempt(guarded, { type: 'http', target: `http://${host}/` });
      assert.deepEqual(asked, [seen]);
      assert.match(error ?? '', /is not allowed$/);
    });
  }

  test('asks the rules about what a name resolves to', async (t) => {
    const server = await serve(t, { '/': (_, answer) => answer.end() });
    const closed = httpHere({ allowAddress: () => false });
    const { outcome, known, error } = await attempt(closed, { type: 'http', target: `http://localhost:${server.port}/` });
    assert.deepEqual([outcome, known, server.seen.length], ['failed', true, 0]);
    assert.match(error ?? '', /^cannot connect: the address \S+ of localhost is not allowed$/);
  });
});
