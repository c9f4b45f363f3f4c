// A browser module may import only what wasm-bindgen wrote for it. An import from `env` means that some C code or
// some dependency expects a libc, and that the module would fail to load in a page.

import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { Failure, main, root } from './lib/step.mjs';

export function checkWasm(file = path.join(root, 'pkg/generated/rillpay_bg.wasm')) {
  if (!existsSync(file)) throw new Failure(`${file} is not there. Run \`node scripts/build-wasm.mjs\` first.`);
  const imports = WebAssembly.Module.imports(new WebAssembly.Module(readFileSync(file)));
  const foreign = imports.filter(({ module }) => module !== `./${path.basename(file, '.wasm')}.js`);
  if (foreign.length > 0) {
    const names = foreign.map(({ module, name }) => `${module}.${name}`).join(', ');
    throw new Failure(`The browser module imports what no page provides: ${names}.`);
  }
}

await main(import.meta, (args) => {
  checkWasm(args[0]);
  console.log('The browser module imports only its own glue.');
});
