// The nemesis: an installation of many nodes that does its work while nodes, wires and servers fail as planned.

import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../support/belfry.ts';
import { makeNode, startAll, type ClusterNode } from '../support/cluster.ts';
import type { Fault } from '../support/fault-plan.ts';
import { makeJobs, type Installation, type LedgerJob } from '../support/judgement.ts';
import { execute } from '../support/postgres.ts';
import type { Proxy } from '../support/proxy.ts';
import { startRedis, type RedisServer } from '../support/redis.ts';
import { startServer, type Server } from '../support/server.ts';

type Scope = { after(fn: () => Promise<void>): void };

export type Nemesis = Installation & { readonly postgres: Server; readonly redis: RedisServer };

export const nodeNames = ['worker-1', 'worker-2', 'worker-3', 'crontab-1', 'crontab-2', 'crontab-3'];

const base: Omit<LedgerJob, 'name'> = { everyMs: 1000, maxAttempts: 1, onLost: 'fail', overlap: 'allow', misfire: 'once' };
const inThirds = 'sleep 0.$((BELFRY_RUN_ID % 3 * 3 + 1))';

const nemesisJobs: readonly LedgerJob[] = [
  { ...base, name: 'once', during: 'sleep 0.1' },
  { ...base, name: 'once-all', misfire: 'all', during: inThirds },
  { ...base, name: 'once-skip', misfire: 'skip', during: 'sleep 0.2' },
  { ...base, name: 'long', during: 'sleep 3' },
  { ...base, name: 'lost-again', onLost: 'retry', maxAttempts: 3, misfire: 'all', during: inThirds },
  { ...base, name: 'long-again', onLost: 'retry', maxAttempts: 5, during: 'sleep 2' },
  { ...base, name: 'third-time', maxAttempts: 3, misfire: 'all', exit: '$((BELFRY_ATTEMPT < 3 ? 3 : 0))' },
  { ...base, name: 'never', onLost: 'retry', maxAttempts: 2, during: 'sleep 0.1', exit: '3', delay: '2s' },
  { ...base, name: 'skip', overlap: 'skip', during: 'sleep 0.$((BELFRY_RUN_ID % 9 + 1))' },
  {
    ...base,
    name: 'skip-again',
    overlap: 'skip',
    onLost: 'retry',
    maxAttempts: 3,
    misfire: 'all',
    exit: '$((BELFRY_ATTEMPT < 2 ? 3 : 0))',
  },
  { ...base, name: 'wait', overlap: 'wait', during: 'sleep 1.$((BELFRY_RUN_ID % 3))' },
  { ...base, name: 'wait-again', overlap: 'wait', onLost: 'retry', maxAttempts: 3, misfire: 'all', during: inThirds },
  { ...base, name: 'every-five', everyMs: 5000, overlap: 'skip', misfire: 'all', during: 'sleep 2' },
];

/** Starts three crontab and three worker nodes on servers of their own, and makes the jobs; answers when they are due. */
export async function startNemesis(scope: Scope): Promise<Nemesis> {
  const nodes: ClusterNode[] = [];
  const [postgres, redis] = [await startServer(scope, { settings: ['fsync=on'] }), await startRedis(scope)];
  const options = { databaseUrl: postgres.url, redisUrl: redis.url };
  for (const name of nodeNames) nodes.push(await makeNode(scope, name, name.startsWith('worker') ? 'worker' : 'web,crontab', options));
  await startAll(nodes);
  const { jobs, ledger } = await makeJobs(scope, nodes, nemesisJobs);
  await until(() => jobs.every(({ from }) => Date.now() >= from) || undefined);
  return { nodes, url: postgres.url, postgres, redis, jobs, ledger };
}

/** Lets the faults happen; answers when the last is over, and all that was broken is there again. */
export async function letHappen(nemesis: Nemesis, plan: readonly Fault[], say: (line: string) => void): Promise<void> {
  const begun = performance.now();
  const elapsed = (): string => `${((performance.now() - begun) / 1000).toFixed(1)} s`.padStart(8);
  // One after the other for each target, also when one takes longer than planned.
  const last = new Map<string, Promise<void>>();
  for (const fault of plan) {
    await sleep(Math.max(0, fault.atMs - (performance.now() - begun)));
    const before = last.get(fault.target);
    const happening = async (): Promise<void> => {
      await before;
      say(`${elapsed()}  ${fault.target} ${fault.kind}${fault.forMs > 0 ? ` for ${fault.forMs} ms` : ''}`);
      await inject(nemesis, fault);
    };
    last.set(fault.target, happening());
  }
  await Promise.all(last.values());
  say(`${elapsed()}  healed`);
}

async function inject(nemesis: Nemesis, fault: Fault): Promise<void> {
  const [name, wire] = fault.target.split('/');
  const node = nemesis.nodes.find((each) => each.name === name);
  if (!node) await onServer(nemesis, fault);
  else if (wire === undefined) await onNode(node, fault);
  else await onWire(wire === 'redis' ? node.redis : node.postgres, fault);
}

async function onNode(node: ClusterNode, { kind, forMs }: Fault): Promise<void> {
  if (kind === 'paused' || kind === 'called lost') {
    node.pause();
    await sleep(forMs);
    node.resume();
  } else {
    await (kind === 'terminated' ? node.terminate() : node.kill());
    await sleep(forMs);
    node.start();
  }
}

async function onWire(wire: Proxy, { kind, forMs }: Fault): Promise<void> {
  if (kind === 'cut') wire.cut('reset');
  if (kind === 'refused') await wire.down();
  if (kind === 'blackholed') wire.blackhole();
  if (kind === 'unanswered') wire.swallowAnswers();
  if (kind === 'delayed') wire.delay(20 + forMs / 40);
  await sleep(forMs);
  if (kind === 'refused') await wire.up();
  wire.pass();
}

async function onServer({ postgres, redis }: Nemesis, { kind, forMs }: Fault): Promise<void> {
  if (kind === 'postgres crashed') await postgres.stop('immediate');
  if (kind === 'backends terminated') await execute(postgres.url, terminateSome);
  if (kind === 'redis killed') await redis.kill();
  if (kind === 'redis emptied') await redis.empty();
  if (kind === 'redis hung') redis.hang();
  await sleep(forMs);
  if (kind === 'postgres crashed') await postgres.start();
  if (kind === 'redis killed') await redis.start();
  if (kind === 'redis hung') redis.resume();
}

const terminateSome = `select pg_terminate_backend(pid) from pg_stat_activity
  where datname = current_database() and pid <> pg_backend_pid() and random() < 0.3`;
