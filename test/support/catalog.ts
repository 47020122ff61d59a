// What PostgreSQL itself knows of our tables, written so that two databases can be compared.

import { execute } from './postgres.ts';

export type Column = {
  readonly table: string;
  readonly name: string;
  readonly type: string;
  readonly notNull: boolean;
  readonly hasDefault: boolean;
};

/** The columns of our tables and views, in their order; `hasDefault` also of an identity. */
export async function columnsOf(url: string): Promise<Column[]> {
  const rows = await execute(
    url,
    `select c.relname as "table", a.attname as name, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as "notNull",
            a.atthasdef or a.attidentity <> '' as "hasDefault"
       from pg_attribute a join pg_class c on c.oid = a.attrelid
      where c.relnamespace = 'belfry'::regnamespace and c.relkind in ('r', 'v') and c.relname <> '__migrations' and a.attnum > 0 and not a.attisdropped
      order by c.relname, a.attnum`,
  );
  return rows as Column[];
}

/** The names of our constraints and indexes. */
export async function namesOf(url: string): Promise<string[]> {
  const rows = await execute(
    url,
    `select conname as name from pg_constraint
      where connamespace = 'belfry'::regnamespace and contype in ('c', 'f', 'p', 'u', 'x') and conrelid <> 'belfry.__migrations'::regclass
     union
     select c.relname from pg_index i join pg_class c on c.oid = i.indexrelid
      where c.relnamespace = 'belfry'::regnamespace and i.indrelid <> 'belfry.__migrations'::regclass
      order by name`,
  );
  return rows.map((row) => String(row['name']));
}

/** Everything that is defined in our schema, one thing a line. */
export async function definitionsIn(url: string): Promise<string[]> {
  const rows = await execute(
    url,
    `select format('column %s.%s %s %s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, pg_get_expr(d.adbin, d.adrelid)) as line
       from pg_attribute a join pg_class c on c.oid = a.attrelid left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
      where c.relnamespace = 'belfry'::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
     union all
     select format('table %s %s', relname, reloptions) from pg_class where relnamespace = 'belfry'::regnamespace and relkind in ('r', 'v', 'm', 'S')
     union all
     select format('view %s %s', relname, pg_get_viewdef(oid)) from pg_class where relnamespace = 'belfry'::regnamespace and relkind = 'v'
     union all
     select format('constraint %s %s', conname, pg_get_constraintdef(oid)) from pg_constraint where connamespace = 'belfry'::regnamespace
     union all
     select 'index ' || pg_get_indexdef(indexrelid) from pg_index join pg_class c on c.oid = indexrelid where c.relnamespace = 'belfry'::regnamespace
     union all
     select 'function ' || pg_get_functiondef(oid) from pg_proc where pronamespace = 'belfry'::regnamespace
     union all
     select 'trigger ' || pg_get_triggerdef(t.oid) from pg_trigger t join pg_class c on c.oid = t.tgrelid
      where c.relnamespace = 'belfry'::regnamespace and not t.tgisinternal
      order by line`,
  );
  return rows.map((row) => String(row['line']));
}
