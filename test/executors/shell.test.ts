import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { shellExecutor } from '../../src/executors/shell.ts';
import { closeWays, shellHere, waysHere } from './subjects.ts';
import { attempt, leave, left, limit, lives, outside, tempDir } from './support.ts';
import { fault } from '../support/faults.ts';

const ways = await waysHere();
after(() => closeWays(ways));

for (const { name: way, isolation } of ways) {
  const shell = shellHere(undefined, isolation);

  describe(`a shell command, ${way}`, limit, () => {
    test('is answered with its stdout, its stderr and its exit status', async () => {
      const { outcome, error, exitCode, result } = await attempt(shell, { type: 'shell', target: 'echo out; echo err >&2; exit 3' });
      assert.deepEqual([outcome, error, exitCode], ['failed', 'exit status 3', 3]);
      assert.deepEqual([result['out'], result['stderr'], result['err'], result['exitCode']], ['out\n', 'err\n', 'exit status 3', 3]);
    });

    test('says when it spoke first and last, and says nothing of it when it was silent', async () => {
      const spoke = await attempt(shell, { type: 'shell', target: 'echo a; echo b >&2' });
      assert.ok(String(spoke.result['firstOutputAt']) <= String(spoke.result['lastOutputAt']));
      const silent = await attempt(shell, { type: 'shell', target: 'true' });
      assert.deepEqual(silent.result, { out: '', err: '<nil>', stderr: '', exitCode: 0 });
    });

    for (const [signal, name] of Object.entries({
      KILL: 'killed',
      TERM: 'terminated',
      SEGV: 'segmentation fault',
      USR1: 'user defined signal 1',
    })) {
      test(`that dies of ${signal} is failed by "signal: ${name}"`, async () => {
        const ended = await attempt(shell, { type: 'shell', target: `ulimit -c 0; kill -${signal} $$` });
        assert.deepEqual([ended.outcome, ended.known, ended.error], ['failed', true, `signal: ${name}`]);
        assert.deepEqual([ended.exitCode, ended.result['exitCode']], [undefined, null]);
      });
    }

    test('may be a program with arguments, which no shell looks at', async () => {
      const { result } = await attempt(shell, { type: 'shell', argv: ['printf', '%s|', '$HOME', 'a b', '; exit 3'] });
      assert.equal(result['out'], '$HOME|a b|; exit 3|');
    });

    test('runs in the shell and the directory that it names', async (t) => {
      const dir = await tempDir(t);
      const { result } = await attempt(shell, { type: 'shell', target: 'pwd; echo $0', shell: '/bin/bash', cwd: dir });
      assert.equal(result['out'], `${dir}\n/bin/bash\n`);
    });

    test('finds nothing on its stdin', async () => {
      const { outcome, result } = await attempt(shell, { type: 'shell', target: 'cat; echo done' });
      assert.deepEqual([outcome, result['out']], ['succeeded', 'done\n']);
    });

    test('may open its stdout and stderr by name', async () => {
      const { result } = await attempt(shell, { type: 'shell', target: 'echo a > /dev/stderr; echo b > /dev/stdout' });
      assert.deepEqual([result['out'], result['stderr']], ['b\n', 'a\n']);
    });

    test('sees of our environment what is on the list, and nothing else', async () => {
      process.env['BELFRY_CANARY'] = 'secret';
      const { result } = await attempt(shell, { type: 'shell', argv: ['env'], env: { LEVEL: 'info', LANG: 'C' } });
      delete process.env['BELFRY_CANARY'];
      const names = Array.from(String(result['out']).matchAll(/^(\w+)=/gm), ([, name]) => name);
      const ours = ['BELFRY_ATTEMPT', 'BELFRY_CAUSE', 'BELFRY_DUE_AT', 'BELFRY_JOB', 'BELFRY_MARKER', 'BELFRY_RUN_ID', 'TRACEPARENT'];
      assert.deepEqual(new Set(names), new Set(['LANG', 'LEVEL', 'PATH', ...ours]));
      assert.match(String(result['out']), /^LANG=C$/m);
    });

    test('inherits no file of ours but its own stdout and stderr', async () => {
      const { result } = await attempt(shell, { type: 'shell', target: 'for fd in /proc/$$/fd/*; do readlink $fd; done' });
      const ours = String(result['out'])
        .split('\n')
        .filter((file) => /belfry|socket/.test(file));
      assert.equal(new Set(ours).size, 2);
    });

    fault(
      {
        fault: 'a command that prints without end (yes)',
        seen: 'its output is read on, its beginning and its end are kept with a line between that says how much is missing, and it ends at its timeout',
      },
      async () => {
        const untilTimeout = (timeoutMs: number) => attempt(shellHere(8, isolation), { type: 'shell', target: 'yes' }, { timeoutMs });
        let timeoutMs = 500;
        let { outcome, result } = await untilTimeout(timeoutMs);
        // A machine that is slow may need longer to begin.
        while (result['out'] === '') ({ outcome, result } = await untilTimeout((timeoutMs *= 2)));
        assert.equal(outcome, 'timed_out');
        assert.match(String(result['out']), /^y\ny\n\n… \d+ bytes left out …\n(?:y\ny\n|\ny\ny)$/);
        assert.ok(Number(result['cut']) > 0);
      },
    );

    fault({ fault: 'a line of ten megabytes', seen: 'it is kept like any output, up to the limit' }, async () => {
      const { outcome, result } = await attempt(shell, { type: 'shell', target: "head -c 10000000 /dev/zero | tr '\\0' x" });
      assert.equal(outcome, 'succeeded');
      assert.equal(result['cut'], 10_000_000 - 256 * 1024);
    });

    fault(
      { fault: 'gigabytes of zeros', seen: 'they are read as fast as they come and thrown away beyond the limit; Belfry does not grow' },
      async () => {
        const before = process.memoryUsage().rss;
        const { outcome, result } = await attempt(shell, { type: 'shell', target: 'head -c 2000000000 /dev/zero' }, { timeoutMs: 100_000 });
        assert.deepEqual([outcome, result['cut']], ['succeeded', 2_000_000_000 - 256 * 1024]);
        assert.equal(String(result['out']).includes('\0'), false, 'PostgreSQL takes no NUL');
        assert.ok(process.memoryUsage().rss - before < 300_000_000);
      },
    );

    test('leaves no pipe of its own behind, however many there were', async () => {
      const open = (): number => readdirSync('/proc/self/fd').length;
      await attempt(shell, { type: 'shell', target: 'echo x' });
      const before = open();
      for (let at = 0; at < 100; at++) await attempt(shell, { type: 'shell', target: 'echo x' });
      // Pipes are made some dozens ahead.
      assert.ok(open() <= before + 2 * 64, `${before} descriptors before, ${open()} after`);
    });
  });

  describe(`a shell command that is stopped, ${way}`, limit, () => {
    test('is ended with everything it started', async (t) => {
      const dir = await tempDir(t);
      const target = `sleep 1000 & ${leave(`${dir}/pids`, '$$ $!')}; sleep 1000`;
      const stop = new AbortController();
      const attempted = attempt(shell, { type: 'shell', target }, { signal: stop.signal });
      const pids = (await left(dir, 'pids')).split(' ').map(Number).map(outside);
      stop.abort('cancelled');
      const { known } = await attempted;
      assert.equal(known, true);
      assert.deepEqual(pids.map(lives), [false, false]);
    });

    fault({ fault: 'a command that ignores TERM', seen: 'it is killed after `worker.kill_grace`' }, async (t) => {
      const dir = await tempDir(t);
      const target = `trap '' TERM; ${leave(`${dir}/pid`, '$$')}; while :; do sleep 1000; done`;
      const stop = new AbortController();
      const attempted = attempt(shell, { type: 'shell', target }, { signal: stop.signal, killGraceMs: 50 });
      const pid = outside(Number(await left(dir, 'pid')));
      stop.abort('cancelled');
      const { outcome, known } = await attempted;
      assert.deepEqual([outcome, known, lives(pid)], ['cancelled', true, false]);
    });

    test('has its grace for what the shell started, though the shell itself dies at once', async (t) => {
      const dir = await tempDir(t);
      // The subshell tidies up on TERM, which takes it a moment; the outer shell does not wait for that.
      const tidies = `(trap 'sleep 0.2; ${leave(`${dir}/tidied`, 'yes')}; exit' TERM; sleep 1000 & ${leave(`${dir}/begun`, 'yes')}; wait)`;
      const stop = new AbortController();
      const attempted = attempt(shell, { type: 'shell', target: `${tidies} & wait` }, { signal: stop.signal });
      await left(dir, 'begun');
      stop.abort('cancelled');
      await attempted;
      assert.equal(readFileSync(join(dir, 'tidied'), 'utf8'), 'yes\n');
    });

    fault(
      { fault: 'a process that left its group (setsid)', seen: 'it is found by the marker in its environment and killed with the rest' },
      async (t) => {
        const dir = await tempDir(t);
        const target = `setsid sh -c '${leave(`${dir}/pid`, '$$')}; exec sleep 1000' & wait`;
        const stop = new AbortController();
        const attempted = attempt(shell, { type: 'shell', target }, { signal: stop.signal });
        const pid = outside(Number(await left(dir, 'pid')));
        stop.abort('interrupted');
        await attempted;
        assert.equal(lives(pid), false);
      },
    );

    test('counts as cancelled even when it then ends well', async (t) => {
      const dir = await tempDir(t);
      const target = `trap 'exit 0' TERM; ${leave(`${dir}/begun`, 'yes')}; sleep 1000 & wait`;
      const stop = new AbortController();
      const attempted = attempt(shell, { type: 'shell', target }, { signal: stop.signal });
      await left(dir, 'begun');
      stop.abort('cancelled');
      const { outcome, exitCode } = await attempted;
      assert.deepEqual([outcome, exitCode], ['cancelled', 0]);
    });
  });

  describe(`a process that a shell command leaves behind, ${way}`, limit, () => {
    fault({ fault: 'a pipe held by a grandchild', seen: 'the run ends with its command all the same' }, async (t) => {
      const dir = await tempDir(t);
      const target = `sleep 1000 & ${leave(`${dir}/pid`, '$!')}; echo done`;
      const { outcome, result } = await attempt(shell, { type: 'shell', target });
      const pid = outside(Number(await left(dir, 'pid')));
      t.after(() => process.kill(pid, 'SIGKILL'));
      assert.deepEqual([outcome, result['out'], lives(pid)], ['succeeded', 'done\n', true]);
    });
  });

  describe(`a shell command that cannot be started, ${way}`, limit, () => {
    const cannotStart = async (command: Record<string, unknown>, error: RegExp): Promise<void> => {
      const result = await attempt(shell, { type: 'shell', ...command });
      assert.deepEqual([result.outcome, result.known, result.result['exitCode']], ['failed', true, null]);
      assert.match(result.error ?? '', error);
      assert.equal(result.result['err'], result.error);
    };

    const cases: [string, Record<string, unknown>, RegExp][] = [
      ['for want of its program', { argv: ['/bin/none'] }, /^cannot start \/bin\/none: no such program$/],
      ['since it may not be run', { argv: ['/etc/passwd'] }, /^cannot start \/etc\/passwd: .*EACCES/],
    ];
    for (const [why, command, error] of cases) {
      test(`${why} has failed, known to have done nothing`, () => cannotStart(command, error));
    }

    fault({ fault: 'a shell that is not there', seen: 'the attempt has failed and names it, known to have done nothing' }, () =>
      cannotStart({ target: 'true', shell: '/bin/none' }, /^cannot start \/bin\/none: no such program$/),
    );

    fault({ fault: 'a working directory that is gone', seen: 'the attempt has failed and says that it is the directory' }, async (t) => {
      const dir = join(await tempDir(t), 'gone');
      await mkdir(dir);
      await rm(dir, { recursive: true });
      const { outcome, error } = await attempt(shell, { type: 'shell', target: 'true', cwd: dir });
      assert.deepEqual([outcome, error], ['failed', `cannot start /bin/sh: the directory ${dir} does not exist`]);
    });

    fault(
      { fault: 'an argument or environment that is too long', seen: 'the attempt has failed, known to have done nothing' },
      async () => {
        const inheritedEnv = Object.fromEntries(Array.from({ length: 40 }, (_, at) => [`V${at}`, 'x'.repeat(100_000)]));
        const crowded = shellExecutor({ outputLimitBytes: 1024, inheritedEnv, ...(isolation === undefined ? {} : { isolation }) });
        const { outcome, known, error } = await attempt(crowded, { type: 'shell', target: 'true' });
        assert.deepEqual(
          [outcome, known, error],
          ['failed', true, 'cannot start /bin/sh: the command and its environment are too long (E2BIG)'],
        );
      },
    );

    test('for want of file descriptors has failed, and the process lives on', async () => {
      const script = `
      import { openSync } from 'node:fs';
      import { shellHere, waysHere } from '${import.meta.dirname}/subjects.ts';
      import { attempt } from '${import.meta.dirname}/support.ts';
      const found = (await waysHere()).find(({ name }) => name === '${way}');
      const shell = shellHere(undefined, found.isolation);
      try { for (;;) openSync('/dev/null'); } catch {}
      const { outcome, known, error } = await attempt(shell, { type: 'shell', target: 'true' });
      console.log(JSON.stringify([outcome, known, error]));
      process.exit();
    `;
      const command = ['-c', 'ulimit -n 256; exec "$0" "$@"', process.execPath, '--input-type=module-typescript', '-e', script];
      const { stdout } = await promisify(execFile)('/bin/sh', command);
      const [outcome, known, error] = JSON.parse(stdout) as unknown[];
      assert.deepEqual([outcome, known], ['failed', true]);
      assert.match(String(error), /^cannot start \/bin\/sh: .*EMFILE/);
    });
  });
}
