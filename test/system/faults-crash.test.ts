// A crash at each point on the way of a run: what one side knew and the other did not is put right at the next start.

import assert from 'node:assert/strict';
import { describe, type TestContext } from 'node:test';
import { limitMs, until } from '../support/belfry.ts';
import { fault } from '../support/faults.ts';
import { testDatabase } from '../support/postgres.ts';
import { entered, linesOf, place, settledWell, startSeconds, type Place } from '../support/settled.ts';
import { startTap } from '../support/tap.ts';

const fires = /insert into belfry\.runs .*on conflict/s;
const sends = /add_jobs?\b|add_jobs_bulk/;
const claims = /claim_runs/;
const records = /delete from belfry\.unfinished.*insert into belfry\.results/s;

describe('a crash', { timeout: 10 * limitMs, concurrency: 2 }, () => {
  fault(
    {
      fault: 'a crash after a tick was committed, before its node knew',
      seen: 'the due time has its run, which is done at the next start, and only that one',
    },
    (t) => crash(t, fires, 'answered'),
  );

  fault(
    {
      fault: 'a crash after messages were sent, before their node knew',
      seen: 'they may be sent again; a run is claimed by the first, the second finds nothing to claim',
    },
    (t) => crash(t, sends, 'answered'),
  );

  fault(
    {
      fault: 'a crash after a claim, before the command began',
      seen: 'nobody knows whether it did: the run is `lost`, or tried again with `on_lost = "retry"`',
    },
    (t) => crash(t, claims, 'answered'),
  );

  fault(
    {
      fault: 'a crash after the command began',
      seen: 'the command is killed, the run is `lost`, and it is not done a second time',
    },
    async (t) => {
      const at = await place(t);
      const crashed = await at.start();
      await startSeconds(at, crashed);
      await crashed.create({ name: 'begun', expr: '@yearly', ...entered(at, 'sleep 1000') });
      const run = await crashed.trigger('begun');
      await until(async () => (await linesOf(at.ledger)).includes(`${run} 1`) || undefined);
      await crashed.end('SIGKILL');
      const belfry = await at.start();
      assert.equal((await belfry.finished(run)).reason, 'lost');
      await settledWell(at, belfry);
    },
  );

  fault(
    {
      fault: 'a crash before a result was recorded',
      seen: 'the command was done and nobody knows: the run is `lost`, and is not done a second time unless `on_lost = "retry"`',
    },
    (t) => crash(t, records, 'asked'),
  );

  fault(
    {
      fault: 'a crash after a result was recorded, before its node knew',
      seen: 'the result stays as it was recorded',
    },
    (t) => crash(t, records, 'answered'),
  );
});

/** Crashes a Belfry at its next statement like this, starts it again, and looks at what has become of its runs. */
async function crash(t: TestContext, statement: RegExp, when: 'asked' | 'answered'): Promise<void> {
  const { url } = await testDatabase(t, 'empty');
  const tap = await startTap(t, url);
  const at: Place = await place(t, { url });
  const crashed = await at.start({ url: tap.url });
  await startSeconds(at, crashed);
  await tap.hold(statement, when);
  await crashed.end('SIGKILL');
  await settledWell(at, await at.start());
}
