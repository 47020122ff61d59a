// The lanes that runs wait in, and which of them a node serves.

type Node = { readonly name: string; readonly labels: readonly string[] };

/** What a worker may run: what any may, what asks for one of its labels, and what asks for it by name. */
export function lanesOf({ name, labels }: Node): string[] {
  return ['', ...labels.map((label) => `label:${label}`), `node:${name}`];
}
