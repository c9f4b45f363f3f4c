/** Holds what the screen said against what the chain says. */
import assert from 'node:assert/strict';

/** The settlement splits the deposit exactly as the statement on the screen says; the mining fee is the payee's. */
export async function agreesWithChain(server, statement, address) {
  const { depositSat, paidSat, returnedSat, txid, returnAddress } = statement;
  assert.equal(paidSat + returnedSat, depositSat, 'the statement adds up');

  const settlement = await server.chain(`/tx/${txid}`);
  assert.equal(settlement.status.confirmed, true);
  const input = settlement.vin.find(({ prevout }) => prevout.scriptpubkey_address === address);
  assert.ok(input, 'the settlement spends the deposit');
  assert.equal(input.prevout.value, depositSat);
  const returned = settlement.vout.filter((output) => output.scriptpubkey_address === returnAddress);
  assert.deepEqual(returned.map((output) => output.value), [returnedSat], 'exactly what the screen said comes back');
  const payout = settlement.vout.filter((output) => output.scriptpubkey_address !== returnAddress);
  assert.equal(payout.length, 1);
  assert.equal(payout[0].value + settlement.fee, paidSat, 'the fee comes out of what was paid');

  const spend = await server.chain(`/tx/${input.txid}/outspend/${input.vout}`);
  assert.equal(spend.txid, txid);
}
