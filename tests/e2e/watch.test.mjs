/** Emma, from the poster to the final statement, in a real browser against the real server. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { DemoServer } from './lib/server.mjs';
import { agreesWithChain } from './lib/settlement.mjs';
import { Viewer, openBrowser } from './lib/viewer.mjs';

const PRICE_SAT = 1_000;
const WINDOW_SECONDS = 2;
const TRADE_WORDS = /channel|commitment|time.?lock|通道|频道|承诺|时间锁|渠道/i;

let server, browser;
before(async () => {
  server = await DemoServer.start();
  browser = await openBrowser();
});
after(async () => {
  await browser?.close();
  await server?.close();
});

test('watching, pausing, reloading, a second tab, and stopping', { timeout: 240_000 }, async () => {
  const emma = await Viewer.visit(browser, server.origin);
  await emma.deposits();
  assert.match(emma.address, /^2/, 'an address that every wallet can pay');
  await emma.plays();
  await emma.sees(10);
  await emma.screenshot('watching');
  const position = await emma.position();
  const paid = await emma.sat('paid');
  assert.ok(paid >= 10 * PRICE_SAT, `${paid} sat for ${position} s`);
  assert.ok(paid <= (position + 2 * WINDOW_SECONDS + 1) * PRICE_SAT, `${paid} sat for ${position} s: far ahead of what was seen`);

  // A pause pays nothing. What was asked for at the very moment of the press may still arrive.
  await emma.press('pause');
  await sleep(1_000);
  const before = [await emma.sat('paid'), await emma.position()];
  await sleep(5_000);
  assert.deepEqual([await emma.sat('paid'), await emma.position()], before);
  await emma.plays();
  await emma.sees(before[1] + 2);

  // A second tab can look, not pay.
  const second = await Viewer.visit(browser, server.origin);
  await second.reaches('failed');
  assert.match(await second.text(), /another tab/i);
  await second.page.close();

  // A reload in mid-stream goes on with the same deposit.
  const paidBefore = await emma.sat('paid');
  await emma.page.reload();
  await emma.reaches('ready', 60_000);
  await emma.plays();
  await emma.sees(before[1] + 5);
  assert.ok((await emma.sat('paid')) >= paidBefore, 'what was paid is not forgotten');
  assert.ok((await emma.sat('paid')) < paidBefore + 12 * PRICE_SAT, 'and not paid again');

  const shown = await emma.sat('paid');
  const statement = await emma.stops();
  await emma.screenshot('settled');
  assert.equal(statement.depositSat, 3_600_000);
  assert.ok(statement.paidSat >= shown && statement.paidSat <= shown + 3 * PRICE_SAT, `${shown} on the meter, ${statement.paidSat} at the end`);
  await agreesWithChain(server, statement, emma.address);
  const fetched = await emma.fetched();
  assert.ok(fetched.includes('rillpay_bg.wasm'), `${fetched}`);
  assert.deepEqual(fetched.filter((name) => name.includes('wallet')), [], 'a viewer who needs no wallet loads none');

  assert.doesNotMatch(await emma.page.locator('body').innerText(), TRADE_WORDS);
  assert.deepEqual(emma.complaints, []);
  await emma.page.close();
});

test('in Chinese, on a phone', { timeout: 120_000 }, async () => {
  const phone = await openBrowser({ viewport: { width: 360, height: 800 } });
  try {
    const emma = await Viewer.visit(phone, server.origin, '?lang=zh-CN');
    await emma.deposits();
    await emma.plays();
    await emma.sees(2);
    await emma.screenshot('watching-phone-zh');
    const text = await emma.page.locator('body').innerText();
    assert.match(text, /[\u4e00-\u9fff]/);
    assert.doesNotMatch(text, TRADE_WORDS);
    const overflow = await emma.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(overflow <= 0, `${overflow} pixels too wide`);
  } finally {
    await phone.close();
  }
});
