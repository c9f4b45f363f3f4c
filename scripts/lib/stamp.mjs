// A stamp says "this was done for exactly these inputs", so that the second run skips it.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

/** A hash over texts and the contents of files (paths that exist). */
export function fingerprint(...inputs) {
  const hash = createHash('sha256');
  for (const input of inputs) {
    hash.update(existsSync(input) ? readFileSync(input) : input).update('\0');
  }
  return hash.digest('hex');
}

/** Runs `work` unless the stamp file already holds `print`. Returns whether it ran. */
export async function unlessStamped(file, print, work) {
  if (existsSync(file) && readFileSync(file, 'utf8') === print) return false;
  await work();
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, print);
  return true;
}
