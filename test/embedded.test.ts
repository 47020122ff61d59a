// The private PostgreSQL: real servers in directories of their own, owned by real processes that end in every way.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { startEmbedded, type Embedded } from '../src/embedded.ts';
import { answerOf, ask, end, isRoot, makeBase, nobodyIn, own, processesIn, refusal, whileRunning } from './support/embedded.ts';

// Who begins with this gets no further than to the start of initdb, which goes on by itself.
const stopsAtInitdb = `
  const { default: processes } = await import('node:child_process');
  const { spawn } = processes;
  processes.spawn = (program, ...rest) => {
    const child = spawn(program, ...rest);
    if (!program.endsWith('/initdb')) return child;
    console.error('initdb runs');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  };
  (await import('node:module')).syncBuiltinESMExports();`;

describe('the private PostgreSQL', { timeout: 180_000 }, () => {
  let base = '';
  let dataDir = '';
  let cluster = '';
  before(async () => {
    base = await makeBase();
    dataDir = join(base, 'data');
    cluster = join(dataDir, 'postgres');
    await whileRunning(dataDir, ({ url }) => ask(url, 'create table kept as select 42 as answer'));
  });
  after(() => fs.rm(base, { recursive: true, force: true }));

  const hasItsData = async ({ url }: Embedded) => assert.deepEqual(await ask(url, 'select answer from kept'), [{ answer: 42 }]);
  const isNew = async ({ url }: Embedded) =>
    assert.deepEqual(await ask(url, `select count(*)::int as tables from pg_tables where schemaname = 'public'`), [{ tables: 0 }]);

  describe('a start', () => {
    test('the first time makes an empty database and tells so', async () => {
      const lines: string[] = [];
      const db = await startEmbedded({ dataDir: join(base, 'first'), progress: (line) => lines.push(line) });
      try {
        assert.match(db.url, /^postgres:\/\/belfry:[\w-]{32}@127\.0\.0\.1:\d+\/belfry$/);
        assert.ok(lines.includes(`creating a private PostgreSQL in ${base}/first/postgres`));
        await isNew(db);
      } finally {
        await db.stop();
      }
    });

    test('later has the data again', () => whileRunning(dataDir, hasItsData));

    test('gives a server in UTF-8 that listens on loopback only and loses no commit', () =>
      whileRunning(dataDir, async ({ url }) => {
        const settings = await ask(
          url,
          `select name, setting from pg_settings where name in ('server_encoding', 'listen_addresses',
             'unix_socket_directories', 'fsync', 'synchronous_commit', 'full_page_writes') order by name`,
        );
        assert.deepEqual(Object.fromEntries(settings.map(({ name, setting }) => [name, setting])), {
          fsync: 'on',
          full_page_writes: 'on',
          listen_addresses: '127.0.0.1',
          server_encoding: 'UTF8',
          synchronous_commit: 'on',
          unix_socket_directories: '',
        });
      }));

    test('keeps the data and the password to their owner', async () => {
      const modes = ['', 'postgres', 'postgres.password', 'postgres.log'].map(async (name) => (await fs.stat(join(dataDir, name))).mode);
      const open = isRoot ? 0o711 : 0o700;
      assert.deepEqual(
        (await Promise.all(modes)).map((mode) => mode & 0o777),
        [open, 0o700, 0o600, 0o600],
      );
    });

    test('lets nobody in without the password', () =>
      whileRunning(dataDir, ({ url }) =>
        assert.rejects(ask(url.replace(/belfry:[^@]+@/, 'belfry:guessed@'), 'select 1'), /password authentication failed/),
      ));

    test('makes a new password when the file with it was lost', async () => {
      const file = join(dataDir, 'postgres.password');
      const old = await fs.readFile(file, 'utf8');
      await fs.rm(file);
      await whileRunning(dataDir, hasItsData);
      await whileRunning(dataDir, hasItsData);
      assert.notEqual(await fs.readFile(file, 'utf8'), old);
      assert.doesNotMatch(await fs.readFile(join(dataDir, 'postgres.log'), 'utf8'), /alter role/);
    });

    test('cuts a log that grew too long', async () => {
      const log = join(dataDir, 'postgres.log');
      await fs.truncate(log, 11_000_000);
      await whileRunning(dataDir, hasItsData);
      assert.ok((await fs.stat(log)).size < 100_000);
    });
  });

  describe('what an earlier start left', () => {
    test('half an initdb does not count, and is done anew', async () => {
      const half = join(base, 'half');
      await fs.mkdir(join(half, 'postgres.new-abc', 'base'), { recursive: true });
      await fs.writeFile(join(half, 'postgres.new-abc', 'PG_VERSION'), '18\n');
      await whileRunning(half, isNew);
      assert.deepEqual(
        (await fs.readdir(half)).filter((name) => name.includes('new')),
        [],
      );
    });

    test('an initdb whose Belfry was killed does not count', async (t) => {
      const killed = join(base, 'killed');
      const child = own(t, killed, {}, { prelude: stopsAtInitdb });
      for await (const line of createInterface({ input: child.stderr })) if (line === 'initdb runs') break;
      await end(child);
      await assert.rejects(fs.stat(join(killed, 'postgres')), { code: 'ENOENT' });
      await whileRunning(killed, isNew);
    });

    test('an initdb that was given up does not count, and leaves no process', async () => {
      const givenUp = join(base, 'given-up');
      const giveUp = new AbortController();
      const progress = () => setImmediate(() => giveUp.abort());
      await assert.rejects(startEmbedded({ dataDir: givenUp, progress, signal: giveUp.signal }), { name: 'AbortError' });
      assert.deepEqual(await processesIn(givenUp), []);
      await whileRunning(givenUp, isNew);
    });

    const rest = '/somewhere\n1\n1\n\n127.0.0.1\n1 1\nready   \n';
    for (const [what, text] of [
      ['the pid of another living process', `${process.pid}\n${rest}`],
      ['the pid of no process', `2147483647\n${rest}`],
      ['nothing in it', ''],
    ] as const) {
      test(`a pid file with ${what} is not believed`, async () => {
        const file = join(cluster, 'postmaster.pid');
        await fs.writeFile(file, text, { mode: 0o600 });
        const { uid, gid } = await fs.stat(cluster);
        await fs.chown(file, uid, gid);
        await whileRunning(dataDir, hasItsData);
      });
    }

    test('the data of another major version are refused, not touched', async () => {
      const old = join(base, 'old');
      await fs.mkdir(join(old, 'postgres'), { recursive: true });
      await fs.writeFile(join(old, 'postgres', 'PG_VERSION'), '13\n');
      await assert.rejects(startEmbedded({ dataDir: old }), refusal('unavailable', /made by PostgreSQL 13, and Belfry brings 18/));
      assert.deepEqual(await fs.readdir(join(old, 'postgres')), ['PG_VERSION']);
    });

    test('the files of somebody else are refused, not touched', async () => {
      const foreign = join(base, 'foreign');
      await fs.mkdir(join(foreign, 'postgres'), { recursive: true });
      await fs.writeFile(join(foreign, 'postgres', 'diary.txt'), 'dear diary');
      await assert.rejects(startEmbedded({ dataDir: foreign }), refusal('conflict', /holds other files .*: move them away/));
    });
  });

  describe('two on one data directory', () => {
    test('the second is refused and told whose it is, in the same process and in another', (t) =>
      whileRunning(dataDir, async (db) => {
        const message = `another Belfry is using ${dataDir} (process ${process.pid}); stop it, or give this one its own BELFRY_DATA_DIR`;
        await assert.rejects(startEmbedded({ dataDir }), refusal('conflict', message));
        assert.deepEqual(await answerOf(own(t, dataDir)), { kind: 'conflict', message });
        await hasItsData(db);
      }));

    test('of two that start in the same moment exactly one wins', async (t) => {
      const both = [own(t, dataDir), own(t, dataDir)];
      const answers = await Promise.all(both.map(answerOf));
      for (const child of both) await end(child);
      assert.deepEqual(answers.map((answer) => answer.kind ?? 'started').sort(), ['conflict', 'started']);
    });
  });

  describe('the end', () => {
    test('stop leaves no process, may be asked for twice, and exited tells it', async () => {
      const db = await startEmbedded({ dataDir });
      assert.notDeepEqual(await processesIn(cluster), []);
      await Promise.all([db.stop(), db.stop(), db.exited]);
      assert.deepEqual(await processesIn(cluster), []);
      await db.stop();
    });

    test('exited tells a server that died on its own', async () => {
      const db = await startEmbedded({ dataDir });
      process.kill(Number.parseInt(await fs.readFile(join(cluster, 'postmaster.pid'), 'utf8'), 10), 'SIGKILL');
      await db.exited;
      await db.stop();
      await whileRunning(dataDir, hasItsData);
    });

    test('kill -9 of Belfry leaves no process', async (t) => {
      const child = own(t, dataDir);
      assert.ok((await answerOf(child)).url);
      await end(child);
      await nobodyIn(cluster);
    });

    test('kill -9 of Belfry is followed by a start at once, with every commit', async (t) => {
      const child = own(t, dataDir);
      const { url = '' } = await answerOf(child);
      await ask(url, 'create table committed as select 7 as answer');
      await end(child);
      await whileRunning(dataDir, async (db) => {
        assert.deepEqual(await ask(db.url, 'select answer from committed'), [{ answer: 7 }]);
      });
    });

    test('Ctrl-C reaches Belfry and not its server, which still answers', async (t) => {
      const child = own(t, dataDir, { detached: true });
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      await lines.next();
      process.kill(-(child.pid ?? Number.NaN), 'SIGINT');
      assert.equal((await lines.next()).value, '[{"answer":42}]');
      await once(child, 'exit');
      assert.deepEqual(await processesIn(cluster), []);
    });

    test('a server that cannot start is told with its last words, and leaves no process and no lock', async () => {
      const settings = join(cluster, 'postgresql.auto.conf');
      const good = await fs.readFile(settings, 'utf8');
      await fs.writeFile(settings, 'no_such_setting = 1\n');
      await assert.rejects(startEmbedded({ dataDir }), refusal('unavailable', /did not start.*postgres\.log.*no_such_setting/s));
      assert.deepEqual(await processesIn(cluster), []);
      await fs.writeFile(settings, good);
      await whileRunning(dataDir, hasItsData);
    });
  });
});
