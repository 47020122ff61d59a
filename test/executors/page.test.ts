import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { describePage, isPage } from '../../src/executors/page.ts';
import { isStorable, limit } from './support.ts';

describe('a page', limit, () => {
  test('is told by its content type, or by how it begins where there is none', () => {
    assert.deepEqual(
      [
        isPage('text/html; charset=utf-8', ''),
        isPage('application/json', '<!doctype html>'),
        isPage(undefined, '\n<!DOCTYPE html>'),
        isPage(undefined, '{}'),
      ],
      [true, false, true, false],
    );
  });

  test('is summed up by its title and the text that a reader sees first', () => {
    const html = `<!DOCTYPE html><html><head><title>\n A  page </title><style>p { color: red }</style>
      <script>if (a < b) document.write("<p>not this</p>")</script></head>
      <body><!-- nor <b>this</b> --><h1>Head</h1><p>First <em>word</em>s.<br>Next<td>cell</td></body></html>`;
    assert.deepEqual(describePage(html), { title: 'A page', summary: 'Head First words. Next cell' });
  });

  test('has its entities read, by name and by number, and what is none left as written', () => {
    const html = '<p>&lt;a&gt; &amp;amp; &eacute; &#228; &#x1F600; &#0; &#xD800; &#x110000; &nosuch; &toString; AT&T 1 < 2';
    assert.equal(describePage(html).summary, '<a> &amp; é ä 😀 \uFFFD \uFFFD \uFFFD &nosuch; &toString; AT&T 1 < 2');
  });

  test('is cut after two hundred characters, never within one', () => {
    const { summary = '' } = describePage('😀'.repeat(300));
    assert.equal(summary, `${'😀'.repeat(200)}…`);
  });

  test('without text has no summary', () => {
    assert.deepEqual(describePage('<title></title><script>x</script>'), {});
  });

  test('may break off anywhere', () => {
    for (const html of ['<title>open', '<script>open', '<!-- open', '<p', '<', '</', '<p class="a>b'])
      assert.ok(isStorable(describePage(html)));
  });

  test('takes no longer than its length, however it is made', () => {
    for (const part of ['<script>', '<!--', '<title>', '<a ', '&#', '</', '< ', '<p>']) describePage(part.repeat(20_000));
  });

  test('can always be stored, whatever it holds', () => {
    const pieces = fc.constantFrom(
      '<',
      '>',
      '</',
      '<p>',
      '<!--',
      '-->',
      '<title>',
      '</title>',
      '&#',
      'xD83D;',
      ';',
      '\0',
      '\ud800',
      'é',
      ' ',
    );
    fc.assert(fc.property(fc.array(fc.oneof(pieces, fc.string()), { maxLength: 40 }), (parts) => isStorable(describePage(parts.join('')))));
  });
});
