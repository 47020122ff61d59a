// What has to hold after every fault: nothing due was left out or doubled, nothing was done twice that must not be, schedules go
// on, and nothing is left running. By the run table, and by a ledger that the commands themselves write.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { folder, processesOf, startBelfry, until, type Attempt, type Belfry } from './belfry.ts';
import { execute, testDatabase } from './postgres.ts';

type Scope = { after(fn: () => Promise<void>): void };

export type Place = Awaited<ReturnType<typeof place>>;

/** For what has to be put right after a fault: the lease and half a minute. */
export const healingMs = 90_000;

type Where = {
  /** The database; left out: an empty one on the server of the tests. */
  readonly url?: string;
  readonly config?: string;
  readonly env?: Record<string, string>;
};

type Node = { readonly name?: string; readonly config?: string; readonly env?: Record<string, string>; readonly url?: string };

/** One database for Belfrys in folders of their own, one a name, and the ledger that their commands write to. */
export async function place(t: Scope, { url: given, config = '', env = {} }: Where = {}) {
  const url = given ?? (await testDatabase(t, 'empty')).url;
  const ledger = join(await folder(t), 'ledger');
  const homes = new Map<string, string>();
  const homeOf = async (name: string): Promise<string> => {
    const home = homes.get(name) ?? (await folder(t));
    homes.set(name, home);
    return home;
  };
  const options = async ({ name = 'bell', ...node }: Node) => ({
    cwd: await homeOf(name),
    config: node.config ?? config,
    env: { BELFRY_DATABASE_URL: node.url ?? url, BELFRY_NODE: name, ...env, ...node.env },
  });
  return { url, ledger, homes, options, start: async (node: Node = {}): Promise<Belfry> => startBelfry(await options(node)) };
}

/** A job that writes down each attempt as it begins, and may then do something else. */
export function entered({ ledger }: Pick<Place, 'ledger'>, then = 'true'): Record<string, unknown> {
  return { command: { type: 'shell', target: `echo $BELFRY_RUN_ID $BELFRY_ATTEMPT >> ${ledger}; ${then}` } };
}

/** Makes the job whose due times are watched over, and waits for its first runs. */
export async function startSeconds(at: Place, belfry: Belfry): Promise<void> {
  const policies = { overlap: 'allow', on_lost: 'fail', retry: { max_attempts: 3, delay: '100ms' } };
  await belfry.create({ name: everySecond, expr: '* * * * * *', ...policies, ...entered(at) });
  await freshRuns(at, 2);
}

/** Waits until so many due times from now on have been run. */
export async function freshRuns({ url }: Pick<Place, 'url'>, count: number): Promise<void> {
  const [row] = await execute(url, 'select now()::text as now');
  await until(async () => {
    const [found] = await execute(
      url,
      `select count(*)::integer as count from belfry.records
        where job_name = '${everySecond}' and state = 'succeeded' and due_at > '${String(row?.['now'])}'`,
    );
    return Number(found?.['count']) >= count || undefined;
  }, healingMs);
}

type Done = Pick<Row, 'id' | 'state' | 'attempts' | 'policy' | 'enters'>;

type Row = {
  readonly id: number;
  readonly job_name: string;
  readonly due_at: Date;
  readonly last_due_at: Date | null;
  readonly due_count: number;
  readonly state: string;
  readonly attempts: readonly Attempt[];
  /** Whether its command writes to the ledger. */
  readonly enters: boolean;
  readonly policy: { readonly onLost: string; readonly retry: { readonly maxAttempts: number } } | null;
};

/** Waits until all is put right, checks that it is, and stops the nodes, of which nothing may be left then. */
export async function settledWell(at: Place, ...nodes: readonly Belfry[]): Promise<void> {
  const [row] = await execute(at.url, 'select now()::text as now');
  const healed = String(row?.['now']);
  await freshRuns(at, 2);
  await until(async () => {
    const open = await execute(
      at.url,
      `select 1 from belfry.unfinished u join belfry.runs r on r.id = u.run_id where r.due_at <= '${healed}' and not u.blocked`,
    );
    return open.length === 0 || undefined;
  }, healingMs);
  for (const node of nodes) assert.deepEqual(await node.end('SIGTERM'), { code: 0, signal: null });
  for (const home of at.homes.values()) assert.deepEqual(processesOf(home), [], 'nothing is left running');

  const columns = `id::integer, job_name, due_at, last_due_at, due_count, state, attempts, policy, command::text like '%${at.ledger}%' as enters`;
  const rows = (await execute(at.url, `select ${columns} from belfry.records order by due_at`)) as Row[];
  assert.deepEqual(wronglyCovered(rows.filter(({ job_name: name }) => name === everySecond)), [], 'each second is recorded once');
  assert.deepEqual(wronglyDone(rows, await linesOf(at.ledger)), [], 'nothing is done more often than it may');
}

/** The seconds, from the first recorded to the last, that are not covered by exactly one row. */
export function wronglyCovered(rows: readonly Pick<Row, 'due_at' | 'last_due_at' | 'due_count'>[]): string[] {
  const covered = new Map<number, number>();
  for (const { due_at: first, last_due_at: last, due_count: count } of rows) {
    const seconds = ((last ?? first).getTime() - first.getTime()) / 1000 + 1;
    // A row that counts wrong covers nothing.
    if (seconds !== count) continue;
    for (let at = first.getTime(); at <= (last ?? first).getTime(); at += 1000) covered.set(at, (covered.get(at) ?? 0) + 1);
  }
  const from = rows[0]?.due_at.getTime() ?? 0;
  const to = Math.max(0, ...covered.keys());
  const wrong: string[] = [];
  for (let at = from; at <= to; at += 1000) if (covered.get(at) !== 1) wrong.push(`${new Date(at).toISOString()}: ${covered.get(at) ?? 0}`);
  return wrong;
}

/** Where ledger and run table do not go together: more attempts than allowed, one entered twice, one after an unknown end, none at all. */
export function wronglyDone(rows: readonly Done[], lines: readonly string[]): string[] {
  const entries = new Map<number, number[]>();
  for (const line of lines) {
    const [run = 0, attempt = 0] = line.split(' ').map(Number);
    entries.set(run, [...(entries.get(run) ?? []), attempt]);
  }
  const known = new Set(rows.map(({ id }) => id));
  const strangers = [...entries.keys()].filter((id) => !known.has(id)).map((id) => `run ${id} was done and is not recorded`);
  return [...strangers, ...rows.flatMap((row) => wrongOf(row, entries.get(row.id) ?? []))];
}

function wrongOf({ id, state, attempts, policy, enters }: Done, made: readonly number[]): string[] {
  const unknown = attempts.find(({ outcome, attempt }) => outcome === 'lost' && made.some((each) => each > attempt));
  const isRetriedWhenLost = policy?.onLost === 'retry';
  return [
    ...(new Set(made).size < made.length ? [`an attempt of run ${id} was made twice`] : []),
    ...(made.length > (policy?.retry.maxAttempts ?? Infinity) ? [`run ${id} had ${made.length} attempts`] : []),
    ...(unknown && !isRetriedWhenLost ? [`run ${id} was tried again after attempt ${unknown.attempt}, of which nobody knew the end`] : []),
    ...(enters && state === 'succeeded' && made.length === 0 ? [`run ${id} has succeeded and was not done`] : []),
  ];
}

/** How late the every-second job was run at the worst, in milliseconds, as recorded. */
export async function worstLateness({ url }: Pick<Place, 'url'>): Promise<number> {
  const [row] = await execute(
    url,
    `select max(extract(epoch from started_at - due_at) * 1000)::integer as worst from belfry.records where job_name = '${everySecond}'`,
  );
  return Number(row?.['worst']);
}

/** What the commands wrote down. */
export async function linesOf(ledger: string): Promise<string[]> {
  const text = await readFile(ledger, 'utf8').catch(() => '');
  return text.split('\n').filter((line) => line !== '');
}

/** The name of the job whose due times are watched over. */
export const everySecond = 'every-second';
