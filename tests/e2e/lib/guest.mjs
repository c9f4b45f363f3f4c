/** A site of its own with the npm package beside its only page. */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import path from 'node:path';

const pkg = path.resolve(import.meta.dirname, '../../../pkg');
const TYPES = { '.js': 'text/javascript', '.wasm': 'application/wasm' };

/** Serves `page` at `origin`, until `close()`. */
export async function servePackage(page) {
  const server = createServer(async (request, response) => {
    const body = request.url === '/' ? page : await readFile(path.join(pkg, path.normalize(request.url))).catch(() => null);
    if (body === null) return response.writeHead(404).end();
    response.writeHead(200, { 'Content-Type': TYPES[path.extname(request.url)] ?? 'text/html' }).end(body);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { origin: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}
