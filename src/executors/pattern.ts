// Tests a text by a regular expression that somebody wrote, who may not know that `(a+)+$` can take longer than the universe
// is old. A regular expression cannot be stopped, but a script that runs one can.

import { createContext, Script } from 'node:vm';

/** What honest patterns need a thousandth of; our event loop stands still meanwhile. */
const limitMs = 250;

const context = createContext(Object.create(null));
const test = new Script('new RegExp(pattern).test(text)');

/** Whether the pattern is found in the text; undefined when that could not be told within a quarter of a second. */
export function isFound(pattern: string, text: string): boolean | undefined {
  context['pattern'] = pattern;
  context['text'] = text;
  try {
    return test.runInContext(context, { timeout: limitMs }) === true;
  } catch {
    // The pattern itself was checked when the command was saved: what is left is the time limit, or a limit of the engine.
    return undefined;
  } finally {
    context['text'] = '';
  }
}
