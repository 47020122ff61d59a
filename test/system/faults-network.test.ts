// A network to PostgreSQL that falls silent, that is slow, and that one node alone has lost.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { limitMs, until } from '../support/belfry.ts';
import { fault } from '../support/faults.ts';
import { testDatabase } from '../support/postgres.ts';
import { startProxy } from '../support/proxy.ts';
import { entered, linesOf, place, settledWell, startSeconds, worstLateness } from '../support/settled.ts';

describe('the network to PostgreSQL', { timeout: 10 * limitMs, concurrency: 3 }, () => {
  fault(
    {
      fault: 'PostgreSQL silent on every open connection (half-open)',
      seen: 'within half a minute the connections are given up and opened anew; runs go on meanwhile',
    },
    async (t) => {
      const { url } = await testDatabase(t, 'empty');
      const proxy = await startProxy(t, url);
      const at = await place(t, { url });
      const belfry = await at.start({ url: proxy.url });
      await startSeconds(at, belfry);
      proxy.silence();
      await settledWell(at, belfry);
    },
  );

  fault({ fault: 'PostgreSQL slow (50 ms on every round trip)', seen: 'everything is later by that, and nothing else' }, async (t) => {
    const { url } = await testDatabase(t, 'empty');
    const proxy = await startProxy(t, url);
    const at = await place(t, { url });
    const belfry = await at.start({ url: proxy.url });
    await startSeconds(at, belfry);
    proxy.delay(25);
    await sleep(5000);
    await settledWell(at, belfry);
    t.diagnostic(`the latest run began ${await worstLateness(at)} ms after it was due`);
  });

  fault(
    {
      fault: 'a worker cut off from PostgreSQL alone',
      seen: 'the others take over what is due; what it runs goes on, and the result is recorded when it is back within its lease',
    },
    async (t) => {
      const { url } = await testDatabase(t, 'empty');
      const proxy = await startProxy(t, url);
      const at = await place(t, { url });
      const cutOff = await at.start({ name: 'cut-off', url: proxy.url });
      await cutOff.create({
        name: 'long',
        expr: '@yearly',
        ...entered(at, `until [ -e ${at.ledger}.go ]; do sleep 0.1; done; echo 1 >> ${at.ledger}.ended`),
      });
      const run = await cutOff.trigger('long');
      await until(async () => (await linesOf(at.ledger)).includes(`${run} 1`) || undefined);
      const other = await at.start({ name: 'other' });
      await startSeconds(at, other);
      await proxy.down();
      await writeFile(`${at.ledger}.go`, '');
      await until(async () => (await linesOf(`${at.ledger}.ended`)).length > 0 || undefined);
      await sleep(8000);
      await proxy.up();
      const ended = await other.finished(run);
      assert.deepEqual([ended.state, ended.node, ended.attempts.length], ['succeeded', 'cut-off', 1]);
      await settledWell(at, cutOff, other);
    },
  );
});
