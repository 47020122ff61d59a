// Bad input is refused: in words that name the place, what was expected and what came; never with a 5xx, never half done.

import assert from 'node:assert/strict';
import test, { afterEach, describe } from 'node:test';
import { openTestDoors, sample } from '../support/doors.ts';

const doors = await openTestDoors(test);
const { ask, call, v1, lines } = doors;
await call('/createJob', sample('there'));

async function jobNames(): Promise<string[]> {
  return (await doors.jobs.list('', 100)).map(({ name }) => name);
}

/** The message of a seed call's code -2. */
async function refusalOf(path: string, body: unknown): Promise<string> {
  const { code, message, data } = await call(path, body);
  assert.deepEqual([code, data], [-2, {}], message);
  return message;
}

afterEach(async () => {
  assert.deepEqual(await jobNames(), ['there'], 'nothing was made and nothing is gone');
  assert.ok(!lines.some(({ msg }) => msg === 'request_failed'), 'nothing failed');
});

describe('a body', () => {
  const bytes = (text: string, encoding: BufferEncoding): Uint8Array => new Uint8Array(Buffer.from(text, encoding));
  const refused: Record<string, [body: string | Uint8Array, message: RegExp]> = {
    'of a form': ['name=x&expr=y', /^body: expected JSON, got 13 characters that are not JSON$/],
    'that ends too soon': ['{"name":"x",\n', /^body: expected JSON, got 13 characters that are not JSON \(line 2 column 1\)$/],
    'with a number that is none': ['{"page":NaN}', /^body: expected JSON/],
    'with two byte order marks': ['\ufeff\ufeff{}', /^body: expected JSON/],
    'in Latin-1': [bytes('{"name":"größer"}', 'latin1'), /^body: expected JSON in UTF-8, got bytes that are not UTF-8$/],
    'in UTF-16': [bytes('{"name":"x"}', 'utf16le'), /^body: expected JSON, got 24 characters that are not JSON/],
    'that is compressed': [bytes('1f8b0800', 'hex'), /^body: expected JSON in UTF-8/],
    'that is a list': ['[]', /^expected a table, got a list$/],
    'that is null': ['null', /^expected a table, got null$/],
    'that is a text': ['"x"', /^expected a table, got "x"$/],
    'nested a hundred thousand levels deep': [
      `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`,
      /: expected at most 32 levels of nesting$/,
    ],
    'of a hundred thousand open brackets': ['['.repeat(100_000), /^body: expected JSON, got 100000 characters that are not JSON/],
    'with the key __proto__': ['{"__proto__":{"name":"x"}}', /^__proto__: this key is not allowed/],
    'with the key __proto__ further in': ['{"command":{"__proto__":{}}}', /^command\.__proto__: this key is not allowed/],
    'with the key constructor': ['{"constructor":1}', /constructor: unknown key/],
    'with a number beyond all': ['{"page":1e400}', /^page: expected a finite number, got Infinity/],
    'with NUL in a key': ['{"a\\u0000b":1}', /: this key is not allowed$/],
    'with half a character in a key': ['{"\\ud800":1}', /: this key is not allowed$/],
  };
  for (const [what, [body, message]] of Object.entries(refused)) {
    test(`${what} is refused by every call that reads one`, async () => {
      for (const path of ['/createJob', '/listJobRecord', '/getJobRecordResult']) assert.match(await refusalOf(path, body), message);
      const answer = await ask('/v1/jobs/there/trigger', body);
      assert.equal(answer.status, 400);
      assert.match(((await answer.json()) as { message: string }).message, message);
    });
  }

  test('over the limit is refused, also where it is no JSON', async () => {
    for (const path of ['/createJob', '/listJobRecord', '/v1/jobs/there/trigger']) {
      const answer = await ask(path, 'x'.repeat(1024 * 1024 + 1));
      assert.equal(answer.status, 413);
      assert.match(await answer.text(), /"body: expected at most 1048576 bytes, got more"/);
    }
    assert.match(await refusalOf('/createJob', ' '.repeat(1024 * 1024 - 1) + '1'), /^expected a table, got 1$/);
  });
});

describe('a job', () => {
  const shell = (changed: object): object => ({ command: { type: 'shell', target: 'true', ...changed } });
  const http = (changed: object): object => ({ command: { type: 'http', target: 'http://example.org/', ...changed } });
  const refused: Record<string, [changed: object, message: RegExp | string]> = {
    'with a key that is unknown': [{ comand: 1 }, 'comand: unknown key; did you mean "command"?'],
    'with a key of retry that is unknown': [{ retry: { delai: '1s' } }, 'retry.delai: unknown key; did you mean "delay"?'],
    'with a key of its command that is unknown': [shell({ targte: 'x' }), /^command\.targte: .*; did you mean "target"\?$/],
    'without a name': [{ name: undefined }, 'name: expected a text of 1 to 200 characters, got nothing'],
    'with an empty name': [{ name: '' }, 'name: expected a text of 1 to 200 characters, got ""'],
    'with a name of 256 characters': [
      { name: 'x'.repeat(256) },
      /^name: expected a text of 1 to 200 characters \(this has 256\), got "x{60}…"$/,
    ],
    'with NUL in its name': [{ name: 'a\0b' }, 'name: expected a text without NUL'],
    'with half a character in its name': [{ name: 'a\ud800' }, 'name: expected a text of whole characters, got half a surrogate pair'],
    'with a line break in its name': [{ name: 'a\nb' }, 'name: expected no line breaks, control or invisible characters, got "a\\nb"'],
    'with a name that turns its reading round': [{ name: 'a\u202eb' }, /^name: expected no .* invisible characters, got "a\\u\{202e\}b"$/],
    'with a name that is a number': [{ name: 7 }, 'name: expected a text of 1 to 200 characters, got 7'],
    'with a number where a switch is expected': [{ enabled: 1 }, 'enabled: expected true or false, got 1'],
    'with a number that is negative': [{ max_catchup: -1 }, 'max_catchup: expected a whole number from 1 to 1000, got -1'],
    'with a number of 2^53': [{ max_catchup: 2 ** 53 }, 'max_catchup: expected a whole number from 1 to 1000, got 9007199254740992'],
    'with half a number': [{ retry: { max_attempts: 1.5 } }, 'retry.max_attempts: expected a whole number from 1 to 100, got 1.5'],
    'with a length of time without a unit': [{ timeout: 30 }, 'timeout: expected a duration such as "30s", got 30'],
    'with an expression that is none': [{ expr: '61 * * * *' }, 'expr: minute: expected 0-59, got "61" at column 1'],
    'with an empty expression': [{ expr: '' }, /^expr: expected 5 fields/],
    'with an expression that never comes': [{ expr: '0 0 30 2 *' }, /^expr: .* never fires/],
    'with a very long expression': [{ expr: '* '.repeat(100_000) }, 'expr: expected at most 256 characters, got 200000'],
    'with an expression that is a number': [{ expr: 5 }, /^expr: expected an expression such as .*, got 5$/],
    'in a zone that is none': [{ timezone: 'Mars/Phobos' }, /^timezone: expected an IANA time zone .*, got "Mars\/Phobos"$/],
    'in a zone that is a path': [{ timezone: '../../etc/passwd' }, /^timezone: expected an IANA time zone/],
    'in an empty zone': [{ timezone: '' }, /^timezone: expected an IANA time zone .*, got ""$/],
    'without a command': [{ command: undefined }, /^command: expected a table .*, got nothing$/],
    'with a command that is a text': [{ command: 'echo' }, /^command: expected a table .*, got "echo"$/],
    'of an unknown type': [{ command: { type: 'shel' } }, 'command.type: expected "shell" or "http", got "shel"; did you mean "shell"?'],
    'of the type __proto__': [{ command: { type: '__proto__' } }, /^command\.type: expected "shell" or "http", got "__proto__"/],
    'with an empty command': [shell({ target: ' ' }), /^command\.target: expected a shell command .*, got " "$/],
    'with NUL in its command': [shell({ target: 'a\0b' }), 'command.target: expected a text without NUL'],
    'with a command of 128 KiB': [
      shell({ target: 'x'.repeat(131_072) }),
      /^command\.target: expected .* at most 65536 bytes.* \(131072 characters\)$/,
    ],
    'that would set LD_PRELOAD': [shell({ env: { LD_PRELOAD: 'x' } }), /^command\.env\.LD_PRELOAD: expected a name that a job may set/],
    'that would read a file': [http({ target: 'file:///etc/passwd' }), /^command\.target: expected an absolute http or https URL/],
    'that would speak gopher': [http({ target: 'gopher://x/' }), /^command\.target: expected an absolute http or https URL/],
    'with a password in its URL': [http({ target: 'http://me:hunter2@x/' }), /^command\.target: .*, got one with an "@" in it$/],
    'with a line break in a header': [http({ headers: { a: 'b\r\nc: d' } }), /^command\.headers\.a: expected one line/],
    'that would set Host': [http({ headers: { Host: 'x' } }), 'command.headers.Host: expected a header that a job may set, got Host'],
    'that would set Content-Length': [
      http({ headers: { 'Content-Length': '1' } }),
      /^command\.headers\.Content-Length: expected a header that a job may set/,
    ],
  };
  for (const [what, [changed, message]] of Object.entries(refused)) {
    test(`${what} is refused`, async () => {
      const told = await refusalOf('/createJob', sample('bad', changed as Record<string, unknown>));
      if (typeof message === 'string') assert.equal(told, message);
      else assert.match(told, message);
    });
  }

  test('with several faults is told all of them at once', async () => {
    const told = await refusalOf('/createJob', { nam: 'x', expr: '* *', command: { type: 'shell' }, timeout: '1' });
    assert.deepEqual(
      told.split('; ').map((fault) => fault.split(':', 1)[0]),
      ['name', 'expr', 'timeout', 'nam', 'did you mean "name"?', 'command.target'],
    );
  });
});

describe('what is asked of records', () => {
  const whole = (least: number, most: number): string => `expected a whole number from ${least} to ${most}`;
  const id = whole(1, Number.MAX_SAFE_INTEGER);
  const time = 'expected a time such as "2030-01-23T09:00:00Z"';
  const refused: [path: string, asked: string, message: string][] = [
    ['/getJobRecordResult', '{}', `recordId: ${id}, got nothing`],
    ['/getJobRecordResult', '{"recordId":"abc"}', `recordId: ${id}, got "abc"`],
    ['/getJobRecordResult', '{"recordId":-1}', `recordId: ${id}, got -1`],
    ['/getJobRecordResult', '{"recordId":"-1"}', `recordId: ${id}, got "-1"`],
    ['/getJobRecordResult', '{"recordId":12345678901234567890}', `recordId: ${id}, got 12345678901234567000`],
    ['/getJobRecordResult', '{"recordId":"12345678901234567890"}', `recordId: ${id}, got "12345678901234567890"`],
    ['/getJobRecordResult', '{"recordId":9007199254740992}', `recordId: ${id}, got 9007199254740992`],
    ['/getJobRecordResult', '{"recordId":0.5}', `recordId: ${id}, got 0.5`],
    ['/getJobRecordResult', '{"recordid":1}', `recordId: ${id}, got nothing; recordid: unknown key; did you mean "recordId"?`],
    ['/listJobRecord', '{"page":-1}', `page: ${whole(0, 1_000_000)}, got -1`],
    ['/listJobRecord', '{"size":1e9}', `size: ${whole(0, 100)}, got 1000000000`],
    ['/listJobRecord', '{"size":true}', `size: ${whole(0, 100)}, got true`],
    ['/listJobRecord', '{"cursor":"MTIz"}', `cursor: ${id}, got "MTIz"`],
    [
      '/listJobRecord',
      '{"state":"runing"}',
      'state: expected "queued", "running", "retrying", "succeeded", "failed", "cancelled" or "skipped", got "runing"; did you mean "running"?',
    ],
    ['/listJobRecord', '{"from":"2026-02-30T00:00:00Z"}', `from: ${time}, got "2026-02-30T00:00:00Z"`],
    ['/listJobRecord', '{"from":"2026-01-01T24:00:00Z"}', `from: ${time}, got "2026-01-01T24:00:00Z"`],
    ['/listJobRecord', '{"from":"0000-01-01T00:00:00Z"}', `from: ${time}, got "0000-01-01T00:00:00Z"`],
    ['/listJobRecord', '{"to":"9999-12-31T23:59:59-12:00"}', `to: ${time}, got "9999-12-31T23:59:59-12:00"`],
    ['/listJobRecord', '{"to":1700000000}', `to: ${time}, got 1700000000`],
    [
      '/listJobRecord',
      '{"from":"2026-01-02T00:00:00Z","to":"2026-01-01T00:00:00Z"}',
      'to: expected a time not before from, 2026-01-02T00:00:00.000Z, got "2026-01-01T00:00:00.000Z"',
    ],
    ['/listJobRecord', '{"name":["x"]}', 'name: expected a text of 1 to 200 characters, got a list'],
    ['/listJobRecord', '{"nmae":"x"}', 'nmae: unknown key; did you mean "name"?'],
  ];
  for (const [path, asked, message] of refused) {
    test(`is refused: ${path} ${asked}`, async () => assert.equal(await refusalOf(path, asked), message));
  }
});

describe('what is asked of jobs', () => {
  const refused: [path: string, status: number, message: string | RegExp][] = [
    ['/jobs?limit=1e9', 400, 'limit: expected a whole number from 1 to 1000, got "1e9"'],
    ['/jobs?limit=0', 400, 'limit: expected a whole number from 1 to 1000, got "0"'],
    ['/jobs?limit=', 400, 'limit: expected a whole number from 1 to 1000, got ""'],
    ['/jobs?limt=1', 400, 'limt: unknown key; did you mean "limit"?'],
    ['/jobs?__proto__=1', 400, '__proto__: this key is not allowed'],
    ['/jobs?after=%00', 400, 'after: expected a text without NUL'],
    [`/jobs?after=${'x'.repeat(401)}`, 400, /^after: expected a name, the "next" of the page before, got "x{60}…"$/],
    ['/jobs/%00', 400, 'name: expected a text without NUL'],
    ['/jobs/%E0%A4%A', 404, 'job not found: "%E0%A4%A"'],
    ['/jobs/%ED%A0%80', 404, 'job not found: "%ED%A0%80"'],
    ['/jobs/..%2f', 404, 'job not found: "../"'],
    ['/jobs/..%2fthere', 404, 'job not found: "../there"'],
    ['/jobs/there%2f..', 404, 'job not found: "there/.."'],
    ['/jobs/%2574here', 404, 'job not found: "%74here"'],
    ['/jobs/there%00', 400, 'name: expected a text without NUL'],
    ['/jobs/there%20', 404, 'job not found: "there "'],
    ['/jobs/THERE', 404, 'job not found: "THERE"'],
    [`/jobs/${'x'.repeat(10_000)}`, 404, /^job not found: "x/],
  ];
  for (const [path, status, message] of refused) {
    test(`is refused: ${path.slice(0, 40)}`, async () => {
      for (const method of path.includes('?') ? ['GET'] : ['GET', 'DELETE']) {
        const answer = await v1(method, path);
        assert.equal(answer.status, status);
        const told = String(answer.json['message']);
        if (typeof message === 'string') assert.equal(told, message);
        else assert.match(told, message);
      }
      if (!path.includes('?')) assert.equal((await v1('POST', `${path}/trigger`)).status, status);
    });
  }
});
