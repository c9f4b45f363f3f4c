/** The package as a stranger gets it: packed, and installed into a project that knows nothing of this repository. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

export const root = path.resolve(import.meta.dirname, '../../..');
const bin = (name) => path.join(root, 'node_modules/.bin', name);

const run = (program, args, cwd) => execFileSync(program, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 120_000 });

/** Packs `pkg` into `folder`; gives the tarball's path and the files in it with their sizes. */
export function pack(folder) {
  const [packed] = JSON.parse(run('npm', ['pack', '--json', '--pack-destination', folder], path.join(root, 'pkg')));
  return { tarball: path.join(folder, packed.filename), files: new Map(packed.files.map(({ path, size }) => [path, size])) };
}

export class Project {
  /** A fresh project with these files and the packed package installed, without the network. */
  constructor(files) {
    this.folder = mkdtempSync(path.join(tmpdir(), 'rillpay-packaging-'));
    this.write('package.json', JSON.stringify({ name: 'guest', private: true, type: 'module' }));
    for (const [name, text] of Object.entries(files)) this.write(name, text);
    const { tarball } = pack(this.folder);
    run('npm', ['install', '--offline', '--no-audit', '--no-fund', tarball], this.folder);
  }

  write(name, text) {
    const file = path.join(this.folder, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, text);
  }

  /** Runs one of the bundlers of this repository in the project. */
  bundle(name, args) {
    return run(bin(name), args, this.folder);
  }

  node(args) {
    return run(process.execPath, args, this.folder);
  }

  remove() {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** What a guest's page does with the package: enough to see that module, glue and types of values are in order. */
export const GUEST = `
import { initAsync, validateWords, version, Client } from 'rillpay';
const words = 'Legal winner thank year wave sausage worth useful legal winner thank YELLOW';
const result = {};
try {
  const [first, second] = [initAsync(), initAsync()];
  result.once = first === second;
  await first;
  result.version = version();
  result.words = validateWords(words);
  try { validateWords('no such words'); } catch (error) { result.error = { name: error.name, code: error.code, fault: error.fault, real: error instanceof Error }; }
  result.client = typeof Client.connect;
} catch (error) {
  result.failed = String(error.stack ?? error);
}
globalThis.result = result;
`;

export const EXPECTED = {
  once: true,
  version: '0.1.0',
  words: 'legal winner thank year wave sausage worth useful legal winner thank yellow',
  error: { name: 'RillpayError', code: 'invalid_words', fault: 'misuse', real: true },
  client: 'function',
};

/** A guest that opens no wallet loads none; one that does loads its module once. */
export const WALLET_GUEST = `
const modules = () => performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('.wasm')).length;
const result = {};
try {
  const wallet = await import('rillpay/wallet');
  result.before = modules();
  result.error = await wallet.readRefundKit('junk').catch(({ name, code, fault }) => ({ name, code, fault }));
  result.options = await wallet.openWallet({ server: 'http://video.example' }).catch(({ code }) => code);
  result.after = modules();
} catch (error) {
  result.failed = String(error.stack ?? error);
}
globalThis.result = result;
`;

export const WALLET_EXPECTED = {
  before: 0,
  error: { name: 'RillpayError', code: 'invalid_refund_file', fault: 'misuse' },
  options: 'invalid_argument',
  after: 1,
};
