/** Channels in which both sides pay: a real tab and the real node, on the real chain. */
import assert from 'node:assert/strict';
import { cpSync, rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, test } from 'node:test';
import { DemoNode } from '../../scripts/lib/demo-node.mjs';
import { servePackage } from './lib/guest.mjs';
import { DemoServer } from './lib/server.mjs';
import { openBrowser } from './lib/viewer.mjs';

const root = path.resolve(import.meta.dirname, '../..');
const PROGRAM = process.env.RILLPAY_NODE ?? path.join(root, 'target/debug/rillpay-node');
const GUEST = `<!doctype html><meta charset="utf-8"><title>guest</title><script type="module">
import { openTwoWay } from './two-way.js';
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const until = async (what, holds) => {
  for (let n = 0; n < 600; n++) { if (await holds()) return; await pause(100); }
  throw new Error('never ' + what);
};
globalThis.guest = { openTwoWay, until };
</script>`;
/** What the demo's node opens, and what of it is the tab's. */
const [CAPACITY, HALF] = [200_000, 100_000];

class TwoWayServer extends DemoServer {
  get arguments() {
    return [...super.arguments, '--node', this.folder];
  }

  get folder() {
    return path.join(this.data, 'two-way');
  }

  startNode(websocket = '127.0.0.1:0') {
    return DemoNode.start({ program: PROGRAM, folder: this.folder, origin: this.origin, websocket });
  }
}

let server, node, pages;
before(async () => {
  server = await TwoWayServer.start();
  node = await server.startNode();
  pages = await servePackage(GUEST);
});
after(async () => {
  pages?.close();
  await node?.close();
  await server?.close();
});

async function eventually(what, look) {
  for (let n = 0; n < 600; n++) {
    const found = await look();
    if (found) return found;
    await sleep(100);
  }
  throw new Error(`never ${what}`);
}

/** The transaction that spends an output, once it is in a block. */
const spenderOf = (funding) => {
  const [txid, vout] = funding.split(':');
  return eventually('spent', async () => {
    const { spent, txid: by } = await server.chain(`/tx/${txid}/outspend/${vout}`);
    const tx = spent && (await server.chain(`/tx/${by}`));
    return tx && tx.status.confirmed && tx;
  });
};

/** A tab of a guest's site whose two-way node is connected to ours. */
async function openGuest(browser, options) {
  const page = await browser.newPage();
  const opens = { server: server.origin, confirmations: 1, pollMilliseconds: 500, ...options };
  const { nodeKey, socket } = await (await fetch(`${server.origin}/demo/node`)).json();
  await startGuest(page, opens);
  await page.evaluate(({ socket, nodeKey }) => globalThis.node.connect(socket, nodeKey), { socket, nodeKey });
  return { page, opens, nodeKey };
}

/** Loads the page, anew if need be, and opens its node. */
async function startGuest(page, opens) {
  await page.goto(pages.origin);
  await page.waitForFunction(() => globalThis.guest);
  await page.evaluate(async (opens) => {
    globalThis.node = await globalThis.guest.openTwoWay(opens);
  }, opens);
}

/** The tab gets a million sat, and puts 300,000 of them into a channel. */
async function openFromTab(page, nodeKey) {
  await server.demo('pay', { address: await page.evaluate(() => globalThis.node.address()), amountSat: 1_000_000 });
  return page.evaluate(async (nodeKey) => {
    const { node, guest } = globalThis;
    await guest.until('paid', async () => (await node.balance()).confirmedSat === 1_000_000n);
    const opened = await node.openChannel({ nodeKey, capacitySat: 300_000n });
    await guest.until('open', async () => (await node.channels())[0].state === 'open');
    return opened;
  }, nodeKey);
}

test('a tab and the node pay each other both ways, over reloads and a restart of the node', { timeout: 240_000 }, async () => {
  const browser = await openBrowser();
  try {
    const page = await browser.newPage();
    const complaints = [];
    page.on('pageerror', (error) => complaints.push(String(error)));
    const state = async (wanted) => {
      try {
        await page.locator(`.channel[data-state=${wanted}][aria-busy=false]`).waitFor({ timeout: 60_000 });
      } catch {
        throw new Error(`the page is not "${wanted}" but says: ${await page.locator('#status').textContent()}`);
      }
    };
    const ours = (sat) => page.locator(`#ours[value="${sat}"]`).waitFor({ timeout: 30_000 });
    const shot = (name) => page.screenshot({ path: path.join(root, `target/e2e/two-way-${name}.png`), fullPage: true });

    await page.goto(`${server.origin}/two-way.html`);
    await state('none');
    await page.locator('#open').click();
    await state('open');
    await ours(HALF);

    await page.locator('#pay').click();
    await ours(HALF - 1_000);
    for (const sat of [HALF, HALF + 1_000]) {
      await state('open');
      await page.locator('#ask').click();
      await ours(sat);
    }
    assert.equal(await page.locator('#theirs').getAttribute('value'), String(CAPACITY - HALF - 1_000));
    await page.locator('#payments li', { hasText: 'The cinema paid you 1,000 sat.' }).nth(1).waitFor();
    await shot('open');
    const [{ funding }] = (await node.ask('list')).channels;
    const second = await browser.newPage();
    await second.goto(page.url());
    await second.getByText('open in another tab').waitFor({ timeout: 30_000 });
    await second.close();

    // A payment that nobody waits for, and the page is gone in the middle of it: both sides agree afterwards.
    await state('open');
    await page.locator('#pay').click();
    await page.reload();
    await state('open');
    const settled = await eventually('the same on both sides', async () => {
      const [{ balance_sat: theirs }] = (await node.ask('list')).channels;
      const sat = Number(await page.locator('#ours').getAttribute('value'));
      return sat + theirs === CAPACITY && sat;
    });
    assert.ok([HALF, HALF + 1_000].includes(settled), `${settled}`);

    // The node goes away and comes back: the page calls it again by itself.
    const { websocket } = await node.ask('info');
    await node.close();
    await state('offline');
    // What is stored is there without the cinema, too.
    await page.reload();
    await state('offline');
    await ours(settled);
    node = await server.startNode(websocket);
    await page.reload();
    await state('open');
    await page.locator('#pay').click();
    await ours(settled - 1_000);

    await state('open');
    await page.locator('#close').click();
    await state('ended');
    await shot('closed');
    const close = await spenderOf(funding);
    const outputs = close.vout.map(({ value }) => value);
    // Who opened pays the fee: the node.
    assert.equal(outputs.length, 2);
    assert.ok(outputs.includes(settled - 1_000), `${outputs}`);
    assert.equal(outputs[0] + outputs[1] + close.fee, CAPACITY);
    assert.deepEqual(complaints, []);

    // What came out of the channel is in the page's wallet.
    await page.goto(`${server.origin}/wallet.html`);
    await page.locator(`rillpay-wallet data[data-name=balance][value="${settled - 1_000}"]`).waitFor({ timeout: 30_000 });
  } finally {
    await browser.close();
  }
});

test('a tab opens from its own wallet, pays, closes alone, and takes its money after the delay', { timeout: 240_000 }, async () => {
  const browser = await openBrowser();
  try {
    const { page, opens, nodeKey } = await openGuest(browser);
    const refused = await page.evaluate(async ({ opens, nodeKey }) => {
      const told = ({ name, code }) => `${name} ${code}`;
      const again = await globalThis.guest.openTwoWay(opens).catch(told);
      const poor = await globalThis.node.openChannel({ nodeKey, capacitySat: 300_000n }).catch(told);
      return { again, poor };
    }, { opens, nodeKey });
    assert.deepEqual(refused, { again: 'RillpayError another_tab', poor: 'RillpayError insufficient_funds' });

    const { channel, funding } = await openFromTab(page, nodeKey);
    const paid = await page.evaluate(async (channel) => {
      const { settled, balanceSat } = await globalThis.node.pay(channel, 50_000n);
      const beyond = await globalThis.node.pay(channel, 260_000n).catch(({ code }) => code);
      return { settled, balanceSat: Number(balanceSat), beyond };
    }, channel);
    assert.deepEqual(paid, { settled: true, balanceSat: 250_000, beyond: 'unaffordable' });

    // What is stored outlives the page, and a node that is away does not keep us.
    await node.close();
    await startGuest(page, opens);
    const closing = await page.evaluate(async () => {
      const [{ id }] = await globalThis.node.channels();
      const refused = await globalThis.node.close(id).catch(({ code }) => code);
      const { state, txid } = await globalThis.node.closeAlone(id);
      return { refused, state, txid };
    });
    assert.equal(closing.refused, 'peer_offline');
    assert.equal(closing.state, 'closed_alone');
    const commitment = await spenderOf(funding);
    assert.equal(commitment.txid, closing.txid);
    const total = () => page.evaluate(async () => Number((await globalThis.node.balance()).totalSat));
    const before = await total();
    await server.demo('mine', { blocks: 1_000 });
    const gained = await eventually('taken', async () => {
      const now = await total();
      return now > before && now - before;
    });
    // Our part, less what commitment and sweep cost.
    assert.ok(gained > 240_000 && gained < 250_000, `${gained}`);
    await page.evaluate(() => globalThis.node.stop());
  } finally {
    await browser.close();
    node = await server.startNode();
  }
});

test('words alone bring a channel back in another browser, from the backup that the node keeps', { timeout: 240_000 }, async () => {
  const words = 'legal winner thank year wave sausage worth useful legal winner thank yellow';
  const inBrowser = async (work) => {
    const browser = await openBrowser();
    try {
      return await work(await openGuest(browser, { words }));
    } finally {
      await browser.close();
    }
  };
  const { channel, funding } = await inBrowser(async ({ page, nodeKey }) => {
    const opened = await openFromTab(page, nodeKey);
    await page.evaluate((channel) => globalThis.node.pay(channel, 50_000n).then(() => {}), opened.channel);
    return opened;
  });
  // The backup is of before the revocation, so it knows the payment: the two agree to close.
  await inBrowser(async ({ page }) => {
    const [back] = await eventually('back', async () => {
      const channels = await page.evaluate(async () => (await globalThis.node.channels()).map(({ id, state }) => ({ id, state })));
      return channels[0]?.state === 'closed' && channels;
    });
    assert.equal(back.id, channel);
    const close = await spenderOf(funding);
    const outputs = close.vout.map(({ value }) => value).sort((a, b) => a - b);
    assert.deepEqual(outputs, [50_000, 250_000 - close.fee]);
    const home = await eventually('home', async () => {
      const sat = await page.evaluate(async () => Number((await globalThis.node.balance()).confirmedSat));
      return sat > 900_000 && sat;
    });
    assert.ok(home < 950_000, `${home}`);
    await page.evaluate(() => globalThis.node.stop());
  });
});

test('a node that plays an old state loses everything to a tab that looks in days later', { timeout: 240_000 }, async () => {
  const browser = await openBrowser();
  const old = `${server.folder}-old`;
  // The socket of its commands is no file.
  const copy = (from, to) => cpSync(from, to, { recursive: true, filter: (name) => path.basename(name) !== 'control' });
  try {
    const { page, opens, nodeKey } = await openGuest(browser);
    const { channel, funding } = await openFromTab(page, nodeKey);
    await page.evaluate((channel) => globalThis.node.pay(channel, 200_000n).then(() => {}), channel);
    const { websocket } = await node.ask('info');
    await node.close();
    copy(server.folder, old);
    node = await server.startNode(websocket);
    const tab = (what) => page.evaluate(async (what) => String((await globalThis.node.channels())[0][what]), what);
    await eventually('open again', async () => (await tab('state')) === 'open');
    await node.ask('pay', channel, '190000');
    await eventually('paid back', async () => (await tab('balanceSat')) === '290000');

    // Nobody watches, and the node has its store of when it was rich.
    await page.goto('about:blank');
    await node.close();
    rmSync(server.folder, { recursive: true });
    copy(old, server.folder);
    node = await server.startNode(websocket);
    const { txid } = await node.ask('close', channel, '--alone');
    const { txid: commitment, vout: outputs } = await spenderOf(funding);
    assert.equal(commitment, txid);
    await server.demo('mine', { blocks: 900 });

    await startGuest(page, opens);
    const home = await eventually('taken', async () => {
      const sat = await page.evaluate(async () => Number((await globalThis.node.balance()).confirmedSat));
      return sat > 900_000 && sat;
    });
    // Everything but what opening, commitment and penalty cost; the node's 200,000 are gone.
    assert.ok(home > 985_000, `${home}`);
    const spent = await server.chain(`/tx/${commitment}/outspends`);
    const taken = outputs.filter((_, vout) => spent[vout].spent).map(({ value }) => value);
    assert.ok(taken.includes(200_000), `${taken}`);
    await page.evaluate(() => globalThis.node.stop());
  } finally {
    await browser.close();
    rmSync(old, { recursive: true, force: true });
  }
});
