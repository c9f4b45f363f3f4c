// How every script runs its work: a titled step, the time it took, a bound on that time, and one plain
// sentence when it cannot be done.
//
// A child gets a process group of its own, so that a time-out or Ctrl-C ends it with all its children
// (cargo's compilers, a test's browser). It gets no standard input: nothing here may wait for an answer.

import { spawn, spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** The repository. Every command runs from here unless told otherwise. */
export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

/** What the person at the keyboard has to know or do, in a sentence. Shown without a stack trace. */
export class Failure extends Error {}

const running = new Set();

function endGroup(child, signal) {
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It is gone already.
  }
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    // Not the signal itself: a shell's background jobs ignore SIGINT.
    for (const child of running) endGroup(child, 'SIGTERM');
    // A script that handles the signal itself (start.mjs) keeps the process until its child has ended.
    if (process.listenerCount(signal) === 1) process.exit(130);
  });
}

const seconds = (since) => `${((performance.now() - since) / 1000).toFixed(1)} s`;

/** Announces a step, runs `work`, and prints how long it took. */
export async function step(title, work) {
  const since = performance.now();
  console.log(`== ${title}`);
  try {
    const result = await work();
    console.log(`   ${title}: done in ${seconds(since)}`);
    return result;
  } catch (error) {
    console.log(`   ${title}: failed after ${seconds(since)}`);
    throw error;
  }
}

/**
 * Runs a program, showing its output as it comes.
 *
 * `minutes` bounds the time (default 30). `env` is added to the environment. With `collect` the output is
 * returned as well. Resolves to `{ code, output, timedOut }`; it rejects only if the program cannot be started.
 */
export function tryRun(program, args, { minutes = 30, env = {}, cwd = root, collect = false, quiet = false } = {}) {
  return new Promise((resolve, reject) => {
    const piped = collect || quiet;
    const child = spawn(program, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: piped ? ['ignore', 'pipe', 'pipe'] : ['ignore', 'inherit', 'inherit'],
      detached: true,
    });
    running.add(child);
    let output = '';
    let timedOut = false;
    for (const stream of piped ? [child.stdout, child.stderr] : []) {
      stream.setEncoding('utf8');
      stream.on('data', (text) => {
        output += text;
        if (!quiet) process.stdout.write(text);
      });
    }
    const timer = setTimeout(() => {
      timedOut = true;
      endGroup(child, 'SIGTERM');
      setTimeout(() => endGroup(child, 'SIGKILL'), 5_000).unref();
    }, minutes * 60_000);
    const ended = () => {
      clearTimeout(timer);
      running.delete(child);
    };
    child.on('error', (error) => {
      ended();
      reject(new Failure(`${program} could not be started: ${error.message}.`));
    });
    // `exit` and not `close`: a grandchild that keeps the pipe open must not hold us up for ever.
    child.on('exit', (code) => {
      ended();
      endGroup(child, 'SIGKILL');
      const finish = () => resolve({ code: code ?? 1, output, timedOut });
      if (piped) {
        const grace = setTimeout(finish, 1_000);
        child.on('close', () => {
          clearTimeout(grace);
          finish();
        });
      } else {
        finish();
      }
    });
  });
}

/** As `tryRun`, but anything except success is a `Failure` that says `otherwise`. */
export async function run(program, args, { otherwise, ...options } = {}) {
  const result = await tryRun(program, args, options);
  if (result.code === 0 && !result.timedOut) return result;
  if (options.quiet) process.stdout.write(result.output);
  const what = result.timedOut ? 'took too long and was stopped' : `ended with code ${result.code}`;
  throw new Failure(`\`${[path.basename(program), ...args].join(' ')}\` ${what}. ${otherwise ?? ''}`.trim());
}

/** The trimmed standard output of a quick question to a program, or `null` if it cannot answer. */
export function ask(program, args, { env = {}, cwd = root, input } = {}) {
  const answer = spawnSync(program, args, {
    cwd,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    input,
    stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'ignore'],
    timeout: 20_000,
    maxBuffer: 64 << 20,
  });
  return answer.status === 0 ? answer.stdout.trim() : null;
}

/** Runs `work` if this file was started from the command line, and turns a `Failure` into a sentence. */
export async function main(meta, work) {
  if (!process.argv[1] || meta.url !== pathToFileURL(process.argv[1]).href) return;
  try {
    process.exitCode = (await work(process.argv.slice(2))) ?? 0;
  } catch (error) {
    console.error(`\n${error instanceof Failure ? error.message : `${error}`}`);
    if (process.env.DEBUG) console.error(error.stack);
    process.exitCode = 1;
  }
}
