// One payment in the browser: our module, and the libraries a page could use in its place.
//
// Everybody pays on the same channel and has to produce the same frame, byte for byte (signatures are deterministic, RFC
// 6979): the same commitment, the same hash type, the same message. Then all take turns in short rounds, so that a
// machine that grows slower or faster meanwhile does so for everybody.

import * as tiny from 'tiny-secp256k1';
import * as noble from '@bitcoinerlab/secp256k1';
import start, { BenchPair, BenchPayer, bench_sign } from 'rillpay-bench-module';
import * as bitcoinjs from './bitcoinjs.js';
import { channel } from './channel.js';
import * as scure from './scure.js';

/** What a second costs, in satoshi. */
const STEP = 1000n;

/** A library that counts up the cumulative amount by itself, as the module does. */
function counting(pay) {
  let cumulative = 0n;
  return () => pay((cumulative += STEP));
}

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

function checkEqual(contestants) {
  const frames = Object.entries(contestants).map(([name, pay]) => [name, hex(pay())]);
  const [[, expected]] = frames;
  for (const [name, frame] of frames) {
    if (frame !== expected) throw new Error(`${name} makes another payment: ${frame}, not ${expected}`);
  }
}

function timePerCall(work, milliseconds) {
  // The clock of a page is coarse: look at it once per batch.
  const began = performance.now();
  let calls = 0;
  let elapsed = 0;
  do {
    for (let i = 0; i < 8; i++) work();
    calls += 8;
    elapsed = performance.now() - began;
  } while (elapsed < milliseconds);
  return (elapsed / calls) * 1000;
}

function median(values) {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}

/** Resolves to microseconds per call, by name: medians over the rounds. */
export async function measure({ rounds, milliseconds }) {
  await start();
  const payer = new BenchPayer();
  const payments = {
    rillpay_payment: () => payer.pay(1),
    bitcoinjs_tiny_secp256k1: counting(bitcoinjs.payer(channel, tiny)),
    bitcoinjs_noble: counting(bitcoinjs.payer(channel, noble)),
    scure: counting(scure.payer(channel)),
  };
  for (let i = 0; i < 3; i++) checkEqual(payments);

  const pair = new BenchPair();
  const contestants = { rillpay_signature: () => bench_sign(1), rillpay_two_updates: () => pair.pay(), ...payments };
  const times = Object.fromEntries(Object.keys(contestants).map((name) => [name, []]));
  for (const work of Object.values(contestants)) timePerCall(work, milliseconds);
  for (let round = 0; round < rounds; round++) {
    for (const [name, work] of Object.entries(contestants)) times[name].push(timePerCall(work, milliseconds));
  }
  return Object.fromEntries(Object.entries(times).map(([name, values]) => [name, median(values)]));
}

globalThis.measure = measure;
