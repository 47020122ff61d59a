// Sets of small numbers as bits: of 32 in one number, of 64 in a low and a high one.

/** The lowest bit from `from` on, of 64; 64: none. */
export function bitFrom(low: number, high: number, from: number): number {
  if (from < 32) {
    const rest = low & (-1 << from);
    if (rest !== 0) return lowest(rest);
    return high === 0 ? 64 : 32 + lowest(high);
  }
  const rest = from < 64 ? high & (-1 << (from - 32)) : 0;
  return rest === 0 ? 64 : 32 + lowest(rest);
}

/** The highest bit up to `to`, of 64; -1: none. */
export function bitUpTo(low: number, high: number, to: number): number {
  if (to < 0) return -1;
  if (to >= 32) {
    const rest = high & (-1 >>> (63 - to));
    if (rest !== 0) return 32 + highest(rest);
    return low === 0 ? -1 : highest(low);
  }
  const rest = low & (-1 >>> (31 - to));
  return rest === 0 ? -1 : highest(rest);
}

/** The number of bits below `end` that are set, of 64. */
export function onesBefore(low: number, high: number, end: number): number {
  if (end < 32) return ones(low & ((1 << end) - 1));
  return ones(low) + ones(high & ((1 << (end - 32)) - 1));
}

/** The number of bits that are set (Hacker's Delight, figure 5-2). */
export function ones(bits: number): number {
  const pairs = bits - ((bits >>> 1) & 0x55555555);
  const fours = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333);
  return Math.imul((fours + (fours >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

/** The place of the lowest bit, of those that are set; there has to be one. */
export function lowest(bits: number): number {
  return 31 - Math.clz32(bits & -bits);
}

/** The place of the highest bit. */
export function highest(bits: number): number {
  return 31 - Math.clz32(bits);
}
