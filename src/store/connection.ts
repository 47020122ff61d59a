// How every connection of ours to PostgreSQL is made, and one connection held for itself: a session.

import { setTimeout as sleep } from 'node:timers/promises';
import { Client, DatabaseError, types, type ClientConfig } from 'pg';

/** Where to connect and as whom. `statementTimeoutMs` ends a statement on the server; without it one may take for ever. */
export type Address = {
  readonly url: string;
  readonly applicationName: string;
  readonly statementTimeoutMs?: number | undefined;
  readonly plans?: Plans | undefined;
};

/**
 * How statements are planned. `by_index`: once, finding rows by index and joining them by hash. The statements of the work are
 * written for that: each names its rows by `= any (ids)`. A burst fills and empties tables long before statistics know, and what
 * the planner guesses from those costs up to a hundred times more. `by_statistics`: as PostgreSQL does by itself, for what people ask.
 */
export type Plans = 'by_index' | 'by_statistics';

const byIndex = {
  plan_cache_mode: 'force_generic_plan',
  max_parallel_workers_per_gather: 0,
  enable_nestloop: 'off',
  enable_mergejoin: 'off',
  enable_bitmapscan: 'off',
  enable_seqscan: 'off',
};

/**
 * The driver's settings. What a session must have goes with the first message of its connection and comes after the `options`
 * of the URL, which BullMQ uses as it is: ours would send its tables into our schema there.
 */
export function connectionTo({ url, applicationName, statementTimeoutMs = 0, plans = 'by_statistics' }: Address): ClientConfig {
  const wanted = {
    search_path: 'belfry',
    statement_timeout: statementTimeoutMs,
    idle_in_transaction_session_timeout: '5s',
    // A claim's second statement has to see what others have claimed since its first, whatever the database's default is.
    default_transaction_isolation: 'read\\ committed',
    // To a PostgreSQL before 18 a plan that has to do what is switched off looks so dear that it compiles it, which takes ten times as long.
    jit: 'off',
    datestyle: 'ISO',
    timezone: 'UTC',
    // A session whose client vanished without a word holds its locks until the server notices: in a minute, not two hours.
    tcp_keepalives_idle: 30,
    tcp_keepalives_interval: 10,
    tcp_keepalives_count: 3,
    ...(plans === 'by_index' ? byIndex : {}),
  };
  const theirs = new URLSearchParams(url.split('?')[1]).get('options') ?? '';
  const options = [
    encodeURIComponent(theirs),
    ...Object.entries(wanted).map(([name, value]) => `-c%20${name}=${encodeURIComponent(value)}`),
  ].join('%20');
  return {
    // In the URL and last there: the driver lets the URL win over its settings.
    connectionString: `${url}${url.includes('?') ? '&' : '?'}options=${options}`,
    application_name: applicationName,
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    types: { getTypeParser: parserOf as typeof types.getTypeParser },
  };
}

type Parser = (text: string) => unknown;

// Ids and counts stay below 2^53. A date is no moment, so it is left as text.
const parsers = new Map<number, Parser>([
  [types.builtins.INT8, Number],
  [types.builtins.DATE, String],
  [types.builtins.TIMESTAMPTZ, momentIn],
  [1016, numbersIn], // bigint[]
]);

function parserOf(oid: number, format?: 'text'): Parser {
  return parsers.get(oid) ?? (types.getTypeParser(oid, format) as Parser);
}

const parseMoment = types.getTypeParser(types.builtins.TIMESTAMPTZ, 'text') as Parser;

/** `2030-01-23 09:00:00.123+00`, as sessions in UTC write it, by the quickest way; all else (`infinity`) by the driver's own. */
function momentIn(text: string): unknown {
  const isPlain = text.endsWith('+00') && text[10] === ' ';
  return isPlain ? new Date(`${text.slice(0, 10)}T${text.slice(11, -3)}Z`) : parseMoment(text);
}

function numbersIn(list: string): (number | null)[] {
  return list === '{}'
    ? []
    : list
        .slice(1, -1)
        .split(',')
        .map((item) => (item === 'NULL' ? null : Number(item)));
}

/** The URL as it may be shown: without its password. */
export function masked(url: string): string {
  return url.replace(/^(\w+:\/\/[^:/?#]*):.*@/s, '$1:***@').replace(/([?&]password=)[^&]*/g, '$1***');
}

/**
 * Whether a fault leaves a connection that is no use any more: all but the server's answer that it will not do this statement.
 * By SQLSTATE: 08 connection, 57P shut down or terminated, XX internal.
 */
export function endsConnection(fault: unknown): boolean {
  return !(fault instanceof DatabaseError) || /^(08|57P|XX)/.test(fault.code ?? '');
}

/** Settles as `work` does, or rejects after so many milliseconds. */
export async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`PostgreSQL did not answer within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** One connection with its own state. `query` takes one statement after the other; `close` ends the session and waits for that. */
export type Session = {
  readonly query: (text: string, values?: readonly unknown[]) => Promise<readonly object[]>;
  readonly close: () => Promise<void>;
};

type SessionEvents = {
  /** Called once when the session is gone without `close`; it never comes back. */
  readonly lost: (why: unknown) => void;
  readonly notified?: (channel: string, payload: string) => void;
};

const pingEveryMs = 10_000;
const answerWithinMs = 10_000;

/** Opens a session. It is asked for a sign of life every ten seconds, as a half-open connection says nothing by itself. */
export async function openSession(settings: ClientConfig, { lost, notified }: SessionEvents): Promise<Session> {
  const client = new Client(settings);
  const ending = new AbortController();
  let isOpen = false;
  const lose = (why: unknown): void => {
    if (!isOpen) return;
    isOpen = false;
    ending.abort();
    client.connection.stream.destroy();
    lost(why);
  };
  client.on('error', lose);
  client.on('end', () => lose(new Error('the connection to PostgreSQL ended')));
  client.on('notification', ({ channel, payload }) => notified?.(channel, payload ?? ''));
  try {
    await client.connect();
  } catch (fault) {
    client.connection.stream.destroy();
    throw fault;
  }
  isOpen = true;

  let last: Promise<unknown> = Promise.resolve();
  const query = (text: string, values: readonly unknown[] = []): Promise<readonly object[]> => {
    const answer = last.then(async () => {
      try {
        const { rows } = await within(answerWithinMs, client.query<Record<string, unknown>>(text, [...values]));
        return rows;
      } catch (fault) {
        if (endsConnection(fault)) lose(fault);
        throw fault;
      }
    });
    last = answer.catch(() => undefined);
    return answer;
  };
  void keepAsking(query, ending.signal);
  return {
    query,
    close: async () => {
      isOpen = false;
      ending.abort();
      await hangUp(client);
    },
  };
}

async function keepAsking(query: Session['query'], signal: AbortSignal): Promise<void> {
  try {
    for (;;) {
      await sleep(pingEveryMs, undefined, { signal });
      await query('select 1');
    }
  } catch {
    // Closed, or lost: a ping without an answer has told so itself.
  }
}

/** Ends a connection and waits until the server has let go of what it held; a server that is not there is not waited for. */
export async function hangUp(client: Client): Promise<void> {
  await within(2000, client.end()).catch(() => client.connection.stream.destroy());
}
