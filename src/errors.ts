// The expected "no": a Refusal is thrown, typed and told. Whatever else is thrown is a fault of ours.

/** Why something is refused; the doors decide how each kind looks on their wire. */
export type RefusalKind = 'bad_input' | 'not_found' | 'conflict' | 'not_allowed' | 'too_large' | 'unavailable';

/**
 * An expected refusal. `message` is for the person who asked: what was expected and what came,
 * and nothing of the inside.
 */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly kind: RefusalKind;

  constructor(kind: RefusalKind, message: string) {
    super(message);
    this.kind = kind;
  }
}

/** What a caller is told of whatever was thrown; of a fault of ours nothing but that it is one. */
export type Told = { readonly kind: RefusalKind | 'internal'; readonly message: string };

/** A refusal as it is, and anything else without its inside. */
export function toldOf(thrown: unknown): Told {
  return thrown instanceof Refusal ? thrown : { kind: 'internal', message: 'internal error' };
}

/**
 * How each kind looks on the wire: the HTTP status, and the code of the seed calls with theirs, which is 200 for all that
 * their clients know by its code.
 */
export const wire = {
  bad_input: { status: 400, code: -2, seedStatus: 200 },
  not_found: { status: 404, code: -4, seedStatus: 200 },
  conflict: { status: 409, code: -5, seedStatus: 200 },
  not_allowed: { status: 403, code: -10, seedStatus: 403 },
  too_large: { status: 413, code: -2, seedStatus: 413 },
  unavailable: { status: 503, code: -10001, seedStatus: 500 },
  internal: { status: 500, code: -10001, seedStatus: 500 },
} as const satisfies Record<Told['kind'], object>;

/** The text of whatever was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
