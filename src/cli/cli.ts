// The command line: which sub-command was asked for, its help, and what its end is to a shell.

import { ConfigError } from '../config.ts';
import { Refusal, type RefusalKind } from '../errors.ts';
import { hintFor, show } from '../faults.ts';
import { helpOption, readArguments } from './arguments.ts';
import { exits, type Command, type Deps } from './command.ts';
import { importing } from './import.ts';
import { next } from './next.ts';
import { simulation } from './simulate.ts';

const commands: Readonly<Record<string, Command>> = { next, simulate: simulation, import: importing };

const startHelp = `Usage: belfry start

starts Belfry with the config.toml of this folder, or the one that BELFRY_CONFIG names; Ctrl-C stops it. Without any
sub-command, belfry does the same.
`;

/** Whether the arguments ask for Belfry itself, and not for a sub-command of a moment. */
export function isStart(args: readonly string[]): boolean {
  return args.length === 0 || (args.length === 1 && args[0] === 'start');
}

/** Does what the arguments ask for; answers the exit code. What is refused is told on `err`; a fault of ours is thrown. */
export async function runCommand(deps: Deps, args: readonly string[]): Promise<number> {
  try {
    return await dispatch(deps, args);
  } catch (thrown) {
    if (thrown instanceof ConfigError) {
      deps.err(`${thrown.message}\n`);
      return exits.badConfig;
    }
    if (!(thrown instanceof Refusal)) throw thrown;
    deps.err(`belfry: ${thrown.message}\n`);
    return exitOf[thrown.kind];
  }
}

const exitOf: Readonly<Record<RefusalKind, number>> = {
  bad_input: exits.refused,
  too_large: exits.refused,
  unavailable: exits.unavailable,
  not_found: exits.failed,
  conflict: exits.failed,
  not_allowed: exits.failed,
};

async function dispatch(deps: Deps, [word = '', ...rest]: readonly string[]): Promise<number> {
  if (word === '--version' || word === '-V') return say(deps, `${deps.version}\n`);
  if (word === '--help' || word === '-h') return say(deps, overview());
  if (word === 'help') return say(deps, rest[0] === undefined ? overview() : helpOf(rest[0]));
  if (word === 'start') {
    if (readArguments(rest, helpOption, 0).isSet('help')) return say(deps, startHelp);
  }
  const command = commandOf(word);
  if (rest.includes('--help') || rest.includes('-h')) return say(deps, helpOf(word));
  return await command.run(deps, readArguments(rest, command.options, command.mostPositionals));
}

function commandOf(word: string): Command {
  const command = Object.hasOwn(commands, word) ? commands[word] : undefined;
  if (command) return command;
  const known = word.startsWith('-') ? ['--help', '--version'] : ['start', ...Object.keys(commands), 'help'];
  const what = word.startsWith('-') ? 'option' : 'command';
  throw new Refusal('bad_input', `unknown ${what} ${show(word)}${hintFor(word, known)}`);
}

function say({ out }: Deps, text: string): number {
  out(text);
  return exits.done;
}

function overview(): string {
  return `Usage: belfry [COMMAND] [options]

${columns([
  ['start', 'starts Belfry; so does belfry without a command'],
  ...Object.entries(commands).map(([name, { summary }]) => [name, summary] as const),
  ['help COMMAND', 'says more of one of these; so does belfry COMMAND --help'],
  ['--version', 'says which Belfry this is'],
])}

Exit codes: 0 done, 1 failed, 2 not understood or refused, 69 a server does not answer, 78 a fault in the configuration.
`;
}

function helpOf(word: string): string {
  if (word === 'start') return startHelp;
  const { usage, summary, options, more } = commandOf(word);
  const lines = Object.entries(options).map(([name, { short, value, help }]) => {
    const names = `${short === undefined ? '    ' : `-${short}, `}--${name}`;
    return [value === undefined ? names : `${names} ${placeholder(value)}`, help] as const;
  });
  return `Usage: belfry ${word} ${usage}\n\n${summary}\n\n${columns(lines)}\n${more === undefined ? '' : `\n${more}\n`}`;
}

// `a time zone such as …` is TIME-ZONE there.
function placeholder(value: string): string {
  return value
    .replace(/^an? /, '')
    .replace(/ such as .*/, '')
    .replaceAll(' or ', '|')
    .replaceAll(' ', '-')
    .toUpperCase();
}

function columns(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`).join('\n');
}
