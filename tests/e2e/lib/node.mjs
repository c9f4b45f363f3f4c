/** `rillpay-node` as a child process, in a folder of its own, on the tests' Bitcoin Core node. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freePort } from './server.mjs';

const root = path.resolve(import.meta.dirname, '../../..');
const PROGRAM = process.env.RILLPAY_NODE ?? path.join(root, 'target/debug/rillpay-node');
const START_MS = 60_000;
const call = promisify(execFile);

export class ChannelNode {
  #child = null;

  /** `delay` is how many blocks its counterparties wait for their own money. */
  static async start(bitcoin, { delay }) {
    const node = new ChannelNode();
    node.data = mkdtempSync(path.join(tmpdir(), 'rillpay-channels-'));
    node.listen = `127.0.0.1:${await freePort()}`;
    node.arguments = ['run', '--network', 'regtest', '--listen', node.listen, '--delay', String(delay), '--poll-milliseconds', '100',
      '--bitcoind', bitcoin.url, '--cookie', bitcoin.cookie];
    await node.run();
    return node;
  }

  async run() {
    this.said = '';
    this.#child = spawn(PROGRAM, ['--data', this.data, ...this.arguments]);
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.on('data', (text) => (this.said = (this.said + text).slice(-8_000)));
    }
    const until = Date.now() + START_MS;
    while (Date.now() < until && this.#child.exitCode === null) {
      const info = await this.ask('info').catch(() => null);
      if (info) {
        this.id = info.id;
        return;
      }
      await sleep(100);
    }
    await this.kill();
    throw new Error(`the node did not start:\n${this.said}`);
  }

  /** Where peers call it. */
  get name() {
    return `${this.id}@${this.listen}`;
  }

  /** Gives a command; an answer that is an error throws. */
  async ask(...command) {
    const answer = await call(PROGRAM, ['--data', this.data, ...command, '--json']).catch((failed) => failed);
    const { ok, error } = JSON.parse(answer.stdout);
    if (error) throw new Error(`${command[0]}: ${error.message} (${error.code})`);
    return ok;
  }

  /** As a power cut would. */
  async kill() {
    this.#child.kill('SIGKILL');
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'exit');
  }

  async restart() {
    await this.kill();
    await this.run();
  }

  async close() {
    await this.kill();
    rmSync(this.data, { recursive: true, force: true });
  }
}
