/** A page inside a page: of the same site it may pay, of another one it may not, for its storage vanishes. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { look, serve } from './lib/page.mjs';
import { Project } from './lib/project.mjs';

const INNER = `
import { Client, initAsync } from './node_modules/rillpay/index.js';
await initAsync();
const code = await Client.connect({ server: 'https://video.invalid' }).then(() => 'connected', (error) => error.code);
globalThis.result = code;
parent.postMessage(code, '*');
`;

const page = (title) =>
  `<!doctype html><meta charset="utf-8"><title>${title}</title><script type="module" src="main.js"></script>`;

const outer = (inner) => `<!doctype html><meta charset="utf-8"><title>outer</title>
<script>addEventListener('message', ({ data }) => { globalThis.result = data; });</script>
<iframe src="${inner}"></iframe>`;

let project, site;
before(async () => {
  project = new Project({ 'main.js': INNER, 'index.html': page('inner'), 'own.html': page('own') });
  site = await serve(project.folder);
});
after(() => {
  site?.close();
  project?.remove();
});

/** What the page says inside a frame of a page at `host`. */
async function framedBy(host) {
  const server = createServer((request, response) => {
    response.setHeader('Content-Type', 'text/html').end(outer(site.url));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const { result } = await look(`http://${host}:${server.address().port}/`);
    return result;
  } finally {
    server.close();
  }
}

test('a frame of another site is refused', { timeout: 180_000 }, async () => {
  assert.equal(await framedBy('localhost'), 'third_party_frame');
});

test('the page itself is not', { timeout: 180_000 }, async () => {
  const { result } = await look(`${site.url}own.html`);
  // It gets as far as the network, where there is no such server.
  assert.equal(result, 'terms_unreachable');
});
