// What a shell command may look like as written down.

import { z } from 'zod';
import { commandReader, field, isText, shown, shownAsSecret, texts } from './command.ts';

const maxTextBytes = 64 * 1024;

/**
 * Names that change which program runs or what a program loads before its first line, and names that Belfry sets
 * itself. Whoever needs another PATH writes it into the command, where it is seen.
 */
const deniedEnvNames =
  /^(?:(?:LD|DYLD|BELFRY)_.*|PATH|NODE_OPTIONS|BASH_ENV|ENV|IFS|PS4|SHELLOPTS|BASHOPTS|PYTHONPATH|PYTHONHOME|PYTHONSTARTUP|PERL5OPT|PERL5LIB|PERL5DB|RUBYOPT|RUBYLIB|_?JAVA_(?:TOOL_)?OPTIONS|JDK_JAVA_OPTIONS|GIT_SSH_COMMAND|TRACEPARENT|TRACESTATE)$/;

const shape = z.strictObject({
  type: field<'shell'>('"shell"', (value) => value === 'shell'),
  target: field<string>(
    `a shell command such as "echo hello" of at most ${maxTextBytes} bytes, without NUL`,
    (value) => isText(value, maxTextBytes) && value.trim() !== '',
  ).exactOptional(),
  argv: field<string[]>(
    `a program and its arguments such as ["/usr/bin/env", "-0"], at most ${maxTextBytes} bytes, without NUL`,
    isArgv,
  ).exactOptional(),
  shell: field<string>('a shell such as "/bin/bash"', isName).exactOptional(),
  cwd: field<string>('an absolute path such as "/srv/app"', (value) => isText(value, 4096) && value.startsWith('/')).exactOptional(),
  env: texts('names and values such as { LEVEL = "info" }', faultOfVariable).exactOptional(),
  isolation: field<'none'>(
    '"none", for a command that has to do with other processes of its machine',
    (value) => value === 'none',
  ).exactOptional(),
  // The oldest API wants a method with every command; for a shell it says nothing.
  method: field<''>('no method with a shell command', (value) => value === '').exactOptional(),
});

/** A shell command as written down and checked. */
export type ShellCommand = Omit<z.infer<typeof shape>, 'method'>;

/** Checks a shell command; throws an Error that names every fault. */
export function parseShellCommand(command: Record<string, unknown>): ShellCommand {
  const { method: _, ...parsed } = read(command);
  return parsed;
}

const read = commandReader(shape, faultsBetween);

function faultsBetween({ target, argv, shell }: Record<string, unknown>): string[] {
  const faults: string[] = [];
  if (target === undefined && argv === undefined) faults.push('command.target: expected target or argv, got neither');
  if (target !== undefined && argv !== undefined) faults.push('command.argv: expected target or argv, got both');
  if (argv !== undefined && shell !== undefined) faults.push('command.shell: expected no shell with argv, got both');
  return faults;
}

function isArgv(value: unknown): boolean {
  if (!Array.isArray(value) || !value.every((part) => isText(part, maxTextBytes))) return false;
  const bytes = value.reduce((sum: number, part: string) => sum + Buffer.byteLength(part) + 1, 0);
  return isName(value[0]) && bytes <= maxTextBytes;
}

function isName(value: unknown): boolean {
  return isText(value, 4096) && value.trim() !== '';
}

function faultOfVariable(name: string, value: unknown): string | undefined {
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,255}$/.test(name)) {
    return `expected a name of letters, digits and "_" that does not begin with a digit, got ${shown(name)}`;
  }
  if (deniedEnvNames.test(name)) return `expected a name that a job may set, got ${name}`;
  if (!isText(value, maxTextBytes)) {
    return `expected a text of at most ${maxTextBytes} bytes, without NUL, got ${shownAsSecret(value)}`;
  }
  return undefined;
}
