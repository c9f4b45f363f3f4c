/** Nothing that is priced leaves the real server unpaid, however it is asked for. */
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { after, before, test } from 'node:test';
import { DemoServer } from './lib/server.mjs';

let server;
before(async () => {
  server = await DemoServer.start();
});
after(() => server?.close());

/** Asks for a path exactly as it is spelled; fetch would tidy it up first. */
function ask(path, headers = {}) {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port: server.port, path, headers }, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('end', () => resolve({ status: response.statusCode, type: response.headers['content-type'], body: Buffer.concat(chunks) }));
    });
    asked.on('error', reject).end();
  });
}

test('the playlist is free, the film is not', async () => {
  const playlist = await ask('/media/lake/index.m3u8');
  assert.equal(playlist.status, 200);
  const segments = playlist.body.toString().split('\n').filter((line) => line.endsWith('.m4s'));
  assert.ok(segments.length >= 60);
  const unpaid = await ask(`/media/lake/${segments[0]}`);
  assert.equal(unpaid.status, 402);
  assert.match(unpaid.type, /application\/problem\+json/);
  const problem = JSON.parse(unpaid.body);
  assert.equal(problem.status, 402);
  assert.ok(problem.title && problem.detail && problem.code, unpaid.body.toString());
});

test('no spelling of the path and no made-up session gets a segment', async () => {
  const segment = '/media/lake/second-00.m4s';
  const spellings = [
    segment, '//media/lake/second-00.m4s', '/media//lake/second-00.m4s', '/media/./lake/second-00.m4s',
    '/media/lake/../lake/second-00.m4s', '/media/lake/%2e%2e/lake/second-00.m4s', '/media/lake/second-00%2em4s',
    '/media/%6cake/second-00.m4s', '/media/lake/second-00.M4S', '/media/lake%2fsecond-00.m4s', '/media/lake/second-00.m4s/',
    '/media/lake/second-00.m4s%00.m3u8', '/media/lake/second-00.m4s?x=.m3u8', '/media/lake/second-00.m4s#.m3u8',
    '/media/lake/init.mp4/../second-00.m4s', '/media/lake\\second-00.m4s', '/media/../www/media/lake/second-00.m4s',
    '/www/media/lake/second-00.m4s', '/lake/second-00.m4s', '/../media/lake/second-00.m4s',
  ];
  const film = 10_000;
  for (const path of spellings) {
    for (const headers of [{}, { 'Rillpay-Session': '00'.repeat(32) }, { 'Rillpay-Session': 'x' }, { Range: 'bytes=0-' }]) {
      const { status, body } = await ask(path, headers);
      assert.ok(status >= 400 || body.length < film, `${path} ${JSON.stringify(headers)}: ${status}, ${body.length} bytes`);
      assert.notEqual(status, 500, path);
    }
  }
});
