import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test, type TestContext } from 'node:test';
import { makeIsolation } from '../../src/executors/namespace.ts';
import { processIds, statOf } from '../../src/executors/processes.ts';
import { until } from '../support/belfry.ts';
import { closeWays, shellHere, waysHere, type Way } from './subjects.ts';
import { attempt, leave, left, limit, lives, outside, tempDir } from './support.ts';

const ways = await waysHere();
after(() => closeWays(ways));

/** What is in the environment of this process, and of no command. */
const ours = 'NODE_TEST_CONTEXT=';
const readAll = `cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -c ^${ours}`;

test('a shell command in a plain group can read our environment, which is what the others are measured by', limit, async () => {
  const { outcome } = await attempt(shellHere(), { type: 'shell', target: readAll });
  assert.equal(outcome, 'succeeded');
});

for (const way of ways.filter(({ isolation }) => isolation !== undefined)) {
  const shell = shellHere(undefined, way.isolation);

  describe(`a shell command ${way.name}`, limit, () => {
    test('cannot read our environment, nor see us', async () => {
      const { result } = await attempt(shell, { type: 'shell', target: `${readAll}; cat /proc/[0-9]*/cmdline | tr '\\0' ' '` });
      assert.match(String(result['out']), /^0\n/);
      assert.doesNotMatch(String(result['out']), /\bnode\b/);
    });

    test('that has to do with other processes sees them when it says isolation = "none"', async () => {
      const target = `cat /proc/${process.pid}/comm`;
      assert.equal((await attempt(shell, { type: 'shell', target })).outcome, 'failed');
      assert.equal((await attempt(shell, { type: 'shell', target, isolation: 'none' })).outcome, 'succeeded');
    });

    test('leads a group of its own, by the number that it knows', async () => {
      const target = `trap 'exit 7' TERM; kill -- -$$; sleep 1000`;
      const { error } = await attempt(shell, { type: 'shell', target });
      assert.equal(error, 'exit status 7');
    });

    test('that was stopped and goes on is waited for', async () => {
      const goesOn = '(until grep -q "^State:.T" /proc/$$/status; do sleep 0.05; done; kill -CONT $$)';
      const { error } = await attempt(shell, { type: 'shell', target: `${goesOn} & kill -STOP $$; exit 5` });
      assert.equal(error, 'exit status 5');
    });

    test('survives what another sends to all that it sees', async (t) => {
      const dir = await tempDir(t);
      const surviving = attempt(shell, { type: 'shell', target: `trap '' INT; ${leave(`${dir}/pid`, '$$')}; sleep 0.2; exit 5` });
      await left(dir, 'pid');
      const target = 'trap "" INT; kill -INT -1; kill -INT 1; kill -TERM 1; kill -KILL 1; exit 6';
      assert.equal((await attempt(shell, { type: 'shell', target })).error, 'exit status 6');
      assert.equal((await surviving).error, 'exit status 5');
    });

    // It sits outside, as our child, and a person or the OOM killer may choose it.
    describe('whose waiting process is killed', limit, () => {
      const cases: [string, string][] = [
        ['is ended with all that it started', 'sleep 1000 & '],
        ['is ended although it bears no trace of us', 'exec env -i '],
      ];
      for (const [what, beginning] of cases) {
        test(`${what}, and only then told as failed`, async (t) => {
          const dir = await tempDir(t);
          // It is found by its traces: it keeps them until it was.
          const target = `${leave(`${dir}/pid`, '$$')}; until [ -e ${dir}/found ]; do sleep 0.05; done; ${beginning}`;
          const attempted = attempt(shell, {
            type: 'shell',
            target: `${target} sh -c '${leave(`${dir}/begun`, '$$')}; exec sleep 1000'`,
          });
          const pid = outside(Number(await left(dir, 'pid')));
          writeFileSync(join(dir, 'found'), '');
          await left(dir, 'begun');
          process.kill(statOf(pid)?.parent ?? 0, 'SIGKILL');
          const { outcome, known, error } = await attempted;
          assert.deepEqual([outcome, known, error], ['failed', true, 'signal: killed']);
          assert.deepEqual(membersOf(pid), []);
        });
      }

      test('has its grace', async (t) => {
        const dir = await tempDir(t);
        const target = `trap '${leave(`${dir}/tidied`, 'yes')}; exit' TERM; sleep 0.5; ${leave(`${dir}/pid`, '$$')}; sleep 1000 & wait`;
        const attempted = attempt(shell, { type: 'shell', target });
        const pid = outside(Number(await left(dir, 'pid')));
        process.kill(statOf(pid)?.parent ?? 0, 'SIGKILL');
        await attempted;
        assert.deepEqual([readFileSync(join(dir, 'tidied'), 'utf8'), lives(pid)], ['yes\n', false]);
      });
    });

    test('may leave orphans: none stays a zombie', async () => {
      await attempt(shell, { type: 'shell', target: 'for i in 1 2 3 4 5 6 7 8 9; do (sleep 0.05 &); done' });
      const target = "cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z '; true";
      await until(async () => (await attempt(shell, { type: 'shell', target })).result['out'] === '0\n' || undefined);
    });

    test('leaves nothing behind, however often: no process, no descriptor, no mount', async () => {
      const target = '(setsid sleep 0.01 &); true';
      const inAll = async (count: number): Promise<void> => {
        const one = (): Promise<unknown> => attempt(shell, { type: 'shell', target });
        for (let done = 0; done < count; done += 10) await Promise.all(Array.from({ length: 10 }, one));
      };
      await inAll(50);
      const before = traces();
      await inAll(500);
      await until(() => traces().processes <= before.processes || undefined);
      const { descriptors, mounts } = traces();
      assert.equal(mounts, before.mounts);
      // Pipes are made some dozens ahead.
      assert.ok(descriptors <= before.descriptors + 2 * 64, `${before.descriptors} descriptors before, ${descriptors} after`);
    });
  });

  describe(`the namespace of shell commands, ${way.name}`, limit, () => {
    test('ends with the process that made it, and with it all that is in it', async (t) => {
      const dir = await tempDir(t);
      // One that runs, one that escaped from it without a trace, and one that was left behind.
      const leaving = `setsid env -i sh -c '${leave(`${dir}/left`, '$$')}; exec sleep 1000' & until [ -e ${dir}/left ]; do sleep 0.01; done`;
      const running = `setsid env -i sh -c '${leave(`${dir}/escaped`, '$$')}; exec sleep 1000' & ${leave(`${dir}/runs`, '$$')}; wait`;
      const owner = await startOwner(t, way, [leaving, running]);
      for (const file of ['left', 'escaped', 'runs']) await left(dir, file);
      const before = descendantsOf(owner.pid);
      assert.ok(before.length >= 3, `${before.length} before`);
      owner.kill('SIGKILL');
      await until(() => !before.some(lives) || undefined);
    });

    test('that is closed lets be what was left behind, and ends with that', async (t) => {
      const dir = await tempDir(t);
      const isolation = isolationLike(way);
      const target = `sleep 1000 & ${leave(`${dir}/pid`, '$!')}`;
      await attempt(shellHere(undefined, isolation), { type: 'shell', target });
      const pid = outside(Number(await left(dir, 'pid')));
      const keepers = childrenOf(process.pid, 'unshare');
      await isolation.close();
      const [keeper = 0, ...others] = keepers.filter((id) => descendantsOf(id).includes(pid));
      assert.deepEqual([others, lives(pid), lives(keeper)], [[], true, true]);
      process.kill(pid, 'SIGKILL');
      await until(() => !lives(keeper) || undefined);
    });

    test('that somebody ended is made again', async () => {
      const isolation = isolationLike(way);
      const before = new Set(childrenOf(process.pid, 'unshare'));
      await isolation.open();
      const [keeper = 0] = childrenOf(process.pid, 'unshare').filter((pid) => !before.has(pid));
      process.kill(keeper, 'SIGKILL');
      await until(() => statOf(keeper) === undefined || undefined);
      const { outcome } = await attempt(shellHere(undefined, isolation), { type: 'shell', target: 'true' });
      assert.equal(outcome, 'succeeded');
      await isolation.close();
    });
  });
}

describe('where there is no namespace', limit, () => {
  test('it is said why, and commands run as plain groups', async () => {
    const isolation = makeIsolation({ isWanted: true, isRoot: false, path: '/nowhere' });
    assert.deepEqual(await isolation.open(), { way: 'none', why: 'spawn unshare ENOENT' });
    const { outcome } = await attempt(shellHere(undefined, isolation), { type: 'shell', target: 'true' });
    assert.equal(outcome, 'succeeded');
  });

  test('since none is wanted, nothing is started', async () => {
    const isolation = makeIsolation({ isWanted: false, isRoot: true, path: undefined });
    assert.deepEqual(await isolation.open(), { way: 'none', why: 'the config does not want it' });
  });
});

const path = '/usr/local/bin:/usr/bin:/bin';

function isolationLike({ name }: Way) {
  return makeIsolation({ isWanted: true, isRoot: name.endsWith('root'), path });
}

/** A process of its own with a namespace of its own, that makes an attempt at each of these. */
async function startOwner(t: TestContext, { name }: Way, targets: readonly string[]) {
  const script = `
    import { makeIsolation } from '${join(import.meta.dirname, '../../src/executors/namespace.ts')}';
    import { shellHere } from '${import.meta.dirname}/subjects.ts';
    import { attempt } from '${import.meta.dirname}/support.ts';
    const isolation = makeIsolation({ isWanted: true, isRoot: ${name.endsWith('root')}, path: '${path}' });
    const shell = shellHere(undefined, isolation);
    for (const target of ${JSON.stringify(targets)}) await attempt(shell, { type: 'shell', target });
  `;
  const owner = spawn(process.execPath, ['--input-type=module-typescript', '-e', script], { stdio: 'inherit' });
  await once(owner, 'spawn');
  t.after(() => owner.kill('SIGKILL'));
  return { pid: owner.pid ?? 0, kill: (signal: NodeJS.Signals) => owner.kill(signal) };
}

function childrenOf(parent: number, name: string): number[] {
  return processIds().filter((pid) => statOf(pid)?.parent === parent && readFileSync(`/proc/${pid}/comm`, 'utf8') === `${name}\n`);
}

function descendantsOf(ancestor: number): number[] {
  const children = processIds().filter((pid) => statOf(pid)?.parent === ancestor);
  return children.flatMap((child) => [child, ...descendantsOf(child)]);
}

function membersOf(group: number): number[] {
  return processIds().filter((pid) => statOf(pid)?.group === group && lives(pid));
}

function traces() {
  const processes = descendantsOf(process.pid).length;
  return {
    processes,
    descriptors: readdirSync('/proc/self/fd').length,
    mounts: readFileSync('/proc/self/mountinfo', 'utf8').split('\n').length,
  };
}
