// SQL by hand as tagged templates: text and parameters kept apart, statements named so that a connection prepares each once.

/** What a statement takes as a parameter. An array is an SQL array (`${ids}::bigint[]`), an object is jsonb; an array as jsonb is to be JSON text. */
export type SqlValue =
  | string
  | number
  | bigint
  | boolean
  | Date
  | Uint8Array
  | null
  | readonly SqlValue[]
  | { readonly [key: string]: unknown };

const piece = Symbol('a piece of SQL');

/** A piece of a statement, with its own parameters; made by `sql.part`. */
export type Part = { readonly [piece]: true; readonly strings: readonly string[]; readonly values: readonly (SqlValue | Part)[] };

/**
 * Runs one statement: `` await sql<{ id: number }[]>`select id from jobs where name = ${name}` ``. Values go as parameters, never
 * into the text. timestamptz comes as Date, bigint as number, numeric as text, jsonb parsed.
 *
 * One statement is all there is: what has to be atomic is one statement, or a function in the database.
 */
export type Sql = {
  <Rows extends readonly object[] = Record<string, unknown>[]>(
    strings: TemplateStringsArray,
    ...values: readonly (SqlValue | Part)[]
  ): Promise<Rows>;
  /** A piece to be put into statements: `` const columns = sql.part`id, name` ``. */
  readonly part: (strings: TemplateStringsArray, ...values: readonly (SqlValue | Part)[]) => Part;
};

export type Statement = { readonly name: string; readonly text: string; readonly values: readonly unknown[] };

/** Makes the template function that hands its statements to `run`. */
export function makeSql(run: (statement: Statement) => Promise<readonly object[]>): Sql {
  // The texts are those in our source: few, whatever their parameters are.
  const names = new Map<string, string>();
  const nameOf = (text: string): string => {
    const name = names.get(text) ?? `belfry_${names.size + 1}`;
    names.set(text, name);
    return name;
  };

  const sql = async <Rows extends readonly object[]>(strings: readonly string[], ...given: readonly (SqlValue | Part)[]): Promise<Rows> => {
    const values: unknown[] = [];
    const text = write(strings, given, values);
    // The door where a row's type is believed: what the caller says its columns are.
    return (await run({ name: nameOf(text), text, values })) as unknown as Rows;
  };
  return Object.assign(sql, {
    part: (strings: readonly string[], ...values: readonly (SqlValue | Part)[]): Part => ({ [piece]: true, strings, values }),
  });
}

/** The text with `$1, $2 …` for the values, which are added to `values`. */
function write(strings: readonly string[], given: readonly (SqlValue | Part)[], values: unknown[]): string {
  let text = strings[0] ?? '';
  for (const [index, value] of given.entries()) {
    text += isPart(value) ? write(value.strings, value.values, values) : `$${values.push(serialised(value))}`;
    text += strings[index + 1] ?? '';
  }
  return text;
}

function isPart(value: SqlValue | Part): value is Part {
  return typeof value === 'object' && value !== null && piece in value;
}

/** Dates as UTC: the driver would write them in the process's own zone. Throws a RangeError for a Date that is none. */
function serialised(value: SqlValue): unknown {
  if (value instanceof Date) return value.toISOString();
  return Array.isArray(value) ? arrayText(value) : value;
}

/**
 * An array as PostgreSQL writes it: `{"a","b"}`. Of texts and the like it is JSON's but for the brackets, unless JSON has escaped more
 * than quotes and backslashes: written at once, where the driver goes through them one by one. Columns that say the same in every row
 * (most do) are written once and repeated.
 */
export function arrayText(items: readonly Item[]): string {
  const [first] = items;
  if (items.length === 0) return '{}';
  if (items.every((item) => item === first)) return `{${`${itemText(first)},`.repeat(items.length).slice(0, -1)}}`;
  const json = items.every(isSimple) ? JSON.stringify(items) : undefined;
  const text = json === undefined || otherEscapes.test(json) ? items.map(itemText).join(',') : json.slice(1, -1);
  return `{${text}}`;
}

type Item = SqlValue | undefined;

const otherEscapes = /\\[^"\\]/;

/** Whether JSON writes it as PostgreSQL would. */
function isSimple(value: unknown): boolean {
  if (typeof value === 'number') return Number.isFinite(value);
  if (value instanceof Date) return Number.isFinite(value.getTime());
  return value === null || ['string', 'boolean', 'undefined'].includes(typeof value);
}

function itemText(item: Item): string {
  if (typeof item === 'string') return quoted(item);
  if (item === null || item === undefined) return 'NULL';
  if (item instanceof Date) return quoted(item.toISOString());
  if (item instanceof Uint8Array) return quoted(`\\x${Buffer.from(item).toString('hex')}`);
  if (Array.isArray(item)) return arrayText(item);
  return typeof item === 'object' ? quoted(JSON.stringify(item)) : item.toString();
}

function quoted(text: string): string {
  return `"${text.replaceAll(/["\\]/g, '\\$&')}"`;
}
