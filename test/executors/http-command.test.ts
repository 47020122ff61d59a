import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { httpHere } from './subjects.ts';
import { messageThrownBy } from './support.ts';

const { parse } = httpHere();
const target = 'https://example.org/hook';

function refusal(command: Record<string, unknown>): string {
  return messageThrownBy(() => parse({ type: 'http', target, ...command }));
}

describe('an HTTP command as written down', () => {
  test('is a GET unless it says otherwise, in any case', () => {
    assert.deepEqual(parse({ type: 'http', target }), { type: 'http', method: 'GET', target });
    assert.deepEqual(parse({ type: 'http', target, method: '' }), { type: 'http', method: 'GET', target });
    assert.deepEqual(parse({ type: 'http', target, method: 'patch' }), { type: 'http', method: 'PATCH', target });
  });

  test('has its expected status made a list', () => {
    assert.deepEqual(parse({ type: 'http', target, expect_status: 200 }).expect_status, [200]);
    assert.deepEqual(parse({ type: 'http', target, expect_status: [204, '3XX'] }).expect_status, [204, '3xx']);
  });

  test('has a date of TOML in its body made what JSON makes of it', () => {
    assert.deepEqual(parse({ type: 'http', target, method: 'POST', body: { at: new Date(0) } }).body, { at: '1970-01-01T00:00:00.000Z' });
  });

  const refused: [string, Record<string, unknown>, RegExp][] = [
    ['no target', { target: undefined }, /^command\.target: expected an absolute http or https URL .*, got nothing$/],
    ['a relative target', { target: '/ping' }, /^command\.target: expected .*, got "\/ping"$/],
    ['another scheme', { target: 'file:///etc/passwd' }, /^command\.target: expected .*, got "file:\/\/\/etc\/passwd"$/],
    ['gopher', { target: 'gopher://x/' }, /^command\.target: expected/],
    ['a password in the target, unseen', { target: 'http://me:secret@x/' }, /^command\.target: expected .*, got one with an "@" in it$/],
    ['a line break in the target', { target: 'http://x/\r\nHost: y' }, /^command\.target: expected/],
    ['a target of 8 KiB and more', { target: `http://x/${'y'.repeat(8192)}` }, /^command\.target: expected .* \(8201 characters\)$/],
    ['an unknown method', { method: 'TRACE' }, /^command\.method: expected one of GET, HEAD, .*, got "TRACE"$/],
    ['headers in a list', { headers: [] }, /^command\.headers: expected names and values such as .*, got a list of 0$/],
    [
      'a header that is no token',
      { headers: { 'a b': 'c' } },
      /^command\.headers\["a b"\]: expected a header name \(RFC 9110\), got "a b"$/,
    ],
    [
      'a header with a line break',
      { headers: { a: 'b\r\nc: d' } },
      /^command\.headers\.a: expected one line .*, got a text of 7 characters$/,
    ],
    ['a header beyond Latin', { headers: { a: '€' } }, /^command\.headers\.a: expected one line of Latin letters/],
    ['a header that is a number', { headers: { a: 7 } }, /^command\.headers\.a: expected one line .*, got 7$/],
    ['a header twice', { headers: { 'X-A': '1', 'x-a': '2' } }, /^command\.headers: expected each header once, got one twice$/],
    ['a body that is a number', { method: 'POST', body: 7 }, /^command\.body: expected a text or an object .*, got 7$/],
    ['a body with HEAD', { method: 'HEAD', body: 'x' }, /^command\.body: expected no body with HEAD, got one$/],
    ['a body with NUL', { method: 'POST', body: { a: ['\0'] } }, /^command\.body: expected .*, got one that is not JSON: a text with NUL/],
    [
      'a body that is too large',
      { method: 'POST', body: 'x'.repeat(1024 * 1024 + 1) },
      /^command\.body: expected .*, got a text of 1048577 characters$/,
    ],
    ['a status that is none', { expect_status: [200, 99] }, /^command\.expect_status: expected a status or a list of them/],
    ['a status as a word', { expect_status: 'ok' }, /^command\.expect_status: expected .*, got "ok"$/],
    ['no status at all', { expect_status: [] }, /^command\.expect_status: expected .*, got a list of 0$/],
    ['a broken pattern', { expect_body: '(' }, /^command\.expect_body: expected a regular expression .*, got "\("$/],
    ['a pattern that is too long', { expect_body: 'x'.repeat(1001) }, /^command\.expect_body: expected/],
    ['many redirects', { redirects: 11 }, /^command\.redirects: expected a whole number from 0 to 10, got 11$/],
    ['an unknown key', { header: {} }, /^command\.header: expected one of type, .*, got an unknown key; did you mean "headers"\?$/],
  ];
  for (const [what, command, message] of refused) {
    test(`is refused with ${what}`, () => assert.match(refusal(command), message));
  }

  for (const name of ['Host', 'Content-Length', 'Transfer-Encoding', 'Connection', 'Idempotency-Key', 'Traceparent', 'X-Belfry-Run-Id']) {
    test(`may not set ${name}`, () => {
      assert.equal(refusal({ headers: { [name]: 'x' } }), `command.headers.${name}: expected a header that a job may set, got ${name}`);
    });
  }

  test('may nest its body as deep as it likes without harm', () => {
    let body: unknown[] = [];
    for (let depth = 0; depth < 100_000; depth++) body = [body];
    assert.match(refusal({ method: 'POST', body }), /^command\.body: expected .*, got one that is not JSON: /);
  });
});
