// Three nodes that tick and three that work, while something fails every two or three seconds: whatever happens, every due time is
// recorded once, executed as often as its job asks, and settled soon after all is there again.
//
//   npm run soak                                  for hours; BELFRY_TEST_SECONDS says how long
//   BELFRY_TEST_SEED=7 node --test … this file    the same faults again

import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { describe, test } from 'node:test';
import { suiteScope } from '../support/belfry.ts';
import { planFaults, randomOf, type Fault } from '../support/fault-plan.ts';
import { healWithinMs, judge, type Report } from '../support/judgement.ts';
import { letHappen, nodeNames, startNemesis } from './nemesis.ts';

const { env } = process;
const givenSeconds = Number(env['BELFRY_TEST_SECONDS'] ?? 180);
// Told also when all is well.
const isStoryTold = env['BELFRY_TEST_STORY'] !== undefined;
const mostTold = 50;
const firstSeed = Number(env['BELFRY_TEST_SEED'] ?? randomInt(1, 1_000_000));

// A long soak is many rounds, each with an installation and a seed of its own: one that fails can be had again by itself.
const roundSeconds = 600;
const rounds = Math.ceil(givenSeconds / roundSeconds);
const seconds = Math.round(givenSeconds / rounds);

for (let round = 0; round < rounds; round++) suffer(firstSeed + round);

function suffer(seed: number): void {
  const limit = { timeout: 1000 * seconds + 6 * healWithinMs };
  describe(`an installation of six nodes that suffers for ${seconds} s (seed ${seed})`, limit, () => {
    const scope = suiteScope();

    test('keeps what is promised', async (t) => {
      const nemesis = await startNemesis(scope);
      const plan = planFaults(randomOf(seed), 1000 * seconds, nodeNames);
      const story: string[] = [];
      await letHappen(nemesis, plan, (line) => story.push(line));
      const report = await judge(nemesis);
      for (const line of [...told(report, plan, seed), ...(isStoryTold ? story : [])]) t.diagnostic(line);
      const { violations, ticks } = report;
      const wrong = [...violations.slice(0, mostTold), ...(violations.length > mostTold ? ['…'] : []), '', 'What happened:', ...story];
      assert.equal(violations.length, 0, `seed ${seed}, ${violations.length} violations:\n${wrong.join('\n')}`);
      assert.ok(ticks >= 12 * seconds, `${ticks} ticks`);
      assert.ok(plan.length >= seconds / 3, `${plan.length} faults`);
    });
  });
}

function told({ violations, ticks, ends, latest, healMs }: Report, plan: readonly Fault[], seed: number): string[] {
  const kinds = Object.entries(Object.groupBy(plan, ({ kind }) => kind)).map(([kind, those]) => `${those.length} ${kind}`);
  const states = Object.entries(ends).map(([end, count]) => `${count} ${end}`);
  return [
    `seed ${seed}: ${violations.length} violations in ${ticks} ticks and ${plan.length} faults, settled ${Math.round(healMs)} ms after healing`,
    `faults: ${kinds.join(', ')}`,
    `ticks: ${states.join(', ')}; the latest began after ${latest.ms} ms (${latest.job}, due ${latest.dueAt.toISOString()})`,
  ];
}
