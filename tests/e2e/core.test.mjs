/** Emma pays a site that stands on a real Bitcoin Core node, through restarts of the server, of the node, and of both. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { CoreServer } from './lib/core.mjs';
import { agreesWithChain } from './lib/settlement.mjs';
import { Viewer, openBrowser } from './lib/viewer.mjs';

let server, browser;
before(async () => {
  server = await CoreServer.start();
  browser = await openBrowser();
});
after(async () => {
  await browser?.close();
  await server?.close();
});

test('from the QR code to the settlement, on Bitcoin Core', { timeout: 240_000 }, async () => {
  const emma = await Viewer.visit(browser, server.origin);
  await emma.deposits();
  await emma.plays();
  await emma.sees(5);
  const statement = await emma.stops();
  await emma.screenshot('core-settled');
  await agreesWithChain(server, statement, emma.address);
  // The node itself has it, too, and Core's policy let it pass.
  const settled = await server.node.rpc('getrawtransaction', statement.txid, true, (await server.chain(`/tx/${statement.txid}`)).status.block_hash);
  assert.ok(settled.confirmations >= 1);
  assert.deepEqual(emma.complaints, []);
  await emma.page.close();
});

test('server, node and both go down and come back while she watches', { timeout: 300_000 }, async () => {
  const emma = await Viewer.visit(browser, server.origin);
  await emma.deposits();
  await emma.plays();
  await emma.sees(3);
  const restarts = {
    server: async () => {
      await server.kill();
      await server.run();
    },
    node: async () => {
      await server.node.stop();
      await server.node.run();
    },
    both: async () => {
      await server.kill();
      await server.node.stop();
      await server.node.run();
      await server.run();
    },
  };
  for (const [what, restart] of Object.entries(restarts)) {
    const paid = await emma.sat('paid');
    await restart();
    const position = await emma.position();
    await emma.sees(position + 3, 90_000);
    assert.ok((await emma.sat('paid')) >= paid, `${what}: no acknowledged payment is lost`);
  }
  const statement = await emma.stops();
  await agreesWithChain(server, statement, emma.address);
});
