// Three nodes that tick and three that work, while something fails every two or three seconds: whatever happens, every due time is
// recorded once, executed as often as its job asks, and settled soon after all is there again.
//
//   npm run soak                                  for hours; BELFRY_TEST_SECONDS says how long
//   BELFRY_TEST_SEED=7 node --test … this file    the same faults again

import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { describe, test } from 'node:test';
import { suiteScope } from '../support/belfry.ts';
import { planFaults, randomOf } from '../support/fault-plan.ts';
import { judge, healWithinMs } from '../support/judgement.ts';
import { letHappen, nodeNames, startNemesis } from './nemesis.ts';

const { env } = process;
const givenSeconds = Number(env['BELFRY_TEST_SECONDS'] ?? 180);
const firstSeed = Number(env['BELFRY_TEST_SEED'] ?? randomInt(1, 1_000_000));

// A long soak is many rounds, each with an installation and a seed of its own: one that fails can be had again by itself.
const roundSeconds = 600;
const rounds = Math.ceil(givenSeconds / roundSeconds);
const seconds = Math.round(givenSeconds / rounds);

for (let round = 0; round < rounds; round++) suffer(firstSeed + round);

function suffer(seed: number): void {
  describe(
    `an installation of six nodes that suffers for ${seconds} s (seed ${seed})`,
    { timeout: 1000 * seconds + 6 * healWithinMs },
    () => {
      const scope = suiteScope();

      test('keeps what is promised', async (t) => {
        const nemesis = await startNemesis(scope);
        const plan = planFaults(randomOf(seed), 1000 * seconds, nodeNames);
        const story: string[] = [];
        await letHappen(nemesis, plan, (line) => story.push(line));
        const { violations, ticks, ends, worstLatenessMs, healMs } = await judge(nemesis);

        const kinds = Object.entries(Object.groupBy(plan, ({ kind }) => kind)).map(([kind, those]) => `${those.length} ${kind}`);
        t.diagnostic(`seed ${seed}: ${ticks} ticks, ${plan.length} faults (${kinds.join(', ')})`);
        t.diagnostic(
          `ticks: ${Object.entries(ends)
            .map(([end, count]) => `${count} ${end}`)
            .join(', ')}`,
        );
        t.diagnostic(
          `${violations.length} violations; latest begin ${Math.round(worstLatenessMs)} ms; healed after ${Math.round(healMs)} ms`,
        );
        assert.deepEqual(violations, [], `seed ${seed}; what happened:\n${story.join('\n')}`);
        assert.ok(ticks >= 10 * seconds, `${ticks} ticks`);
        assert.ok(plan.length >= seconds / 3, `${plan.length} faults`);
      });
    },
  );
}
