import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { Refusal } from '../../src/errors.ts';
import { loadExecutors } from '../../src/executors/registry.ts';
import { httpHere, shellHere } from './subjects.ts';
import { attempt, isStorable, limit, tempDir } from './support.ts';

const whole = `type: 'mine', defaults: { maxAttempts: 2, timeoutMs: 1000 }, parse: (command) => command`;

/** Loads one module of this text under the name "mine". */
async function load(t: TestContext, text: string) {
  const dir = await tempDir(t);
  await writeFile(join(dir, 'mine.mjs'), text);
  return loadExecutors([], { mine: { module: 'mine.mjs' } }, dir);
}

async function mine(t: TestContext, execute: string) {
  const executor = (await load(t, `export default { ${whole}, execute: ${execute} }`)).get('mine');
  assert.ok(executor);
  return executor;
}

function refusalOf(loading: Promise<unknown>): Promise<string> {
  return loading.then(
    () => assert.fail('expected a refusal'),
    (thrown: unknown) => {
      assert.ok(thrown instanceof Refusal && thrown.kind === 'bad_input', String(thrown));
      return thrown.message;
    },
  );
}

describe('executors', limit, () => {
  test('are those of the house and those that are named, by the type of their commands', async () => {
    const executors = await loadExecutors(
      [shellHere(), httpHere()],
      { 'log-line': { module: '../../examples/log-line.js' } },
      import.meta.dirname,
    );
    assert.deepEqual([...executors.keys()], ['shell', 'http', 'log-line']);
    assert.equal((await attempt(executors.get('shell') ?? assert.fail(), { type: 'shell', target: 'true' })).outcome, 'succeeded');
  });

  test('may be made by a function, which is given its table', async (t) => {
    const text = `export default async ({ module }) => ({ ${whole}, execute: async () => ({ outcome: 'succeeded', known: true, result: { module } }) })`;
    const executor = (await load(t, text)).get('mine');
    assert.ok(executor);
    assert.deepEqual((await attempt(executor, { type: 'mine' })).result, { module: 'mine.mjs' });
  });

  const faulty: [string, string, RegExp][] = [
    ['is no JavaScript', 'export default {', /^executors\.mine: expected a module at \/.*mine\.mjs, got: /],
    ['throws', 'throw new Error("no licence\\nat all")', /^executors\.mine: expected a module at .*, got: no licence$/],
    [
      'exports nothing',
      'export const a = 1',
      /^executors\.mine: expected the default export of .* to be an executor or a function that returns one, got undefined$/,
    ],
    ['has a factory that throws', 'export default () => { throw new Error("no key") }', /^executors\.mine: no key$/],
    [
      'exports half',
      `export default { type: 'mine', parse: 1 }`,
      /an executor with parse: a function, got number, execute: a function, got undefined, defaults: /,
    ],
    [
      'has another type',
      `export default { ${whole}, type: 'yours', execute() {} }`,
      /to be an executor with type: "mine" \(the name it has in config\.toml\), got "yours"$/,
    ],
    [
      'has odd defaults',
      `export default { ${whole}, defaults: { maxAttempts: 0, timeoutMs: 1 }, execute() {} }`,
      /defaults: \{ maxAttempts, timeoutMs \}/,
    ],
  ];
  for (const [how, text, message] of faulty) {
    test(`are refused when a module ${how}`, async (t) => assert.match(await refusalOf(load(t, text)), message));
  }

  test('are refused with everything that is wrong, a missing module and a taken name too', async () => {
    const modules = { none: { module: 'none.js' }, shell: { module: 'mine.js' } };
    const message = await refusalOf(loadExecutors([shellHere()], modules, '/nowhere'));
    assert.match(
      message,
      /^executors\.none: expected a module at \/nowhere\/none\.js, got: .*; executors\.shell: expected a name that is not taken/,
    );
  });
});

describe('an executor of somebody else', limit, () => {
  test('that throws has failed, its effect unknown', async (t) => {
    const { outcome, known, error, result } = await attempt(await mine(t, '() => { throw new Error("odd\\0") }'), { type: 'mine' });
    assert.deepEqual([outcome, known, error, result], ['failed', false, 'odd\uFFFD', { err: 'odd\uFFFD' }]);
  });

  for (const answer of ['undefined', 'null', '{}', '{ outcome: "done" }', '7']) {
    test(`that answers ${answer} has failed, its effect unknown`, async (t) => {
      const { outcome, known } = await attempt(await mine(t, `async () => (${answer})`), { type: 'mine' });
      assert.deepEqual([outcome, known], ['failed', false]);
    });
  }

  test('that never ends is given up, its effect unknown', async (t) => {
    const executor = await mine(t, '() => new Promise(() => {})');
    const slow = await attempt(executor, { type: 'mine' }, { timeoutMs: 20, killGraceMs: 20 });
    assert.deepEqual([slow.outcome, slow.known, slow.error], ['timed_out', false, 'timed out after 20ms']);
    const stop = new AbortController();
    const stopped = attempt(executor, { type: 'mine' }, { signal: stop.signal, killGraceMs: 20 });
    stop.abort('interrupted');
    assert.deepEqual([(await stopped).outcome, (await stopped).known], ['failed', false]);
  });

  test('may use its grace to tell how it ended', async (t) => {
    const text = `({ signal }) => new Promise((done) => signal.addEventListener('abort', () =>
      setImmediate(() => done({ outcome: 'cancelled', known: true, error: 'tidied', result: {} }))))`;
    const stop = new AbortController();
    const stopped = attempt(await mine(t, text), { type: 'mine' }, { signal: stop.signal });
    stop.abort('cancelled');
    assert.deepEqual(await stopped, { outcome: 'cancelled', known: true, error: 'tidied', result: {} });
  });

  test('has its result made fit to be stored', async (t) => {
    const text = `async () => ({ outcome: 'succeeded', known: 1, exitCode: '3', retryAfterMs: -1, extra: 1, result: { 'a\\0': '\\ud800', f() {} } })`;
    const attempted = await attempt(await mine(t, text), { type: 'mine' });
    assert.deepEqual(attempted, { outcome: 'succeeded', known: false, result: { 'a\uFFFD': '\uFFFD' } });
    assert.ok(isStorable(attempted));
  });

  test('may say no end of what went wrong, of which the beginning is kept', async (t) => {
    const kept = `${'x'.repeat(16 * 1024)}… 1983616 characters left out …`;
    for (const text of [
      `async () => ({ outcome: 'failed', known: true, error: 'x'.repeat(2e6), result: {} })`,
      `() => { throw new Error('x'.repeat(2e6)) }`,
    ]) {
      assert.equal((await attempt(await mine(t, text), { type: 'mine' })).error, kept);
    }
  });

  test('may answer with too much, or with what is no object', async (t) => {
    const long = await attempt(await mine(t, `async () => ({ outcome: 'succeeded', known: true, result: { a: 'x'.repeat(2e6) } })`), {
      type: 'mine',
    });
    assert.deepEqual(long.result, { note: 'a result of 2000008 bytes was not kept: the limit is 1048576' });
    const list = await attempt(await mine(t, `async () => ({ outcome: 'succeeded', known: true, result: [1] })`), { type: 'mine' });
    assert.deepEqual(list.result, { value: [1] });
  });
});
