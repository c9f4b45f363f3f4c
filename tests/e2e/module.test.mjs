/** The package without the element, in real browsers against the real server: the words alone, the wallet, the refund file. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { servePackage } from './lib/guest.mjs';
import { DemoServer } from './lib/server.mjs';
import { openBrowser } from './lib/viewer.mjs';

const GUEST = `<!doctype html><meta charset="utf-8"><title>guest</title><script type="module">
import { Client, initAsync } from './index.js';
import * as wallet from './wallet.js';
await initAsync();
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const until = async (what, holds) => {
  for (let n = 0; n < 600; n++) { if (await holds()) return; await pause(100); }
  throw new Error('never ' + what);
};
const phase = (channel, wanted) => until(wanted, () => channel.snapshot().phase === wanted);
const watch = async (server, channel, from, seconds) => {
  await until('attached', () => channel.snapshot().session !== null);
  for (let n = from; n < from + seconds; n++) {
    const url = server + '/media/lake/second-' + String(n).padStart(2, '0') + '.m4s';
    const response = await fetch(url, { headers: { 'Rillpay-Session': channel.snapshot().session } });
    if (!response.ok) throw new Error('status ' + response.status);
    await response.arrayBuffer();
    channel.received(1000);
  }
  await until('counted', () => channel.snapshot().deliveredMsat === BigInt(from + seconds) * 1_000_000n);
};
globalThis.guest = { Client, wallet, until, phase, watch };
</script>`;

let server, pages;
before(async () => {
  server = await DemoServer.start();
  pages = await servePackage(GUEST);
});
after(async () => {
  pages?.close();
  await server?.close();
});

/** A browser that was never here, with the guest's page. */
async function fresh(work) {
  const browser = await openBrowser();
  try {
    const page = await browser.newPage();
    await page.goto(pages.origin);
    await page.waitForFunction(() => globalThis.guest);
    return await work((code, argument) => page.evaluate(code, argument));
  } finally {
    await browser.close();
  }
}

/** A deposit, some seconds watched, and what the viewer noted before the browser was lost. */
const watched = () =>
  fresh(async (run) => {
    const address = await run(async (server) => {
      const { Client } = globalThis.guest;
      const client = await Client.connect({ server });
      globalThis.client = client;
      globalThis.channel = await client.open({ depositSat: 36_000n });
      return globalThis.channel.snapshot().address;
    }, server.origin);
    await server.demo('pay', { address, amountSat: 36_000 });
    return run(async (server) => {
      const { phase, watch } = globalThis.guest;
      const { channel, client } = globalThis;
      await phase(channel, 'open');
      await watch(server, channel, 0, 3);
      return {
        id: channel.snapshot().id,
        words: client.recoveryWords(),
        kit: (await channel.refundKit()).text,
        safety: client.safety,
      };
    }, server.origin);
  });

test('the words alone bring a deposit back, and the wallet what came back of it', { timeout: 240_000 }, async () => {
  const { id, words, safety } = await watched();
  assert.equal(safety.privateMode, false);
  const found = await fresh((run) =>
    run(async ({ server, words }) => {
      const { Client, wallet, until, phase, watch } = globalThis.guest;
      const client = await Client.connect({ server, words });
      const { channel } = client;
      const before = channel.snapshot();
      await watch(server, channel, 3, 2);
      const statement = await channel.stop();
      await phase(channel, 'settled');

      const own = await wallet.openWallet({ server });
      await until('received', async () => {
        await own.sync();
        return own.balance().confirmedSat > 0n;
      });
      const received = own.balance().confirmedSat;
      const built = await own.build({ to: own.address().address, amountSat: 1_000n, satPerVbyte: 2 });
      const held = own.balance().heldSat;
      await own.release(built.txid);
      const quote = await own.quote({ to: own.address().address, satPerVbyte: 2 });
      const sent = await own.sweep({ to: statement.returnAddress, satPerVbyte: 2 });
      await until('confirmed', async () => {
        await own.sync();
        return own.history()[0].confirmations > 0 && own.history().length === 2;
      });
      const [newest] = own.history();
      own.close();
      return {
        id: before.id, paid: Number(before.paidSat), statement: [Number(statement.paidSat), Number(statement.returnedSat)],
        received: Number(received), held: Number(held), quoted: Number(quote.feeSat), fee: Number(sent.feeSat),
        broadcast: sent.broadcast, newest: newest.txid === sent.txid, newestFee: Number(newest.feeSat),
      };
    }, { server: server.origin, words }),
  );
  assert.equal(found.id, id);
  assert.ok(found.paid >= 3_000 && found.paid <= 5_000, `${found.paid} sat paid before`);
  assert.deepEqual(found.statement, [5_000, 31_000]);
  assert.deepEqual([found.received, found.held], [31_000, 31_000]);
  assert.ok(found.fee > 0 && found.fee === found.quoted && found.fee === found.newestFee);
  assert.deepEqual([found.broadcast, found.newest], [true, true]);
});

test('a refund file is read, and waits for its height', { timeout: 120_000 }, async () => {
  const { kit } = await watched();
  const { file, height, refused } = await fresh((run) =>
    run(async ({ kit, esplora }) => {
      const { wallet } = globalThis.guest;
      const { refunds, ...file } = await wallet.readRefundKit(kit);
      return {
        file: { ...file, returned: refunds.map(({ returnedSat }) => Number(returnedSat)) },
        height: await wallet.chainHeight({ esplora }),
        refused: await wallet.sendRefund({ kit, esplora }).catch(({ code, data }) => ({ code, height: data.height })),
      };
    }, { kit, esplora: `${server.origin}/esplora` }),
  );
  assert.equal(file.network, 'regtest');
  assert.ok(file.returned.length > 0 && file.returned.every((sat) => sat > 0 && sat < 36_000));
  assert.ok(height > 0 && height < file.expiryHeight);
  assert.deepEqual(refused, { code: 'not_expired', height: file.expiryHeight });
});
