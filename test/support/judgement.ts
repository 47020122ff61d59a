// Judges an installation after all that befell it: its jobs enter their executions in a ledger, which is held against its records
// and against what is promised.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { folder, processesOf, until } from './belfry.ts';
import type { ClusterNode } from './cluster.ts';
import { stalledIn, ticks, unsettledIn, violationsIn, type History, type HistoryJob } from './history.ts';
import { ledgerCommand, readLedger } from './ledger.ts';
import { recordedRuns } from './recorded.ts';

type Scope = { after(fn: () => Promise<void>): void };

/** A job whose command enters itself in the ledger; `during` and `exit` as `ledgerCommand` has them. */
export type LedgerJob = Omit<HistoryJob, 'from'> & {
  readonly during?: string;
  readonly exit?: string;
  /** Between two attempts; 200ms. */
  readonly delay?: string;
};

export type Installation = {
  readonly nodes: readonly ClusterNode[];
  readonly url: string;
  readonly jobs: readonly HistoryJob[];
  readonly ledger: string;
};

export type Report = {
  readonly violations: readonly string[];
  readonly ticks: number;
  /** Ticks by the state that their runs came to, and the reason for it. */
  readonly ends: Readonly<Record<string, number>>;
  /** Of what was not caught up, the run that began latest after its due time. */
  readonly latest: { readonly job: string; readonly dueAt: Date; readonly ms: number };
  /** From healing until all was settled and fresh ticks of every job had begun. */
  readonly healMs: number;
};

/** What Belfry promises: within so long of healing all is settled. */
export const healWithinMs = 90_000;

/** Makes jobs that are due from the same second on, which is to come; and the file that their commands write to. */
export async function makeJobs(
  scope: Scope,
  nodes: readonly ClusterNode[],
  jobs: readonly LedgerJob[],
): Promise<{ jobs: readonly HistoryJob[]; ledger: string }> {
  const ledger = join(await folder(scope), 'ledger');
  const from = Math.ceil((Date.now() + 8000) / 5000) * 5000;
  const make = async (job: LedgerJob): Promise<void> => {
    const { name, everyMs, onLost, overlap, misfire, maxAttempts, delay = '200ms', ...command } = job;
    const body = {
      name,
      expr: `*/${everyMs / 1000} * * * * *`,
      starts_at: new Date(from).toISOString(),
      on_lost: onLost,
      overlap,
      misfire,
      max_catchup: 1000,
      retry: { max_attempts: maxAttempts, delay, factor: 1, jitter: 0 },
      command: { type: 'shell', target: ledgerCommand(ledger, command) },
    };
    const answer = await post(nodes, '/createJob', body);
    assert.equal(answer['code'], 0, String(answer['message']));
  };
  await Promise.all(jobs.map(make));
  assert.ok(Date.now() < from, 'making the jobs took too long: their first ticks would be late');
  return { jobs: jobs.map((job) => ({ ...job, from })), ledger };
}

/** Waits until all is settled and goes on, ends everything, and judges. To be called when all is healed. */
export async function judge({ nodes, url, jobs, ledger }: Installation, withinMs = healWithinMs): Promise<Report> {
  const healedAt = Date.now();
  const since = performance.now();
  const stillOpen = async (): Promise<string[]> => {
    const runs = await recordedRuns(url, 'open');
    return [...unsettledIn({ jobs, runs }, healedAt, Date.now()), ...stalledIn({ jobs, ledger: await readLedger(ledger) }, healedAt)];
  };
  const unsettled = await untilNothing(stillOpen, withinMs);
  const healMs = performance.now() - since;

  // All that is due until now has been written down when the edit is done.
  const upTo = Math.floor(Date.now() / 1000) * 1000;
  for (const { name } of jobs) await post(nodes, `/v1/jobs/${name}/disable`, {});
  if (unsettled.length === 0) await untilNothing(async () => (await recordedRuns(url, 'open')).map(({ id }) => `run ${id}`), withinMs);
  const history = { jobs, runs: await recordedRuns(url), ledger: await readLedger(ledger), upTo };
  await Promise.all(nodes.map((node) => node.terminate()));
  const leftBehind = nodes.flatMap(({ name, home }) =>
    processesOf(home).map((process) => `${name} left ${process.name} (${process.pid}) behind`),
  );
  return {
    violations: [...unsettled, ...violationsIn(history), ...nodes.flatMap((node) => node.faults()), ...leftBehind],
    ticks: jobs.reduce((sum, job) => sum + ticks(job, upTo).length, 0),
    ends: endsOf(history),
    latest: latestOf(history),
    healMs,
  };
}

/** Looks until there is nothing; answers what is there in the end. */
async function untilNothing(look: () => Promise<string[]>, withinMs: number): Promise<string[]> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const found = await look();
    if (found.length === 0 || performance.now() >= deadline) return found;
    await sleep(250);
  }
}

/** Asks any node that answers. */
async function post(nodes: readonly ClusterNode[], path: string, body: Record<string, unknown>): Promise<Record<string, unknown>> {
  return await until(async () => {
    for (const node of nodes) {
      const address = node.address();
      if (address === undefined) continue;
      try {
        const answer = await fetch(address + path, { method: 'POST', body: JSON.stringify(body), signal: AbortSignal.timeout(10_000) });
        if (answer.ok) return (await answer.json()) as Record<string, unknown>;
      } catch {
        // Another may answer.
      }
    }
    return undefined;
  });
}

function endsOf({ runs }: History): Record<string, number> {
  const ends: Record<string, number> = {};
  for (const { state, reason, dueCount } of runs) {
    const end = reason === undefined ? state : `${state} (${reason})`;
    ends[end] = (ends[end] ?? 0) + dueCount;
  }
  return ends;
}

function latestOf({ runs, ledger }: History): Report['latest'] {
  const live = new Set(runs.filter(({ catchup }) => !catchup).map(({ id }) => id));
  const first = ledger.lines.filter(({ runId, attempt, event }) => live.has(runId) && attempt === 1 && event === 'begin');
  const latest = first.toSorted((a, b) => b.at - b.dueAt - (a.at - a.dueAt))[0];
  return { job: latest?.job ?? 'none', dueAt: new Date(latest?.dueAt ?? 0), ms: latest ? latest.at - latest.dueAt : 0 };
}
