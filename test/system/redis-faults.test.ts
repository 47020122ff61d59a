// Redis is speed, never truth: whatever happens to it, due times are recorded once and run once, within seconds, and when it is
// back messages flow again.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { fault } from '../support/faults.ts';
import { folder, limitMs, startBelfry, until, type Belfry, type LogLine } from '../support/belfry.ts';
import { assertExactlyOnce, executedSince, longestDelay, oneSecond } from '../support/one-second.ts';
import { testDatabase } from '../support/postgres.ts';
import { startProxy } from '../support/proxy.ts';
import { startRedis, type RedisServer } from '../support/redis.ts';
import { startTarget } from '../support/target.ts';

// How long a Redis is gone, and how long it is hindered otherwise.
const minuteSeconds = 60;
const hinderedSeconds = 8;
// What nobody would call a few seconds any more.
const intolerableMs = 15_000;

describe('Redis', { timeout: 10 * limitMs, concurrency: 3 }, () => {
  fault(
    {
      fault: 'Redis down for a minute',
      seen: 'calls are answered, runs are a few seconds late and none is lost; messages flow again when it is back',
    },
    (t) =>
      delaysAndLosesNone(t, {
        seconds: minuteSeconds,
        inject: async (redis) => {
          await redis.kill();
          return () => redis.start();
        },
      }),
  );

  fault({ fault: 'Redis hung (SIGSTOP)', seen: 'it is noticed within seconds though the connections stay open; as if it were down' }, (t) =>
    delaysAndLosesNone(t, {
      inject: async (redis) => {
        redis.hang();
        return async () => redis.resume();
      },
    }),
  );

  fault({ fault: 'Redis out of memory (maxmemory)', seen: 'as if it were down' }, (t) =>
    delaysAndLosesNone(t, {
      inject: async (redis) => {
        await redis.ask('config', 'set', 'maxmemory', '1');
        return async () => void (await redis.ask('config', 'set', 'maxmemory', '0'));
      },
    }),
  );

  fault({ fault: 'Redis made a replica (READONLY)', seen: 'as if it were down, until it may be written again' }, (t) =>
    delaysAndLosesNone(t, {
      inject: async (redis) => {
        await redis.ask('replicaof', '127.0.0.1', '1');
        return async () => void (await redis.ask('replicaof', 'no', 'one'));
      },
    }),
  );

  fault({ fault: 'Redis with another password', seen: 'as if it were down; the log says that it lets nobody in, and no password' }, (t) =>
    delaysAndLosesNone(t, {
      inject: async (redis) => {
        await redis.restart('--requirepass', 'another');
        return () => redis.restart();
      },
    }),
  );

  fault({ fault: 'an HTTP server where Redis should be', seen: 'as if Redis were down, until it is there' }, (t) =>
    delaysAndLosesNone(t, {
      inject: async (redis) => {
        await redis.kill();
        const server = await startTarget(t, () => ({ status: 200 }), Number(new URL(redis.url).port));
        return async () => {
          await server.close();
          await redis.start();
        };
      },
    }),
  );

  fault({ fault: 'FLUSHALL on Redis', seen: 'what was lost with it is sent again within seconds, and nothing is run twice' }, (t) =>
    losesNoneThoughEmptied(t, (redis) => redis.ask('flushall')),
  );

  fault({ fault: 'Redis restarted empty', seen: 'what was lost with it is sent again within seconds, and nothing is run twice' }, (t) =>
    losesNoneThoughEmptied(t, (redis) => redis.restart()),
  );

  test('that is away when Belfry starts is told of with the reason and without the password, and used when it is there', async (t) => {
    const redis = await startRedis(t);
    await redis.kill();
    const { belfry, url, ledger, endOfStory } = await running(t, redis.url.replace('//', '//:secret@'));
    const { reason, queue } = await belfry.logged(({ msg }) => msg === 'queue_unavailable');
    assert.match(String(reason), /ECONNREFUSED/);
    assert.match(String(queue), /^redis:\/\/\*\*\*@127/);
    assert.equal(JSON.stringify(belfry.lines).includes('secret'), false);
    const startedAt = new Date();
    await redis.start('--requirepass', 'secret');
    await flowsAgain(belfry, url, startedAt);
    await endOfStory();
    await assertExactlyOnce(url, ledger);
  });

  test('that is none, or lets nobody in, is told of at the start; runs are made all the same', async (t) => {
    const redis = await startRedis(t);
    await redis.restart('--requirepass', 'another');
    const web = await startTarget(t, () => ({ status: 200 }));
    for (const [redisUrl, why] of [
      [web.url.replace('http', 'redis'), /something else answers|EPIPE|ECONNRESET/],
      [redis.url.replace('//', '//:hidden@'), /WRONGPASS/],
    ] as const) {
      const { belfry, endOfStory } = await running(t, redisUrl);
      assert.match(String((await belfry.logged(({ msg }) => msg === 'queue_unavailable'))['reason']), why);
      assert.equal(JSON.stringify(belfry.lines).includes('hidden'), false);
      await endOfStory();
    }
  });

  const stuck: Record<string, (redis: RedisServer) => void | Promise<void>> = {
    'is away': (redis) => redis.kill(),
    hangs: (redis) => redis.hang(),
  };
  for (const [what, inject] of Object.entries(stuck)) {
    test(`that ${what} keeps no Belfry from stopping, with what runs recorded`, async (t) => {
      const redis = await startRedis(t);
      const { belfry, url } = await running(t, redis.url);
      const from = new Date();
      await inject(redis);
      await executedSince(url, from, 1);
      const { code } = await belfry.end('SIGTERM');
      const took = Date.now() - Date.parse(belfry.lines.find(({ msg }) => msg === 'stopping')?.time ?? '');
      t.diagnostic(`${what}: stopped within ${took} ms`);
      assert.equal(code, 0, belfry.stderr());
      assert.ok(took < intolerableMs);
    });
  }
});

fault(
  {
    fault: 'a worker cut off from Redis alone',
    seen: 'it claims straight from PostgreSQL, also what only it may run, a few seconds late; nothing is run twice',
  },
  async (t) => {
    await Promise.all([isCutOff(t, 'refused'), isCutOff(t, 'silent')]);
  },
);

/** A Redis is hindered and healed; meanwhile runs are late by seconds, and none is lost. */
async function delaysAndLosesNone(
  t: TestContext,
  given: { seconds?: number; inject: (redis: RedisServer) => Promise<() => Promise<void>> },
) {
  const redis = await startRedis(t);
  const { belfry, url, ledger, endOfStory } = await running(t, redis.url);

  const before = belfry.lines.length;
  const cpuBefore = cpuSeconds(belfry.pid);
  const from = new Date();
  const heal = await given.inject(redis);
  assert.ok((await belfry.create({ ...oneSecond('/dev/null'), name: 'made-meanwhile', expr: '@yearly' })) > 0);
  const meanwhile = await executedSince(url, from, given.seconds ?? hinderedSeconds);
  const cpu = cpuSeconds(belfry.pid) - cpuBefore;
  const seconds = (Date.now() - from.getTime()) / 1000;
  const said = complaints(belfry.lines.slice(before));
  const silent = belfry.lines.find(({ msg }) => msg === 'queue_silent');
  t.diagnostic(
    `${seconds.toFixed(0)} s: longest delay ${longestDelay(meanwhile)} ms, noticed after ${Date.parse(silent?.time ?? '') - from.getTime()} ms, ` +
      `CPU ${((100 * cpu) / seconds).toFixed(0)} %, said ${said.join(' ')}`,
  );
  assert.ok(longestDelay(meanwhile) < intolerableMs);
  assert.ok(said.length <= 12, `the log is flooded: ${said.join(' ')}`);

  const healedAt = new Date();
  await heal();
  t.diagnostic(`flows again ${await flowsAgain(belfry, url, healedAt)} ms after healing`);
  await endOfStory();
  await assertExactlyOnce(url, ledger);
}

/** A Redis is emptied again and again. */
async function losesNoneThoughEmptied(t: TestContext, empty: (redis: RedisServer) => Promise<unknown>): Promise<void> {
  const redis = await startRedis(t);
  const { url, ledger, endOfStory } = await running(t, redis.url);
  for (let round = 0; round < 5; round++) {
    const from = new Date();
    await empty(redis);
    const runs = await executedSince(url, from, 2);
    assert.ok(longestDelay(runs) < intolerableMs, `round ${round}: ${longestDelay(runs)} ms`);
  }
  await endOfStory();
  await assertExactlyOnce(url, ledger);
}

/** One of two Belfrys is cut off from Redis. */
async function isCutOff(t: TestContext, how: 'refused' | 'silent'): Promise<void> {
  const redis = await startRedis(t);
  const proxy = await startProxy(t, redis.url);
  const { url, ledger, belfry, place } = await running(t, redis.url);
  const other = await place('cut-off', { BELFRY_REDIS_URL: proxy.url });
  const from = new Date();
  if (how === 'refused') await proxy.down();
  else proxy.silence();
  // What only the other may run shows that it runs.
  await belfry.create({ ...oneSecond(ledger), name: 'there', run_on: { node: 'cut-off' }, command: { type: 'shell', target: 'true' } });
  const there = await until(async () => {
    const runs = (await other.records()).filter(({ name, state }) => name === 'there' && state === 'succeeded');
    return runs.length >= hinderedSeconds ? runs : undefined;
  });
  assert.deepEqual([...new Set(there.map(({ node }) => node))], ['cut-off']);
  await executedSince(url, from, hinderedSeconds);
  if (how === 'refused') await proxy.up();
  assert.equal((await other.end('SIGTERM')).code, 0);
  await belfry.end('SIGTERM');
  await assertExactlyOnce(url, ledger);
}

/** A Belfry with a job of every second that has run some times. */
async function running(t: TestContext, redisUrl: string) {
  const { url } = await testDatabase(t, 'empty');
  const ledger = join(await folder(t), 'ledger');
  const place = async (name: string, env: Record<string, string> = {}): Promise<Belfry> =>
    startBelfry({
      cwd: await folder(t),
      env: { BELFRY_DATABASE_URL: url, BELFRY_REDIS_URL: redisUrl, BELFRY_NODE: name, ...env },
    });
  const belfry = await place('bell');
  const from = new Date();
  await belfry.create(oneSecond(ledger));
  await executedSince(url, from, 2);
  /** Fresh ticks run, and it stops as it should. */
  const endOfStory = async (): Promise<void> => {
    await executedSince(url, new Date(), 2);
    assert.equal((await belfry.end('SIGTERM')).code, 0, belfry.stderr());
  };
  return { belfry, url, ledger, place, endOfStory };
}

/** How long it takes until messages have come again and runs start promptly. */
async function flowsAgain(belfry: Belfry, url: string, since: Date): Promise<number> {
  const { time } = await belfry.logged(({ msg, time: at }) => msg === 'queue_heard' && Date.parse(at) >= since.getTime());
  await until(async () => ((await executedSince(url, new Date(), 1)).every((run) => longestDelay([run]) < 1000) ? true : undefined));
  return Date.parse(time) - since.getTime();
}

function complaints(lines: readonly LogLine[]): string[] {
  return lines.filter(({ level }) => level === 'warn' || level === 'error').map(({ msg }) => msg);
}

/** What a process has used so far. */
function cpuSeconds(pid: number): number {
  const [user = 0, system = 0] = readFileSync(`/proc/${pid}/stat`, 'latin1')
    .replace(/^.*\) /s, '')
    .split(' ')
    .slice(11, 13)
    .map(Number);
  return (user + system) / 100;
}
