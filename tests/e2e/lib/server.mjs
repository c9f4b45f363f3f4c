/** The real server as a child process, on a free port and a folder of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const root = path.resolve(import.meta.dirname, '../../..');
const PROGRAM = process.env.RILLPAY_SERVER ?? path.join(root, 'target/debug/rillpay-server');
const START_MS = 60_000;

export async function freePort() {
  const probe = net.createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
}

/** `rillpay-server demo`: with a chain, a wallet and the page of its own. */
export class DemoServer {
  #child = null;
  #said = '';

  /** `options` go to the program; `chain` is the folder of another demo's chain, to go on with as a site that knows nothing of it. */
  static async start({ options = [], chain = null } = {}) {
    const server = new this();
    server.options = options;
    await server.prepare();
    if (chain !== null) cpSync(chain, path.join(server.data, 'chain'), { recursive: true });
    await server.run();
    return server;
  }

  async prepare() {
    this.port = await freePort();
    this.origin = `http://127.0.0.1:${this.port}`;
    this.data = mkdtempSync(path.join(tmpdir(), 'rillpay-e2e-'));
  }

  /** What the program is told. */
  get arguments() {
    return ['demo', '--port', String(this.port), '--data', this.data, ...this.options];
  }

  /** Starts the program, again if need be, on the same port and folder. */
  async run() {
    this.#said = '';
    this.#child = spawn(PROGRAM, this.arguments, { cwd: root });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.on('data', (text) => (this.#said = (this.#said + text).slice(-8_000)));
    }
    const until = Date.now() + START_MS;
    while (Date.now() < until && this.#child.exitCode === null) {
      const answered = await fetch(`${this.origin}/healthz`).then((response) => response.ok, () => false);
      if (answered) return;
      await sleep(100);
    }
    throw new Error(`the server did not start:\n${this.#said}`);
  }

  /** As a power cut would: no chance to finish anything. */
  async kill() {
    const child = this.#child;
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }

  /** Asks it to stop, and says whether it did so cleanly. */
  async stop() {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode === 0;
    child.kill('SIGTERM');
    const [code] = await once(child, 'exit');
    return code === 0;
  }

  async close() {
    await this.kill();
    rmSync(this.data, { recursive: true, force: true });
  }

  /** Asks the demo's wallet or miner for something. */
  async demo(route, body) {
    const response = await fetch(`${this.origin}/demo/${route}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${route}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  /** What the server's Esplora answers, as JSON. */
  async chain(route) {
    const response = await fetch(`${this.origin}/esplora${route}`);
    if (!response.ok) throw new Error(`${route}: ${response.status} ${await response.text()}`);
    return response.json();
  }
}
