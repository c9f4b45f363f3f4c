/**
 * Two builds: the demo page into www/dist, and the widget for everyone else's pages into pkg/dist.
 *
 * Both take the module from pkg/, as a guest page takes it from npm; `npm run build` makes its WebAssembly first.
 */
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
        compilation.updateAsset('widget.js', (source) => {
          const text = source.source().toString();
          return new webpack.sources.RawSource(
            text.replace(/new URL\((["'`])(?:\.?\/?generated\/|\.\/)?rillpay_bg\.wasm\1/g, 'new URL("./rillpay_bg.wasm"'),
          );
        });
      });
    });
  }
}

const shared = (rillpay) => ({
  context: root,
  target: ['web', TARGET],
  mode: 'production',
  devtool: false,
  resolve: { extensions: ['.ts', '.js'], alias: { rillpay$: rillpay } },
  module: {
    rules: [{ test: /\.ts$/, loader: 'esbuild-loader', options: { target: TARGET, tsconfig: at('tsconfig.json') } }],
  },
  experiments: { outputModule: true },
  optimization: { minimizer: [new EsbuildPlugin({ target: TARGET, format: 'esm', legalComments: 'none' })] },
  // The video engine is the larger part, and comes only when a video starts.
  performance: { maxAssetSize: 600_000, maxEntrypointSize: 600_000 },
  stats: 'errors-warnings',
});

/** The demo page: the widget as a guest embeds it, loaded in pieces as they are needed. */
export function demo({ rillpay = at('pkg/index.js'), out = at('www/dist') } = {}) {
  return {
    ...shared(rillpay),
    name: 'demo',
    entry: { demo: './www/demo/demo.ts' },
    output: {
      path: out,
      filename: '[name].js',
      chunkFilename: '[name].js',
      assetModuleFilename: '[name][ext]',
      module: true,
      clean: true,
    },
    plugins: [
      new Copies({
        'index.html': 'www/demo/index.html',
        'demo.css': 'www/demo/demo.css',
        'poster.jpg': 'www/media/lake/poster.jpg',
      }),
    ],
  };
}

/** The stand-alone widget: one ES module with its WebAssembly beside it, to be served from any folder or taken from npm. */
export function widget() {
  const config = shared(at('pkg/index.js'));
  return {
    ...config,
    name: 'widget',
    entry: { widget: './www/src/index.ts' },
    module: {
      ...config.module,
      // One file: pages and bundlers need not find further pieces of it.
      parser: { javascript: { dynamicImportMode: 'eager', url: false, importMeta: false } },
    },
    output: { path: at('pkg/dist'), filename: '[name].js', library: { type: 'module' }, clean: true },
    plugins: [new Copies({ 'rillpay_bg.wasm': 'pkg/generated/rillpay_bg.wasm' }), new WasmBeside()],
  };
}

export default [demo(), widget()];
