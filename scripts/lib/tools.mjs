// Where programs are found. Tools of the project's own live in `.cache/bin`, before everything else on PATH.

import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { Failure, ask, root } from './step.mjs';

/** Programs that only this checkout uses (for instance another version of one that the machine has). */
export const projectTools = path.join(root, '.cache');

const cargoBin = path.join(process.env.CARGO_HOME ?? path.join(homedir(), '.cargo'), 'bin');

process.env.PATH = [
  path.join(projectTools, 'bin'),
  process.env.PATH,
  // A shell that has not been restarted since rustup was installed does not have it.
  cargoBin,
  path.join(root, 'node_modules/.bin'),
].join(path.delimiter);

/** The path of the first of these programs that is on PATH (or is itself a path that exists), or `null`. */
export function which(...names) {
  for (const name of names) {
    const folders = path.isAbsolute(name) ? [''] : process.env.PATH.split(path.delimiter);
    for (const folder of folders) {
      const file = path.join(folder, name);
      try {
        accessSync(file, constants.X_OK);
        if (statSync(file).isFile()) return file;
      } catch {
        // Not here.
      }
    }
  }
  return null;
}

/** The path of a program that must be there; else a sentence on how to get it. */
export function need(name, howToGetIt) {
  const found = which(name);
  if (!found) throw new Failure(`${name} is missing. ${howToGetIt}`);
  return found;
}

/** Whether `version` (such as "1.95.0") is at least `least`. */
export function atLeast(version, least) {
  const [have, want] = [version, least].map((text) => text.split('.').map(Number));
  for (let i = 0; i < want.length; i++) {
    if ((have[i] ?? 0) !== want[i]) return (have[i] ?? 0) > want[i];
  }
  return true;
}

const headerFolders = ['/usr/include', '/usr/local/include', '/opt/homebrew/include', '/opt/local/include'];

/** Whether a C or C++ header is in one of the usual folders. */
export function hasHeader(header) {
  return headerFolders.some((folder) => existsSync(path.join(folder, header)));
}

/** A clang that can compile C for wasm32 (Apple's own cannot; Homebrew's llvm can), or `null`. */
export function wasmClang() {
  const candidates = [
    process.env.CC_wasm32_unknown_unknown,
    'clang',
    '/opt/homebrew/opt/llvm/bin/clang',
    '/usr/local/opt/llvm/bin/clang',
    ...[22, 21, 20, 19, 18, 17, 16, 15, 14].map((version) => `clang-${version}`),
  ];
  for (const candidate of candidates) {
    const found = candidate && which(candidate);
    if (found && ask(found, ['--print-targets'])?.includes('wasm32')) return found;
  }
  return null;
}

/** Debian's Electrum, a module of Debian's own Python: `{ python, version }`, or `null`. */
export function electrum() {
  const python = which('/usr/bin/python3');
  const version = python && ask(python, ['-c', 'from electrum.version import ELECTRUM_VERSION; print(ELECTRUM_VERSION)']);
  return version ? { python, version: version.trim() } : null;
}

/** The version of a package in Cargo.lock, or `null`. */
export function lockedVersion(lockText, name) {
  return lockText.match(new RegExp(`^name = "${name}"\\nversion = "([^"]+)"`, 'm'))?.[1] ?? null;
}
