// Builds the UI: src/ -> dist/ (hashed names, .gz beside each file, manifest.json for tools/embed_ui.py).
//   node build.mjs            everything, minified
//   node build.mjs --tests    bundles src/**/*.test.ts to .cache/tests for `node --test`
// Deterministic: the same sources and lock file give the same bytes.
import * as esbuild from 'esbuild'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'

const root = dirname(fileURLToPath(import.meta.url))
const dist = join(root, 'dist')
const PAGES = ['/', '/explore', '/targets', '/alerts', '/rules', '/silences', '/routing', '/notifications', '/cardinality', '/status', '/graph'] // served with index.html, see src/app.tsx
const FIRST_PAGE_GZIP_MAX = 60 * 1024

const TYPES = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  svg: 'image/svg+xml',
  txt: 'text/plain; charset=utf-8',
  webmanifest: 'application/manifest+json',
}

const options = {
  absWorkingDir: root,
  bundle: true,
  format: 'esm',
  target: ['es2021', 'chrome96', 'firefox95', 'safari15.4'],
  jsx: 'automatic',
  jsxImportSource: 'preact',
  logLevel: 'warning',
}

export async function build({ minify = true } = {}) {
  const result = await esbuild.build({
    ...options,
    entryPoints: { app: 'src/main.tsx', boot: 'src/boot.ts' },
    outdir: 'dist/assets',
    entryNames: '[name]-[hash]',
    chunkNames: '[name]-[hash]',
    splitting: true,
    minify,
    legalComments: 'none',
    metafile: true,
    write: false,
  })
  const files = new Map() // path below dist -> Buffer
  for (const f of result.outputFiles) files.set(relative(dist, f.path), Buffer.from(f.contents))
  const outputs = result.metafile.outputs
  const entry = (name) => Object.keys(outputs).find((o) => outputs[o].entryPoint === name)
  const app = entry('src/main.tsx')
  const inDist = (o) => o.replace(/^dist\//, '')
  const first = firstPage(outputs, app)
  const html = readFileSync(join(root, 'src/index.html'), 'utf8')
    .replace('{{boot}}', '/' + inDist(entry('src/boot.ts')))
    .replace('{{css}}', '/' + inDist(outputs[app].cssBundle))
    .replace('{{app}}', '/' + inDist(app))
    .replace('{{preload}}', first.filter((o) => o !== app && o.endsWith('.js')).map((o) => `<link rel="modulepreload" href="/${inDist(o)}">`).join('\n'))
  files.set('index.html', Buffer.from(html))
  files.set('favicon.svg', readFileSync(join(root, 'src/favicon.svg')))
  files.set('licenses.txt', licences(result.metafile))
  const manifest = writeDist(files)
  const size = first.concat(outputs[app].cssBundle, entry('src/boot.ts')).reduce((n, o) => n + gz(files.get(inDist(o))).length, 0) + gz(files.get('index.html')).length
  if (minify && size > FIRST_PAGE_GZIP_MAX) throw new Error(`first page is ${size} bytes gzip, more than ${FIRST_PAGE_GZIP_MAX}`)
  return { manifest, firstPageGzip: size }
}

/** The app chunk, what it imports statically, and the overview page with what that imports. */
function firstPage(outputs, app) {
  const seen = new Set()
  const walk = (o) => {
    if (seen.has(o)) return
    seen.add(o)
    for (const i of outputs[o].imports) if (i.kind === 'import-statement') walk(i.path)
  }
  walk(app)
  const overview = Object.keys(outputs).find((o) => outputs[o].entryPoint === 'src/pages/overview.tsx')
  if (overview) walk(overview)
  return [...seen]
}

const gz = (buf) => gzipSync(buf, { level: 9 })

function writeDist(files) {
  rmSync(dist, { recursive: true, force: true })
  mkdirSync(join(dist, 'assets'), { recursive: true })
  const rows = []
  for (const name of [...files.keys()].sort()) {
    const raw = files.get(name)
    writeFileSync(join(dist, name), raw)
    writeFileSync(join(dist, name + '.gz'), gz(raw))
    const type = TYPES[name.slice(name.lastIndexOf('.') + 1)]
    if (!type) throw new Error(`no content type for ${name}`)
    const etag = '"' + createHash('sha256').update(raw).digest('hex').slice(0, 20) + '"'
    rows.push({ path: '/' + name, type, etag, bytes: raw.length, gz: name + '.gz', gz_bytes: gz(raw).length })
  }
  const manifest = { pages: PAGES, files: rows }
  writeFileSync(join(dist, 'manifest.json'), JSON.stringify(manifest, null, 1) + '\n')
  return manifest
}

/** The licence texts of every package that is in the bundle. */
function licences(metafile) {
  const packages = new Set()
  for (const input of Object.keys(metafile.inputs)) {
    const m = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input)
    if (m) packages.add(m[1])
  }
  let text = 'vane and its web UI: Apache-2.0. The UI contains the packages below.\n'
  for (const dir of [...packages].sort()) {
    const p = JSON.parse(readFileSync(join(root, dir, 'package.json'), 'utf8'))
    const file = readdirSync(join(root, dir)).find((f) => /^licen[cs]e/i.test(f))
    text += `\n${'-'.repeat(78)}\n${p.name} ${p.version} (${p.license})\n\n`
    text += file ? readFileSync(join(root, dir, file), 'utf8').trim() + '\n' : `Licence text: https://spdx.org/licenses/${p.license}.html\n`
  }
  return Buffer.from(text)
}

export async function buildTests() {
  const find = (dir) => readdirSync(dir, { withFileTypes: true }).flatMap((e) =>
    e.isDirectory() ? find(join(dir, e.name)) : e.name.endsWith('.test.ts') ? [join(dir, e.name)] : [])
  const out = join(root, '.cache/tests')
  rmSync(out, { recursive: true, force: true })
  await esbuild.build({
    ...options, entryPoints: find(join(root, 'src')), outdir: out, outExtension: { '.js': '.mjs' },
    platform: 'node', target: 'node18', external: ['node:*'],
  })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (!existsSync(join(root, 'node_modules'))) {
    console.error('ui: run `npm ci --ignore-scripts` first')
    process.exit(1)
  }
  if (process.argv.includes('--tests')) await buildTests()
  else {
    const { manifest, firstPageGzip } = await build({ minify: !process.argv.includes('--debug') })
    const total = manifest.files.reduce((n, f) => n + f.gz_bytes, 0)
    console.log(`ui/dist: ${manifest.files.length} files, ${(total / 1024).toFixed(1)} KB gzip; first page ${(firstPageGzip / 1024).toFixed(1)} KB`)
  }
}
