// Whether a node may go by its clocks. Pure: readings of our wall clock, our monotonic one and the database's go in, and what
// is to be thought of them comes out. What time it is, is the database's word, carried on by our monotonic clock in between.

/** One look at the database's clock, in milliseconds: when we asked, by both of our clocks; when the answer came; and the answer. */
export type Reading = {
  readonly wall: number;
  readonly asked: number;
  readonly answered: number;
  readonly database: number;
};

/** A moment of the database's clock, and what our monotonic one showed then. */
type Anchor = { readonly database: number; readonly monotonic: number };

/** What is thought of the clocks after a reading. */
export type Judgement = {
  /** What we go by. */
  readonly trusted: Anchor;
  /** What the database says; another than `trusted` after it has jumped, as long as we wait whether it means it. */
  readonly said: Anchor;
  /** Monotonic: until then a jump of the database's clock is waited out. */
  readonly heldUntil: number | undefined;
  /** By how much the database's clock jumped in this reading, if it did. */
  readonly jumpedMs: number | undefined;
  /** Our wall clock is not that of the database. */
  readonly isOff: boolean;
  /** By how much our wall clock is ahead of the database's, as far as can be told. */
  readonly aheadMs: number;
};

/** `right`: go by the clocks. `off`: our wall clock is wrong, or the database's. `held`: the database's clock has just jumped. */
export type ClockState = 'right' | 'off' | 'held';

const toleratedMs = 5000;
const jumpMs = 3_600_000;
const holdMs = 60_000;
// The database's answer is cut to whole milliseconds.
const grainMs = 1;

/** What is thought of the clocks after one more reading; `before` is what was thought so far. */
export function judge(before: Judgement | undefined, reading: Reading): Judgement {
  const said = before && { database: carriedOn(before.said, reading.answered), monotonic: reading.answered };
  const jumpedMs = said && jumpBetween(said.database, reading);
  const next = said && jumpedMs === undefined ? broughtInto(said, reading) : anchorOf(reading);
  const heldUntil = jumpedMs === undefined ? stillHeld(before, reading.answered) : reading.answered + holdMs;
  return {
    trusted: before && heldUntil !== undefined ? before.trusted : next,
    said: next,
    heldUntil,
    jumpedMs,
    ...offOf(before, reading),
  };
}

/** What time it is when our monotonic clock shows `monotonic`. */
export function timeAt({ trusted }: Judgement, monotonic: number): number {
  return carriedOn(trusted, monotonic);
}

/** What to do by it. */
export function stateOf({ heldUntil, isOff }: Judgement): ClockState {
  if (heldUntil !== undefined) return 'held';
  return isOff ? 'off' : 'right';
}

function carriedOn(anchor: Anchor, monotonic: number): number {
  return anchor.database + monotonic - anchor.monotonic;
}

/** The database's clock stood at what it answered when it did, which was some time between question and answer. */
function anchorOf({ database, asked, answered }: Reading): Anchor {
  return { database: database + (answered - asked) / 2, monotonic: answered };
}

/** What the database's clock can show when its answer has come. */
function spanOf({ database, asked, answered }: Reading): { least: number; most: number } {
  return { least: database, most: database + grainMs + answered - asked };
}

/** Moved no further than the reading forces, so that a slow answer makes no time jump. */
function broughtInto({ database, monotonic }: Anchor, reading: Reading): Anchor {
  const { least, most } = spanOf(reading);
  return { database: Math.min(Math.max(database, least), most), monotonic };
}

function jumpBetween(expected: number, reading: Reading): number | undefined {
  const { least, most } = spanOf(reading);
  if (least - expected > jumpMs) return Math.round(least - expected);
  if (expected - most > jumpMs) return Math.round(most - expected);
  return undefined;
}

function stillHeld(before: Judgement | undefined, monotonic: number): number | undefined {
  return before?.heldUntil !== undefined && monotonic < before.heldUntil ? before.heldUntil : undefined;
}

/** An answer that took so long that it does not tell changes nothing; and who was never told right is not. */
function offOf(before: Judgement | undefined, { wall, asked, answered, database }: Reading): Pick<Judgement, 'isOff' | 'aheadMs'> {
  const least = wall - database - grainMs;
  const most = wall - database + answered - asked;
  const aheadMs = Math.round((least + most) / 2);
  if (least >= -toleratedMs && most <= toleratedMs) return { isOff: false, aheadMs };
  if (most < -toleratedMs || least > toleratedMs) return { isOff: true, aheadMs };
  return { isOff: before?.isOff ?? true, aheadMs };
}
