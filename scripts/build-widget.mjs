// The widget bundle and the demo page, by webpack.

import { main, run, step } from './lib/step.mjs';
import { setupNpm } from './setup-npm.mjs';

export async function buildWidget() {
  await run('webpack', ['--mode', 'production'], { minutes: 5 });
}

await main(import.meta, async () => {
  await step('npm packages', setupNpm);
  await step('widget and demo page', buildWidget);
});
