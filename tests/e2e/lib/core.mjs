/**
 * Fabian's site as he would run it: `rillpay-server run` on a Bitcoin Core node, and a web server of his own in front that
 * has the page. The page's Pay button pays from the node's coins, and a block follows whatever waits for one.
 */
import { createReadStream, mkdirSync, statSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BitcoinNode } from './bitcoind.mjs';
import { DemoServer, freePort } from './server.mjs';

const root = path.resolve(import.meta.dirname, '../../..');
const site = path.join(root, 'www/dist');
const BLOCK_MS = 1_000;
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.wasm': 'application/wasm', '.svg': 'image/svg+xml' };
const PAYOUT = 'bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080';

export class CoreServer extends DemoServer {
  #front = null;
  #closed = false;

  async prepare() {
    await super.prepare();
    this.node = await BitcoinNode.start();
    // The page's origin is the front's; the server listens behind it.
    this.behind = await freePort();
    mkdirSync(path.join(this.data, 'server'));
    writeFileSync(path.join(this.data, 'rillpay.toml'), this.#configuration());
    this.#front = http.createServer((request, response) => this.#answer(request, response));
    this.#front.on('upgrade', (request, socket, head) => this.#tunnel(request, socket, head));
    await new Promise((resolve) => this.#front.listen(this.port, '127.0.0.1', resolve));
    void this.#mine();
  }

  get arguments() {
    return ['run', '--config', path.join(this.data, 'rillpay.toml')];
  }

  #configuration() {
    return `
      listen = "127.0.0.1:${this.behind}"
      network = "regtest"
      data_dir = "server"
      origin = "${this.origin}"
      payout = "${PAYOUT}"
      esplora = "/esplora"
      [chain]
      backend = "bitcoind"
      url = "${this.node.url}"
      cookie_file = "${this.node.cookie}"
      poll_milliseconds = 200
      max_age_seconds = 10
      [tariff]
      unit = "second"
      price_msat = 1_000_000
      [deposit]
      min_sat = 10_000
      max_sat = 10_000_000
      confirmations = 1
      [channel]
      lifetime_blocks = 1008
      stop_margin_blocks = 36
      close_margin_blocks = 24
      [settlement]
      merge_delay_seconds = 0
      [content]
      folder = "${path.join(root, 'www/media')}"
      wait_milliseconds = 10_000
    `;
  }

  /** Whatever waits gets its block. */
  async #mine() {
    while (!this.#closed) {
      await sleep(BLOCK_MS);
      // While the node is down nothing is found.
      const waiting = await this.node.rpc('getrawmempool').catch(() => []);
      if (waiting.length > 0) await this.node.mine().catch(() => {});
    }
  }

  async #answer(request, response) {
    const { pathname } = new URL(request.url, this.origin);
    if (pathname === '/demo/status') return send(response, 200, { network: 'regtest', balanceSat: '5000000000', tip: 0 });
    if (pathname === '/demo/pay') {
      const { address, amountSat } = JSON.parse(Buffer.concat(await request.toArray()).toString());
      const transaction = await this.node.pay(address, amountSat);
      return send(response, 200, { txid: transaction.getId() });
    }
    const file = path.join(site, pathname === '/' ? 'index.html' : pathname);
    if (file.startsWith(site) && statSync(file, { throwIfNoEntry: false })?.isFile()) {
      response.writeHead(200, { 'content-type': TYPES[path.extname(file)] ?? 'application/octet-stream' });
      return createReadStream(file).pipe(response);
    }
    const options = { host: '127.0.0.1', port: this.behind, path: request.url, method: request.method, headers: request.headers };
    const behind = http.request(options, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    behind.on('error', () => (response.headersSent ? response.destroy() : send(response, 502, {})));
    response.on('close', () => behind.destroy());
    request.pipe(behind);
  }

  #tunnel(request, socket, head) {
    const behind = net.connect(this.behind, '127.0.0.1', () => {
      const headers = Object.entries(request.headers).map(([name, value]) => `${name}: ${value}\r\n`);
      behind.write(`GET ${request.url} HTTP/1.1\r\n${headers.join('')}\r\n`);
      behind.write(head);
      behind.pipe(socket).pipe(behind);
    });
    for (const [one, other] of [[socket, behind], [behind, socket]]) {
      one.on('error', () => {});
      one.on('close', () => other.destroy());
    }
  }

  async close() {
    this.#closed = true;
    this.#front.closeAllConnections();
    this.#front.close();
    await this.node.close();
    await super.close();
  }
}

function send(response, status, value) {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(value));
}
