/** Browsers that forget: a private window takes no deposit, and one that deletes what it stored says so where money goes in. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Firefox } from './lib/firefox.mjs';
import { DemoServer } from './lib/server.mjs';
import { Viewer, openBrowser } from './lib/viewer.mjs';

let server;
before(async () => {
  // A deposit of this kind lasts thirty days.
  server = await DemoServer.start({ options: ['--kind', 'timelock'] });
});
after(() => server?.close());

test('a private window of Firefox takes no deposit, and an ordinary one does', { timeout: 180_000 }, async () => {
  for (const [isPrivate, state] of [[true, 'failed'], [false, 'offer']]) {
    const firefox = await Firefox.open({ isPrivate });
    try {
      await firefox.goto(`${server.origin}/`);
      await firefox.until('begun', () => document.querySelector('rillpay-player')?.shadowRoot?.querySelector('[data-name=watch]'));
      await firefox.run(() => document.querySelector('rillpay-player').shadowRoot.querySelector('[data-name=watch]').click());
      await firefox.until(state, (wanted) => document.querySelector('rillpay-player').state === wanted, state);
      const text = await firefox.run(() => document.querySelector('rillpay-player').shadowRoot.querySelector('.card').innerText);
      assert.equal(/not in a private window/i.test(text), isPrivate, text);
    } finally {
      await firefox.close();
    }
  }
});

test('a browser that deletes sooner than the deposit ends says so where money goes in', { timeout: 60_000 }, async () => {
  const browser = await openBrowser();
  try {
    // So WebKit tells its name, and keeps things for a week.
    await browser.addInitScript(() => Object.defineProperty(Navigator.prototype, 'vendor', { get: () => 'Apple Computer, Inc.' }));
    const emma = await Viewer.visit(browser, server.origin);
    await emma.press('watch');
    await emma.reaches('offer');
    await emma.press('continue');
    await emma.reaches('deposit');
    const warning = emma.page.locator('rillpay-player [data-name=may-be-lost]', { hasText: /do not come back for 7 days/ });
    await warning.waitFor({ timeout: 20_000 });
    assert.ok(await warning.evaluate((element) => element.closest('details') === null), 'it is not folded away');
    assert.deepEqual(emma.complaints, []);
  } finally {
    await browser.close();
  }
});
