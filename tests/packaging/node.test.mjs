/** Node imports the package without a browser, as a server that renders pages does. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { EXPECTED, GUEST, Project } from './lib/project.mjs';

let project;
before(() => {
  project = new Project({
    'import.mjs': `
      const touched = [];
      for (const name of ['window', 'document', 'navigator', 'indexedDB', 'localStorage', 'WebSocket', 'fetch', 'location', 'self']) {
        Object.defineProperty(globalThis, name, { configurable: true, get() { touched.push(name); return undefined; } });
      }
      const rillpay = await import('rillpay');
      const wallet = await import('rillpay/wallet');
      const twoWay = await import('rillpay/two-way');
      const names = (module) => Object.keys(module).sort();
      console.log(JSON.stringify({ touched, exports: names(rillpay), wallet: names(wallet), twoWay: names(twoWay) }));
    `,
    'run.mjs': `
      import { readFileSync } from 'node:fs';
      import { fileURLToPath } from 'node:url';
      const wasm = readFileSync(fileURLToPath(import.meta.resolve('rillpay/rillpay_bg.wasm')));
      ${GUEST.replace('initAsync(), initAsync()', 'initAsync(wasm), initAsync(wasm)').replace(/^import/m, 'import')}
      result.connect = await Client.connect({ server: 'https://video.example' }).catch((error) => error.code);
      const wallet = await import('rillpay/wallet');
      await wallet.initAsync(readFileSync(fileURLToPath(import.meta.resolve('rillpay/wallet_bg.wasm'))));
      result.file = await wallet.readRefundKit('{}').catch((error) => error.code);
      const twoWay = await import('rillpay/two-way');
      await twoWay.initAsync(readFileSync(fileURLToPath(import.meta.resolve('rillpay/two-way_bg.wasm'))));
      result.channels = await twoWay.openTwoWay({ server: 'https://video.example' }).catch((error) => error.code);
      console.log(JSON.stringify(result));
    `,
  });
});
after(() => project?.remove());

test('an import touches nothing of a browser', () => {
  const { touched, exports, wallet, twoWay } = JSON.parse(project.node(['import.mjs']));
  assert.deepEqual(touched, []);
  assert.deepEqual(exports, ['Channel', 'Client', 'initAsync', 'validateWords', 'version']);
  assert.deepEqual(wallet, ['Wallet', 'chainHeight', 'initAsync', 'openWallet', 'readRefundKit', 'sendRefund']);
  assert.deepEqual(twoWay, ['TwoWay', 'initAsync', 'openTwoWay']);
});

test('bytes start the module, and what needs no browser works', () => {
  assert.deepEqual(JSON.parse(project.node(['run.mjs'])), {
    ...EXPECTED,
    connect: 'unsupported_browser',
    file: 'invalid_refund_file',
    channels: 'unsupported_browser',
  });
});
