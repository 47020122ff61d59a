// The part of a definition that says where, after what and how many at a time: its shapes, and how they stand in a row. Pure.

import { z } from 'zod';
import { show, type Fault } from '../faults.ts';
import type { JobRow } from '../store/jobs.ts';
import { label, list, refuse, table } from '../shapes.ts';

const mostParents = 100;

/** A word that nodes are given and jobs ask for. */
export function nodeLabel() {
  return z.unknown().transform((value, context): string => {
    const isWord = typeof value === 'string' && /^[A-Za-z0-9][A-Za-z0-9_.-]{0,49}$/.test(value);
    return isWord ? value : refuse(context, value, 'expected a label of up to 50 letters, digits, "-", "_" and "." such as "gpu"');
  });
}

const place = z.union([table({ label: nodeLabel() }), table({ node: label(100) })]);

/** `"all"`, `{ label = "gpu" }` or `{ node = "n1" }` as it stands in a row: `all`, `label:gpu`, `node:n1`. */
export function placeToRun() {
  return z.unknown().transform((value, context): string => {
    if (value === 'all') return value;
    const parsed = place.safeParse(value);
    if (!parsed.success) return refuse(context, value, 'expected "all", { label = "gpu" } or { node = "n1" }');
    return 'label' in parsed.data ? `label:${parsed.data.label}` : `node:${parsed.data.node}`;
  });
}

type Row = Pick<JobRow, 'runOn' | 'afterJobs' | 'afterOn' | 'concurrency' | 'concurrencyKey' | 'maxQueued'>;

/** What a row says of it, as it would be written. */
export function placingOfRow(job: Row): Record<string, unknown> {
  return {
    ...(job.runOn === '' ? {} : { run_on: placeAsWritten(job.runOn) }),
    ...(job.afterJobs.length === 0 ? {} : { after: job.afterJobs, after_on: job.afterOn }),
    ...(job.concurrency === null ? {} : { concurrency: job.concurrency }),
    ...(job.concurrencyKey === null ? {} : { concurrency_key: job.concurrencyKey }),
    max_queued: job.maxQueued,
  };
}

function placeAsWritten(runOn: string): unknown {
  const [, kind, name] = /^(label|node):(.*)$/s.exec(runOn) ?? [];
  return kind === undefined ? runOn : { [kind]: name };
}

/** The names of jobs: one, or a list. */
export function parents() {
  const several = list(label(200), mostParents).min(1, 'expected the name of a job, or a list of them');
  return z.preprocess((value) => (typeof value === 'string' ? [value] : value), several);
}

type Written = {
  readonly name: string;
  readonly after?: readonly string[] | undefined;
  readonly after_on?: unknown;
  readonly concurrency?: number | undefined;
  readonly concurrency_key?: string | undefined;
};

/** What is wrong with the places of a job as a whole. */
export function placingFaults({ name, after = [], after_on: afterOn, concurrency, concurrency_key: key }: Written): Fault[] {
  const faults: Fault[] = [];
  if (after.includes(name)) faults.push({ path: ['after'], message: `expected other jobs, got ${show(name)} itself` });
  if (afterOn !== undefined && after.length === 0) {
    faults.push({ path: ['after_on'], message: 'expected with "after" only, which names the jobs that this one follows' });
  }
  if (key !== undefined && concurrency === undefined) {
    faults.push({ path: ['concurrency_key'], message: 'expected with "concurrency" only, which says how many of that key run at a time' });
  }
  return faults;
}
