// Bundles the page, opens it in headless Chromium and lets it measure.

import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { chromium } from 'playwright-core';
import webpack from 'webpack';

const here = import.meta.dirname;
const types = { '.html': 'text/html', '.js': 'text/javascript', '.wasm': 'application/wasm' };

/** The page and the libraries it compares, bundled for production into `out`, around the module in `module`. */
function bundle(module, out) {
  const compiler = webpack({
    mode: 'production',
    entry: path.join(here, 'page/main.js'),
    // One engine of our time: nothing is translated for older ones.
    target: ['web', 'es2024'],
    output: { path: out, filename: 'main.js', publicPath: '' },
    resolve: { alias: { 'rillpay-bench-module$': path.join(module, 'rillpay.js') } },
    // tiny-secp256k1 imports its WebAssembly like a module.
    experiments: { asyncWebAssembly: true },
    performance: { hints: false },
  });
  return new Promise((resolve, reject) => {
    compiler.run((error, stats) => {
      if (error) reject(error);
      else if (stats.hasErrors()) reject(new Error(stats.toString({ all: false, errors: true })));
      else resolve();
    });
  });
}

function serve(folder) {
  const server = createServer(async (request, response) => {
    const name = path.basename(new URL(request.url, 'http://localhost').pathname) || 'index.html';
    try {
      const body = await readFile(path.join(name === 'index.html' ? path.join(here, 'page') : folder, name));
      response.writeHead(200, { 'content-type': types[path.extname(name)] ?? 'application/octet-stream' }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

/** Resolves to microseconds per call, by name, and the browser's version. */
export async function measureInBrowser({ module, out, rounds, milliseconds }) {
  await bundle(module, out);
  const server = await serve(out);
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM_PATH || '/usr/bin/chromium',
    args: [
      '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync',
    ],
  });
  try {
    const page = await browser.newPage();
    const broken = new Promise((_, reject) => page.on('pageerror', reject));
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    await Promise.race([page.waitForFunction(() => 'measure' in globalThis), broken]);
    const micros = await page.evaluate((plan) => globalThis.measure(plan), { rounds, milliseconds });
    return { micros, version: browser.version() };
  } finally {
    await browser.close();
    server.close();
  }
}
