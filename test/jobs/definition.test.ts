import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import type { Executor } from '../../src/executors/executor.ts';
import { describeFaults } from '../../src/faults.ts';
import { parseDefinition } from '../../src/jobs/definition.ts';
import type { JobDefinition, Options } from '../../src/jobs/definition.ts';

/** An executor that wants a target and makes a trimmed one of it. */
function executor(type: string, maxAttempts: number, timeoutMs: number): Executor {
  return {
    type,
    defaults: { maxAttempts, timeoutMs },
    parse: ({ target, ...rest }) => {
      if (typeof target !== 'string') throw new Error('command.target: expected a text, got a number; command.env["A B"]: no');
      return { ...rest, target: target.trim() };
    },
    execute: () => Promise.reject(new Error('not executed here')),
  };
}

const options: Options = {
  kinds: new Map([
    ['shell', executor('shell', 3, 3_600_000)],
    ['http', executor('http', 1, 30_000)],
  ]),
  defaultTimezone: 'Europe/Vienna',
};

const plain = { name: 'job-1', expr: '0/5 * * * * *', command: { type: 'shell', target: 'echo hello' } };

function parsed(input: unknown, more: Partial<Options> = {}): JobDefinition {
  const answer = parseDefinition(input, { ...options, ...more });
  assert.ok(answer.ok, answer.ok ? '' : describeFaults(answer.faults));
  return answer.definition;
}

function faults(input: unknown, more: Partial<Options> = {}): string {
  const answer = parseDefinition(input, { ...options, ...more });
  assert.ok(!answer.ok, 'expected faults');
  return describeFaults(answer.faults);
}

describe('a definition', () => {
  test('needs a name, an expression and a command; everything else has a default', () => {
    assert.deepEqual(parsed(plain), {
      name: 'job-1',
      remark: '',
      expr: '0/5 * * * * *',
      timezone: 'Europe/Vienna',
      enabled: true,
      command: { type: 'shell', target: 'echo hello' },
      retry: { maxAttempts: 3, delayMs: 1000, maxDelayMs: 300_000, factor: 2, jitter: 0.2 },
      timeoutMs: 3_600_000,
      log: true,
      onLost: 'fail',
      overlap: 'skip',
      misfire: 'once',
      maxCatchup: 100,
      blackouts: [],
      runOn: '',
      afterJobs: [],
      afterOn: 'success',
      maxQueued: 1000,
    });
    assert.equal(
      faults({}),
      'name: expected a text of 1 to 200 characters, got nothing; ' +
        'expr: expected an expression such as "0 */5 * * * *", got nothing; ' +
        'command: expected a table such as { type = "shell", … }, got nothing',
    );
  });

  test('may say all of it', () => {
    const definition = parsed({
      ...plain,
      remark: 'two\nlines',
      timezone: 'UTC',
      enabled: false,
      retry: { max_attempts: 5, delay: '500ms', max_delay: '1h30m', factor: 1.5, jitter: 0, exit_codes: [75, 75], statuses: [503, '4xx'] },
      timeout: '2m',
      log: false,
      on_lost: 'retry',
      overlap: 'wait_all',
      misfire: 'all',
      catchup_window: '2h',
      max_catchup: 7,
    });
    assert.deepEqual(definition.retry, {
      maxAttempts: 5,
      delayMs: 500,
      maxDelayMs: 5_400_000,
      factor: 1.5,
      jitter: 0,
      exitCodes: [75],
      statuses: [503, '4xx'],
    });
    const { timeoutMs, onLost, overlap, misfire, catchupWindowMs, maxCatchup } = definition;
    assert.deepEqual(
      [timeoutMs, onLost, overlap, misfire, catchupWindowMs, maxCatchup],
      [120_000, 'retry', 'wait_all', 'all', 7_200_000, 7],
    );
  });

  test('takes attempts and timeout from the executor of its command', () => {
    const { retry, timeoutMs } = parsed({ ...plain, command: { type: 'http', target: 'x' } });
    assert.deepEqual([retry.maxAttempts, timeoutMs], [1, 30_000]);
  });

  test('carries the command as its executor made it', () => {
    assert.deepEqual(parsed({ ...plain, command: { type: 'shell', target: '  x  ', more: 1 } }).command, {
      type: 'shell',
      target: 'x',
      more: 1,
    });
  });

  test('takes the time zone from its expression where it names none itself', () => {
    assert.equal(parsed({ ...plain, expr: 'CRON_TZ=Asia/Tokyo 0 3 * * *' }).timezone, 'Asia/Tokyo');
    assert.match(faults({ ...plain, expr: 'CRON_TZ=Asia/Tokyo 0 3 * * *', timezone: 'UTC' }), /^expr: expected the time zone of the job/);
  });

  test('keeps its delays in order: a longer delay raises max_delay, a shorter max_delay lowers the delay', () => {
    const retryOf = (retry: object): number[] => {
      const { delayMs, maxDelayMs } = parsed({ ...plain, retry }).retry;
      return [delayMs, maxDelayMs];
    };
    assert.deepEqual(retryOf({ delay: '10m' }), [600_000, 600_000]);
    assert.deepEqual(retryOf({ max_delay: '500ms' }), [500, 500]);
    assert.deepEqual(retryOf({ delay: 0 }), [0, 300_000]);
    assert.match(
      faults({ ...plain, retry: { delay: '2s', max_delay: '1s' } }),
      /^retry.max_delay: expected at least the delay, 2s, got "1s"$/,
    );
  });

  test('tells all faults at once, each with its place', () => {
    assert.equal(
      faults({
        ...plain,
        expr: '61 * * * *',
        timezone: 'Mars/Phobos',
        timeout: '30',
        retrys: 1,
        retry: { delai: '1s', max_attempts: 0 },
        command: { type: 'shel' },
      }),
      'expr: minute: expected 0-59, got "61" at column 1; ' +
        'timezone: expected an IANA time zone such as "Europe/Berlin" or "UTC", got "Mars/Phobos"; ' +
        'retry.max_attempts: expected a whole number from 1 to 100, got 0; ' +
        'retry.delai: unknown key; did you mean "delay"?; ' +
        'timeout: expected a duration such as "30s", got "30"; ' +
        'retrys: unknown key; did you mean "retry"?; ' +
        'command.type: expected "shell" or "http", got "shel"; did you mean "shell"?',
    );
  });

  test('tells the faults of a command under the field that its executor named', () => {
    const answer = parseDefinition({ ...plain, command: { type: 'shell', target: 1 } }, options);
    assert.deepEqual(answer, {
      ok: false,
      faults: [
        { path: ['command', 'target'], message: 'expected a text, got a number' },
        { path: ['command', 'env', 'A B'], message: 'no' },
      ],
    });
  });

  test('takes texts of digits for numbers only where asked to, as the seed calls do', () => {
    const input = { ...plain, max_catchup: '7', retry: { max_attempts: '3', jitter: '0.5', exit_codes: ['75'], statuses: ['503'] } };
    const { maxCatchup, retry } = parsed(input, { coerceDigits: true });
    assert.deepEqual([maxCatchup, retry.maxAttempts, retry.jitter, retry.exitCodes, retry.statuses], [7, 3, 0.5, [75], [503]]);
    assert.match(faults(input), /retry.max_attempts: expected a whole number from 1 to 100, got "3"; .*max_catchup: .* got "7"/);
    assert.match(faults({ ...plain, max_catchup: '7e1' }, { coerceDigits: true }), /max_catchup: expected a whole number/);
  });

  const wrong: [what: string, change: Record<string, unknown>, message: RegExp][] = [
    ['an empty name', { name: '' }, /^name: expected a text of 1 to 200 characters, got ""$/],
    [
      'a name of 201 characters',
      { name: 'x'.repeat(201) },
      /^name: expected a text of 1 to 200 characters \(this has 201\), got "x{60}…"$/,
    ],
    ['a name with a line break', { name: 'a\nb' }, /^name: expected no line breaks, control or invisible characters, got "a\\nb"$/],
    ['a name with NUL', { name: 'a\0b' }, /^name: expected a text without NUL$/],
    ['a name with half a surrogate pair', { name: 'a\ud800' }, /^name: expected a text of whole characters/],
    ['a name with a right-to-left override', { name: 'a\u202eb' }, /^name: .* invisible characters, got "a\\u\{202e\}b"$/],
    ['a name with an escape sequence', { name: '\u001b[31m' }, /^name: .* got "\\u\{1b\}\[31m"$/],
    ['a name with spaces at its ends', { name: ' a' }, /^name: expected no spaces at the ends, got " a"$/],
    ['a name that is a number', { name: 5 }, /^name: expected a text of 1 to 200 characters, got 5$/],
    ['a remark of 2001 characters', { remark: 'x'.repeat(2001) }, /^remark: expected a text of at most 2000 characters/],
    ['a remark with a bell', { remark: '\u0007' }, /^remark: expected no control or invisible characters, got "\\u\{7\}"$/],
    ['an expression that is no text', { expr: { at: 9 } }, /^expr: expected an expression such as .* got a table$/],
    ['an expression that never fires', { expr: '0 0 30 2 *' }, /^expr: "0 0 30 2 \*" never fires/],
    ['an empty time zone', { timezone: '' }, /^timezone: expected an IANA time zone .* got ""$/],
    ['a path as time zone', { timezone: '../../etc/passwd' }, /^timezone: expected an IANA time zone/],
    ['null', { enabled: null }, /^enabled: expected true or false, got null$/],
    ['a text for a flag', { log: 'yes' }, /^log: expected true or false, got "yes"$/],
    ['a duration without unit', { timeout: '30' }, /^timeout: expected a duration such as "30s", got "30"$/],
    ['a duration as number', { timeout: 30 }, /^timeout: expected a duration such as "30s", got 30$/],
    ['a duration that is negative', { timeout: '-5s' }, /^timeout: expected a duration such as "30s", got "-5s"$/],
    ['a duration with the units mixed up', { timeout: '30s1h' }, /^timeout: expected a duration/],
    ['a timeout of nothing', { timeout: '0s' }, /^timeout: expected a duration from 1ms to 24d, got "0s"$/],
    ['a timeout beyond what a timer can', { timeout: '25d' }, /^timeout: expected a duration from 1ms to 24d, got "25d"$/],
    ['NaN', { max_catchup: NaN }, /^max_catchup: expected a finite number, got NaN$/],
    ['infinity', { retry: { factor: Infinity } }, /^retry.factor: expected a finite number, got Infinity$/],
    ['2^53', { max_catchup: 2 ** 53 }, /^max_catchup: expected a whole number from 1 to 1000, got 9007199254740992$/],
    ['a negative number', { retry: { max_attempts: -1 } }, /^retry.max_attempts: expected a whole number from 1 to 100, got -1$/],
    ['half a number', { retry: { max_attempts: 1.5 } }, /^retry.max_attempts: expected a whole number/],
    ['jitter above 1', { retry: { jitter: 1.1 } }, /^retry.jitter: expected a number from 0 to 1, got 1.1$/],
    [
      'an exit code above 255',
      { retry: { exit_codes: [1, 256] } },
      /^retry.exit_codes\[1\]: expected a whole number from 0 to 255, got 256$/,
    ],
    [
      'a status that is none',
      { retry: { statuses: ['6xx'] } },
      /^retry.statuses\[0\]: expected an HTTP status such as 503 or "5xx", got "6xx"$/,
    ],
    ['a list for a table', { retry: [] }, /^retry: expected a table, got a list$/],
    ['an unknown policy', { overlap: 'skp' }, /^overlap: expected "skip", .* or "replace", got "skp"; did you mean "skip"\?$/],
    ['a policy of the wrong type', { misfire: 1 }, /^misfire: expected "skip", "once" or "all", got 1$/],
    ['a command that is a text', { command: 'echo' }, /^command: expected a table such as \{ type = "shell", … \}, got "echo"$/],
    ['a command without type', { command: {} }, /^command.type: expected "shell" or "http", got nothing$/],
    ['a command with a type of every object', { command: { type: 'constructor' } }, /^command.type: expected "shell" or "http"/],
    [
      'NUL anywhere in a command',
      { command: { type: 'shell', target: 'a', env: { A: '\0' } } },
      /^command.env.A: expected a text without NUL$/,
    ],
    ['half a surrogate pair as a key', { command: { type: 'shell', '\ud800': 1 } }, /^command."\\u\{d800\}": this key is not allowed$/],
    ['a date', { command: { type: 'shell', at: new Date() } }, /^command.at: expected a text, a number, .* got a date$/],
    ['a key in another spelling', { maxCatchup: 5 }, /^maxCatchup: unknown key; did you mean "max_catchup"\?$/],
    ['markup in a key', { '<b>\n': 5 }, /^"<b>\\n": unknown key/],
  ];
  for (const [what, change, message] of wrong) {
    test(`is refused with ${what}`, () => assert.match(faults({ ...plain, ...change }), message));
  }

  test('takes names of any script, also with joiners and emoji', () => {
    for (const name of ['Nächtliche Sicherung', 'می‌خواهم', '👩‍👩‍👧', '<b>x</b>', 'x'.repeat(200), '😀'.repeat(200)]) {
      assert.equal(parsed({ ...plain, name }).name, name);
    }
  });

  test('is refused when it is no table at all', () => {
    for (const input of [undefined, null, 5, 'text', [], [plain], true, new Map(), () => 1, Symbol('x'), 1n]) {
      assert.match(faults(input), /^expected a /);
    }
  });

  test('is refused with __proto__, at any depth', () => {
    assert.match(faults(JSON.parse('{"__proto__":{"name":"x"},"expr":"* * * * *"}')), /__proto__: this key is not allowed/);
    const command: unknown = JSON.parse('{"type":"shell","target":"x","env":{"__proto__":{"A":"1"}}}');
    assert.equal(faults({ ...plain, command }), 'command.env.__proto__: this key is not allowed');
  });

  test('is refused when it is nested without end, or in a circle', () => {
    const deep: unknown = JSON.parse(`${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}`);
    assert.match(faults({ ...plain, command: deep }), /expected at most 32 levels of nesting$/);
    const circle: Record<string, unknown> = { type: 'shell', target: 'x' };
    circle['self'] = circle;
    assert.match(faults({ ...plain, command: circle }), /expected at most 32 levels of nesting$/);
  });

  test('with thousands of faults tells the first twenty, shortly', () => {
    const many = Object.fromEntries(Array.from({ length: 5000 }, (_, index) => [`${'k'.repeat(1000)}${index}`, 1]));
    const told = faults({ ...plain, ...many });
    assert.match(told, /; and 4980 more$/);
    assert.ok(told.length < 10_000);
  });

  test('is refused, never a crash, whatever comes', () => {
    const check = (input: unknown): void => {
      for (const coerceDigits of [false, true]) {
        const answer = parseDefinition(input, { ...options, coerceDigits });
        if (answer.ok) JSON.stringify(answer.definition);
        else assert.ok(!/[\p{Cc}\u202e]/u.test(describeFaults(answer.faults)));
      }
    };
    const value = fc.oneof(fc.anything({ withNullPrototype: true, withDate: true, withBigInt: true }), fc.string(), fc.double());
    const keys = 'name remark expr timezone enabled command retry timeout overlap max_catchup __proto__ toString'.split(' ');
    fc.assert(fc.property(value, check), { numRuns: 500 });
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...keys), value), (change) => check({ ...plain, ...change })),
      { numRuns: 1000 },
    );
    fc.assert(fc.property(fc.dictionary(fc.string(), value), (change) => check({ ...plain, command: { ...plain.command, ...change } })));
  });
});
