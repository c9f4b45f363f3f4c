// Which Rust toolchain builds for the browser, and with what environment.
//
// Usually it is the one that builds everything else, after `rustup target add`. Where that cannot be had it is
// Debian's, linked into rustup under the name below (see setup-wasm-target.mjs). The two may be different
// versions of rustc, so wasm builds keep a target folder of their own and never invalidate native artefacts.

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Failure, ask, root } from './step.mjs';
import { wasmClang, which } from './tools.mjs';

export const TARGET = 'wasm32-unknown-unknown';

/** The name under which the fall-back toolchain is linked into rustup. */
export const LINKED = 'rillpay-wasm';

/** Where wasm builds put their artefacts. */
export const wasmTargetDir = path.join(root, 'target/wasm');

/**
 * Whether a toolchain can build for wasm: it compiles and links an empty library that uses `std`, which proves the
 * linker, and that the standard library was built by this very compiler.
 */
function works(toolchain) {
  const folder = mkdtempSync(path.join(tmpdir(), 'rillpay-'));
  try {
    const out = path.join(folder, 'probe.wasm');
    ask('rustc', ['--target', TARGET, '--crate-name', 'probe', '--crate-type', 'cdylib', '-o', out, '-'], {
      input: 'pub fn probe() -> String { String::new() }',
      env: toolchain ? { RUSTUP_TOOLCHAIN: toolchain } : {},
    });
    return existsSync(out);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The toolchain for wasm: `''` (the usual one), `LINKED`, or `null` if there is none yet. */
export function findWasmToolchain() {
  return ['', LINKED].find(works) ?? null;
}

/** The environment for a wasm build. */
export function wasmEnv() {
  const toolchain = findWasmToolchain();
  if (toolchain === null) {
    throw new Failure(`Rust cannot build for ${TARGET} yet. Run \`node scripts/setup-wasm-target.mjs\`.`);
  }
  const clang = wasmClang();
  if (!clang) {
    throw new Failure('clang with the wasm32 target is missing. Run `node scripts/setup-system.mjs`.');
  }
  const archiver = which(path.join(path.dirname(clang), 'llvm-ar'), 'llvm-ar');
  return {
    CARGO_TARGET_DIR: wasmTargetDir,
    CC_wasm32_unknown_unknown: clang,
    // libsecp256k1 takes clang's word that there are 128-bit integers. WebAssembly has none: each product would be a call
    // to a long routine. With its 64-bit arithmetic a signature takes less than half the time, and no more bytes.
    CFLAGS_wasm32_unknown_unknown: '-DUSE_FORCE_WIDEMUL_INT64=1',
    ...(archiver && { AR_wasm32_unknown_unknown: archiver }),
    ...(toolchain && { RUSTUP_TOOLCHAIN: toolchain }),
  };
}
