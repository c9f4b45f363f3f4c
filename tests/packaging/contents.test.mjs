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
    'dist/widget.js',
    'generated/rillpay.js',
    'generated/rillpay_bg.wasm',
    'index.d.ts',
    'index.js',
    'package.json',
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

test('glue and module do not grow', () => {
  const size = ['rillpay.js', 'rillpay_bg.wasm']
    .map((name) => gzipSync(readFileSync(path.join(root, 'pkg/generated', name)), { level: 9 }).length)
    .reduce((sum, length) => sum + length);
  console.log(`gzip size of module and glue: ${(size / 1024).toFixed(1)} KB`);
  assert.ok(size <= SIZE_LIMIT, `${size} bytes`);
});

/** What it must not grow beyond. The goal is 150 KB; the benchmarks say how far it is, and what the rest is made of. */
const SIZE_LIMIT = 205 * 1024;
