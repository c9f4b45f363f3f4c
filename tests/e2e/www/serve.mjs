/** A plain file server for looking at the page: the clip is not gated here, but asks for the session's header. */
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import path from 'node:path';

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.jpg': 'image/jpeg',
  '.m3u8': 'application/vnd.apple.mpegurl',
  '.m4s': 'video/iso.segment',
  '.mp4': 'video/mp4',
};

/** Serves `mounts` (`{ '/prefix/': 'folder' }`, the longest prefix first) on 127.0.0.1; resolves to the server. */
export function serve(mounts, state = {}) {
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    if (pathname === '/demo/status') return response.writeHead(200).end('{}');
    const prefix = Object.keys(mounts).find((mount) => pathname.startsWith(mount));
    const folder = path.resolve(mounts[prefix]);
    const file = path.join(folder, pathname.slice(prefix.length) || 'index.html');
    const media = prefix === '/media/';
    if (media) state.requests = [...(state.requests ?? []), pathname];
    if (media && (!request.headers['rillpay-session'] || state.unpaid)) {
      return response.writeHead(402, { 'Content-Type': 'application/problem+json' }).end('{}');
    }
    try {
      if (!file.startsWith(folder)) throw new Error('outside');
      const body = await readFile(file);
      response.writeHead(200, { 'Content-Type': TYPES[path.extname(file)] ?? 'application/octet-stream' }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}
