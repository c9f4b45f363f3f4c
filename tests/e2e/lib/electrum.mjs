/** Debian's Electrum as a daemon without a window, in a folder of its own. Its commands come through its JSON-RPC server. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { electrum } from '../../../scripts/lib/tools.mjs';
import { freePort } from './server.mjs';

/** Where it is, or `null`. */
export const installed = electrum();

const START_MS = 60_000;
const LAUNCHER = path.join(import.meta.dirname, 'run-electrum.py');
const LOGIN = { rpcuser: 'electrum', rpcpassword: 'electrum' };

export class Electrum {
  #child = null;
  #said = '';

  /** `server` is the name of its Electrum server, `delay` what it makes others wait, `rate` what commitments pay, in satoshi per kvB. */
  static async start({ server, delay, rate }) {
    const electrum = new Electrum();
    electrum.data = mkdtempSync(path.join(tmpdir(), 'rillpay-electrum-'));
    electrum.rate = rate;
    [electrum.port, electrum.peers] = [await freePort(), await freePort()];
    const settings = {
      // Without it Electrum takes this for an old file, and forgets that the server has no TLS.
      config_version: 3,
      ...LOGIN,
      rpcport: electrum.port,
      server,
      oneserver: true,
      auto_connect: false,
      check_updates: false,
      lightning_listen: `127.0.0.1:${electrum.peers}`,
      lightning_to_self_delay: delay,
      // Without gossip it opens channels with nodes that route for it, and with no others.
      use_gossip: true,
    };
    mkdirSync(path.join(electrum.data, 'regtest'));
    writeFileSync(path.join(electrum.data, 'regtest/config'), JSON.stringify(settings));
    await electrum.run();
    await electrum.ask('create');
    await electrum.ask('load_wallet');
    electrum.id = (await electrum.ask('nodeid')).split('@')[0];
    return electrum;
  }

  /** Where peers call it. */
  get name() {
    return `${this.id}@127.0.0.1:${this.peers}`;
  }

  async run() {
    const args = [LAUNCHER, '--regtest', '--dir', this.data, '-v', 'daemon'];
    this.#child = spawn(installed.python, args, { env: { ...process.env, ELECTRUM_REGTEST_RATE: String(this.rate) } });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.on('data', (text) => (this.#said = (this.#said + text).slice(-200_000)));
    }
    const until = Date.now() + START_MS;
    while (Date.now() < until && this.#child.exitCode === null) {
      if (await this.ask('ping').catch(() => false)) return;
      await sleep(100);
    }
    await this.kill();
    throw new Error(`Electrum did not start:\n${this.said}`);
  }

  /** The end of its log. */
  get said() {
    return this.#said;
  }

  async ask(method, params = {}) {
    const response = await fetch(`http://127.0.0.1:${this.port}`, {
      method: 'POST',
      headers: { authorization: `Basic ${Buffer.from(`${LOGIN.rpcuser}:${LOGIN.rpcpassword}`).toString('base64')}` },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
    });
    const { result, error } = await response.json();
    if (error) throw new Error(`Electrum's ${method}: ${error.message}`);
    return result;
  }

  async kill() {
    this.#child.kill('SIGKILL');
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'exit');
  }

  /** Killed, and started again with what it had stored. */
  async restart() {
    await this.kill();
    rmSync(path.join(this.data, 'regtest/daemon'), { force: true });
    await this.run();
    await this.ask('load_wallet');
  }

  async close() {
    await this.kill();
    rmSync(this.data, { recursive: true, force: true });
  }
}
