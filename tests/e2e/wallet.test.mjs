/** The wallet page: what Emma has at the site comes in, goes out, and is all told. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { DemoServer } from './lib/server.mjs';
import { openBrowser } from './lib/viewer.mjs';

const ELSEWHERE = 'bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080';
const RECEIVED_SAT = 5_000_000;
const SENT_SAT = 1_250_000;

let server, browser;
before(async () => {
  server = await DemoServer.start();
  browser = await openBrowser();
});
after(async () => {
  await browser?.close();
  await server?.close();
});

test('receives, sends at a chosen fee, is swept out, and remembers it all', { timeout: 180_000 }, async () => {
  const page = await browser.newPage();
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  await page.goto(`${server.origin}/wallet.html`);
  const named = (name) => page.locator(`rillpay-wallet [data-name=${name}]`);
  const balance = (sat) => page.locator(`rillpay-wallet data[data-name=balance][value="${sat}"]`).waitFor({ timeout: 30_000 });
  const sat = async (name) => Number(await named(name).getAttribute('value'));
  const review = async (fill) => {
    await named('send').click();
    await named('to').fill(ELSEWHERE);
    await fill();
    await named('review').click();
  };
  const sends = async () => {
    await named('confirm').waitFor();
    const shown = { arrives: await sat('arrives'), fee: await sat('fee') };
    await named('confirm').click();
    await named('sent-txid').waitFor();
    const txid = await named('sent-txid').innerText();
    const tx = await server.chain(`/tx/${txid}`);
    assert.ok(tx.vout.some((output) => output.scriptpubkey_address === ELSEWHERE && output.value === shown.arrives));
    assert.equal(tx.fee, shown.fee, 'the fee is the one that was shown');
    await named('another').click();
    return { ...shown, txid };
  };

  await balance(0);
  const address = await named('address').innerText();
  const { txid: received } = await server.demo('pay', { address, amountSat: RECEIVED_SAT });
  await balance(RECEIVED_SAT);
  assert.notEqual(await named('address').innerText(), address, 'an address is used once');

  await review(() => named('sat').fill(String(2 * RECEIVED_SAT)));
  await named('problem').waitFor();
  assert.match(await named('problem').innerText(), /more than there is/);

  await review(async () => {
    await named('sat').fill(String(SENT_SAT));
    await page.locator('rillpay-wallet .choice', { hasText: 'As soon as possible' }).click();
  });
  const paid = await sends();
  assert.equal(paid.arrives, SENT_SAT);
  await balance(RECEIVED_SAT - SENT_SAT - paid.fee);

  // What is stored outlives the page.
  await page.reload();
  await balance(RECEIVED_SAT - SENT_SAT - paid.fee);

  await review(() => named('everything').check());
  const swept = await sends();
  assert.equal(swept.arrives + swept.fee, RECEIVED_SAT - SENT_SAT - paid.fee);
  await balance(0);

  await page.locator('rillpay-wallet .history li').nth(2).waitFor();
  const past = await page.locator('rillpay-wallet .history li').evaluateAll((items) =>
    items.map((item) => [item.dataset.txid, Number(item.querySelector('data').getAttribute('value'))]),
  );
  assert.deepEqual(new Map(past), new Map([[swept.txid, -swept.arrives], [paid.txid, -SENT_SAT], [received, RECEIVED_SAT]]));
  await page.screenshot({ path: new URL('../../target/e2e/wallet.png', import.meta.url).pathname, fullPage: true });
  assert.deepEqual(complaints, []);
  await page.close();
});
