/**
 * What Electrum asks of a server: its protocol 1.4 (https://electrumx.readthedocs.io/en/latest/protocol.html) as far as Electrum uses
 * it, over TCP, in front of the tests' Bitcoin Core node. It reads every block, so it is for short chains. Blocks are never taken back.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 100;
const SOFTWARE = 'rillpay-tests';
const PROTOCOL = '1.4';
/** As many headers as Electrum wants at once. */
const HEADERS = 2016;
const METHOD_NOT_FOUND = -32601;
const FAILED = 1;

const sha256 = (bytes) => createHash('sha256').update(bytes).digest();
const reversed = (hex) => Buffer.from(hex, 'hex').reverse();
const scripthash = (script) => sha256(Buffer.from(script, 'hex')).reverse().toString('hex');
const sat = (coins) => Math.round(coins * 1e8);

/** The hashes that lead from the transaction at `position` to the root. */
function branch(txids, position) {
  const merkle = [];
  let [level, index] = [txids.map(reversed), position];
  while (level.length > 1) {
    if (level.length % 2 === 1) level.push(level.at(-1));
    merkle.push(Buffer.from(level[index ^ 1]).reverse().toString('hex'));
    level = level.filter((_, i) => i % 2 === 0).map((left, i) => sha256(sha256(Buffer.concat([left, level[2 * i + 1]]))));
    index >>= 1;
  }
  return merkle;
}

/** The chain and the mempool, by script. */
class Index {
  headers = [];
  /** The ids of each block's transactions. */
  blocks = [];
  /** Every transaction by its id: its text, and the scripts that it pays to or spends from. */
  transactions = new Map();
  /** The transactions in blocks that concern a script: `{ tx_hash, height }`. */
  #confirmed = new Map();
  mempool = new Map();

  constructor(node) {
    this.node = node;
  }

  get tip() {
    return { height: this.headers.length - 1, hex: this.headers.at(-1) };
  }

  #learn({ txid, hex, vin, vout }) {
    if (this.transactions.has(txid)) return this.transactions.get(txid);
    const outputs = vout.map(({ scriptPubKey }) => scripthash(scriptPubKey.hex));
    const spent = vin.filter((input) => !input.coinbase).map((input) => this.transactions.get(input.txid).outputs[input.vout]);
    const parents = vin.map((input) => input.txid);
    const transaction = { hex, outputs, parents, scripts: new Set([...outputs, ...spent]) };
    this.transactions.set(txid, transaction);
    return transaction;
  }

  /** Takes in what is new, all of it at once; whether anything is. */
  async look() {
    const blocks = [];
    let height, mempool;
    do {
      height = await this.node.rpc('getblockcount');
      for (let next = this.headers.length + blocks.length; next <= height; next++) blocks.push(await this.#block(next));
      mempool = await this.#waiting();
    } while (mempool === null || (await this.node.rpc('getblockcount')) !== height);
    const same = blocks.length === 0 && [...mempool.keys()].join() === [...this.mempool.keys()].join();
    for (const { header, transactions } of blocks) {
      const here = this.headers.push(header) - 1;
      this.blocks.push(transactions.map(({ txid }) => txid));
      for (const tx of transactions) {
        for (const script of this.#learn(tx).scripts) {
          if (!this.#confirmed.has(script)) this.#confirmed.set(script, []);
          this.#confirmed.get(script).push({ tx_hash: tx.txid, height: here });
        }
      }
    }
    this.mempool = mempool;
    return !same;
  }

  async #block(height) {
    const hash = await this.node.rpc('getblockhash', height);
    const [header, { tx }] = await Promise.all([this.node.rpc('getblockheader', hash, false), this.node.rpc('getblock', hash, 2)]);
    tx.forEach((transaction) => this.#learn(transaction));
    return { header, transactions: tx };
  }

  /** The mempool, or `null` if a block came in between. */
  async #waiting() {
    const entries = Object.entries(await this.node.rpc('getrawmempool', true));
    // Parents first.
    entries.sort(([, a], [, b]) => a.ancestorcount - b.ancestorcount);
    const mempool = new Map();
    for (const [txid, { fees }] of entries) {
      if (!this.transactions.has(txid)) {
        const transaction = await this.node.rpc('getrawtransaction', txid, true).catch(() => null);
        if (!transaction?.vin.every(({ txid }) => this.transactions.has(txid))) return null;
        this.#learn(transaction);
      }
      const depends = this.transactions.get(txid).parents.some((parent) => mempool.has(parent));
      mempool.set(txid, { tx_hash: txid, height: depends ? -1 : 0, fee: sat(fees.base) });
    }
    return mempool;
  }

  history(script) {
    const waiting = [...this.mempool.values()].filter(({ tx_hash }) => this.transactions.get(tx_hash).scripts.has(script));
    return [...(this.#confirmed.get(script) ?? []), ...waiting];
  }

  status(script) {
    const text = this.history(script).map(({ tx_hash, height }) => `${tx_hash}:${height}:`).join('');
    return text === '' ? null : sha256(text).toString('hex');
  }
}

/** One client, and what it was last told. */
class Session {
  #socket;
  #index;
  #headers = false;
  #tip = -1;
  #statuses = new Map();

  constructor(socket, index) {
    this.#socket = socket;
    this.#index = index;
    // A client that is killed resets its connection, which the lines report again.
    socket.on('error', () => socket.destroy());
    const lines = createInterface({ input: socket }).on('error', () => {});
    lines.on('line', (line) => this.#answer(JSON.parse(line)));
  }

  #write(message) {
    if (!this.#socket.destroyed) this.#socket.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
  }

  async #answer({ id, method, params = [] }) {
    const handler = this.#methods[method];
    if (!handler) {
      this.#write({ id, error: { code: METHOD_NOT_FOUND, message: `unknown method ${method}` } });
      return;
    }
    try {
      this.#write({ id, result: (await handler(...params)) ?? null });
    } catch (error) {
      this.#write({ id, error: { code: FAILED, message: error.message } });
    }
  }

  /** Says what has changed of what was subscribed to. */
  notify() {
    const { tip } = this.#index;
    if (this.#headers && tip.height !== this.#tip) {
      this.#tip = tip.height;
      this.#write({ method: 'blockchain.headers.subscribe', params: [tip] });
    }
    for (const [script, known] of this.#statuses) {
      const status = this.#index.status(script);
      if (status === known) continue;
      this.#statuses.set(script, status);
      this.#write({ method: 'blockchain.scripthash.subscribe', params: [script, status] });
    }
  }

  #methods = {
    'server.version': () => [SOFTWARE, PROTOCOL],
    'server.ping': () => null,
    'server.banner': () => '',
    'server.donation_address': () => '',
    'server.peers.subscribe': () => [],
    'mempool.get_fee_histogram': () => [],
    'blockchain.relayfee': async () => (await this.#index.node.rpc('getmempoolinfo')).minrelaytxfee,
    'blockchain.estimatefee': async (blocks) => (await this.#index.node.rpc('estimatesmartfee', blocks)).feerate ?? -1,
    'blockchain.headers.subscribe': () => {
      const { tip } = this.#index;
      [this.#headers, this.#tip] = [true, tip.height];
      return tip;
    },
    'blockchain.block.header': (height) => this.#index.headers[height],
    'blockchain.block.headers': (start, count) => {
      const headers = this.#index.headers.slice(start, start + Math.min(count, HEADERS));
      return { hex: headers.join(''), count: headers.length, max: HEADERS };
    },
    'blockchain.scripthash.subscribe': (script) => {
      const status = this.#index.status(script);
      this.#statuses.set(script, status);
      return status;
    },
    'blockchain.scripthash.unsubscribe': (script) => this.#statuses.delete(script),
    'blockchain.scripthash.get_history': (script) => this.#index.history(script),
    'blockchain.transaction.get': (txid) => {
      const transaction = this.#index.transactions.get(txid);
      if (!transaction) throw new Error(`no transaction ${txid}`);
      return transaction.hex;
    },
    'blockchain.transaction.get_merkle': (txid, height) => {
      const txids = this.#index.blocks[height] ?? [];
      const pos = txids.indexOf(txid);
      if (pos < 0) throw new Error(`block ${height} has no transaction ${txid}`);
      return { merkle: branch(txids, pos), block_height: height, pos };
    },
    'blockchain.transaction.broadcast': (hex) => this.#index.node.rpc('sendrawtransaction', hex),
  };
}

export class ElectrumServer {
  #sessions = new Set();
  #stopped = false;

  static async start(node) {
    const server = new ElectrumServer();
    const index = new Index(node);
    await index.look();
    server.listener = net.createServer((socket) => {
      const session = new Session(socket, index);
      server.#sessions.add(session);
      socket.on('close', () => server.#sessions.delete(session));
    });
    server.listener.listen(0, '127.0.0.1');
    await once(server.listener, 'listening');
    /** As Electrum writes it: without TLS. */
    server.name = `127.0.0.1:${server.listener.address().port}:t`;
    server.polling = server.#poll(index);
    return server;
  }

  async #poll(index) {
    while (!this.#stopped) {
      if (await index.look()) for (const session of this.#sessions) session.notify();
      await sleep(POLL_MS);
    }
  }

  async close() {
    this.#stopped = true;
    await this.polling;
    this.listener.close();
  }
}
