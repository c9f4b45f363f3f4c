// The widget bundle and the demo page, by webpack, around the browser module of pkg/generated.

import { existsSync } from 'node:fs';
import path from 'node:path';
import { main, root, run, step } from './lib/step.mjs';
import { buildWasm } from './build-wasm.mjs';
import { setup } from './setup.mjs';

export async function buildWidget() {
  await run('webpack', ['--mode', 'production'], { minutes: 5 });
}

await main(import.meta, async () => {
  await setup({ tests: false });
  if (!existsSync(path.join(root, 'pkg/generated/rillpay_bg.wasm'))) await step('browser module', buildWasm);
  await step('widget and demo page', buildWidget);
});
