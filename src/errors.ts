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

/** How each kind looks on the wire: the code of the seed calls (seed-api) and the HTTP status of /v1. */
export const wire: Record<RefusalKind, { code: number; status: 400 | 403 | 404 | 409 | 413 | 503 }> = {
  bad_input: { code: -2, status: 400 },
  not_found: { code: -4, status: 404 },
  conflict: { code: -5, status: 409 },
  not_allowed: { code: -10, status: 403 },
  too_large: { code: -2, status: 413 },
  unavailable: { code: -10001, status: 503 },
};

/** The text of whatever was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
