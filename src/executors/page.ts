// Title and summary of an HTML page, for the list of results: the text that a reader would see first. One pass from left
// to right, so that no page, however broken, takes longer than its length.

import { cleanText } from './output.ts';

const titleLength = 200;
const summaryLength = 200;

/** What lies in these is no text of the page. */
const hidden = new Set(['script', 'style', 'noscript', 'template', 'svg', 'iframe', 'textarea', 'select']);

/** After these the text goes on in another line or cell. */
const inline = new Set([
  'a',
  'abbr',
  'b',
  'bdi',
  'bdo',
  'cite',
  'code',
  'em',
  'font',
  'i',
  'kbd',
  'mark',
  'q',
  's',
  'samp',
  'small',
  'span',
  'strong',
  'sub',
  'sup',
  'u',
  'var',
  'wbr',
]);

/** Whether a body is an HTML page, by its content type or, where that is missing, by how it begins. */
export function isPage(contentType: string | undefined, body: string): boolean {
  if (contentType !== undefined) return /^\s*(?:text\/html|application\/xhtml\+xml)\b/i.test(contentType);
  return /^\s{0,100}<(?:!doctype html|html)\b/i.test(body);
}

/** The first two hundred characters of the title and of the text of a page; what there is not is left away. */
export function describePage(html: string): { title?: string; summary?: string } {
  const { title, text } = textsOf(html);
  const [shortTitle, summary] = [shortened(title, titleLength), shortened(text, summaryLength)];
  return { ...(shortTitle === '' ? {} : { title: shortTitle }), ...(summary === '' ? {} : { summary }) };
}

function textsOf(html: string): { title: string; text: string } {
  const lower = html.toLowerCase();
  let title = '';
  let text = '';
  let at = 0;
  while (at < html.length) {
    const open = html.indexOf('<', at);
    text += html.slice(at, open === -1 ? html.length : open);
    if (open === -1) break;
    const tag = tagAt(html, open);
    at = tag.end;
    if (tag.name === undefined) {
      text += tag.text;
    } else if (tag.name === 'title' || hidden.has(tag.name)) {
      const close = endOf(lower, `</${tag.name}`, at);
      if (tag.name === 'title' && title === '') title = html.slice(at, close);
      at = close;
    } else if (!inline.has(tag.name.replace('/', ''))) {
      text += ' ';
    }
  }
  return { title, text };
}

/** A tag (`/name` when it closes), a comment (no name, no text), or a "<" that is just a character. */
function tagAt(html: string, open: number): { name?: string; text: string; end: number } {
  if (html.startsWith('<!--', open)) return { text: '', end: endOf(html, '-->', open + 4) + 3 };
  if (/[!?]/.test(html[open + 1] ?? '')) return { text: '', end: endOf(html, '>', open) + 1 };
  const name = /^<(\/?[a-z][a-z0-9:-]{0,30})/i.exec(html.slice(open, open + 40))?.[1];
  if (name === undefined) return { text: '<', end: open + 1 };
  return { name: name.toLowerCase(), text: '', end: endOf(html, '>', open) + 1 };
}

/** Where `what` is found; the end of the text when it is not. */
function endOf(text: string, what: string, from: number): number {
  const found = text.indexOf(what, from);
  return found === -1 ? text.length : found;
}

function shortened(text: string, length: number): string {
  // Entities and blanks only shorten a text: twenty times the length is more than enough to look at.
  const plain = decoded(text.slice(0, length * 200))
    .replace(/\s+/g, ' ')
    .trim();
  const characters = Array.from(plain.slice(0, length * 2));
  return cleanText(characters.length > length || plain.length > length * 2 ? `${characters.slice(0, length).join('')}…` : plain);
}

const entities: Record<string, string> = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  apos: "'",
  nbsp: ' ',
  copy: '©',
  reg: '®',
  trade: '™',
  hellip: '…',
  mdash: '—',
  ndash: '–',
  laquo: '«',
  raquo: '»',
  ldquo: '“',
  rdquo: '”',
  lsquo: '‘',
  rsquo: '’',
  bull: '•',
  middot: '·',
  times: '×',
  euro: '€',
  pound: '£',
  yen: '¥',
  deg: '°',
  sect: '§',
  auml: 'ä',
  ouml: 'ö',
  uuml: 'ü',
  Auml: 'Ä',
  Ouml: 'Ö',
  Uuml: 'Ü',
  szlig: 'ß',
  eacute: 'é',
  egrave: 'è',
  agrave: 'à',
  ccedil: 'ç',
  ntilde: 'ñ',
};

/** The entities that pages really use, and every number; others stay as written. */
function decoded(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|([a-z]{2,8}));/gi, (written, decimal, hex, name) => {
    if (name !== undefined) return (Object.hasOwn(entities, name) ? entities[name] : undefined) ?? written;
    const code = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : '\uFFFD';
  });
}
