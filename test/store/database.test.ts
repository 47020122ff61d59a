// The connections that the stores share, on a real PostgreSQL, with a network between that fails.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import test, { describe, it, type TestContext } from 'node:test';
import { eq } from 'drizzle-orm';
import { bigint, jsonb, pgTable, text, timestamp } from 'drizzle-orm/pg-core';
import { openDatabase, type Database } from '../../src/store/database.ts';
import { execute, testDatabase } from '../support/postgres.ts';
import { startProxy } from '../support/proxy.ts';

const { url } = await testDatabase(test, 'empty');
await execute(url, 'create schema belfry');

function open(t: TestContext, options: Partial<Parameters<typeof openDatabase>[0]> = {}): Database {
  const database = openDatabase({ url, applicationName: 'belfry test', ...options });
  t.after(() => database.close());
  return database;
}

async function pidOf({ sql }: Database): Promise<number> {
  const [row] = await sql<{ pid: number }[]>`select pg_backend_pid() as pid`;
  assert.ok(row);
  return row.pid;
}

/** Does it again until it is not refused: what callers do after an outage. */
async function untilItWorks<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

describe('a statement', { timeout: 60_000 }, () => {
  it('takes and returns dates, numbers, texts, JSON and lists of them', async (t) => {
    const { sql } = open(t);
    const given = {
      moment: new Date('2026-03-29T01:30:00.123Z'),
      moments: [new Date('1969-12-31T23:59:59.999Z'), new Date('2100-01-01T00:00:00Z')],
      id: 2 ** 53 - 1,
      ids: [1, 2 ** 53 - 1],
      words: ['plain', 'with "quotes", {braces}, \\ and \n', '', 'NULL', '☃'],
      document: { list: [1, 'two', null], text: 'O\'Hara \\ "x"' },
      documents: [{ a: 1 }, { b: [null] }],
      yes: true,
      nothing: null,
    };
    const [row] = await sql`
      select ${given.moment}::timestamptz as moment, ${given.moments}::timestamptz[] as moments, ${given.id}::bigint as id,
             ${given.ids}::bigint[] as ids, ${given.words}::text[] as words, ${given.document}::jsonb as document,
             ${given.documents}::jsonb[] as documents, ${given.yes}::boolean as yes, ${given.nothing}::text as nothing`;
    assert.deepEqual(row, given);
  });

  for (const [code, why] of Object.entries({ '40P01': 'to break a deadlock', '40001': 'and asks for it again' })) {
    it(`that PostgreSQL ends ${why} is run again, five times at most`, async (t) => {
      const { sql } = open(t);
      // A sequence counts on where all else is undone.
      await execute(url, 'drop sequence if exists belfry.tries; create sequence belfry.tries');
      await execute(
        url,
        `create or replace function belfry.ended(code text, often integer) returns bigint language plpgsql as $$
         declare try bigint := nextval('belfry.tries');
         begin
             if try <= often then raise exception using errcode = code, message = 'ended for the sake of others'; end if;
             return try;
         end $$`,
      );
      const triesOf = (often: number) => sql<{ tries: number }[]>`select belfry.ended(${code}, ${often}::integer) as tries`;
      assert.deepEqual(await triesOf(4), [{ tries: 5 }]);
      await assert.rejects(triesOf(100), /ended for the sake of others/);
      assert.deepEqual(await triesOf(10), [{ tries: 11 }], 'it was tried five times');
    });
  }

  it('returns empty lists, counts as numbers, days as text', async (t) => {
    const { sql } = open(t);
    const [row] =
      await sql`select ${[]}::bigint[] as none, array[null, 7]::bigint[] as some, count(*) as count, date '2026-11-21' as day from pg_class where false`;
    assert.deepEqual(row, { none: [], some: [null, 7], count: 0, day: '2026-11-21' });
  });

  it('can be put together of parts, whose values stay parameters', async (t) => {
    const { sql } = open(t);
    const inner = sql.part`${'a'}::text || ${"'; drop table x; --"}::text`;
    const [row] = await sql`select ${inner} as first, ${1}::int as second, ${sql.part`lower(${inner})`} as third`;
    assert.deepEqual(row, { first: "a'; drop table x; --", second: 1, third: "a'; drop table x; --" });
  });

  it('finds the schema belfry, whatever the URL asks for', async (t) => {
    const { sql } = open(t, { url: `${url}?options=-c%20search_path=public%20-c%20work_mem=5MB` });
    const [row] = await sql`
      select current_setting('search_path') as path, current_setting('idle_in_transaction_session_timeout') as idle,
             current_setting('application_name') as name, current_setting('work_mem') as memory`;
    assert.deepEqual(row, { path: 'belfry', idle: '5s', name: 'belfry test', memory: '5MB' });
  });

  it('sees what is committed when it begins, whatever the database has for a default', async (t) => {
    const strict = await testDatabase(t, 'empty');
    await execute(strict.url, `alter database ${new URL(strict.url).pathname.slice(1)} set default_transaction_isolation = 'serializable'`);
    const { sql } = open(t, { url: strict.url });
    assert.deepEqual(await sql`select current_setting('transaction_isolation') as level`, [{ level: 'read committed' }]);
  });

  it('is planned for a short time and compiled never, whatever the database has for a default', async (t) => {
    const eager = await testDatabase(t, 'empty');
    const name = new URL(eager.url).pathname.slice(1);
    await execute(eager.url, `alter database ${name} set jit = 'on'; alter database ${name} set max_parallel_workers_per_gather = 4`);
    const settings = ['jit', 'max_parallel_workers_per_gather'];
    const { sql } = open(t, { url: eager.url, plans: 'by_index' });
    const rows = await sql`select current_setting(name) as value from unnest(${settings}::text[]) as name`;
    assert.deepEqual(
      rows.map(({ value }) => value),
      ['off', '0'],
    );
  });

  it('that the server refuses costs no connection', async (t) => {
    const database = open(t, { maxConnections: 1 });
    const before = await pidOf(database);
    await assert.rejects(database.sql`select 1 / 0`, { code: '22012' });
    assert.equal(await pidOf(database), before);
  });

  it('without an answer rejects at its deadline and leaves its connection', async (t) => {
    const database = open(t, { maxConnections: 1, queryTimeoutMs: 300 });
    const before = await untilItWorks(() => pidOf(database));
    const [slow, queued] = await Promise.allSettled([database.sql`select pg_sleep(60)`, database.sql`select 1`]);
    assert.deepEqual([slow.status, queued.status], ['rejected', 'rejected']);
    assert.notEqual(await untilItWorks(() => pidOf(database)), before);
  });

  it('on a half-open connection rejects at its deadline, and the next one works', async (t) => {
    const proxy = await startProxy(t, url);
    const database = open(t, { url: proxy.url, maxConnections: 1, queryTimeoutMs: 300 });
    await untilItWorks(() => pidOf(database));
    proxy.silence();
    await assert.rejects(database.sql`select 1`, /did not answer within/);
    await untilItWorks(() => pidOf(database));
  });

  it('goes on after a migration changed its table', async (t) => {
    const { sql } = open(t, { maxConnections: 1 });
    await execute(url, 'create table belfry.changing (a int); insert into belfry.changing values (1)');
    const read = () => sql`select * from changing`;
    assert.deepEqual(await read(), [{ a: 1 }]);
    await execute(url, 'alter table belfry.changing add column b int default 2');
    assert.deepEqual(await read(), [{ a: 1, b: 2 }]);
  });

  it('of drizzle keeps dates, ids and JSON as they are', async (t) => {
    const { orm } = open(t);
    await execute(url, 'create table belfry.kept (id bigint, at timestamptz, doc jsonb, words text[])');
    const kept = pgTable('kept', {
      id: bigint({ mode: 'number' }),
      at: timestamp({ withTimezone: true }),
      doc: jsonb(),
      words: text().array(),
    });
    const row = { id: 2 ** 53 - 1, at: new Date('2026-10-25T00:30:00.5Z'), doc: { a: ['x', null] }, words: ['a,b', '"'] };
    await orm.insert(kept).values(row);
    assert.deepEqual(await orm.select().from(kept).where(eq(kept.at, row.at)), [row]);
  });
});

describe('an outage', { timeout: 60_000 }, () => {
  for (const fault of ['reset', 'end', 'terminated', 'down'] as const) {
    it(`(${fault}) rejects what it hits, leaves nothing unhandled, and is over without help`, async (t) => {
      const proxy = await startProxy(t, url);
      const database = open(t, { url: proxy.url, maxConnections: 3, applicationName: `hit by ${fault}` });
      let done = 0;
      for (let round = 0; round < 10; round++) {
        const work = Array.from(
          { length: 30 },
          (_, index) => database.sql`select ${'x'.repeat(index * 100)}::text as x, pg_sleep(${index % 3} * 0.001)`,
        );
        await Promise.race(work);
        if (fault === 'down') await proxy.down();
        else if (fault === 'terminated')
          await execute(url, `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'hit by terminated'`);
        else proxy.cut(fault);
        const settled = await Promise.allSettled(work);
        done += settled.filter(({ status }) => status === 'fulfilled').length;
        if (fault === 'down') await proxy.up();
        await untilItWorks(() => pidOf(database));
      }
      assert.ok(done > 0);
    });
  }

  it('is heard of by who listens when it is over, and listening goes on', async (t) => {
    const proxy = await startProxy(t, url);
    const database = open(t, { url: proxy.url });
    const events = new EventTarget();
    const tell = (name: string) => () => void events.dispatchEvent(new Event(name));
    await database.listen('Some "channel"', (payload) => tell(payload)(), tell('resumed'));
    for (const outage of ['reset', 'down'] as const) {
      const resumed = once(events, 'resumed');
      if (outage === 'reset') proxy.cut('reset');
      else await proxy.down().then(proxy.up);
      await resumed;
      const heard = once(events, outage);
      await execute(url, `notify "Some ""channel""", '${outage}'`);
      await heard;
    }
  });

  it('that is there when somebody begins to listen is waited for', async (t) => {
    const proxy = await startProxy(t, url);
    await proxy.down();
    const database = open(t, { url: proxy.url });
    const listening = database.listen('later', () => {});
    await proxy.up();
    await listening;
  });

  it('does not keep a listener from being closed', async (t) => {
    const proxy = await startProxy(t, url);
    await proxy.down();
    const database = openDatabase({ url: proxy.url, applicationName: 'belfry test' });
    const listening = assert.rejects(database.listen('never', () => {}));
    await database.close();
    await listening;
  });
});

describe('a channel', { timeout: 60_000 }, () => {
  it('is heard until it is stopped, by each who listens', async (t) => {
    const database = open(t);
    const heard: string[] = [];
    const first = await database.listen('news', (payload) => heard.push(`first ${payload}`));
    const { promise: lastHeard, resolve } = Promise.withResolvers<void>();
    await database.listen('news', (payload) => {
      heard.push(`second ${payload}`);
      if (payload === 'b') resolve();
    });
    await database.sql`select pg_notify('news', 'a')`;
    await database.sql`select pg_notify('other', 'x')`;
    await database.listen('barrier', () => {});
    await first.stop();
    await database.sql`select pg_notify('news', 'b')`;
    await lastHeard;
    assert.deepEqual(heard, ['first a', 'second a', 'second b']);
  });

  it('goes on when one who listens throws', async (t) => {
    const faults: unknown[] = [];
    const database = open(t, { onError: (fault) => faults.push(fault) });
    const wrong = new Error('a fault of the listener');
    const { promise, resolve } = Promise.withResolvers<void>();
    await database.listen('loud', () => {
      throw wrong;
    });
    await database.listen('loud', () => resolve());
    await database.sql`select pg_notify('loud', '')`;
    await promise;
    assert.deepEqual(faults, [wrong]);
  });
});

describe('a named lock', { timeout: 60_000 }, () => {
  it('is held by one, until it is released', async (t) => {
    const [one, other] = [open(t), open(t)];
    const lock = await one.holdLock('node a', assert.fail);
    assert.ok(lock);
    assert.equal(await other.holdLock('node a', assert.fail), undefined);
    const another = await other.holdLock('node b', assert.fail);
    await lock.release();
    const taken = await other.holdLock('node a', assert.fail);
    assert.ok(taken);
    await Promise.all([taken.release(), another?.release()]);
  });

  it('whose connection is lost is told of once, and free', async (t) => {
    const database = open(t);
    let told = 0;
    const { promise, resolve } = Promise.withResolvers<void>();
    await database.holdLock('lost', () => {
      told++;
      resolve();
    });
    await execute(
      url,
      `select pg_terminate_backend(pid, 5000) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`,
    );
    await promise;
    const again = await database.holdLock('lost', assert.fail);
    assert.ok(again);
    await again.release();
    assert.equal(told, 1);
  });
});
