/** A real Bitcoin Core node on regtest, with coins that need no key: they pay a script that anybody can spend from. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Transaction, address, networks, payments, script } from 'bitcoinjs-lib';
import { findBitcoind } from '../../../scripts/setup-bitcoind.mjs';
import { freePort } from './server.mjs';

const START_MS = 60_000;
const RIPE = 100;
const COINS = 50;
const FEE = 1_000n;
const REWARD = 5_000_000_000n;
const anyone = script.fromASM('OP_TRUE');
const purse = payments.p2wsh({ redeem: { output: anyone, network: networks.regtest }, network: networks.regtest });

export class BitcoinNode {
  #child = null;
  #spent = 0;

  static async start() {
    const node = new BitcoinNode();
    node.data = mkdtempSync(path.join(tmpdir(), 'rillpay-node-'));
    node.cookie = path.join(node.data, 'regtest/.cookie');
    [node.port, node.peers] = [await freePort(), await freePort()];
    node.url = `http://127.0.0.1:${node.port}`;
    await node.run();
    await node.mine(RIPE + COINS);
    return node;
  }

  async run() {
    const args = ['-regtest', '-server', `-datadir=${this.data}`, `-rpcport=${this.port}`, `-bind=127.0.0.1:${this.peers}`,
      `-port=${this.peers}`, '-dnsseed=0', '-fixedseeds=0', '-discover=0', '-natpmp=0', '-printtoconsole=0', '-dbcache=16'];
    this.#child = spawn(findBitcoind(), args, { stdio: 'ignore' });
    const until = Date.now() + START_MS;
    while (Date.now() < until && this.#child.exitCode === null) {
      const answered = await this.rpc('getblockchaininfo').then(() => true, () => false);
      if (answered) return;
      await sleep(100);
    }
    throw new Error(`bitcoind did not start: see ${this.data}/regtest/debug.log`);
  }

  /** Ends as a service does: everything is written down. */
  async stop() {
    const ended = once(this.#child, 'exit');
    await this.rpc('stop');
    await ended;
  }

  async close() {
    this.#child.kill('SIGKILL');
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'exit');
    rmSync(this.data, { recursive: true, force: true });
  }

  async rpc(method, ...params) {
    const response = await fetch(this.url, {
      method: 'POST',
      headers: { authorization: `Basic ${Buffer.from(readFileSync(this.cookie, 'utf8')).toString('base64')}` },
      body: JSON.stringify({ method, params }),
    });
    const { result, error } = await response.json();
    if (error) throw new Error(`${method}: ${error.message}`);
    return result;
  }

  mine(blocks = 1) {
    return this.rpc('generatetoaddress', blocks, purse.address);
  }

  /** Pays an address out of the next coin, the reward of a block. Gives the transaction, which can be replaced. */
  async pay(to, sat) {
    this.#spent += 1;
    if (this.#spent > COINS) throw new Error('this node has no coins left');
    const block = await this.rpc('getblock', await this.rpc('getblockhash', this.#spent), 2);
    const tx = new Transaction();
    tx.version = 2;
    tx.addInput(Buffer.from(block.tx[0].txid, 'hex').reverse(), 0, 0xfffffffd);
    tx.addOutput(address.toOutputScript(to, networks.regtest), BigInt(sat));
    tx.addOutput(purse.output, REWARD - BigInt(sat) - FEE);
    tx.setWitness(0, [anyone]);
    await this.rpc('sendrawtransaction', tx.toHex());
    return tx;
  }
}
