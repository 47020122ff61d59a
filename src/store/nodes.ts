// Nodes as rows: one an incarnation (a start of a process). The living raise their beat.

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

export type NodeStore = ReturnType<typeof nodeStore>;

/** The statements about nodes. */
export function nodeStore({ sql }: Database) {
  return {
    /** The name of this installation: two on one Redis do not meet. */
    installationId: async (): Promise<string> => {
      const [row] = await sql<{ id: string }[]>`select id from belfry.installation`;
      if (!row) throw new Error('the table belfry.installation has lost its row');
      return row.id;
    },

    /** Writes down that a node has started; answers its incarnation. */
    register: async (node: NewNode): Promise<number> => {
      const [row] = await sql<{ incarnation: number }[]>`
        insert into belfry.nodes (name, version, address, pid, duties, slots, labels)
        values (${node.name}, ${node.version}, ${node.address ?? null}, ${node.pid}, ${node.duties}::text[], ${node.slots},
                ${node.labels}::text[])
        returning incarnation`;
      if (!row) throw new Error('the node was not written down');
      return row.incarnation;
    },

    /** This incarnation lives. False: somebody has called it lost. */
    beat: async (incarnation: number, busy: number): Promise<boolean> => {
      const rows = await sql`
        update belfry.nodes set beat = beat + 1, beat_at = now(), busy = ${busy}
         where incarnation = ${incarnation} and ended_at is null returning incarnation`;
      return rows.length > 0;
    },

    /** Who has not ended. Served by nodes_living. */
    living: async (): Promise<NodeRow[]> =>
      await sql<NodeRow[]>`
        select incarnation, name, duties, slots, busy, beat, labels, draining as "isDraining"
          from belfry.nodes where ended_at is null order by incarnation`,

    /** Ends an incarnation. False: it had ended already, or its beat is not the one that was seen. */
    end: async (incarnation: number, reason: 'stopped' | 'lost' | 'replaced', seenBeat?: number): Promise<boolean> => {
      const rows = await sql`
        update belfry.nodes set ended_at = now(), end_reason = ${reason}, busy = 0
         where incarnation = ${incarnation} and ended_at is null and (${seenBeat ?? null}::bigint is null or beat = ${seenBeat ?? null})
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
