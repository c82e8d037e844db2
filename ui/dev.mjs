// Development server: builds the UI, serves it as vane would (same headers, same policy), passes everything else on to
// a server with Prometheus' HTTP API, and builds again when a source changes (reload the page yourself).
//   node dev.mjs [--listen 127.0.0.1:5173] [--api http://127.0.0.1:9090] [--no-watch] [--no-build]
import { existsSync, readFileSync, watch } from 'node:fs'
import http from 'node:http'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { build } from './build.mjs'

const { values: arg } = parseArgs({ options: {
  listen: { type: 'string', default: '127.0.0.1:5173' },
  api: { type: 'string', default: 'http://127.0.0.1:9090' },
  'no-watch': { type: 'boolean' },
  'no-build': { type: 'boolean' },
} })
const root = dirname(fileURLToPath(import.meta.url))
const CSP = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'; object-src 'none'"
const readManifest = () => JSON.parse(readFileSync(join(root, 'dist/manifest.json'), 'utf8'))

async function rebuild() {
  try {
    if (!arg['no-build']) {
      const r = await build({ minify: true })
      console.log(`built: first page ${(r.firstPageGzip / 1024).toFixed(1)} KB gzip`)
    }
  } catch (e) {
    console.error(e.message)
  }
}

function serve(req, res, path) {
  const manifest = readManifest() // each time: another build may have replaced it
  const page = manifest.pages.includes(path.replace(/(.)\/+$/, '$1'))
  let file = manifest.files.find((f) => f.path === path) ?? (page ? manifest.files.find((f) => f.path === '/index.html') : undefined)
  let status = 200
  if (!file) {
    file = manifest.files.find((f) => f.path === '/index.html')
    status = 404
  }
  const headers = {
    'content-type': file.type, etag: file.etag, 'content-security-policy': CSP, 'x-content-type-options': 'nosniff',
    'cache-control': path.startsWith('/assets/') ? 'public, max-age=31536000, immutable' : 'no-cache', vary: 'accept-encoding',
  }
  if (status === 200 && req.headers['if-none-match'] === file.etag) return res.writeHead(304, headers).end()
  if (!existsSync(join(root, 'dist', file.gz))) return res.writeHead(503).end()
  res.writeHead(status, { ...headers, 'content-encoding': 'gzip' }).end(readFileSync(join(root, 'dist', file.gz)))
}

function proxy(req, res) {
  const up = http.request(new URL(req.url, arg.api), { method: req.method, headers: { ...req.headers, host: new URL(arg.api).host } }, (r) => {
    res.writeHead(r.statusCode, r.headers)
    r.pipe(res)
  })
  up.on('error', (e) => res.headersSent ? res.destroy() : res.writeHead(502, { 'content-type': 'text/plain' }).end(`cannot reach ${arg.api}: ${e.message}`))
  res.on('close', () => up.destroy())
  req.pipe(up)
}

await rebuild()
if (!existsSync(join(root, 'dist/manifest.json'))) process.exit(1)
if (!arg['no-watch']) {
  let timer
  watch(join(root, 'src'), { recursive: process.platform !== 'linux' || Number(process.versions.node.split('.')[0]) >= 20 }, () => {
    clearTimeout(timer)
    timer = setTimeout(rebuild, 100)
  })
}
const [host, port] = arg.listen.split(':')
http.createServer((req, res) => {
  const path = req.url.split('?')[0]
  if (/^\/(api|-)\//.test(path) || path === '/metrics') proxy(req, res)
  else serve(req, res, path)
}).listen(Number(port), host, () => console.log(`http://${arg.listen} -> ${arg.api}`))
