/**
 * Pictures of the page in every state, for people to look at: target/screens/STATE-WIDTH-SCHEME-LANGUAGE.png.
 *
 *   node tests/e2e/www/screens.mjs [--look=WIDTH-SCHEME-LANGUAGE] [STATE...]
 *
 * The modules are fakes (fake-rillpay.ts, fake-wallet.ts); the video is the real clip. On the way it checks what can be checked here:
 * that no word of the trade is on the page, that nothing is wider than the page, that each second that was fetched is
 * counted once at its real length, that a pause fetches nothing, and that the page's own console stays silent.
 */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import webpack from 'webpack';
import { demo } from '../../../webpack.config.js';
import { browser as find } from '../../../scripts/lib/browsers.mjs';
import { serve } from './serve.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.join(here, '../../..');
const out = path.join(root, 'target/screens');
const dist = path.join(root, 'target/screens-site');

const ARGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--autoplay-policy=user-gesture-required'];
const FORBIDDEN = /channel|commitment|time.?lock|通道|频道|承诺|时间锁|渠道/i;

const looks = [];
for (const width of [1280, 360])
  for (const scheme of ['light', 'dark']) for (const lang of ['en', 'zh-CN']) looks.push({ width, scheme, lang });

const OPEN = { phase: 'open', capacitySat: 3_600_000n, confirmations: 1, fundingTxid: 'ab'.repeat(32) };
const EMPTY = { confirmedSat: 0n, pendingSat: 0n, heldSat: 0n, immatureSat: 0n };
const TIMELOCK = { kind: 'timelock', paymentsLeft: 3_600, address: 'bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080', depositSat: 3_602_000n };
const WORDS = 'orbit velvet lunar maple ribbon cactus gentle harbor pioneer sunset timber wisdom';
/** The page of a state, by the beginning of its name, and the element that is looked at. */
const PAGES = { wallet: 'rillpay-wallet', refund: 'rillpay-refund' };
const pageOf = (name) => Object.keys(PAGES).find((page) => name.startsWith(`${page}-`)) ?? null;
const ELEMENTS = 'rillpay-player, rillpay-wallet, rillpay-refund';
const player = (page) => page.locator(ELEMENTS);
const named = (page, name) => player(page).locator(`[data-name=${name}]`).first();
const watch = (page) => named(page, 'watch').click();
const state = (page, name) => page.waitForFunction((wanted) => document.querySelector('rillpay-player').state === wanted, name);

/** Tells the fake, which comes with the first press, what it is to answer. */
async function preset(page, { refused, channel, safety = {}, terms = {}, wallet = {} }) {
  await page.evaluate((answers) => Object.assign(globalThis, answers), {
    fake: { refuse: refused ?? null, preset: channel ?? null, safety, terms },
    fakeWallet: wallet,
  });
}

async function playing(page, change = {}) {
  await preset(page, { channel: { ...OPEN, ...change } });
  await watch(page);
  await state(page, 'ready');
  await named(page, 'play').click();
  await page.waitForFunction(() => document.querySelector('rillpay-player').shadowRoot.querySelector('video').currentTime > 2);
}

const failing = (code) => async (page) => {
  await preset(page, { refused: code });
  await watch(page);
  await state(page, 'failed');
};
const problem = (code) => async (page, server) => {
  await playing(page);
  server.unpaid = true;
  await page.waitForTimeout(3500);
  await page.evaluate((c) => globalThis.fake.problem(c), code);
};

/** How to bring a fresh page into each state. */
const STATES = {
  idle: async () => {},
  offer: async (page) => {
    await watch(page);
    await state(page, 'offer');
  },
  deposit: async (page) => {
    await watch(page);
    await named(page, 'continue').click();
    await state(page, 'deposit');
  },
  'deposit-small': async (page) => {
    await preset(page, { channel: { capacitySat: 50_000n } });
    await watch(page);
    await state(page, 'deposit');
  },
  confirming: async (page) => {
    await preset(page, { channel: { phase: 'confirming', capacitySat: 3_600_000n, confirmations: 1, confirmationsRequired: 3 } });
    await watch(page);
    await state(page, 'confirming');
  },
  ready: async (page) => {
    await preset(page, { channel: OPEN });
    await watch(page);
    await state(page, 'ready');
  },
  watching: async (page) => {
    await playing(page);
  },
  paused: async (page, server) => {
    await playing(page);
    await named(page, 'pause').click();
    await page.waitForTimeout(500);
    const before = server.requests.length;
    await page.waitForTimeout(1500);
    assert.equal(server.requests.length, before, 'a pause fetches nothing');
    const { seconds, received } = await page.evaluate(() => ({
      seconds: document.querySelector('rillpay-player').shadowRoot.querySelector('video').currentTime,
      received: globalThis.fake.received,
    }));
    const segments = server.requests.filter((name) => name.endsWith('.m4s'));
    assert.equal(new Set(segments).size, segments.length, 'no second is fetched twice');
    assert.deepEqual(received, segments.map(() => 1000), 'each second is counted once, at its real length');
    assert.ok(segments.length - seconds <= 3.2, `at most a few seconds ahead: ${segments.length} fetched at ${seconds}`);
  },
  reconnecting: async (page) => {
    await playing(page);
    await page.evaluate(() => globalThis.fake.channel.set({ attached: false, session: null }));
  },
  'price-refused': problem('ahead_of_delivery'),
  'nearly-spent': (page) => playing(page, { capacitySat: 100_000n, deliveredMsat: 80_000_000n, paidSat: 80_000n }),
  settling: async (page) => {
    await playing(page);
    await page.evaluate(() => void (globalThis.fake.held = new Promise(() => {})));
    await named(page, 'stop').click();
    await state(page, 'settling');
  },
  settled: async (page) => {
    await playing(page, { deliveredMsat: 600_000_000n, paidSat: 600_000n });
    await named(page, 'stop').click();
    await state(page, 'settled');
  },
  expired: async (page) => {
    await preset(page, { channel: { ...OPEN, phase: 'refundable' } });
    await watch(page);
    await state(page, 'expired');
  },
  returned: async (page) => {
    await STATES.expired(page);
    await named(page, 'take-back').click();
    await state(page, 'returned');
  },
  safety: async (page) => {
    await preset(page, { channel: { ...OPEN, evictableBeforeExpiry: true }, safety: { persistent: false, evictionDays: 7 } });
    await watch(page);
    await state(page, 'ready');
    await player(page).locator('summary').click();
    await named(page, 'words').click();
  },
  restore: async (page) => {
    await named(page, 'have-words').click();
    await named(page, 'words-typed').fill(WORDS.split(' ').slice(0, 9).join(' '));
  },
  'restore-wrong': async (page) => {
    await preset(page, { refused: 'invalid_words' });
    await STATES.restore(page);
    await named(page, 'restore').click();
    await player(page).locator('[role=alert]').waitFor();
  },
  'restore-nothing': async (page) => {
    await STATES.restore(page);
    await named(page, 'restore').click();
    await named(page, 'nothing-found').waitFor();
  },
  'deposit-may-be-lost': async (page) => {
    await preset(page, { channel: { evictableBeforeExpiry: true }, safety: { persistent: false, evictionDays: 7 } });
    await watch(page);
    await named(page, 'may-be-lost').waitFor();
  },
  private: async (page) => {
    await preset(page, { safety: { privateMode: true } });
    await watch(page);
    await state(page, 'failed');
  },
  'timelock-deposit': async (page) => {
    await preset(page, { channel: TIMELOCK, wallet: { balance: { ...EMPTY, confirmedSat: 3_000_000n } } });
    await watch(page);
    await named(page, 'from-wallet').waitFor();
  },
  'timelock-confirming': async (page) => {
    await preset(page, { channel: TIMELOCK, wallet: { balance: { ...EMPTY, pendingSat: 3_602_000n } } });
    await watch(page);
    await state(page, 'confirming');
  },
  'timelock-watching': async (page) => {
    await playing(page, { ...TIMELOCK, paymentsLeft: 3_564 });
  },
  'wallet-receive': async (page) => {
    await named(page, 'balance').waitFor();
  },
  'wallet-empty': async (page) => {
    await page.waitForFunction(() => globalThis.fakeWallet);
    await page.evaluate((empty) => Object.assign(globalThis.fakeWallet, { balance: empty, history: [] }), EMPTY);
    await named(page, 'refresh').click();
    await named(page, 'words').waitFor({ state: 'attached' });
    await player(page).locator('summary').click();
    await named(page, 'words').click();
  },
  'wallet-send': async (page) => {
    await named(page, 'send').click();
    await named(page, 'to').fill('bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry');
    await named(page, 'sat').fill('250000');
  },
  'wallet-check': async (page) => {
    await STATES['wallet-send'](page);
    await named(page, 'review').click();
    await named(page, 'confirm').waitFor();
  },
  'wallet-sent': async (page) => {
    await STATES['wallet-check'](page);
    await named(page, 'confirm').click();
    await named(page, 'sent-txid').waitFor();
  },
  'wallet-short': async (page) => {
    await STATES['wallet-send'](page);
    await page.evaluate(() => (globalThis.fakeWallet.refuse = { quote: 'insufficient_funds', sync: 'chain_unreachable' }));
    await named(page, 'review').click();
    await named(page, 'problem').waitFor();
    await named(page, 'refresh').click();
  },
  'refund-ask': async () => {},
  'refund-invalid': async (page) => {
    await page.evaluate(() => (globalThis.fakeWallet = { refuse: { read: 'invalid_refund_file' } }));
    await named(page, 'file').setInputFiles({ name: 'refund.json', mimeType: 'application/json', buffer: Buffer.from('{}') });
    await named(page, 'invalid').waitFor();
  },
  'refund-waiting': async (page) => {
    await named(page, 'file').setInputFiles({ name: 'refund.json', mimeType: 'application/json', buffer: Buffer.from('{}') });
    await named(page, 'chain').waitFor();
  },
  'refund-sent': async (page) => {
    await page.evaluate(() => (globalThis.fakeWallet = { height: 1_214 }));
    await STATES['refund-waiting'](page);
    await named(page, 'send').click();
    await named(page, 'txid').waitFor();
  },
  unreachable: failing('terms_unreachable'),
  'another-tab': failing('another_tab'),
  storage: failing('storage_blocked'),
  unknown: failing('corrupted_store'),
  'taken-over': async (page) => {
    await playing(page);
    await page.evaluate(() => globalThis.fake.supersede());
    await state(page, 'failed');
  },
  media: async (page) => {
    await page.evaluate(() => (document.querySelector('rillpay-player').src = '/media/nothing.m3u8'));
    await preset(page, { channel: OPEN });
    await watch(page);
    await state(page, 'ready');
    await named(page, 'play').click();
    await state(page, 'failed');
  },
};

function build() {
  const config = demo({ rillpay: path.join(here, 'fake-rillpay.ts'), wallet: path.join(here, 'fake-wallet.ts'), out: dist, pages: ['demo', 'wallet', 'refund'] });
  return new Promise((resolve, reject) =>
    webpack(config, (error, stats) => (error || stats.hasErrors() ? reject(error ?? new Error(stats.toString('errors-only'))) : resolve())),
  );
}

async function picture(browser, name, look) {
  const traffic = {};
  const server = await serve({ '/media/': path.join(root, 'www/media'), '/': dist }, traffic);
  const { width, scheme, lang } = look;
  const context = await browser.newContext({ viewport: { width, height: width > 500 ? 900 : 740 }, deviceScaleFactor: width > 500 ? 1 : 2, colorScheme: scheme, locale: lang });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  // The browser itself notes failed requests; the page must write nothing.
  page.on('console', (message) => message.text().startsWith('Failed to load resource') || complaints.push(message.text()));
  try {
    const at = pageOf(name);
    await page.goto(`http://127.0.0.1:${server.address().port}/${at === null ? '' : `${at}.html`}?lang=${lang}`);
    await page.waitForFunction((elements) => document.querySelector(elements).shadowRoot?.querySelector('[data-name], .panel'), ELEMENTS);
    await STATES[name](page, traffic);
    await page.waitForTimeout(500);
    const words = await page.evaluate((elements) => document.body.innerText + document.querySelector(elements).shadowRoot.querySelector('.card').innerText, ELEMENTS);
    assert.doesNotMatch(words, FORBIDDEN, `${name}: words of the trade`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${name}: ${wide} px too wide`);
    assert.deepEqual(complaints, [], `${name}: the console`);
    await page.screenshot({ path: path.join(out, `${name}-${width}-${scheme}-${lang}.png`), fullPage: width < 500 });
  } finally {
    await context.close();
    server.closeAllConnections();
    server.close();
  }
}

await build();
mkdirSync(out, { recursive: true });
const only = process.argv.find((arg) => arg.startsWith('--look='))?.slice('--look='.length);
const chosen = process.argv.slice(2).filter((arg) => !arg.startsWith('--'));
const wanted = looks.filter(({ width, scheme, lang }) => only === undefined || only === `${width}-${scheme}-${lang}`);
const browser = await chromium.launch({ executablePath: find('chromium'), args: ARGS });
let failures = 0;
try {
  for (const name of chosen.length ? chosen : Object.keys(STATES)) {
    // Two at a time: a video must play in each.
    const results = [];
    for (let i = 0; i < wanted.length; i += 2) {
      results.push(...(await Promise.allSettled(wanted.slice(i, i + 2).map((look) => picture(browser, name, look)))));
    }
    const bad = results.filter(({ status }) => status === 'rejected');
    failures += bad.length;
    console.log(`${bad.length ? 'FAILED' : 'ok'} ${name}`);
    for (const { reason } of bad) console.log(`   ${String(reason?.message ?? reason).split('\n').slice(0, 12).join('\n   ')}`);
  }
} finally {
  await browser.close();
}
process.exitCode = failures ? 1 : 0;
