/** Emma: one browser profile, and what she does and sees on the demo page. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { browser } from '../../../scripts/lib/browsers.mjs';

const ARGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required'];

/** Opens a browser with a profile that lasts until `close`. */
export async function openBrowser(options = {}) {
  const profile = mkdtempSync(path.join(tmpdir(), 'rillpay-profile-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: browser('chromium'),
    args: ARGS,
    headless: true,
    viewport: { width: 1280, height: 1000 },
    ...options,
  });
  const close = context.close.bind(context);
  context.close = async () => {
    await close();
    rmSync(profile, { recursive: true, force: true });
  };
  return context;
}

export class Viewer {
  /** Opens the demo page in a tab of the browser. Whatever the page's console complains about is kept. */
  static async visit(context, origin, query = '') {
    const viewer = new Viewer();
    viewer.complaints = [];
    viewer.page = await context.newPage();
    viewer.page.on('pageerror', (error) => viewer.complaints.push(String(error)));
    viewer.page.on('console', (message) => {
      // A request that a pause left waiting for its payment ends in 402, and the browser itself logs that.
      const unpaid = message.text().includes('status of 402');
      if (message.type() === 'error' && !unpaid) viewer.complaints.push(message.text());
    });
    await viewer.page.goto(`${origin}/${query}`);
    await viewer.page.waitForFunction(() => document.querySelector('rillpay-player')?.state !== undefined);
    return viewer;
  }

  named(name) {
    return this.page.locator(`rillpay-player [data-name=${name}]`).first();
  }

  press(name) {
    return this.named(name).click({ timeout: 20_000 });
  }

  /** Waits until the player shows this state. */
  async reaches(state, timeout = 30_000) {
    try {
      await this.page.waitForFunction((wanted) => document.querySelector('rillpay-player').state === wanted, state, { timeout });
    } catch {
      throw new Error(`the player is not "${state}" but "${await this.state()}": ${await this.text()}`);
    }
  }

  state() {
    return this.page.evaluate(() => document.querySelector('rillpay-player').state);
  }

  text() {
    return this.page.locator('rillpay-player .card').innerText();
  }

  /** An amount on the screen, in satoshi. */
  async sat(name) {
    const text = await this.named(name).innerText();
    const digits = text.split('sat')[0].replace(/\D/g, '');
    if (digits === '') throw new Error(`no amount of satoshi in "${text}"`);
    return Number(digits);
  }

  /** The names of what the page has loaded. */
  fetched() {
    return this.page.evaluate(() => performance.getEntriesByType('resource').map(({ name }) => new URL(name).pathname.split('/').at(-1)));
  }

  /** Seconds into the video. */
  position() {
    return this.page.evaluate(() => document.querySelector('rillpay-player').shadowRoot.querySelector('video').currentTime);
  }

  /** Waits until the picture has gone on to this position. */
  async sees(seconds, timeout = 60_000) {
    const shown = (wanted) => document.querySelector('rillpay-player').shadowRoot.querySelector('video').currentTime >= wanted;
    try {
      await this.page.waitForFunction(shown, seconds, { timeout });
    } catch {
      throw new Error(`the video stands at ${await this.position()} s, not ${seconds} s: ${await this.text()}`);
    }
  }

  /** The recovery words, as someone would copy them from the screen. */
  async notesWords() {
    await this.page.locator('rillpay-player summary').click();
    await this.press('words');
    const words = await this.page.locator('rillpay-player .words li').allInnerTexts();
    await this.press('words');
    await this.page.locator('rillpay-player summary').click();
    return words.map((word) => word.trim()).join(' ');
  }

  /** Saves the refund file and gives its text. */
  async savesRefundFile() {
    await this.page.locator('rillpay-player summary').click();
    const offered = this.page.waitForEvent('download');
    await this.press('refund-file');
    const file = await (await offered).path();
    await this.page.locator('rillpay-player summary').click();
    return readFileSync(file, 'utf8');
  }

  /** Types recovery words on a page that knows nothing yet. */
  async restores(words) {
    await this.press('have-words');
    await this.named('words-typed').fill(words);
    await this.press('restore');
  }

  /** From the poster to a deposit that has arrived. */
  async deposits() {
    if ((await this.state()) !== 'offer') await this.press('watch');
    await this.reaches('offer');
    await this.press('continue');
    await this.reaches('deposit');
    this.address = await this.named('address').innerText();
    await this.page.click('#pay');
    await this.reaches('ready', 60_000);
  }

  async plays() {
    await this.press('play');
    await this.reaches('watching');
  }

  /** Stops and gives the final statement as the screen shows it, once its transaction is confirmed. */
  async stops() {
    await this.press('stop');
    await this.reaches('settled', 60_000);
    await this.named('txid').waitFor({ timeout: 30_000 });
    await this.page.waitForFunction(() => {
      const card = document.querySelector('rillpay-player').shadowRoot;
      return /confirmed by/i.test(card.querySelector('[data-name=settlement]')?.textContent ?? '');
    }, undefined, { timeout: 60_000 });
    return {
      depositSat: await this.sat('deposit'),
      paidSat: await this.sat('paid'),
      returnedSat: await this.sat('returned'),
      txid: (await this.named('txid').innerText()).trim(),
      returnAddress: (await this.named('return-address').innerText()).trim(),
    };
  }

  async screenshot(name) {
    const file = path.resolve(import.meta.dirname, '../../../target/e2e', `${name}.png`);
    await this.page.screenshot({ path: file, fullPage: true });
  }
}
