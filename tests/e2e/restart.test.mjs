/** The server dies without warning while Emma watches, and comes back. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { DemoServer } from './lib/server.mjs';
import { agreesWithChain } from './lib/settlement.mjs';
import { Viewer, openBrowser } from './lib/viewer.mjs';

let server, browser;
before(async () => {
  server = await DemoServer.start();
  browser = await openBrowser();
});
after(async () => {
  await browser?.close();
  await server?.close();
});

test('killed twice in mid-stream, nothing is lost and the video goes on', { timeout: 240_000 }, async () => {
  const emma = await Viewer.visit(browser, server.origin);
  await emma.deposits();
  await emma.plays();
  let seen = 0;
  for (const stretch of [4, 4]) {
    await emma.sees(seen + stretch);
    const paid = await emma.sat('paid');
    await server.kill();
    await server.run();
    const position = await emma.position();
    await emma.sees(position + 3, 90_000);
    assert.ok((await emma.sat('paid')) >= paid, 'no acknowledged payment is lost');
    seen = await emma.position();
  }
  const statement = await emma.stops();
  await agreesWithChain(server, statement, emma.address);
});

test('asked to stop, it stops cleanly and settles nothing', { timeout: 120_000 }, async () => {
  const other = await openBrowser();
  try {
    const emma = await Viewer.visit(other, server.origin);
    await emma.deposits();
    await emma.plays();
    await emma.sees(2);
    assert.equal(await server.stop(), true);
    await server.run();
    const [deposit] = await server.chain(`/address/${emma.address}/utxo`);
    assert.equal(deposit?.value, 3_600_000, 'the deposit is where it was');
  } finally {
    await other.close();
  }
});
