/** The other kind of deposit, which the page itself puts in: Emma sees no difference. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DemoServer } from './lib/server.mjs';
import { Viewer, openBrowser } from './lib/viewer.mjs';

const DEPOSIT_SAT = 3_600_000;
const PRICE_SAT = 1_000;
const PAYMENTS = 3_600;
const TRADE_WORDS = /channel|commitment|time.?lock/i;

test('from the QR code to the settlement, and in again with what came back', { timeout: 240_000 }, async () => {
  const server = await DemoServer.start({ options: ['--kind', 'timelock'] });
  const browser = await openBrowser();
  try {
    const emma = await Viewer.visit(browser, server.origin);
    await emma.press('watch');
    await emma.reaches('offer');
    assert.ok(!(await emma.fetched()).includes('wallet_bg.wasm'), 'the wallet comes when it is needed');
    await emma.deposits();
    assert.ok((await emma.fetched()).includes('wallet_bg.wasm'));
    assert.match(emma.address, /^bcrt1q/, 'an address of her own wallet here');
    await emma.plays();
    await emma.sees(4);
    await emma.screenshot('timelock');
    const left = Number((await emma.named('payments-left').innerText()).replace(/\D/g, ''));
    assert.ok(left < PAYMENTS && left > PAYMENTS - 20, `${left} payments are left`);

    // A reload in mid-stream goes on with the same deposit.
    await emma.page.reload();
    await emma.reaches('ready', 60_000);
    await emma.plays();
    await emma.sees(6);
    assert.doesNotMatch(await emma.page.locator('body').innerText(), TRADE_WORDS);
    const shown = await emma.sat('paid');
    const statement = await emma.stops();
    assert.ok(statement.depositSat >= DEPOSIT_SAT && statement.depositSat <= DEPOSIT_SAT + 2_000, `${statement.depositSat} sat went in`);
    assert.ok(statement.paidSat >= shown && statement.paidSat <= shown + 3 * PRICE_SAT);
    const settlement = await server.chain(`/tx/${statement.txid}`);
    assert.equal(settlement.locktime, 0, 'both agreed: nobody waits');
    const returned = settlement.vout.filter((output) => output.scriptpubkey_address === statement.returnAddress);
    assert.deepEqual(returned.map((output) => output.value), [statement.returnedSat], 'exactly what the screen said comes back');
    assert.deepEqual(emma.complaints, []);

    // What came back can be put in again, without another wallet.
    await emma.press('again');
    await emma.reaches('offer');
    await emma.press('continue');
    await emma.press('from-wallet');
    await emma.reaches('ready', 60_000);
    await emma.plays();
    await emma.sees(1);
    await emma.press('pause');
  } finally {
    await browser.close();
    await server.close();
  }
});
