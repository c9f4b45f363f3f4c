// Counts of tests, and what the failed ones said, from what the test programs print.

import { tryRun } from './step.mjs';

/** How many lines are kept of what a failed test said: its message, as a rule, and not the whole trace. */
const KEPT = 12;

const heads = (blocks) => blocks.map((block) => block.trim().split('\n').slice(0, KEPT).join('\n')).filter(Boolean);
const sum = (matches, index) => [...matches].reduce((total, match) => total + Number(match[index]), 0);

/** From Rust's harness and wasm-bindgen's, which close each suite with the same line. */
export function cargoCounts(output) {
  const lines = [...output.matchAll(/^test result: \S+ (\d+) passed; (\d+) failed;/gm)];
  // A binary's failed tests are shown one after the other, and then listed.
  const shown = [...output.matchAll(/^failures:\n([^]*?)\nfailures:$/gm)];
  const said = heads(shown.flatMap(([, blocks]) => blocks.split(/^(?=---- )/m)));
  return { passed: sum(lines, 1), failed: sum(lines, 2), said };
}

/** From Node's test runner. A test that was cancelled by a time-out did not pass either. */
export function nodeCounts(output) {
  const of = (word) => sum(output.matchAll(new RegExp(`^(?:ℹ|#) ${word} (\\d+)$`, 'gm')), 1);
  const [, list = ''] = output.split(/^✖ failing tests:$/m);
  const said = heads(list.split(/^(?=test at )/m));
  return { passed: of('pass'), failed: of('fail') + of('cancelled'), said };
}

/** Why a command failed apart from its tests: it did not compile, it crashed, it took too long. */
function broken(program, { code, timedOut }, { passed, failed }) {
  if (timedOut) return `${program} took too long and was stopped.`;
  if (passed + failed === 0) return `${program} ran no test at all, which counts as a failure.`;
  if (code !== 0 && failed === 0) return `${program} ended with code ${code}, although no test failed.`;
  return undefined;
}

/**
 * Runs a test command and counts with one of the above. A command that fails without a failed test, or that ran no
 * test at all, counts as one failure. `options` are those of `tryRun`.
 */
export async function counted(program, args, count, options) {
  const result = await tryRun(program, args, { collect: true, ...options });
  const counts = count(result.output);
  const why = broken(program, result, counts);
  if (!why) return counts;
  console.log(`\n${why}`);
  return { ...counts, failed: Math.max(counts.failed, 1), said: [why, ...counts.said] };
}
