// Counts of tests, from what the test programs print.

import { tryRun } from './step.mjs';

const sum = (matches, index) => [...matches].reduce((total, match) => total + Number(match[index]), 0);

/** From Rust's harness and wasm-bindgen's, which close each suite with the same line. */
export function cargoCounts(output) {
  const lines = [...output.matchAll(/^test result: \S+ (\d+) passed; (\d+) failed;/gm)];
  return { passed: sum(lines, 1), failed: sum(lines, 2) };
}

/** From Node's test runner. A test that was cancelled by a time-out did not pass either. */
export function nodeCounts(output) {
  const of = (word) => sum(output.matchAll(new RegExp(`^(?:ℹ|#) ${word} (\\d+)$`, 'gm')), 1);
  return { passed: of('pass'), failed: of('fail') + of('cancelled') };
}

/**
 * Runs a test command and counts with one of the above. A command that fails without a failed test (it did not
 * compile, it crashed), or that ran no test at all, counts as one failure. `options` are those of `tryRun`.
 */
export async function counted(program, args, count, options) {
  const { code, output, timedOut } = await tryRun(program, args, { collect: true, ...options });
  const { passed, failed } = count(output);
  const none = passed + failed === 0;
  if (timedOut) console.log(`\n${program} took too long and was stopped.`);
  else if (none) console.log(`\n${program} ran no test at all, which counts as a failure.`);
  const broken = timedOut || none || code !== 0;
  return { passed, failed: broken ? Math.max(failed, 1) : failed };
}
