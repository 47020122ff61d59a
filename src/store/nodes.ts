// Nodes as rows: one an incarnation (a start of a process). The living raise their beat (pulse.ts).

import type { Database } from './database.ts';

export type NewNode = {
  readonly name: string;
  readonly version: string;
  readonly address: string | undefined;
  readonly pid: number;
  readonly duties: readonly string[];
  readonly slots: number;
  readonly labels: readonly string[];
};

/** A node as others see it. */
export type NodeRow = {
  readonly incarnation: number;
  readonly name: string;
  readonly duties: readonly string[];
  readonly slots: number;
  readonly busy: number;
  readonly beat: number;
  readonly labels: readonly string[];
  /** It takes nothing more. */
  readonly isDraining: boolean;
};

/** A node as people are told of it; of one that does not live any more its last incarnation. */
export type ListedNode = {
  readonly name: string;
  readonly incarnation: number;
  readonly version: string;
  readonly address: string | null;
  readonly pid: number;
  readonly duties: readonly string[];
  readonly labels: readonly string[];
  readonly slots: number;
  readonly busy: number;
  readonly isDraining: boolean;
  readonly state: 'living' | 'stopped' | 'lost' | 'replaced';
  readonly startedAt: Date;
  readonly beatAt: Date;
  readonly endedAt: Date | null;
};

export type NodeStore = ReturnType<typeof nodeStore>;

/** The statements about nodes. */
export function nodeStore({ sql }: Database) {
  const listed = sql.part`name, incarnation, version, address, pid, duties, labels, slots, busy, draining as "isDraining",
    coalesce(end_reason, 'living') as state, started_at as "startedAt", beat_at as "beatAt", ended_at as "endedAt"`;

  return {
    /** The name of this installation: two on one Redis do not meet. */
    installationId: async (): Promise<string> => {
      const [row] = await sql<{ id: string }[]>`select id from belfry.installation`;
      if (!row) throw new Error('the table belfry.installation has lost its row');
      return row.id;
    },

    /** Writes down that a node has started, or goes on after `before`, and drains if that did; answers its incarnation. */
    register: async (node: NewNode, before?: number): Promise<number> => {
      const [row] = await sql<{ incarnation: number }[]>`
        insert into belfry.nodes (name, version, address, pid, duties, slots, labels, draining)
        values (${node.name}, ${node.version}, ${node.address ?? null}, ${node.pid}, ${node.duties}::text[], ${node.slots},
                ${node.labels}::text[], coalesce((select draining from belfry.nodes where incarnation = ${before ?? null}), false))
        returning incarnation`;
      if (!row) throw new Error('the node was not written down');
      return row.incarnation;
    },

    /** Who has not ended. Served by nodes_living. */
    living: async (): Promise<NodeRow[]> =>
      await sql<NodeRow[]>`
        select incarnation, name, duties, slots, busy, beat, labels, draining as "isDraining"
          from belfry.nodes where ended_at is null order by incarnation`,

    /**
     * The living, and of the names that do not live any more those that ended last, `ended` at most. Served by nodes_living; of those
     * that ended it goes through all.
     */
    list: async (ended: number): Promise<ListedNode[]> =>
      await sql<ListedNode[]>`
        select * from (select ${listed} from belfry.nodes where ended_at is null order by name, incarnation) as living
        union all
        select * from (
            select * from (
                select distinct on (name) ${listed} from belfry.nodes n
                 where not exists (select from belfry.nodes l where l.name = n.name and l.ended_at is null)
                 order by name, incarnation desc) as last
             order by "endedAt" desc, name limit ${ended}) as gone`,

    /** The living node of that name takes nothing more, or does so again; all nodes hear of it. Nothing: none of that name lives. */
    drain: async (name: string, isDraining: boolean): Promise<ListedNode | undefined> => {
      const [row] = await sql<ListedNode[]>`
        with changed as (
            update belfry.nodes set draining = ${isDraining} where name = ${name} and ended_at is null returning *
        )
        select ${listed}, pg_notify('belfry_nodes', '')::text as told from changed order by incarnation desc limit 1`;
      return row;
    },

    /**
     * Ends an incarnation. False: it had ended already, or its beat is not the one that was seen. The lock, the strongest, waits for the
     * claims under way: whoever settles sees what they took.
     */
    end: async (incarnation: number, reason: 'stopped' | 'lost' | 'replaced', seenBeat?: number): Promise<boolean> => {
      const rows = await sql`
        update belfry.nodes set ended_at = now(), end_reason = ${reason}, busy = 0
         where incarnation = any (array(
                   select incarnation from belfry.nodes
                    where incarnation = ${incarnation} and ended_at is null
                      and (${seenBeat ?? null}::bigint is null or beat = ${seenBeat ?? null})
                      for update))
        returning incarnation`;
      return rows.length > 0;
    },

    /** The last incarnations of a name that others called lost: since it stopped or was replaced in order. Few, in all. */
    lastLost: async (name: string): Promise<number[]> => {
      const rows = await sql<{ incarnation: number }[]>`
        select incarnation from belfry.nodes
         where name = ${name} and end_reason = 'lost'
           and incarnation > coalesce((select max(incarnation) from belfry.nodes where name = ${name} and end_reason in ('stopped', 'replaced')), 0)`;
      return rows.map((row) => row.incarnation);
    },

    /** Incarnations that have ended and whose runs nobody has settled yet. Served by nodes_unsettled. */
    unsettled: async (): Promise<number[]> => {
      const rows = await sql<{ incarnation: number }[]>`
        select incarnation from belfry.nodes where ended_at is not null and not settled order by incarnation`;
      return rows.map((row) => row.incarnation);
    },

    /** The runs of an ended incarnation are settled. */
    markSettled: async (incarnation: number): Promise<void> => {
      await sql`update belfry.nodes set settled = true where incarnation = ${incarnation} and ended_at is not null`;
    },
  };
}
