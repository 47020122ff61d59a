// A Redis that is not there or has lost all, and lanes: queues of their own on either way of messages.

import assert from 'node:assert/strict';
import test, { describe, type TestContext } from 'node:test';
import { systemClock } from '../../src/clock.ts';
import { openBackend } from '../../src/queue/backend.ts';
import { queueName, type Backend } from '../../src/queue/transport.ts';
import { keptLog } from '../support/log.ts';
import { messagesOf, taker, untilSent } from '../support/messages.ts';
import { testDatabase } from '../support/postgres.ts';
import { startProxy } from '../support/proxy.ts';
import { startRedis, testRedis } from '../support/redis.ts';

const { url: databaseUrl } = await testDatabase(test);
const { url: redisUrl, prefix } = testRedis();
const limit = { timeout: 60_000, concurrency: true };
let installations = 0;

async function opened(t: TestContext, url: string | undefined): Promise<Backend> {
  const installation = `${prefix}-lanes-${++installations}`;
  const backend = await openBackend({ installation, clock: systemClock, log: keptLog().log, redisUrl: url, databaseUrl });
  t.after(() => backend.close());
  return backend;
}

describe('a Redis', limit, () => {
  test('that was restarted empty has messages sent and come again', async (t) => {
    const server = await startRedis(t);
    const backend = await opened(t, server.url);
    const { take, came } = taker();
    const consumer = await backend.consume('', take, 2);
    await backend.send(messagesOf([1]));
    await came(1);
    await server.restart();
    await untilSent(backend, messagesOf([2]));
    await came(2);
    await consumer.close();
    await backend.close();
  });

  test('that is not there at the start is told of once, without its password; it is used when it is there', async (t) => {
    const proxy = await startProxy(t, redisUrl);
    await proxy.down();
    const { log, lines, messages } = keptLog();
    const url = proxy.url.replace('redis://', 'redis://:secret@');
    const options = { installation: `${prefix}-${++installations}`, clock: systemClock, log, databaseUrl: 'postgres://nowhere' };
    const backend = await openBackend({ ...options, redisUrl: proxy.url });
    const { take, came } = taker();
    const consumer = await backend.consume('', take, 2);
    await assert.rejects(backend.send(messagesOf([1])), /ECONNREFUSED/);
    assert.match(backend.trouble()?.reason ?? '', /ECONNREFUSED/);
    await proxy.up();
    await untilSent(backend, messagesOf([2]));
    await came(1);
    assert.equal(backend.trouble(), undefined);
    await consumer.close();
    await backend.close();
    assert.deepEqual(messages(), ['connection_failed', 'queue_unavailable', 'queue_available']);

    await proxy.down();
    await (await openBackend({ ...options, redisUrl: url })).close();
    assert.match(String(lines.at(-1)?.['queue']), /^redis:\/\/\*\*\*@127/);
    assert.doesNotMatch(JSON.stringify(lines), /secret/);
  });
});

for (const kind of ['redis', 'postgres'] as const) {
  test(`lanes on ${kind} are queues of their own, whatever they are called`, async (t) => {
    const backend = await opened(t, kind === 'redis' ? redisUrl : undefined);
    const lanes = ['', 'label:gpu', 'label:GPU', 'node:n1', 'node:host:9000', "node:Zoë's / \u{1f514}", `node:${'n'.repeat(100)}`];
    const takers = await Promise.all(
      lanes.map(async (lane) => {
        const { take, came, ids } = taker();
        const consumer = await backend.consume(lane, take, 2);
        t.after(() => consumer.close());
        return { came, ids };
      }),
    );
    for (const [index, lane] of lanes.entries()) await backend.send([{ runs: [index + 1] }], lane);
    await Promise.all(takers.map(({ came }) => came(1)));
    assert.deepEqual(
      takers.map(({ ids }) => ids()),
      lanes.map((_, index) => [index + 1]),
    );
  });
}

test('a lane is called what everybody can read, where any server takes that', () => {
  assert.deepEqual(
    ['', 'label:gpu', 'node:n1.lan', 'node:host:9000'].map((lane) => queueName('x', lane)),
    ['belfry-x', 'belfry-x-label-gpu', 'belfry-x-node-n1.lan', 'belfry-x-lane_ec089167bed8849d8dc8317f3a2b2d44'],
  );
});
