#!/usr/bin/env node
// `belfry`, under whatever Node it is started with. Plain JavaScript that old ones understand too: where this Node is too old for
// Belfry, it starts the one that npm brought along and stands between that and the terminal.

import { spawn } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { constants } from 'node:os';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const oldestNode = 24;
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const program = join(root, mainOf());

if (Number(process.versions.node.split('.')[0]) >= oldestNode) {
  process.argv[1] = program;
  await import(program);
} else {
  passOnTo(broughtAlong());
}

/**
 * The compiled program when it is as new as all of its source, else the source, which our Node runs as it is. Not always the
 * source: an installed package lies in node_modules, where Node strips no types. Not always the compiled: after an edit
 * or a pull it is what Belfry was.
 */
function mainOf() {
  // tsc writes it last.
  const builtAt = writtenAt(join(root, 'dist/.tsbuildinfo')) || writtenAt(join(root, 'dist/main.js'));
  return builtAt > 0 && builtAt >= newestIn(join(root, 'src')) ? 'dist/main.js' : 'src/main.ts';
}

function newestIn(folder) {
  if (!existsSync(folder)) return 0;
  let newest = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    newest = Math.max(newest, entry.isDirectory() ? newestIn(path) : writtenAt(path));
  }
  return newest;
}

function writtenAt(file) {
  const found = statSync(file, { throwIfNoEntry: false });
  return found === undefined ? 0 : found.mtimeMs;
}

function broughtAlong() {
  const { platform, arch } = process;
  const { resolve } = createRequire(import.meta.url);
  for (const name of [`node-${platform}-${arch}`, `node-bin-${platform}-${arch}`]) {
    try {
      return join(dirname(resolve(`${name}/package.json`)), 'bin/node');
    } catch {
      // Not for this platform, or left out.
    }
  }
  return undefined;
}

/** Runs the program under another Node; hands on signals, and ends as it ends. */
function passOnTo(node) {
  if (node === undefined) {
    process.stderr.write(`belfry: expected Node.js ${oldestNode} or newer, got ${process.versions.node}; npm ci brings one along\n`);
    process.exitCode = 1;
    return;
  }
  const child = spawn(node, [program, ...process.argv.slice(2)], { stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2']) process.on(signal, () => child.kill(signal));
  child.on('error', (fault) => {
    process.stderr.write(`belfry: can't start ${node}: ${fault.message}\n`);
    process.exitCode = 1;
  });
  // Ended by a signal it could not hear, we end as a shell tells of one.
  child.on('exit', (code, signal) => process.exit(signal === null ? code : 128 + (constants.signals[signal] || 0)));
}
