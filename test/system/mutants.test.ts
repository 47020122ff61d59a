// Belfry with one of its safeguards taken out breaks its promises where another keeps them, and the history checker notices: what
// the nemesis would find by chance is led to here, once with the safeguard and once without.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { limitMs, suiteScope, until } from '../support/belfry.ts';
import { makeNode, startAll, type ClusterNode } from '../support/cluster.ts';
import { healWithinMs, judge, makeJobs, type Installation, type LedgerJob } from '../support/judgement.ts';
import { readLedger, type Line } from '../support/ledger.ts';
import { changeDatabase, copySource, type Mutant } from '../support/mutants.ts';
import { execute, testDatabase } from '../support/postgres.ts';
import { startRedis, type RedisServer } from '../support/redis.ts';
import { systemClock } from '../../src/clock.ts';
import { openBackend } from '../../src/queue/backend.ts';
import { keptLog } from '../support/log.ts';

type Scope = { after(fn: () => Promise<void>): void };
type Stage = Installation & { readonly redis: RedisServer };
type Scene = {
  readonly crontabs: number;
  readonly workers: number;
  readonly jobs: readonly LedgerJob[];
  /** What befalls it, and is over in the end. */
  readonly play: (stage: Stage) => Promise<void>;
};

const everySecond: LedgerJob = { name: 'job', everyMs: 1000, maxAttempts: 1, onLost: 'fail', overlap: 'allow', misfire: 'once' };

// One scene at a time: each has up to eight nodes, and the server of the tests has a hundred connections.
describe('the history checker', { timeout: 20 * limitMs }, () => {
  catches(
    'a claim that takes what is running already',
    {
      functions: {
        claim_runs: [{ text: "u.state in ('queued', 'retrying')", times: 2, becomes: "u.state in ('queued', 'retrying', 'running')" }],
      },
    },
    /began an attempt 2, of 1 permitted/,
    { crontabs: 1, workers: 2, jobs: [{ ...everySecond, during: 'sleep 2' }], play: sendAgainWhatRuns },
  );

  catches(
    'two rows of one due time, when nodes tick at once',
    {
      source: {
        'src/store/ticks.ts': [
          { text: "on conflict (job_id, due_at, target) where cause = 'schedule' do nothing", becomes: '' },
          { text: `and date_trunc('milliseconds', c.next_due_at) = move."seen"`, times: 2, becomes: '' },
        ],
      },
      statements: ['drop index belfry.runs_due_once'],
    },
    /is recorded [23] times/,
    { crontabs: 3, workers: 1, jobs: ['one', 'two', 'three'].map((name) => ({ ...everySecond, name })), play: letTick },
  );

  catches(
    'a result of an attempt that was given up, which is taken for that of the next',
    { source: { 'src/store/runs.ts': [{ text: ` and u.epoch = told."epoch"`, becomes: '' }] } },
    /is succeeded by attempt (1, though attempt 2|2, though attempt 3) had begun/,
    {
      crontabs: 1,
      workers: 2,
      // The first is on when its worker is paused, and the second when that goes on, also where this process stood still meanwhile.
      jobs: [{ ...everySecond, everyMs: 5000, onLost: 'retry', maxAttempts: 3, during: 'sleep $((BELFRY_ATTEMPT == 1 ? 8 : 12))' }],
      play: callLostWhatIsPaused,
    },
  );

  catches(
    'a run whose message is lost and never sent again',
    {
      source: {
        'src/store/runs.ts': [
          {
            text: "(sent_at is null or sent_at < ${now}::timestamptz - interval '15 seconds' * 2 ^ least(sends - 1, 4))",
            becomes: '(sent_at is null)',
          },
          // A worker that hears nothing looks for itself.
          {
            text: 'from unnest(${lanes}::text[]) as served(lane)',
            becomes: 'from (select lane from unnest(${lanes}::text[]) as lane where false) as served',
          },
        ],
      },
    },
    /is not at its end: queued/,
    { crontabs: 1, workers: 1, jobs: [everySecond], play: emptyTheQueue },
    // A message is sent again after 15 seconds.
    40_000,
  );
});

/** With its safeguards a scene comes to no violation, without one of them to this one. */
function catches(what: string, mutant: Mutant, sentence: RegExp, scene: Scene, withinMs = 20_000): void {
  describe(`catches ${what}`, () => {
    const scope = suiteScope();

    test('without its safeguard', async () => {
      const violations = await judged(scope, scene, mutant, withinMs);
      assert.ok(
        violations.some((violation) => sentence.test(violation)),
        `found ${JSON.stringify(violations, undefined, 2)}`,
      );
    });
    test('and nothing with it', async () => assert.deepEqual(await judged(scope, scene, {}, healWithinMs), []));
  });
}

async function judged(
  scope: Scope,
  { crontabs, workers, jobs, play }: Scene,
  mutant: Mutant,
  withinMs: number,
): Promise<readonly string[]> {
  const { url } = await testDatabase(scope, 'empty');
  const redis = await startRedis(scope);
  const options = { databaseUrl: url, redisUrl: redis.url, from: await copySource(scope, mutant) };
  const nodes: ClusterNode[] = [];
  for (let number = 1; number <= workers; number++) nodes.push(await makeNode(scope, `worker-${number}`, 'worker', options));
  for (let number = 1; number <= crontabs; number++) nodes.push(await makeNode(scope, `crontab-${number}`, 'web,crontab', options));
  await startAll(nodes);
  await changeDatabase(url, mutant);
  const stage = { nodes, url, redis, ...(await makeJobs(scope, nodes, jobs)) };
  await play(stage);
  return (await judge(stage, withinMs)).violations;
}

/** A queue may bring a message twice; here it does so all the time. */
async function sendAgainWhatRuns({ url, redis, ledger }: Stage): Promise<void> {
  const [row] = await execute(url, 'select id from belfry.installation');
  const backend = await openBackend({
    redisUrl: redis.url,
    databaseUrl: url,
    installation: String(row?.['id']),
    clock: systemClock,
    log: keptLog().log,
  });
  const sentAgain = new Set<number>();
  await until(async () => {
    const begun = (await readLedger(ledger)).lines.map(({ runId }) => runId);
    const running = await execute(url, `select run_id from belfry.unfinished where state = 'running'`);
    const ids = running.map(({ run_id }) => Number(run_id)).filter((id) => begun.includes(id) && !sentAgain.has(id));
    if (ids.length > 0) await backend.send([{ runs: ids }]);
    for (const id of ids) sentAgain.add(id);
    return sentAgain.size >= 5 || undefined;
  });
  await backend.close();
}

async function letTick({ ledger }: Stage): Promise<void> {
  await seen(ledger, (lines) => {
    const due = new Set(lines.map(({ job, dueAt }) => `${job} ${dueAt}`)).size;
    const runs = new Set(lines.map(({ runId }) => runId)).size;
    // Three jobs: eight due times, and thirty where until then no two nodes came at once.
    return due >= (runs > due ? 24 : 90);
  });
}

/** A worker stands still while its command ends; the run is given up and begun anew elsewhere; and then the worker goes on. */
async function callLostWhatIsPaused({ nodes, url, ledger }: Stage): Promise<void> {
  const { runId } = await seen(ledger, ([first]) => first);
  const [row] = await execute(url, `select node from belfry.unfinished where run_id = ${runId}`);
  const worker = nodes.find(({ name }) => name === row?.['node']);
  assert.ok(worker, 'the run has a node');
  worker.pause();
  await seen(ledger, (lines) => lines.some((line) => line.runId === runId && line.event === 'end'));
  // As any node would that saw it stand still for a whole lease.
  await execute(url, `update belfry.nodes set ended_at = now(), end_reason = 'lost' where name = '${worker.name}' and ended_at is null`);
  await seen(ledger, (lines) => lines.some((line) => line.runId === runId && line.attempt === 2));
  worker.resume();
}

/** Redis forgets what lies in the queue. */
async function emptyTheQueue({ nodes, url, redis, ledger }: Stage): Promise<void> {
  await seen(ledger, ([first]) => first);
  const workers = nodes.filter(({ name }) => name.startsWith('worker'));
  for (const worker of workers) worker.pause();
  await until(async () => {
    const [row] = await execute(url, 'select count(*) as sent from belfry.unfinished where sent_at is not null');
    return Number(row?.['sent']) >= 3 || undefined;
  });
  await redis.empty();
  for (const worker of workers) worker.resume();
}

/** Waits until the ledger has what is looked for. */
async function seen<T>(ledger: string, look: (lines: readonly Line[]) => T | false | undefined): Promise<T> {
  return await until(async () => look((await readLedger(ledger)).lines) || undefined);
}
