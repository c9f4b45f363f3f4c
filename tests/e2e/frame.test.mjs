/** Inside another site's page no money is taken: the browser keeps such a frame's storage apart, and loses it. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { DemoServer } from './lib/server.mjs';
import { openBrowser } from './lib/viewer.mjs';

test('a foreign frame refuses a deposit and recovery words', { timeout: 120_000 }, async () => {
  const server = await DemoServer.start();
  const guest = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/html' }).end(`<iframe src="${server.origin}/" width="800" height="900"></iframe>`);
  });
  await new Promise((resolve) => guest.listen(0, '127.0.0.1', resolve));
  const browser = await openBrowser();
  try {
    for (const [press, then] of [['watch', null], ['have-words', 'restore']]) {
      const page = await browser.newPage();
      // Another name of this machine is another site.
      await page.goto(`http://localhost:${guest.address().port}/`);
      const frame = page.frameLocator('iframe');
      const named = (name) => frame.locator(`rillpay-player [data-name=${name}]`);
      await named(press).click();
      if (then !== null) {
        await named('words-typed').fill('legal winner thank year wave sausage worth useful legal winner thank yellow');
        await named(then).click();
      }
      const alert = frame.locator('rillpay-player [role=alert]');
      await alert.waitFor();
      assert.match(await alert.innerText(), /open this page by itself/i);
      assert.equal(await named('continue').count() + await named('again').count(), 0, 'there is no way on from here');
      await page.close();
    }
  } finally {
    await browser.close();
    guest.closeAllConnections();
    guest.close();
    await server.close();
  }
});
