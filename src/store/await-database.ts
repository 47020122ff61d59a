// The wait for PostgreSQL at the start, and whether what answers is one that Belfry can live on.

import { setTimeout as sleep } from 'node:timers/promises';
import { Client, DatabaseError } from 'pg';
import { messageOf, Refusal } from '../errors.ts';
import { connectionTo, hangUp, masked } from './connection.ts';

type Options = {
  readonly url: string;
  /** For how long a server that is not there yet is waited for (30 000). */
  readonly withinMs?: number;
  readonly signal?: AbortSignal;
};

const oldest = 14;
const lookEveryMs = 500;
// SQLSTATE of answers that waiting does not change: no such login, no such database, not allowed.
const lasting = /^(28|3D000|42501|0A000)/;
// What PgBouncer says to settings that a session begins with, unless it is told to ignore them.
const fromProxy = '08P01';

/**
 * Waits until a PostgreSQL answers. A Refusal `unavailable` names the setting `database.url`: nobody answers in time, or what
 * does is too old, not in UTF-8, or no whole session (a proxy that pools transactions). An abort rejects with its reason.
 */
export async function awaitDatabase({ url, withinMs = 30_000, signal }: Options): Promise<void> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    signal?.throwIfAborted();
    try {
      await look(url);
      return;
    } catch (fault) {
      const refusal = refusalFor(fault, url);
      if (refusal) throw refusal;
      const left = deadline - performance.now();
      if (left <= 0) throw refused(`expected a PostgreSQL server, ${masked(url)} does not answer (${reasonOf(fault)})`);
      await sleep(Math.min(lookEveryMs, left), undefined, signal && { signal });
    }
  }
}

/** What waiting does not change. */
function refusalFor(fault: unknown, url: string): Refusal | undefined {
  if (fault instanceof Refusal) return fault;
  if (isUnreadable(fault)) return refused(`expected a URL such as postgres://user:password@host/database, got ${masked(url)}`);
  const code = fault instanceof DatabaseError ? (fault.code ?? '') : '';
  if (code === fromProxy) return refused(`expected PostgreSQL itself, ${masked(url)} is a proxy (${reasonOf(fault)})`);
  return lasting.test(code) ? refused(`expected a PostgreSQL server, ${masked(url)} answers: ${reasonOf(fault)}`) : undefined;
}

/** Two connections at a time: through a proxy that pools transactions they come out of the same session, or out of changing ones. */
async function look(url: string): Promise<void> {
  const settings = { ...connectionTo({ url, applicationName: 'belfry start', statementTimeoutMs: 5000 }), query_timeout: 10_000 };
  const [one, other] = [new Client(settings), new Client(settings)];
  const clients = [one, other];
  // What goes wrong is told by the promises; the events would end the process.
  for (const client of clients) client.on('error', () => {});
  try {
    await Promise.all(clients.map((client) => client.connect()));
    await check(url, one, other);
  } finally {
    await Promise.all(clients.map(hangUp));
  }
}

async function check(url: string, one: Client, other: Client): Promise<void> {
  const version = await ask(one, 'show server_version');
  if (parseInt(version, 10) < oldest) throw refused(`expected PostgreSQL ${oldest} or newer, ${masked(url)} is ${version}`);
  const encoding = await ask(one, 'show server_encoding');
  if (encoding !== 'UTF8') throw refused(`expected a database in UTF8, ${masked(url)} is in ${encoding}`);

  const pid = 'select pg_backend_pid()';
  const first = await ask(one, pid);
  await other.query('begin');
  const isShared = (await ask(other, pid)) === first || (await ask(one, pid)) !== first;
  await other.query('rollback');
  if (isShared) {
    throw refused(
      `expected PostgreSQL itself, ${masked(url)} is a proxy that pools transactions (LISTEN and session locks need a session)`,
    );
  }
  if ((await ask(one, 'show search_path')) !== 'belfry') {
    throw refused(`expected PostgreSQL itself, ${masked(url)} is a proxy that drops the settings a session begins with ("options")`);
  }
}

async function ask(client: Client, question: string): Promise<string> {
  const { rows } = await client.query<unknown[]>({ text: question, rowMode: 'array' });
  return String(rows[0]?.[0]);
}

function refused(what: string): Refusal {
  return new Refusal('unavailable', `database.url: ${what}`);
}

function isUnreadable(fault: unknown): boolean {
  return fault instanceof Error && 'code' in fault && fault.code === 'ERR_INVALID_URL';
}

/** An AggregateError (a name with several addresses) has no message of its own. */
function reasonOf(fault: unknown): string {
  if (fault instanceof AggregateError && fault.errors.length > 0) return fault.errors.map(messageOf).join(', ');
  return messageOf(fault);
}
