// What is promised of every way of messages, on a real Redis and a real PostgreSQL, with a network between that fails.

import assert from 'node:assert/strict';
import test, { describe, type TestContext } from 'node:test';
import { systemClock } from '../../src/clock.ts';
import { openBackend } from '../../src/queue/backend.ts';
import type { Backend } from '../../src/queue/transport.ts';
import { keptLog } from '../support/log.ts';
import { messagesOf, numbers, taker, untilCome, untilSent } from '../support/messages.ts';
import { testDatabase } from '../support/postgres.ts';
import { startProxy } from '../support/proxy.ts';
import { testRedis } from '../support/redis.ts';

const { url: databaseUrl } = await testDatabase(test);
const { url: redisUrl, prefix } = testRedis();
// Whoever waits, waits for messages; this is for how long. Much of it is waiting, so all wait at once.
const limit = { timeout: 120_000, concurrency: true };

const servers = { redis: redisUrl, postgres: databaseUrl };
let installations = 0;

type Kind = keyof typeof servers;

function open(kind: Kind, { url = servers[kind], installation = `${prefix}-${++installations}` } = {}): Promise<Backend> {
  const options = { installation, clock: systemClock, log: keptLog().log };
  return openBackend(
    kind === 'redis'
      ? { ...options, redisUrl: url, databaseUrl: 'postgres://nowhere' }
      : { ...options, redisUrl: undefined, databaseUrl: url },
  );
}

async function opened(t: TestContext, kind: Kind, given: { url?: string; installation?: string } = {}): Promise<Backend> {
  const backend = await open(kind, given);
  t.after(() => backend.close());
  return backend;
}

describe('the way of messages', limit, () => {
  for (const kind of ['redis', 'postgres'] as const) {
    describe(`messages on ${kind}`, limit, () => {
      test('come as they were sent, once each, also those that were sent before anybody listened', async (t) => {
        const backend = await opened(t, kind);
        const before = [{ runs: [1, 2, 3] }, { runs: [4] }, { runs: numbers(100, 5) }];
        await backend.send(before);
        const { take, taken, came, ids } = taker();
        const consumer = await backend.consume('', take, 4);
        await came(3);
        assert.deepEqual(
          taken.toSorted((a, b) => (a.runs[0] ?? 0) - (b.runs[0] ?? 0)),
          before,
        );
        await Promise.all([backend.send(messagesOf(numbers(100, 105))), backend.send(messagesOf(numbers(100, 205)))]);
        await came(203);
        await consumer.close();
        assert.deepEqual(ids(), numbers(304));
      });

      test('come to one of several consumers', async (t) => {
        const installation = `${prefix}-${++installations}`;
        const [one, other] = [await opened(t, kind, { installation }), await opened(t, kind, { installation })];
        const { take, came, ids } = taker();
        const consumers = [await one.consume('', take, 4), await other.consume('', take, 4)];
        await Promise.all([one.send(messagesOf(numbers(100))), other.send(messagesOf(numbers(100, 101)))]);
        await came(200);
        await Promise.all(consumers.map((consumer) => consumer.close()));
        assert.deepEqual(ids(), numbers(200));
      });

      test('come at most so many at a time', async (t) => {
        const backend = await opened(t, kind);
        const waiting: (() => void)[] = [];
        const { take, came, taken, most } = taker(() => new Promise((resolve) => waiting.push(resolve)));
        const consumer = await backend.consume('', take, 3);
        t.after(() => consumer.close());
        await backend.send(messagesOf(numbers(12)));
        for (let done = 0; done < 12; done++) {
          await came(Math.min(done + 3, 12));
          assert.equal(taken.length, Math.min(done + 3, 12));
          waiting.shift()?.();
        }
        assert.equal(most(), 3);
      });

      test('that are being taken are waited for when the consumer closes; what is left comes to the next', async (t) => {
        const backend = await opened(t, kind);
        const { promise: ended, resolve: end } = Promise.withResolvers<void>();
        const first = taker(() => ended);
        const consumer = await backend.consume('', first.take, 2);
        await backend.send(messagesOf(numbers(5)));
        await first.came(2);
        let isClosed = false;
        const closed = consumer.close().then(() => (isClosed = true));
        const second = taker();
        const next = await backend.consume('', second.take, 2);
        await second.came(3);
        assert.equal(isClosed, false);
        end();
        await closed;
        await next.close();
        assert.deepEqual(
          [...first.ids(), ...second.ids()].sort((a, b) => a - b),
          numbers(5),
        );
      });

      test('that could not be taken are gone, and hold up no others', async (t) => {
        const backend = await opened(t, kind);
        const { take, came, ids } = taker();
        const consumer = await backend.consume(
          '',
          async (message) => {
            await take(message);
            if (message.runs[0] === 2) throw new Error('PostgreSQL is away');
          },
          1,
        );
        await backend.send(messagesOf(numbers(3)));
        await came(3);
        await backend.send(messagesOf([4]));
        await came(4);
        await consumer.close();
        assert.deepEqual(ids(), numbers(4));
      });

      test('of another installation do not come', async (t) => {
        const [ours, theirs] = [await opened(t, kind), await opened(t, kind)];
        const [our, their] = [taker(), taker()];
        const consumers = [await ours.consume('', our.take, 2), await theirs.consume('', their.take, 2)];
        await Promise.all([ours.send(messagesOf([1, 2])), theirs.send(messagesOf([3, 4]))]);
        await Promise.all([our.came(2), their.came(2)]);
        await Promise.all(consumers.map((consumer) => consumer.close()));
        assert.deepEqual(
          [our.ids(), their.ids()],
          [
            [1, 2],
            [3, 4],
          ],
        );
      });
    });

    describe(`an outage of ${kind}`, limit, () => {
      for (const fault of ['down', 'reset'] as const) {
        test(`(${fault}) is over without help: messages are sent and come again`, async (t) => {
          const proxy = await startProxy(t, servers[kind]);
          const backend = await open(kind, { url: proxy.url });
          const { take, came, ids } = taker();
          const consumer = await backend.consume('', take, 2);
          await backend.send(messagesOf([1]));
          await came(1);
          for (let round = 2; round < 5; round++) {
            if (fault === 'reset') proxy.cut('reset');
            else {
              await proxy.down();
              await assert.rejects(backend.send(messagesOf([1000])));
              await proxy.up();
            }
            await untilCome(backend, round, ids);
          }
          await consumer.close();
          await backend.close();
        });
      }

      test('(silence) ends what is being sent, and the next goes through', async (t) => {
        const proxy = await startProxy(t, servers[kind]);
        const backend = await open(kind, { url: proxy.url });
        await backend.send(messagesOf([1]));
        proxy.silence();
        await assert.rejects(backend.send(messagesOf([2])));
        proxy.cut('reset');
        await untilSent(backend, messagesOf([3]));
        await backend.close();
      });

      test('(silence) is over for who listens anew, however silent the old connections are', async (t) => {
        const proxy = await startProxy(t, servers[kind]);
        const backend = await open(kind, { url: proxy.url });
        const { take, came } = taker();
        const consumer = await backend.consume('', take, 2);
        await backend.send(messagesOf([1]));
        await came(1);
        proxy.silence();
        consumer.drop();
        const next = await backend.consume('', take, 2);
        await untilSent(backend, messagesOf([2]));
        await came(2);
        await next.close();
        await backend.close();
      });

      test('(silence) keeps neither who listens nor who sends from closing', async (t) => {
        const proxy = await startProxy(t, servers[kind]);
        const backend = await open(kind, { url: proxy.url });
        const { take, came } = taker();
        const consumer = await backend.consume('', take, 2);
        await backend.send(messagesOf([1]));
        await came(1);
        proxy.silence();
        const begun = performance.now();
        await consumer.close();
        await backend.close();
        const took = performance.now() - begun;
        assert.ok(took < 15_000, `${took} ms`);
      });

      // Redis is given up by the kernel only, after many minutes: until then who does not listen anew hears nothing.
      if (kind === 'redis') return;

      test('(silence) is noticed by who consumes: messages come again', async (t) => {
        const proxy = await startProxy(t, servers[kind]);
        const installation = `${prefix}-${++installations}`;
        const sender = await opened(t, kind, { installation });
        const backend = await open(kind, { url: proxy.url, installation });
        const { take, came } = taker();
        const consumer = await backend.consume('', take, 2);
        await sender.send(messagesOf([1]));
        await came(1);
        proxy.silence();
        await sender.send(messagesOf([2]));
        await came(2);
        proxy.cut('reset');
        await consumer.close();
        await backend.close();
      });
    });
  }
});
