/** Fresh projects of both bundlers: built, served, and run in a real browser under a strict Content-Security-Policy. */
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { look, serve } from './lib/page.mjs';
import { EXPECTED, GUEST, Project, WALLET_EXPECTED, WALLET_GUEST } from './lib/project.mjs';

const page = (script) => `<!doctype html><meta charset="utf-8"><title>guest</title><script type="module" src="${script}"></script>`;

async function runs(folder, expected = EXPECTED) {
  const server = await serve(folder);
  try {
    const { result, complaints } = await look(server.url);
    assert.deepEqual(result, expected);
    assert.deepEqual(complaints, []);
  } finally {
    server.close();
  }
}

test('a fresh webpack project', { timeout: 180_000 }, async () => {
  const project = new Project({ 'src/index.js': GUEST, 'dist/index.html': page('main.js') });
  try {
    project.bundle('webpack', ['--mode', 'production', '--no-devtool']);
    await runs(path.join(project.folder, 'dist'));
  } finally {
    project.remove();
  }
});

test('a fresh Vite project', { timeout: 180_000 }, async () => {
  const project = new Project({ 'src/main.js': GUEST, 'index.html': page('/src/main.js') });
  try {
    // Rillpay speaks to browsers that have top-level await; the guest of this test uses it, too.
    project.bundle('vite', ['build', '--logLevel', 'warn', '--target', 'es2022']);
    await runs(path.join(project.folder, 'dist'));
  } finally {
    project.remove();
  }
});

test('the wallet comes when it is asked for, by webpack', { timeout: 180_000 }, async () => {
  const project = new Project({ 'src/index.js': WALLET_GUEST, 'dist/index.html': page('main.js') });
  try {
    project.bundle('webpack', ['--mode', 'production', '--no-devtool']);
    await runs(path.join(project.folder, 'dist'), WALLET_EXPECTED);
  } finally {
    project.remove();
  }
});

test('the wallet comes when it is asked for, by Vite', { timeout: 180_000 }, async () => {
  const project = new Project({ 'src/main.js': WALLET_GUEST, 'index.html': page('/src/main.js') });
  try {
    project.bundle('vite', ['build', '--logLevel', 'warn', '--target', 'es2022']);
    await runs(path.join(project.folder, 'dist'), WALLET_EXPECTED);
  } finally {
    project.remove();
  }
});

test('no bundler at all', { timeout: 180_000 }, async () => {
  const project = new Project({
    'main.js': GUEST.replace("'rillpay'", "'./node_modules/rillpay/index.js'"),
    'index.html': page('main.js'),
  });
  try {
    await runs(project.folder);
  } finally {
    project.remove();
  }
});

test('the widgets from the package define their elements', { timeout: 180_000 }, async () => {
  const project = new Project({
    'src/main.js': "import 'rillpay/widget';\nimport 'rillpay/wallet-widget';\n",
    'index.html': page('/src/main.js'),
  });
  try {
    project.bundle('vite', ['build', '--logLevel', 'warn', '--target', 'es2022']);
    const server = await serve(path.join(project.folder, 'dist'));
    try {
      const { result } = await look(server.url, () => {
        const elements = ['rillpay-player', 'rillpay-wallet'].map((name) => globalThis.customElements.get(name));
        return elements.every((element) => element !== undefined) && elements.length;
      });
      assert.equal(result, 2);
    } finally {
      server.close();
    }
  } finally {
    project.remove();
  }
});
