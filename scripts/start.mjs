// `npm start`: set up what is missing, build, and serve the demo at http://127.0.0.1:8080 (or another PORT).
//
// Beside it runs a node with two-way channels, for the page two-way.html, at 127.0.0.1:9738 (or another NODE_PORT).
//
// `npm start -- --release` builds and runs the optimised programs, `npm start -- --kind=timelock` sells over the other kind
// of channel.

import { spawn } from 'node:child_process';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DemoNode } from './lib/demo-node.mjs';
import { Failure, main, root, run, step } from './lib/step.mjs';
import { buildWasm } from './build-wasm.mjs';
import { buildWidget } from './build-widget.mjs';
import { setup } from './setup.mjs';

/** Where the demo keeps its node; the chain and the payments are beside it. */
const NODE_FOLDER = path.join(root, '.demo/two-way');

function port(name, usual) {
  const text = process.env[name] ?? usual;
  const number = Number(text);
  if (!/^\d+$/.test(text) || number > 65535) throw new Failure(`${name} is "${text}"; it has to be a number up to 65535.`);
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

async function buildPrograms(release) {
  const args = ['build', '--package', 'rillpay-server', '--package', 'rillpay-node', '--bins'];
  await run('cargo', release ? [...args, '--release'] : args, { minutes: 40 });
  return path.join(root, 'target', release ? 'release' : 'debug');
}

/** Starts the node once the server answers; gives it, or nothing where that failed: the rest of the demo needs none. */
async function serveNode(program, origin, websocket, ended) {
  try {
    while (!(await fetch(`${origin}/healthz`).then((response) => response.ok, () => false))) {
      if (ended()) return undefined;
      await sleep(200);
    }
    const node = await DemoNode.start({ program, folder: NODE_FOLDER, origin, websocket });
    console.log(`Two-way channels: ${origin}/two-way.html`);
    return node;
  } catch (error) {
    console.error(`Without two-way channels: ${error.message}.`);
    return undefined;
  }
}

/** Runs the server until it ends. Ctrl-C asks it to stop cleanly; a second one, after a moment, does not ask. */
function serve(server, args, env) {
  return new Promise((resolve, reject) => {
    // In a group of its own, so that one Ctrl-C reaches it once: through us.
    const child = spawn(server, ['demo', '--node', NODE_FOLDER, ...args], { cwd: root, env: { ...process.env, ...env }, stdio: ['ignore', 'inherit', 'inherit'], detached: true });
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
  const env = { PORT: port('PORT', '8080') };
  const nodePort = port('NODE_PORT', '9738');
  const options = told(args);
  await setup({ tests: false });
  await step('browser modules', buildWasm);
  await step('widget and demo page', buildWidget);
  const programs = await step('server and node', () => buildPrograms(args.includes('--release')));
  let ended = false;
  const origin = `http://127.0.0.1:${env.PORT}`;
  // With any free port nobody knows where the server is.
  const node = env.PORT === '0' ? undefined : serveNode(path.join(programs, 'rillpay-node'), origin, `127.0.0.1:${nodePort}`, () => ended);
  const code = await serve(path.join(programs, 'rillpay-server'), options, env).finally(() => (ended = true));
  await (await node)?.close();
  return code;
});
