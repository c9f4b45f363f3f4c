/** What is in the tarball, and what is not. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { pack, root } from './lib/project.mjs';

let folder, packed;
before(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'rillpay-pack-'));
  packed = pack(folder);
});
after(() => rmSync(folder, { recursive: true, force: true }));

test('the tarball holds exactly what is promised', () => {
  assert.deepEqual([...packed.files.keys()].sort(), [
    'LICENSE-APACHE',
    'LICENSE-MIT',
    'README.md',
    'dist/rillpay_bg.wasm',
    'dist/wallet-widget.js',
    'dist/wallet_bg.wasm',
    'dist/widget.js',
    'generated/rillpay.js',
    'generated/rillpay_bg.wasm',
    'generated/two-way.js',
    'generated/two-way_bg.wasm',
    'generated/wallet.js',
    'generated/wallet_bg.wasm',
    'index.d.ts',
    'index.js',
    'package.json',
    'two-way.d.ts',
    'two-way.js',
    'wallet-widget.d.ts',
    'wallet.d.ts',
    'wallet.js',
    'widget.d.ts',
  ]);
  for (const [name, size] of packed.files) assert.ok(size > 0, `${name} is empty`);
});

test('every file that package.json names is there', () => {
  const { exports, main, types } = JSON.parse(readFileSync(path.join(root, 'pkg/package.json'), 'utf8'));
  const named = [main, types, ...Object.values(exports).flatMap((entry) => (typeof entry === 'string' ? [entry] : Object.values(entry)))];
  for (const name of named) assert.ok(packed.files.has(name.replace('./', '')), `${name} is missing`);
});

test('nothing in it tells of the machine that built it', () => {
  const shipped = execFileSync('tar', ['-xzOf', packed.tarball], { maxBuffer: 64 << 20 }).toString('latin1');
  for (const trace of [root, process.env.HOME, '/.cargo/registry', '/.rustup/']) {
    assert.ok(!trace || trace === '/' || !shipped.includes(trace), `${trace} is in the tarball`);
  }
});

for (const [name, limit] of [
  // What every page loads. The goal is 150 KB; the benchmarks say how far it is, and what the rest is made of.
  ['rillpay', 200],
  // What a page loads when it opens a wallet.
  ['wallet', 210],
  // What a page loads when it opens two-way channels: the node itself, with Lightning's messages and a checked view of the chain.
  ['two-way', 630],
]) {
  test(`the module ${name} does not grow`, () => {
    const size = [`${name}.js`, `${name}_bg.wasm`]
      .map((file) => gzipSync(readFileSync(path.join(root, 'pkg/generated', file)), { level: 9 }).length)
      .reduce((sum, length) => sum + length);
    console.log(`gzip size of module and glue: ${(size / 1024).toFixed(1)} KB`);
    assert.ok(size <= limit * 1024, `${size} bytes`);
  });
}
