/** The real server as a child process: `rillpay-server demo`, on a free port and a folder of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const root = path.resolve(import.meta.dirname, '../../..');
const PROGRAM = process.env.RILLPAY_SERVER ?? path.join(root, 'target/debug/rillpay-server');
const START_MS = 60_000;

async function freePort() {
  const probe = net.createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
}

export class DemoServer {
  #child = null;
  #said = '';

  static async start() {
    const server = new DemoServer();
    server.port = await freePort();
    server.origin = `http://127.0.0.1:${server.port}`;
    server.data = mkdtempSync(path.join(tmpdir(), 'rillpay-e2e-'));
    await server.run();
    return server;
  }

  /** Starts the program, again if need be, on the same port and folder. */
  async run() {
    this.#said = '';
    this.#child = spawn(PROGRAM, ['demo', '--port', String(this.port), '--data', this.data], { cwd: root });
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

  /** What the server's Esplora answers, as JSON. */
  async chain(route) {
    const response = await fetch(`${this.origin}/esplora${route}`);
    if (!response.ok) throw new Error(`${route}: ${response.status} ${await response.text()}`);
    return response.json();
  }
}
