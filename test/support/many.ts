// Very many jobs in a table at once, as if each had been made by itself.

import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Belfry } from './belfry.ts';
import { execute } from './postgres.ts';
import type { Place } from './settled.ts';

const noop = `export default {
  type: 'noop',
  defaults: { maxAttempts: 1, timeoutMs: 60_000 },
  parse: (command) => command,
  execute: async () => ({ outcome: 'succeeded', known: true, result: {} }),
};`;

/** The setting that brings commands of the type "noop", which do nothing at all. */
export async function withNoop({ ledger }: Place): Promise<string> {
  const file = join(dirname(ledger), 'noop.js');
  await writeFile(file, noop);
  return `[executors.noop]\nmodule = "${file}"\n`;
}

/** Makes a job "copy" that does nothing, and so many like it, due the next time at a moment that PostgreSQL knows (`'infinity'`). */
export async function copies({ url }: Place, belfry: Belfry, count: number, job: Record<string, unknown>, dueAt: string): Promise<void> {
  await belfry.create({ name: 'copy', enabled: false, command: { type: 'noop' }, ...job });
  await execute(
    url,
    `insert into belfry.jobs overriding system value
     select (made.job).*
       from belfry.jobs j, generate_series(1, ${count}) n,
            lateral (select jsonb_populate_record(j, jsonb_build_object(
                'id', nextval(pg_get_serial_sequence('belfry.jobs', 'id')), 'name', 'copy-' || n, 'enabled', true, 'next_due_at', ${dueAt}
            )) as job offset 0) made
      where j.name = 'copy'`,
  );
}
