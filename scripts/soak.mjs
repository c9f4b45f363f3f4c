// A long run of faults at random: `npm run soak -- --minutes=60`. Cases made up from seeds that are told run through the
// harness of crates/fuzz; what fails is written to target/soak as a case file. `--seed=` begins with that seed, `--case=`
// runs one case file. docs/faults.md explains.

import { Failure, main, run, step } from './lib/step.mjs';

const CARGO = ['run', '--release', '--package', 'rillpay-fuzz', '--bin', 'soak', '--'];

await main(import.meta, async (args) => {
  const unknown = args.find((arg) => !/^--(minutes|seed)=\d+$/.test(arg) && !/^--case=./.test(arg));
  if (unknown !== undefined) throw new Failure(`"${unknown}" is none of --minutes=N, --seed=NUMBER, --case=FILE.`);
  const minutes = Number(args.find((arg) => arg.startsWith('--minutes='))?.slice('--minutes='.length) ?? 60);
  const rest = args.filter((arg) => !arg.startsWith('--minutes='));
  await step(`faults at random for ${minutes} min`, () =>
    run('cargo', [...CARGO, `--minutes=${minutes}`, ...rest], { minutes: minutes + 30 }));
});
