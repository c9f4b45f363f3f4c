/**
 * The demo's pages into www/dist, the refund page as one file beside them, and the elements for everyone else's pages into
 * pkg/dist.
 *
 * All take the module from pkg/, as a guest page takes it from npm; `npm run build` makes its WebAssembly first.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { EsbuildPlugin } from 'esbuild-loader';
import webpack from 'webpack';

const root = path.dirname(fileURLToPath(import.meta.url));
const at = (...parts) => path.join(root, ...parts);
const TARGET = 'es2022';

/** Puts files into the output as they are: `{ 'name in the output': 'path in the repository' }`. */
class Copies {
  constructor(files) {
    this.files = files;
  }

  apply(compiler) {
    compiler.hooks.thisCompilation.tap('Copies', (compilation) => {
      const stage = webpack.Compilation.PROCESS_ASSETS_STAGE_ADDITIONAL;
      compilation.hooks.processAssets.tapPromise({ name: 'Copies', stage }, async () => {
        for (const [name, file] of Object.entries(this.files)) {
          compilation.fileDependencies.add(at(file));
          compilation.emitAsset(name, new webpack.sources.RawSource(await readFile(at(file))));
        }
      });
    });
  }
}

/**
 * Lets the bundle look for the WebAssembly beside itself, in the literal form that other bundlers recognise and follow
 * when they take the widget from npm.
 */
class WasmBeside {
  apply(compiler) {
    compiler.hooks.thisCompilation.tap('WasmBeside', (compilation) => {
      const stage = webpack.Compilation.PROCESS_ASSETS_STAGE_OPTIMIZE_INLINE + 50;
      compilation.hooks.processAssets.tap({ name: 'WasmBeside', stage }, () => {
        const bundle = Object.keys(compilation.assets).find((name) => name.endsWith('.js'));
        compilation.updateAsset(bundle, (source) => {
          const text = source.source().toString();
          return new webpack.sources.RawSource(
            text.replace(/new URL\((["'`])(?:\.?\/?generated\/|\.\/)?(rillpay|wallet)_bg\.wasm\1/g, 'new URL("./$2_bg.wasm"'),
          );
        });
      });
    });
  }
}

/**
 * Makes one file of a page: its style sheet and its script go into it, and its Content-Security-Policy names them by their
 * hashes. Such a page can be kept on a disk and opened from there.
 */
class OneFile {
  constructor({ page, script, style }) {
    Object.assign(this, { page, script, style });
  }

  apply(compiler) {
    compiler.hooks.thisCompilation.tap('OneFile', (compilation) => {
      compilation.fileDependencies.addAll([at(this.page), at(this.style)]);
      const stage = webpack.Compilation.PROCESS_ASSETS_STAGE_SUMMARIZE;
      compilation.hooks.processAssets.tapPromise({ name: 'OneFile', stage }, async () => {
        const script = compilation.getAsset(this.script).source.source().toString().replaceAll('</script', '<\\/script');
        const style = await readFile(at(this.style), 'utf8');
        const hash = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
        const name = path.basename(this.page);
        const page = (await readFile(at(this.page), 'utf8'))
          .replace(`script-src 'self'`, () => `script-src ${hash(script)}`)
          .replace(`style-src 'self'`, () => `style-src ${hash(style)}`)
          .replace(`<link rel="stylesheet" href="${path.basename(this.style)}" />`, () => `<style>${style}</style>`)
          .replace(`<script type="module" src="${this.script}"></script>`, () => `<script type="module">${script}</script>`);
        if (!page.includes(script) || !page.includes(style)) throw new Error(`${this.page} does not take its script and style`);
        compilation.deleteAsset(this.script);
        compilation.emitAsset(name, new webpack.sources.RawSource(page));
      });
    });
  }
}

const shared = (rillpay, wallet, twoWay = at('pkg/two-way.js')) => ({
  context: root,
  target: ['web', TARGET],
  mode: 'production',
  devtool: false,
  resolve: { extensions: ['.ts', '.js'], alias: { rillpay$: rillpay, 'rillpay/wallet$': wallet, 'rillpay/two-way$': twoWay } },
  module: {
    rules: [{ test: /\.ts$/, loader: 'esbuild-loader', options: { target: TARGET, tsconfig: at('tsconfig.json') } }],
  },
  experiments: { outputModule: true },
  optimization: { minimizer: [new EsbuildPlugin({ target: TARGET, format: 'esm', legalComments: 'none' })] },
  // The video engine is the larger part, and comes only when a video starts.
  // The packaging tests hold the modules to their sizes.
  performance: { maxAssetSize: 600_000, maxEntrypointSize: 600_000, assetFilter: (name) => name.endsWith('.js') },
  stats: 'errors-warnings',
});

/** The demo's pages: the elements as a guest embeds them, loaded in pieces as they are needed. */
export function demo({ rillpay = at('pkg/index.js'), wallet = at('pkg/wallet.js'), out = at('www/dist'), twoWay = at('pkg/two-way.js'), pages = ['demo', 'wallet', 'two-way'] } = {}) {
  return {
    ...shared(rillpay, wallet, twoWay),
    name: 'demo',
    entry: Object.fromEntries(pages.map((page) => [page, `./www/demo/${page}.ts`])),
    output: {
      path: out,
      filename: '[name].js',
      chunkFilename: '[name].js',
      assetModuleFilename: '[name][ext]',
      module: true,
      // That page is built apart.
      clean: { keep: 'refund.html' },
    },
    plugins: [
      new Copies({
        ...Object.fromEntries(pages.map((page) => page === 'demo' ? 'index.html' : `${page}.html`).map((name) => [name, `www/demo/${name}`])),
        'demo.css': 'www/demo/demo.css',
        'poster.jpg': 'www/media/lake/poster.jpg',
      }),
    ],
  };
}

/** The refund page: one file, with the module in it. It must work when the site does not. */
export function refundPage() {
  const config = shared(at('pkg/index.js'), at('pkg/wallet.js'));
  return {
    ...config,
    name: 'refund page',
    resolve: { ...config.resolve, alias: { ...config.resolve.alias, 'wallet.wasm$': at('pkg/generated/wallet_bg.wasm') } },
    entry: { refund: './www/demo/refund-alone.ts' },
    module: {
      rules: [...config.module.rules, { test: /\.wasm$/, type: 'asset/inline', generator: { dataUrl: (content) => content.toString('base64') } }],
      parser: { javascript: { dynamicImportMode: 'eager', url: false, importMeta: false } },
    },
    performance: false,
    output: { path: at('www/dist'), filename: '[name].js', module: true },
    plugins: [new OneFile({ page: 'www/demo/refund.html', script: 'refund.js', style: 'www/demo/demo.css' })],
  };
}

/** A stand-alone element: one ES module with its WebAssembly beside it, to be served from any folder or taken from npm. */
function alone(name, entry, modules) {
  const config = shared(at('pkg/index.js'), at('pkg/wallet.js'));
  return {
    ...config,
    name,
    entry: { [name]: entry },
    module: {
      ...config.module,
      // One file: pages and bundlers need not find further pieces of it.
      parser: { javascript: { dynamicImportMode: 'eager', url: false, importMeta: false } },
    },
    output: { path: at('pkg/dist'), filename: '[name].js', library: { type: 'module' } },
    plugins: [new Copies(Object.fromEntries(modules.map((module) => [module, `pkg/generated/${module}`]))), new WasmBeside()],
  };
}

/** The player. */
export const widget = () => alone('widget', './www/src/index.ts', ['rillpay_bg.wasm', 'wallet_bg.wasm']);

/** The wallet. */
export const walletWidget = () => alone('wallet-widget', './www/src/wallet/index.ts', ['wallet_bg.wasm']);

export default [demo(), refundPage(), widget(), walletWidget()];
