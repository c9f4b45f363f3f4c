// The node with two-way channels that runs beside the demo server, as `npm start` and the tests run it: on the server's chain,
// with coins of the demo wallet, open to pages over a WebSocket.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

/** What it opens channels with, a few hundred of them; and when it gets more. */
const COINS_SAT = 50_000_000;
const LEAST_SAT = 10_000_000;
/** Confirmations before a channel is used: a block comes every two seconds, and only when something waits. */
const DEPTH = 1;
/** How long its coins may take to be in a block, in milliseconds. */
const PATIENCE = 60_000;

export class DemoNode {
  #child;
  #program;
  #folder;

  /** Starts the node of `folder` for the demo at `origin`, whose server runs. `program` is rillpay-node. */
  static async start({ program, folder, origin, websocket }) {
    const node = new DemoNode();
    [node.#program, node.#folder] = [program, folder];
    const chain = ['--network', 'regtest', '--esplora', `${origin}/esplora`, '--poll-milliseconds', '500'];
    const args = ['--data', folder, 'run', ...chain, '--websocket', websocket, '--depth', String(DEPTH)];
    // In a group of its own: whoever started it ends it.
    node.#child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'], detached: true, env: { ...process.env, RUST_LOG: 'warn' } });
    const lines = createInterface({ input: node.#child.stdout });
    const failed = once(node.#child, 'exit').then(() => {
      throw new Error('the node with two-way channels did not start');
    });
    failed.catch(() => {});
    // It says who it is, and then where.
    for await (const line of raced(lines, failed)) if (line.includes('@ws://')) break;
    try {
      await node.#fill(origin);
    } catch (error) {
      await node.close();
      throw error;
    }
    return node;
  }

  /** Sees to it that there are coins to open with: they are spent only once they are in a block. */
  async #fill(origin) {
    const { total_sat: has, confirmed_sat } = await this.ask('balance');
    let usable = confirmed_sat;
    if (has < LEAST_SAT) {
      const { address } = await this.ask('address');
      const body = JSON.stringify({ address, amountSat: COINS_SAT });
      const paid = await fetch(`${origin}/demo/pay`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
      if (!paid.ok) throw new Error(`the demo wallet does not pay the node: ${await paid.text()}`);
    }
    const until = performance.now() + PATIENCE;
    while (usable < LEAST_SAT) {
      if (performance.now() > until) throw new Error('what the demo wallet paid the node is in no block');
      await sleep(200);
      usable = (await this.ask('balance')).confirmed_sat;
    }
  }

  /** Has a command carried out, by the program's own command line; gives its answer. */
  ask(...words) {
    return answerOf(this.#program, ['--data', this.#folder, '--json', ...words]);
  }

  /** Ends it; what matters is stored. */
  async close() {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGTERM');
    await once(child, 'exit');
  }
}

async function* raced(lines, failed) {
  const iterator = lines[Symbol.asyncIterator]();
  for (;;) {
    const { value, done } = await Promise.race([iterator.next(), failed]);
    if (done) return;
    yield value;
  }
}

async function answerOf(program, args) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const said = Buffer.concat(await child.stdout.toArray()).toString();
  const { ok, error } = JSON.parse(said);
  if (error) throw new Error(`${args.at(-1)}: ${error.message}`);
  return ok;
}
