// Where the browsers and their drivers are. Nothing here ever downloads one.

import { Failure } from './step.mjs';
import { which } from './tools.mjs';

const places = {
  chromium: {
    setting: 'CHROMIUM_PATH',
    names: [
      'chromium',
      'chromium-browser',
      'google-chrome',
      'google-chrome-stable',
      '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
      '/Applications/Chromium.app/Contents/MacOS/Chromium',
    ],
  },
  chromedriver: { setting: 'CHROMEDRIVER', names: ['chromedriver', '/usr/lib/chromium/chromedriver'] },
  firefox: {
    setting: 'FIREFOX_PATH',
    names: ['firefox', 'firefox-esr', '/Applications/Firefox.app/Contents/MacOS/firefox'],
  },
  geckodriver: { setting: 'GECKODRIVER', names: ['geckodriver'] },
};

/** The path of a browser or driver (an environment variable comes first), or `null`. */
export function find(name) {
  const { setting, names } = places[name];
  return process.env[setting] || which(...names);
}

/** As `find`, but a missing one is a `Failure`. */
export function browser(name) {
  const found = find(name);
  if (!found) {
    throw new Failure(`${name} is missing. Install it, or name it with the environment variable ${places[name].setting}.`);
  }
  return found;
}
