// `npm start`: set up what is missing, build, and serve the demo at http://127.0.0.1:8080 (or another PORT).
//
// The server is built as the tests build it, so that `npm test` before or after it compiles nothing twice;
// `npm start -- --release` builds and runs the optimised one, `npm start -- --kind=timelock` sells over the other kind of
// channel.

import { spawn } from 'node:child_process';
import path from 'node:path';
import { Failure, main, root, run, step } from './lib/step.mjs';
import { buildWasm } from './build-wasm.mjs';
import { buildWidget } from './build-widget.mjs';
import { setup } from './setup.mjs';

function port() {
  const text = process.env.PORT ?? '8080';
  const number = Number(text);
  if (!/^\d+$/.test(text) || number > 65535) throw new Failure(`PORT is "${text}"; it has to be a number up to 65535.`);
  return text;
}

const KINDS = ['cltv', 'timelock'];

/** What the server is told beyond `demo`. */
function told(args) {
  const unknown = args.find((arg) => arg !== '--release' && !arg.startsWith('--kind='));
  if (unknown !== undefined) throw new Failure(`There is no "${unknown}". There are --release and --kind=${KINDS.join(' or --kind=')}.`);
  const kind = args.find((arg) => arg.startsWith('--kind='))?.slice('--kind='.length);
  if (kind === undefined) return [];
  if (!KINDS.includes(kind)) throw new Failure(`"${kind}" is no kind of channel; there are ${KINDS.join(' and ')}.`);
  return ['--kind', kind];
}

async function buildServer(release) {
  const args = ['build', '--package', 'rillpay-server', '--bin', 'rillpay-server'];
  await run('cargo', release ? [...args, '--release'] : args, { minutes: 40 });
  return path.join(root, 'target', release ? 'release' : 'debug', 'rillpay-server');
}

/** Runs the server until it ends. Ctrl-C asks it to stop cleanly; a second one, after a moment, does not ask. */
function serve(server, args, env) {
  return new Promise((resolve, reject) => {
    // In a group of its own, so that one Ctrl-C reaches it once: through us.
    const child = spawn(server, ['demo', ...args], { cwd: root, env: { ...process.env, ...env }, stdio: ['ignore', 'inherit', 'inherit'], detached: true });
    let asked = 0;
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
      process.on(signal, () => {
        const now = Date.now();
        if (asked === 0) child.kill('SIGINT');
        else if (now - asked > 1_000) child.kill('SIGKILL');
        asked ||= now;
      });
    }
    child.on('error', (error) => reject(new Failure(`The server could not be started: ${error.message}.`)));
    child.on('exit', (code) => resolve(asked ? 0 : (code ?? 1)));
  });
}

await main(import.meta, async (args) => {
  const env = { PORT: port() };
  const options = told(args);
  await setup({ tests: false });
  await step('browser module', buildWasm);
  await step('widget and demo page', buildWidget);
  const server = await step('server', () => buildServer(args.includes('--release')));
  return serve(server, options, env);
});
