// Dependencies that the project may not ship: every crate's and every bundled npm package's licence must be on the list
// in deny.toml, and no known advisory may stand against a crate.

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Failure, ask, main, root, run, step, tryRun } from './lib/step.mjs';

/** The strings of `allow = [ ... ]` in deny.toml. */
function allowList() {
  const text = readFileSync(path.join(root, 'deny.toml'), 'utf8');
  const list = text.match(/^allow = \[([^\]]*)\]/m);
  return new Set([...list[1].matchAll(/"([^"]+)"/g)].map((match) => match[1]));
}

/**
 * Whether an SPDX expression can be satisfied with allowed licences. `AND` binds tighter than `OR`; the slash of old
 * Cargo manifests means `OR`.
 */
export function satisfied(expression, allowed) {
  const tokens = expression.replaceAll('/', ' OR ').match(/[()]|[^\s()]+/g) ?? [];
  let at = 0;
  const primary = () => {
    if (tokens[at] === '(') {
      at++;
      const inner = either();
      at++;
      return inner;
    }
    let licence = tokens[at++];
    if (tokens[at] === 'WITH') {
      licence = `${licence} WITH ${tokens[at + 1]}`;
      at += 2;
    }
    return allowed.has(licence);
  };
  const both = () => {
    let holds = primary();
    while (tokens[at] === 'AND') {
      at++;
      holds = primary() && holds;
    }
    return holds;
  };
  const either = () => {
    let holds = both();
    while (tokens[at] === 'OR') {
      at++;
      holds = both() || holds;
    }
    return holds;
  };
  return either() && at === tokens.length;
}

function crates() {
  const metadata = ask('cargo', ['metadata', '--format-version', '1', '--locked']);
  if (metadata === null) throw new Failure('`cargo metadata --locked` failed: does Cargo.lock fit the manifests?');
  return JSON.parse(metadata).packages.map(({ name, version, license }) => ({ name, version, licence: license }));
}

/** The npm packages whose code ends up in what we ship, with what they pull in. */
function bundled() {
  const lock = JSON.parse(readFileSync(path.join(root, 'package-lock.json'), 'utf8')).packages;
  const found = new Map();
  const visit = (name) => {
    const entry = lock[`node_modules/${name}`];
    if (!entry || found.has(name)) return;
    found.set(name, { name, version: entry.version, licence: entry.license });
    Object.keys(entry.dependencies ?? {}).forEach(visit);
  };
  Object.keys(lock[''].dependencies ?? {}).forEach(visit);
  return [...found.values()];
}

export async function checkLicences() {
  const allowed = allowList();
  const all = [...crates(), ...bundled()];
  const bad = all.filter(({ licence }) => !licence || !satisfied(licence, allowed));
  if (bad.length > 0) {
    const names = bad.map(({ name, version, licence }) => `${name} ${version} (${licence ?? 'none named'})`).join(', ');
    throw new Failure(`Not on the list of licences in deny.toml: ${names}.`);
  }
  console.log(`   ${all.length} packages, every licence is on the list`);
}

/** Advisories live in a database on the network, so this can only be said where it is reachable. */
export async function checkAdvisories() {
  if (ask('cargo', ['deny', '--version']) === null) {
    console.log('   left out: `cargo install cargo-deny` brings the program that asks the advisory database');
    return;
  }
  await run('cargo', ['deny', 'check', 'bans', 'sources', 'licenses'], { minutes: 2 });
  const fetched = await tryRun('cargo', ['deny', 'fetch', 'db'], { minutes: 1, quiet: true });
  if (fetched.code !== 0) {
    console.log('   advisories left out: their database cannot be reached from here');
    return;
  }
  await run('cargo', ['deny', 'check', '--disable-fetch', 'advisories'], { minutes: 2 });
}

await main(import.meta, async () => {
  await step('licences', checkLicences);
  await step('advisories', checkAdvisories);
});
