// The npm packages of package-lock.json, unless node_modules already holds exactly them.

import path from 'node:path';
import { main, root, run, step } from './lib/step.mjs';
import { fingerprint, unlessStamped } from './lib/stamp.mjs';
import { need } from './lib/tools.mjs';

export async function setupNpm() {
  need('npm', 'It comes with Node.js: install that from https://nodejs.org or your package manager.');
  const stamp = path.join(root, 'node_modules/.rillpay-stamp');
  const lock = path.join(root, 'package-lock.json');
  await unlessStamped(stamp, fingerprint(lock, process.version, process.platform, process.arch), async () => {
    await run('npm', ['ci', '--no-audit', '--no-fund'], {
      minutes: 10,
      quiet: true,
      // As `npm test`'s child this process has npm's settings in its environment; a plain install must not inherit CI's
      // omission of development packages.
      env: { NODE_ENV: '', npm_config_omit: '' },
      otherwise: 'Is the npm registry reachable from here?',
    });
  });
}

await main(import.meta, () => step('npm packages', setupNpm));
