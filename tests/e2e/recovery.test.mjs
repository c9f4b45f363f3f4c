/** Emma loses her browser, changes to another device, or loses the site; her money comes back each time. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { DemoServer } from './lib/server.mjs';
import { agreesWithChain } from './lib/settlement.mjs';
import { Viewer, openBrowser } from './lib/viewer.mjs';

const DEPOSIT_SAT = 3_600_000;
const PRICE_SAT = 1_000;
const TRADE_WORDS = /channel|commitment|time.?lock/i;

test('the words alone bring the deposit into a fresh browser', { timeout: 240_000 }, async () => {
  const server = await DemoServer.start();
  const first = await openBrowser();
  let second;
  try {
    const emma = await Viewer.visit(first, server.origin);
    await emma.deposits();
    const words = await emma.notesWords();
    assert.equal(words.split(' ').length, 12);
    await emma.plays();
    await emma.sees(4);
    const paid = await emma.sat('paid');
    // The browser is gone, with all that it stored.
    await first.close();

    second = await openBrowser();
    const again = await Viewer.visit(second, server.origin);
    await again.restores(words.replace(/^\w+/, 'zzz'));
    await again.page.locator('rillpay-player [role=alert]').waitFor();
    assert.match(await again.text(), /not recovery words/i);
    assert.equal(await again.state(), 'restore', 'a slip of the pen loses nothing');
    await again.press('back');
    await again.restores(words.toUpperCase());
    await again.reaches('ready', 60_000);
    await again.screenshot('restored');
    await again.plays();
    await again.sees(3);
    assert.ok((await again.sat('paid')) >= paid, 'what was paid before is known here');
    assert.doesNotMatch(await again.page.locator('body').innerText(), TRADE_WORDS);
    const statement = await again.stops();
    assert.equal(statement.depositSat, DEPOSIT_SAT);
    assert.ok(statement.paidSat < paid + 15 * PRICE_SAT, 'and is not paid again');
    await agreesWithChain(server, statement, emma.address);
    assert.deepEqual(again.complaints, []);
  } finally {
    await second?.close();
    await server.close();
  }
});

test('another device takes the deposit over, and the first one stops', { timeout: 180_000 }, async () => {
  const server = await DemoServer.start();
  const [home, train] = [await openBrowser(), await openBrowser()];
  try {
    const emma = await Viewer.visit(home, server.origin);
    await emma.deposits();
    const words = await emma.notesWords();
    await emma.plays();
    await emma.sees(2);

    const away = await Viewer.visit(train, server.origin);
    await away.restores(words);
    await away.reaches('ready', 60_000);
    await emma.reaches('failed', 30_000);
    assert.match(await emma.text(), /another tab or device/i);
    await away.plays();
    await away.sees(2);

    // And home again: the newer payments are known there, too.
    const shown = await away.sat('paid');
    await emma.press('again');
    await emma.reaches('ready', 60_000);
    await away.reaches('failed', 30_000);
    const statement = await emma.stops();
    assert.ok(statement.paidSat >= shown, `${shown} sat were paid on the train, ${statement.paidSat} in the end`);
    await agreesWithChain(server, statement, emma.address);
  } finally {
    await Promise.all([home.close(), train.close(), server.close()]);
  }
});

test('the refund file alone, when the site is gone for good', { timeout: 240_000 }, async () => {
  const site = await DemoServer.start();
  let elsewhere, browser;
  try {
    browser = await openBrowser();
    const emma = await Viewer.visit(browser, site.origin);
    await emma.deposits();
    await emma.plays();
    await emma.sees(2);
    await emma.press('pause');
    const text = await emma.savesRefundFile();
    await browser.close();
    browser = undefined;
    assert.equal(await site.stop(), true);

    // The chain goes on without the site: another program knows it, which never heard of Emma.
    elsewhere = await DemoServer.start({ chain: path.join(site.data, 'chain') });
    browser = await openBrowser();
    const page = await browser.newPage();
    // She kept the page, too, and opens it from her disk.
    const kept = path.join(elsewhere.data, 'refund.html');
    await writeFile(kept, await (await fetch(`${elsewhere.origin}/refund.html`)).text());
    await page.goto(pathToFileURL(kept).href);
    const named = (name) => page.locator(`rillpay-refund [data-name=${name}]`);
    const file = (content) => ({ name: 'rillpay-refund.json', mimeType: 'application/json', buffer: Buffer.from(content) });

    await named('file').setInputFiles(file(text.replace('"hex": "0', '"hex": "1')));
    await named('invalid').waitFor();
    await named('file').setInputFiles(file(text));
    await named('esplora').fill(`${elsewhere.origin}/esplora`);
    await named('esplora').press('Tab');
    await named('chain').waitFor();
    assert.equal(await named('chain').getAttribute('data-ripe'), 'false');
    assert.equal(await named('send').isDisabled(), true, 'nothing can be sent before its time');

    const kit = JSON.parse(text);
    const height = await elsewhere.chain('/blocks/tip/height');
    await elsewhere.demo('mine', { blocks: kit.expiryHeight - height });
    await page.locator('rillpay-refund [data-name=chain][data-ripe=true]').waitFor({ timeout: 60_000 });
    const promised = Number(await named('returned').getAttribute('value'));
    await named('send').click();
    await named('txid').waitFor();
    const txid = await named('txid').innerText();

    await elsewhere.demo('mine', { blocks: 1 });
    const refund = await elsewhere.chain(`/tx/${txid}`);
    assert.equal(refund.status.confirmed, true);
    assert.deepEqual(
      refund.vout.map(({ scriptpubkey_address, value }) => [scriptpubkey_address, value]),
      [[kit.returnAddress, promised]],
    );
    assert.equal(refund.fee + promised, DEPOSIT_SAT, 'all of it comes back, less the fee that was chosen');
  } finally {
    await browser?.close();
    await elsewhere?.close();
    await site.close();
  }
});
