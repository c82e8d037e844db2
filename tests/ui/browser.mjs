// What the browser tests share: Chromium, a page that records what must not happen, and the server under test.
//   VANE_URL   the server, with data in it (at least "up" of one target); required
//   CHROMIUM   the browser's path, /usr/bin/chromium when not set
//   SHOTS      a folder that gets a screenshot of every page a test closes
import { createRequire } from 'node:module'
import { join } from 'node:path'

const require = createRequire(new URL('../../ui/package.json', import.meta.url))
const { chromium } = require('playwright-core')

export const BASE = (process.env.VANE_URL ?? '').replace(/\/+$/, '')
if (!BASE) throw new Error('VANE_URL is not set: start vane with some data and name its address')

let chrome
/** One browser for the file; tests get pages of it. */
async function browser() {
  chrome ??= await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  })
  return chrome
}

export async function closeBrowser() {
  await chrome?.close()
  chrome = undefined
}

export const DESK = { viewport: { width: 1440, height: 900 } }
export const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 }

/**
 * Opens a path in a fresh profile. `page.trouble` collects console errors, page errors and requests to other origins;
 * `expectStatus` are answers of the API that the test provokes (the browser logs those as errors by itself).
 */
export async function open(path, { expectStatus = [], ...options } = DESK) {
  const ctx = await (await browser()).newContext({ colorScheme: 'dark', permissions: ['clipboard-read', 'clipboard-write'], ...options })
  const page = await ctx.newPage()
  page.setDefaultTimeout(20_000)
  page.trouble = []
  page.on('console', (m) => {
    if (!['error', 'warning'].includes(m.type())) return
    if (expectStatus.some((s) => m.text().includes(`status of ${s}`))) return
    page.trouble.push(`${m.type()}: ${m.text()} (${m.location().url})`)
  })
  page.on('pageerror', (e) => page.trouble.push(`exception: ${e.message}`))
  page.on('request', (r) => {
    if (!r.url().startsWith(BASE + '/') && !r.url().startsWith('data:') && !r.url().startsWith('blob:')) page.trouble.push(`request to ${r.url()}`)
  })
  await page.goto(BASE + path)
  await page.waitForSelector('main h1, main .empty h2')
  return page
}

let shot = 0
export async function done(page) {
  const trouble = page.trouble
  if (process.env.SHOTS) await page.screenshot({ path: join(process.env.SHOTS, `ui-${process.pid}-${++shot}.png`) })
  await page.context().close()
  if (trouble.length) throw new Error('the page had trouble:\n  ' + trouble.join('\n  '))
}

/** Repeats an assertion until it holds: the page may still be drawing. */
export async function eventually(check, ms = 20_000) {
  for (const end = Date.now() + ms; ; await new Promise((r) => setTimeout(r, 50))) {
    try {
      return await check()
    } catch (e) {
      if (Date.now() > end) throw e
    }
  }
}

/** Waits until fn() is true in the test's own process. */
export async function until(fn, what, ms = 20_000) {
  const end = Date.now() + ms
  for (;;) {
    if (await fn()) return
    if (Date.now() > end) throw new Error(`waited ${ms} ms for ${what}`)
    await new Promise((r) => setTimeout(r, 50))
  }
}

/** Pixels of the first graph that are not background. */
export const inked = (page) => page.evaluate(() => {
  const c = document.querySelector('.chart canvas')
  if (!c) return 0
  const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data
  let n = 0
  for (let i = 3; i < d.length; i += 4) if (d[i] > 100) n++
  return n
})

export const fitsWidth = (page) => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)
