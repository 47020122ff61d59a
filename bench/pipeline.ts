// Recorded no-op runs per second, against BullMQ adding and processing as many empty jobs, in one run on the same servers.
//   node bench/pipeline.ts [redis|postgres] [count] [rounds]
// Belfry's figure is the whole way: due job → run row → message → claim → attempt → recorded result. BullMQ's is its own
// way at its best: addBulk in thousands, one worker with the same number of slots.

import pg from 'pg';
import { createPostgresBackend, createRedisBackend, runMigrations, withBackend } from 'bullmq';
import { Redis } from 'ioredis';
import { startApp } from '../src/app.ts';
import { loadConfig } from '../src/config.ts';
import { makeIsolation } from '../src/executors/namespace.ts';
import { makeLog } from '../src/observe/log.ts';
import type { Executor } from '../src/executors/executor.ts';
import { startServers, type Servers } from './support/servers.ts';

const backend = process.argv[2] ?? 'redis';
const count = Number(process.argv[3] ?? (backend === 'redis' ? 20_000 : 10_000));
const rounds = Number(process.argv[4] ?? 3);
const slots = 500;
// Both have done so many before they are measured: connections are open, statements prepared, code compiled.
const warmUp = count / 10;

const noop: Executor = {
  type: 'noop',
  defaults: { maxAttempts: 1, timeoutMs: 60_000 },
  parse: (command) => command,
  execute: () => Promise.resolve({ outcome: 'succeeded', known: true, result: {} }),
};

const servers = await startServers();
try {
  const ratios: number[] = [];
  for (let round = 1; round <= rounds; round++) {
    const peer = backend === 'redis' ? await bullOnRedis(servers) : await bullOnPostgres(servers);
    const ours = await belfry(servers);
    ratios.push(ours / peer);
    console.log(
      `round ${round}: BullMQ ${peer.toFixed(0)} jobs/s, Belfry ${ours.toFixed(0)} recorded runs/s, ratio ${(ours / peer).toFixed(2)}`,
    );
  }
  ratios.sort((a, b) => a - b);
  console.log(`${backend}: ${count} runs, ${slots} slots, median ratio ${ratios[Math.floor(ratios.length / 2)]?.toFixed(2)}`);
} finally {
  await servers.stop();
}

async function bullOnRedis({ redisUrl }: Servers): Promise<number> {
  const { Queue, Worker } = withBackend(createRedisBackend);
  const connection = new Redis(redisUrl, { maxRetriesPerRequest: null });
  const rate = await bull(
    new Queue('peer', { connection }),
    (done) => new Worker('peer', () => Promise.resolve(done()), { connection, concurrency: slots }),
  );
  connection.disconnect();
  return rate;
}

async function bullOnPostgres({ databaseUrl }: Servers): Promise<number> {
  const { Queue, Worker } = withBackend(createPostgresBackend);
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  await runMigrations(client);
  await client.end();
  const connection = (max: number) => ({ connectionString: databaseUrl, max });
  return await bull(
    new Queue('peer', { connection: connection(4) }),
    (done) => new Worker('peer', () => Promise.resolve(done()), { connection: connection(16), concurrency: slots }),
  );
}

type Closing = { close: () => Promise<void> };
type Adding = Closing & { addBulk: (jobs: { name: string; data: unknown; opts: { removeOnComplete: boolean } }[]) => Promise<unknown> };

async function bull(queue: Adding, startWorker: (done: () => void) => Closing): Promise<number> {
  let processed = 0;
  let awaited = 0;
  let all = Promise.withResolvers<void>();
  const worker = startWorker(() => {
    processed++;
    if (processed === awaited) all.resolve();
  });
  const burst = async (size: number): Promise<number> => {
    [processed, awaited, all] = [0, size, Promise.withResolvers<void>()];
    const begun = performance.now();
    for (let added = 0; added < size; added += 1000) {
      const jobs = Array.from({ length: Math.min(1000, size - added) }, () => ({
        name: 'empty',
        data: {},
        opts: { removeOnComplete: true },
      }));
      await queue.addBulk(jobs);
    }
    await all.promise;
    return (performance.now() - begun) / 1000;
  };
  await burst(warmUp);
  const seconds = await burst(count);
  await worker.close();
  await queue.close();
  return count / seconds;
}

async function belfry({ databaseUrl, redisUrl }: Servers): Promise<number> {
  const env = {
    BELFRY_DATABASE_URL: databaseUrl,
    ...(backend === 'redis' ? { BELFRY_REDIS_URL: redisUrl } : {}),
    BELFRY_CONCURRENCY: String(slots),
    BELFRY_DUTIES: 'crontab,worker',
    BELFRY_NODE: 'bench',
  };
  const loaded = await loadConfig({ env, cwd: '/', loadExecutors: () => Promise.resolve(new Map([['noop', noop]])) });
  // Log lines are written as in a real installation, to a place that costs nothing.
  const app = await startApp({
    ...loaded,
    isolation: makeIsolation({ isWanted: false, isRoot: false, path: undefined }),
    version: 'bench',
    log: makeLog({ level: 'info', format: 'json', to: '/dev/null' }),
    progress: () => undefined,
    signal: new AbortController().signal,
    failed: console.error,
  });
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    await burstOf(client, warmUp);
    return count / (await burstOf(client, count));
  } finally {
    await client.end();
    await app.stop(new AbortController().signal);
  }
}

/** How many seconds after their due time so many jobs have all been run and recorded. */
async function burstOf(client: pg.Client, size: number): Promise<number> {
  // Jobs as /createJob writes them, all due at one moment two seconds from now and then not for a year.
  const { rows } = await client.query<{ due: Date }>(
    `with due as (select date_trunc('second', now()) + interval '2 seconds' as at), made as (
       insert into belfry.jobs (name, expr, timezone, command, policy, source, trace_id, next_due_at)
       select 'bench ' || due.at || ' ' || n, '0 0 1 1 *', 'UTC', '{"type": "noop"}',
              '{"retry": {"maxAttempts": 1, "delayMs": 1000, "maxDelayMs": 1000, "factor": 1, "jitter": 0}, "timeoutMs": 1000, "onLost": "fail", "log": true}',
              'api', md5(n::text), due.at
         from due, generate_series(1, $1::integer) as n)
     select at as due from due`,
    [size],
  );
  const due = rows[0]?.due;
  for (;;) {
    // Few looks, and the count only when nothing is on its way: the watching shall not cost what is watched.
    await new Promise((resolve) => setTimeout(resolve, 500));
    const left = await client.query(
      `select 1 from belfry.cursors where next_due_at <= $1
       union all (select 1 from belfry.unfinished order by run_id limit 1) limit 1`,
      [due],
    );
    if (left.rows.length > 0) continue;
    const done = await client.query<{ n: number; seconds: number }>(
      `select count(*)::integer as n, extract(epoch from max(finished_at) - $1::timestamptz)::float8 as seconds
         from belfry.runs join belfry.results on run_id = id where due_at = $1 and state = 'succeeded'`,
      [due],
    );
    const [row] = done.rows;
    if (row && row.n === size) return row.seconds;
  }
}
