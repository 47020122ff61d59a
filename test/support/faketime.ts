// Processes whose wall clock is wrong: libfaketime, loaded before all else, moves it and leaves the monotonic one alone.

import { readdirSync } from 'node:fs';

const name = 'libfaketime.so.1';

/** Where Debian's package puts it (`/usr/lib/<architecture>/faketime`), and others do. */
function found(): string | undefined {
  const places = ['/usr/lib', '/usr/local/lib', '/usr/lib64'].flatMap((lib) => [lib, ...under(lib)]);
  return places.map((place) => `${place}/faketime`).find((place) => entries(place).includes(name));
}

function under(lib: string): string[] {
  return entries(lib).map((entry) => `${lib}/${entry}`);
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

const library = found();

/** Why tests with a wrong clock are left out, if they are; in CI that is a failure. */
export function faketimeMissing(): string | false {
  if (library !== undefined) return false;
  if (process.env['CI'] !== undefined) throw new Error('libfaketime is missing, and CI has to test with it: apt-get install faketime');
  console.error('\n*** libfaketime is missing: nothing is tested with a wrong clock. apt-get install faketime ***\n');
  return 'libfaketime is missing: apt-get install faketime';
}

/** The environment of a process whose wall clock is so far from the true one (`+1h`, `-10y`). */
export function withClock(offset: string): Record<string, string> {
  return { LD_PRELOAD: `${library ?? ''}/${name}`, FAKETIME: offset, FAKETIME_DONT_FAKE_MONOTONIC: '1' };
}

/** The environment of a process whose wall clock is as far from the true one as a file says, whenever it is looked at. */
export function withClockOf(file: string): Record<string, string> {
  const { FAKETIME: _, ...preloaded } = withClock('');
  return { ...preloaded, FAKETIME_TIMESTAMP_FILE: file, FAKETIME_NO_CACHE: '1' };
}
