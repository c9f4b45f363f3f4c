/** Firefox with its own driver: one window, private or not, and scripts in its page. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { browser } from '../../../scripts/lib/browsers.mjs';
import { freePort } from './server.mjs';

const START_MS = 60_000;

export class Firefox {
  #driver;
  #base;

  static async open({ isPrivate }) {
    const firefox = new Firefox();
    const port = await freePort();
    firefox.#base = `http://127.0.0.1:${port}`;
    firefox.#driver = spawn(browser('geckodriver'), ['--port', String(port), '--binary', browser('firefox')], { stdio: 'ignore' });
    const until = Date.now() + START_MS;
    while (!(await fetch(`${firefox.#base}/status`).then((response) => response.ok, () => false))) {
      if (Date.now() > until || firefox.#driver.exitCode !== null) throw new Error('geckodriver did not start');
      await sleep(50);
    }
    const options = { args: ['-headless'], prefs: { 'browser.privatebrowsing.autostart': isPrivate } };
    const asked = { capabilities: { alwaysMatch: { 'moz:firefoxOptions': options } } };
    const { sessionId } = await firefox.#ask('POST', '/session', asked);
    firefox.#base += `/session/${sessionId}`;
    return firefox;
  }

  async #ask(method, route, body) {
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(this.#base + route, { method, headers, body: body && JSON.stringify(body) });
    const { value } = await response.json();
    if (!response.ok) throw new Error(`${route}: ${value.message}`);
    return value;
  }

  goto(url) {
    return this.#ask('POST', '/url', { url });
  }

  /** Runs a function in the page, with these arguments. */
  run(code, ...args) {
    return this.#ask('POST', '/execute/sync', { script: `return (${code}).apply(null, arguments);`, args });
  }

  /** Waits until the function gives something true, and gives that. */
  async until(what, code, ...args) {
    const until = Date.now() + START_MS;
    while (Date.now() < until) {
      const found = await this.run(code, ...args);
      if (found) return found;
      await sleep(50);
    }
    throw new Error(`never ${what}`);
  }

  async close() {
    await this.#ask('DELETE', '').catch(() => {});
    this.#driver.kill();
    if (this.#driver.exitCode === null && this.#driver.signalCode === null) await once(this.#driver, 'exit');
  }
}
