// The source with a safeguard taken out, to see that the loss of it is noticed. It is changed outside of the checkout, as text: a
// safeguard that no longer reads as it did is told, so that no mutant ever lives on as a plain copy.

import { cp, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { folder } from './belfry.ts';
import { execute } from './postgres.ts';

type Scope = { after(fn: () => Promise<void>): void };

/** Text that stands so many times (once) where it is said to, and what becomes of it. */
export type Change = { readonly text: string; readonly times?: number; readonly becomes: string };

export type Mutant = {
  /** By file, seen from the checkout. */
  readonly source?: Readonly<Record<string, readonly Change[]>>;
  /** By function of the schema belfry, as the migrations left it. */
  readonly functions?: Readonly<Record<string, readonly Change[]>>;
  /** Done after the migrations. */
  readonly statements?: readonly string[];
};

const checkout = fileURLToPath(new URL('../..', import.meta.url));

/** A copy of what a node needs, with the changes of its source; gone after the scope. */
export async function copySource(scope: Scope, { source = {} }: Mutant): Promise<string> {
  const copy = await folder(scope);
  for (const part of ['src', 'migrations', 'package.json']) await cp(join(checkout, part), join(copy, part), { recursive: true });
  await symlink(join(checkout, 'node_modules'), join(copy, 'node_modules'));
  for (const [file, changes] of Object.entries(source)) {
    const path = join(copy, file);
    await writeFile(path, changed(file, await readFile(path, 'utf8'), changes));
  }
  return copy;
}

/** The changes of its database, where the migrations have been done. */
export async function changeDatabase(url: string, { functions = {}, statements = [] }: Mutant): Promise<void> {
  for (const [name, changes] of Object.entries(functions)) {
    const [row] = await execute(url, `select pg_get_functiondef('belfry.${name}'::regproc) as definition`);
    await execute(url, changed(`the function ${name}`, String(row?.['definition']), changes));
  }
  for (const statement of statements) await execute(url, statement);
}

function changed(where: string, text: string, changes: readonly Change[]): string {
  return changes.reduce((before, change) => {
    const times = before.split(change.text).length - 1;
    const expected = change.times ?? 1;
    if (times === expected) return before.replaceAll(change.text, () => change.becomes);
    throw new Error(`${where} has ${times} times, not ${expected}, what this mutant takes out: ${change.text}`);
  }, text);
}
