// Signals: to stop, to stop now, and to read the configuration again.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { limitMs, launchBelfry, processesOf, until, type Belfry } from '../support/belfry.ts';
import { fault } from '../support/faults.ts';
import { execute } from '../support/postgres.ts';
import { entered, linesOf, place, settledWell, startSeconds, type Place } from '../support/settled.ts';

describe('a signal', { timeout: 10 * limitMs, concurrency: 2 }, () => {
  fault(
    { fault: 'SIGTERM, and the run ends within the grace', seen: 'nothing more is begun, the run is recorded as it ended, exit code 0' },
    async (t) => {
      const at = await place(t, { config: 'shutdown_grace = "1h"' });
      const stopped = await at.start();
      await startSeconds(at, stopped);
      const run = await begin(at, stopped, `until [ -e ${at.ledger}.go ]; do sleep 0.1; done`);
      const ending = stopped.end('SIGTERM');
      await stopped.logged(({ msg }) => msg === 'stopping');
      await writeFile(`${at.ledger}.go`, '');
      assert.deepEqual(await ending, { code: 0, signal: null });
      const belfry = await at.start();
      assert.deepEqual(outcomes(await belfry.finished(run)), ['succeeded']);
      await settledWell(at, belfry);
    },
  );

  fault(
    {
      fault: 'SIGTERM, and the run takes longer than the grace',
      seen: 'it is ended and recorded as interrupted, which spends an attempt, exit code 0; with attempts left it is tried again at the next start',
    },
    async (t) => {
      const at = await place(t, { config: 'shutdown_grace = "200ms"' });
      const stopped = await at.start();
      await startSeconds(at, stopped);
      const run = await begin(at, stopped, '[ $BELFRY_ATTEMPT = 2 ] || sleep 1000');
      assert.deepEqual(await stopped.end('SIGTERM'), { code: 0, signal: null });
      const belfry = await at.start();
      const ended = await belfry.finished(run);
      assert.deepEqual(outcomes(ended), ['failed', 'succeeded']);
      assert.equal(ended.attempts[0]?.error, 'interrupted: the service was shut down');
      await settledWell(at, belfry);
    },
  );

  fault(
    { fault: 'SIGTERM twice', seen: 'what runs is killed at once, also what ignores TERM, and recorded as interrupted, exit code 0' },
    async (t) => {
      const at = await place(t, { config: 'shutdown_grace = "1h"\nworker.kill_grace = "10m"' });
      const stopped = await at.start();
      await startSeconds(at, stopped);
      const run = await begin(at, stopped, `[ $BELFRY_ATTEMPT = 2 ] || { trap '' TERM; setsid sleep 1000 & sleep 1000; sleep 1000; }`);
      let isOver = false;
      const ending = stopped.end('SIGTERM').finally(() => (isOver = true));
      await stopped.logged(({ msg }) => msg === 'stopping');
      // One that comes with the first is taken for the same.
      await until(() => {
        if (!isOver) process.kill(stopped.pid, 'SIGTERM');
        return isOver || undefined;
      });
      assert.deepEqual(await ending, { code: 0, signal: null });
      const belfry = await at.start();
      assert.deepEqual(outcomes(await belfry.finished(run)), ['failed', 'succeeded']);
      await settledWell(at, belfry);
    },
  );

  fault(
    {
      fault: 'SIGTERM with hundreds of runs on',
      seen: 'each run is recorded with the end that it had or as interrupted, none is lost, exit code 0',
    },
    async (t) => {
      const at = await place(t, { config: 'shutdown_grace = "1s"\nworker.concurrency = 300' });
      const stopped = await at.start();
      await startSeconds(at, stopped);
      const retry = { max_attempts: 2, delay: '10ms' };
      const then = `case $((BELFRY_RUN_ID % 3)) in 0) sleep 0.1;; 1) sleep 2;; *) [ -e ${at.ledger}.go ] || sleep 1000;; esac`;
      for (let index = 0; index < 300; index++) {
        await stopped.create({ name: `one-${index}`, expr: '@yearly', retry, ...entered(at, then) });
      }
      await Promise.all(Array.from({ length: 300 }, (_, index) => stopped.trigger(`one-${index}`)));
      await until(async () => (await linesOf(at.ledger)).length >= 200 || undefined);
      assert.deepEqual(await stopped.end('SIGTERM'), { code: 0, signal: null });
      for (const home of at.homes.values()) assert.deepEqual(processesOf(home), []);
      const held = await execute(at.url, `select 1 from belfry.unfinished where state = 'running'`);
      assert.deepEqual(held, [], 'nothing is left to be settled');
      await writeFile(`${at.ledger}.go`, '');
      const belfry = await at.start();
      await settledWell(at, belfry);
      const ends = await execute(
        at.url,
        `select state, count(*)::integer as runs from belfry.records where cause = 'manual' group by state`,
      );
      assert.deepEqual(ends, [{ state: 'succeeded', runs: 300 }]);
      assert.deepEqual(await execute(at.url, `select 1 from belfry.records where reason = 'lost'`), []);
    },
  );

  fault(
    {
      fault: 'SIGHUP again and again, also while it starts',
      seen: 'the configuration is read again each time; Belfry and what runs go on',
    },
    async (t) => {
      const at = await place(t);
      const early = await launchBelfry(await at.options({ name: 'early' }));
      let isOver = false;
      void early.exited.then(() => (isOver = true));
      let isRunning = false;
      void early.logged(({ msg }) => msg === 'running').then(() => (isRunning = true));
      // From where its program begins: before that no program can help.
      await until(() => (isOver ? true : catchesHangup(early.child.pid ?? 0)) || undefined);
      await until(() => {
        if (!isOver) early.child.kill('SIGHUP');
        return isRunning || isOver || undefined;
      });
      assert.equal(isOver, false, early.stderr());
      early.child.kill('SIGTERM');
      assert.deepEqual(await early.exited, { code: 0, signal: null });

      const belfry = await at.start();
      await startSeconds(at, belfry);
      const run = await begin(at, belfry, 'sleep 2');
      for (let count = 1; count <= 50; count++) {
        process.kill(belfry.pid, 'SIGHUP');
        if (count % 10 === 0)
          await until(() => belfry.lines.filter(({ msg }) => msg === 'reloaded_config').length >= count / 10 || undefined);
      }
      assert.deepEqual(outcomes(await belfry.finished(run)), ['succeeded']);
      await settledWell(at, belfry);
    },
  );
});

/** Whether a process has an ear for SIGHUP, by the kernel's account. */
function catchesHangup(pid: number): boolean {
  const [, mask = '0'] = /^SigCgt:\s*(\w+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return (BigInt(`0x${mask}`) & 1n) === 1n;
}

/** Makes the job "long" and runs it; answers the run when its command has begun. */
async function begin(at: Place, belfry: Belfry, then: string): Promise<number> {
  await belfry.create({ name: 'long', expr: '@yearly', retry: { max_attempts: 2, delay: '10ms' }, ...entered(at, then) });
  const run = await belfry.trigger('long');
  await until(async () => (await linesOf(at.ledger)).includes(`${run} 1`) || undefined);
  return run;
}

function outcomes({ attempts }: { readonly attempts: readonly { readonly outcome: string }[] }): string[] {
  return attempts.map(({ outcome }) => outcome);
}
