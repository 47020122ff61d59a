// PostgreSQL restarted, away, and in bad shape: what runs goes on, and when it is back so does everything else.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import test, { type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { launchBelfry, until, type Belfry, type Told } from '../support/belfry.ts';
import { fault } from '../support/faults.ts';
import { execute } from '../support/postgres.ts';
import { startServer } from '../support/server.ts';
import { entered, linesOf, place, settledWell, startSeconds, type Place } from '../support/settled.ts';

const server = await startServer(test, { settings: ['max_connections=40'] });

for (const mode of ['fast', 'immediate'] as const) {
  const body = (t: TestContext): Promise<void> =>
    during(t, async () => {
      await server.stop(mode);
      await server.start();
    });
  if (mode === 'fast') {
    fault(
      { fault: 'PostgreSQL restarted (fast)', seen: 'runs go on, their results are recorded when it is back, and schedules go on' },
      body,
    );
  } else {
    fault({ fault: 'PostgreSQL restarted (immediate)', seen: 'the same, after its recovery: nothing that was committed is gone' }, body);
  }
}

fault(
  {
    fault: 'PostgreSQL down for a minute',
    seen: 'runs go on and end meanwhile, their results wait; when it is back they are recorded and what was due is caught up with',
  },
  (t) =>
    during(t, async (at, run) => {
      await server.stop('fast');
      await execute(server.url, 'select 1').then(
        () => assert.fail(),
        () => undefined,
      );
      // The command ends while nobody can be told.
      await finish(at, run);
      await sleep(60_000);
      await server.start();
    }),
);

fault(
  {
    fault: 'PostgreSQL down at the start',
    seen: 'it is waited for, half a minute long; then Belfry says so in a sentence and exits with 69',
  },
  async (t) => {
    const at = await place(t, { url: await server.database() });
    await server.stop('fast');
    const waiting = await launchBelfry(await at.options({}));
    await sleep(3000);
    assert.equal(waiting.child.exitCode, null, waiting.stderr());
    await server.start();
    await waiting.logged(({ msg }) => msg === 'running');
    waiting.child.kill('SIGTERM');
    assert.deepEqual(await waiting.exited, { code: 0, signal: null });
    const belfry = await at.start();
    await startSeconds(at, belfry);
    await settledWell(at, belfry);
  },
);

fault({ fault: 'PostgreSQL ending all our connections', seen: 'they are opened anew; what was under way on them is asked again' }, (t) =>
  during(t, async () => {
    for (let round = 0; round < 5; round++) {
      await execute(server.url, `select pg_terminate_backend(pid) from pg_stat_activity where datname like 'test%'`);
      await sleep(300);
    }
  }),
);

fault({ fault: 'PostgreSQL read-only', seen: 'nothing is begun and nothing lost; when it may be written again all goes on' }, (t) =>
  during(t, async (at, run) => {
    await set('default_transaction_read_only', 'on');
    await finish(at, run);
    await sleep(5000);
    await set('default_transaction_read_only', 'off');
  }),
);

fault({ fault: 'a table of ours locked by somebody else', seen: 'what needs it waits; when it is free all goes on' }, (t) =>
  during(t, async (at, run) => {
    const client = new Client(at.url);
    await client.connect();
    await client.query('begin');
    await client.query('lock table belfry.unfinished, belfry.results, belfry.cursors in access exclusive mode');
    await finish(at, run);
    await sleep(6000);
    await client.end();
  }),
);

fault({ fault: 'PostgreSQL out of connections', seen: 'what finds none is tried again until there are some' }, (t) =>
  during(t, async (at, run) => {
    const ours = `datname = '${new URL(at.url).pathname.slice(1)}'`;
    const client = new Client(server.url);
    await client.connect();
    const isOver = new AbortController();
    const hogs = Array.from({ length: 40 }, () => hog(isOver.signal));
    try {
      // Whenever one of ours ends, one of theirs takes its place.
      await until(async () => {
        await client.query(`select pg_terminate_backend(pid) from pg_stat_activity where ${ours}`);
        await sleep(200);
        const { rowCount } = await client.query(`select 1 from pg_stat_activity where ${ours}`);
        return rowCount === 0 || undefined;
      });
      await finish(at, run);
      await sleep(4000);
    } finally {
      isOver.abort();
      await Promise.all(hogs);
      await client.end();
    }
  }),
);

fault(
  { fault: 'serialization failures', seen: 'what PostgreSQL takes back is done again: by every node, as often as it takes' },
  async (t) => {
    const url = await server.database();
    await execute(url, `alter database ${new URL(url).pathname.slice(1)} set default_transaction_isolation = 'serializable'`);
    const at = await place(t, { url });
    // One after the other: BullMQ makes its tables at the first start, and on such a database not twice at once.
    const [one, two, three] = [await at.start({ name: 'one' }), await at.start({ name: 'two' }), await at.start({ name: 'three' })];
    await startSeconds(at, one);
    for (const table of ['unfinished', 'results', 'cursors']) {
      await execute(
        url,
        `create or replace function belfry.taken_back() returns trigger language plpgsql as $$ begin
           if random() < 0.2 then raise exception 'could not serialize access' using errcode = 'serialization_failure'; end if;
           return null;
         end $$;
         create trigger taken_back after insert or update or delete on belfry.${table} for each statement execute function belfry.taken_back()`,
      );
    }
    await sleep(10_000);
    await execute(url, 'drop function belfry.taken_back cascade');
    const told = [one, two, three]
      .flatMap(({ lines }) => lines)
      .filter(({ err }) => (err as { code?: string } | undefined)?.code === '40001');
    t.diagnostic(`told in the log: ${told.length}`);
    await settledWell(at, one, two, three);
  },
);

/** Does something to PostgreSQL while a Belfry ticks and a run is on; that run is done once, and everything is put right. */
async function during(t: TestContext, harm: (at: Place, run: number) => Promise<void>): Promise<void> {
  const at = await place(t, { url: await server.database() });
  const belfry = await at.start();
  await startSeconds(at, belfry);
  const run = await begin(at, belfry);
  await harm(at, run);
  await finish(at, run);
  const ended = await untilFinished(belfry, run);
  assert.deepEqual([ended.state, ended.attempts.length], ['succeeded', 1]);
  await settledWell(at, belfry);
}

async function begin(at: Place, belfry: Belfry): Promise<number> {
  const then = `until [ -e ${at.ledger}.go ]; do sleep 0.1; done; echo $BELFRY_RUN_ID >> ${at.ledger}.ended`;
  await belfry.create({ name: 'long', expr: '@yearly', ...entered(at, then) });
  const run = await belfry.trigger('long');
  await until(async () => (await linesOf(at.ledger)).includes(`${run} 1`) || undefined);
  return run;
}

/** Lets the command of the run come to its end, and waits for that. */
async function finish({ ledger }: Place, run: number): Promise<void> {
  await writeFile(`${ledger}.go`, '');
  await until(async () => (await linesOf(`${ledger}.ended`)).includes(String(run)) || undefined);
}

/** Asked over HTTP, which answers with a fault as long as PostgreSQL is away. */
async function untilFinished(belfry: Belfry, run: number) {
  return await until(async () => {
    const found = (await belfry.records({ cursor: run + 1, size: 1 })) as readonly Told[] | null;
    return found?.find(({ id, finished_time: at }) => id === run && at !== null);
  }, 90_000);
}

/** A setting of the server, in a session that may write whatever the setting is. */
async function set(name: string, value: string): Promise<void> {
  const client = new Client({ connectionString: `${server.url}?options=-c%20default_transaction_read_only=off` });
  await client.connect();
  await client.query(`alter system set ${name} = '${value}'`);
  await client.query('select pg_reload_conf()');
  await client.end();
}

/** Holds a connection whenever there is one, until it is over. */
async function hog(signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const client = new Client(server.url);
    client.on('error', () => {});
    try {
      await client.connect();
      while (!signal.aborted) {
        await client.query('select 1');
        await sleep(200);
      }
      await client.end();
    } catch {
      await sleep(5);
    }
  }
}
