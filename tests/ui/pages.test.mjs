// Every page: draws with data, no console error, no request elsewhere, works by keyboard, in both themes, on a phone.
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { BASE, closeBrowser, DESK, done, fitsWidth, open, PHONE, until } from './browser.mjs'

after(closeBrowser)

const PAGES = [
  { path: '/', title: 'Overview', ready: '.service:not(.head), .host' },
  { path: '/explore?g0.expr=up', title: 'Explore', ready: '.legend tbody tr' },
  { path: '/targets', title: 'Targets', ready: '.pool tbody tr' },
  { path: '/alerts', title: 'Alerts', ready: '.alert-rule tbody tr' },
  { path: '/rules', title: 'Rules', ready: '.rule-group tbody tr' },
  { path: '/cardinality', title: 'Cardinality', ready: '.culprit.active' },
  { path: '/status', title: 'Status', ready: '.facts dd' },
  { path: '/status?tab=store', title: 'Status', ready: '.top li' },
  { path: '/status?tab=retention', title: 'Status', ready: '.card .facts dd' },
  { path: '/status?tab=flags', title: 'Status', ready: '.flags tr, .empty' },
  { path: '/status?tab=config', title: 'Status', ready: '.yaml, .empty' },
]

for (const p of PAGES)
  for (const [device, options] of [['desk', DESK], ['phone', PHONE]])
    for (const colorScheme of ['dark', 'light'])
      test(`${p.path} on a ${device}, ${colorScheme}`, async () => {
        const page = await open(p.path, { ...options, colorScheme })
        await page.waitForSelector(p.ready)
        assert.equal(await page.textContent('h1'), p.title)
        assert.match(await page.title(), /vane$/)
        assert.ok(await fitsWidth(page), 'no horizontal scroll')
        const [r, g, b] = await page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number))
        assert.equal(r + g + b < 384, colorScheme === 'dark')
        await done(page)
      })

test('the policy forbids everything but this origin', async () => {
  const csp = (await fetch(BASE + '/')).headers.get('content-security-policy') ?? ''
  assert.match(csp, /default-src 'self'/)
  assert.doesNotMatch(csp, /unsafe/)
})

test('assets are compressed and cacheable', async () => {
  const html = await (await fetch(BASE + '/')).text()
  const asset = /src="(\/assets\/app-[^"]+)"/.exec(html)[1]
  const r = await fetch(BASE + asset)
  assert.equal(r.status, 200)
  assert.match(r.headers.get('cache-control') ?? '', /immutable|max-age=\d{6,}/)
  assert.equal(r.headers.get('content-encoding'), 'gzip')
  const etag = (await fetch(BASE + '/')).headers.get('etag')
  assert.equal((await fetch(BASE + '/', { headers: { 'if-none-match': etag } })).status, 304)
})

test('an unknown page says so', async () => {
  const page = await open('/no/such/page', { ...DESK, expectStatus: [404] })
  assert.match(await page.textContent('.empty h2'), /no page here/)
  await page.click('text=Go to Overview')
  await page.waitForSelector('h1:has-text("Overview")')
  await done(page)
})

test('pages by keyboard, and the list of shortcuts', async () => {
  const page = await open('/')
  for (const [key, title] of [['t', 'Targets'], ['a', 'Alerts'], ['r', 'Rules'], ['c', 'Cardinality'], ['s', 'Status'], ['o', 'Overview']]) {
    await page.keyboard.press('g')
    await page.keyboard.press(key)
    await page.waitForSelector(`h1:has-text("${title}")`)
  }
  await page.keyboard.press('?')
  await page.waitForSelector('dialog[open] >> text=Keyboard shortcuts')
  assert.ok(await page.locator('dialog[open] kbd').count() > 8)
  await page.keyboard.press('Escape')
  await until(async () => (await page.locator('dialog[open]').count()) === 0, 'the dialog to close')
  await page.keyboard.press('Tab')
  assert.equal(await page.evaluate(() => document.activeElement !== document.body), true)
  await page.goBack()
  await page.waitForSelector('h1:has-text("Status")')
  await done(page)
})

test('the theme is toggled and kept', async () => {
  const page = await open('/status')
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
  const before = await background()
  await page.click('[data-test=theme]')
  const toggled = await background()
  assert.notEqual(toggled, before)
  await page.reload()
  await page.waitForSelector('h1')
  assert.equal(await background(), toggled)
  await page.keyboard.press('d')
  await until(async () => (await background()) === before, 'the first theme again')
  await done(page)
})

test('targets: state, filter, discovered labels', async () => {
  const page = await open('/targets')
  await page.waitForSelector('.pool tbody tr')
  await page.keyboard.press('/')
  await page.keyboard.type('no-target-has-this-text')
  await page.waitForSelector('text=No target matches')
  assert.match(page.url(), /q=no-target/)
  await page.click('text=Show all targets')
  await page.waitForSelector('.pool tbody tr')
  await page.locator('.fold').first().click()
  await page.waitForSelector('text=Discovered labels')
  await page.click('.segmented >> text=Dropped')
  await page.waitForSelector('.dropped, .empty')
  await done(page)
})

test('overview leads to Explore with the query filled in', async () => {
  const page = await open('/')
  await page.waitForSelector('.service:not(.head) .who a')
  await page.locator('.service:not(.head) .who a').first().click()
  await page.waitForSelector('h1:has-text("Explore")')
  assert.match(new URL(page.url()).searchParams.get('g0.expr'), /job=/)
  await page.waitForSelector('.legend tbody tr, .panel .empty')
  await done(page)
})

test('a server that goes away is announced, and its return noticed', async () => {
  const page = await open('/targets')
  await page.waitForSelector('.pool tbody tr')
  await page.context().setOffline(true)
  await page.click('button[aria-label=Refresh]')
  await page.waitForSelector('text=The server cannot be reached')
  await page.context().setOffline(false)
  await until(async () => (await page.locator('.offline').count()) === 0, 'the banner to go')
  page.trouble = page.trouble.filter((t) => !t.includes('ERR_INTERNET_DISCONNECTED'))
  await done(page)
})

/** The API as made up by a test: path after /api/v1/ -> status and body. */
const fake = (page, answer) => page.route((u) => u.pathname.startsWith('/api/v1/'), (route) => {
  const { status = 200, body } = answer(new URL(route.request().url()).pathname.slice('/api/v1/'.length))
  return route.fulfill({ status, contentType: 'application/json', body: JSON.stringify(body) })
})

test('retention: rules, what goes when, warnings, rollups', async () => {
  const gone = (samples, bytes) => ({ samples, windows: samples, bytes })
  const kept = { bytes: 2048, oldest: '2026-01-02T03:04:05Z', expired: gone(0, 0), expires24h: gone(1500, 3072), expires7d: gone(9000, 18432) }
  const page = await open('/status')
  const plan = { status: 'success', data: { bytes: 1048576, maxBytes: 0, bytesOverMax: 0, headSamples: 7, rules: [
    { ...kept, match: '{__name__=~"debug_.*"}', keep: '3d', series: 12, samples: 34567 },
    { ...kept, match: '{job="gone"}', keep: '1d', series: 0, samples: 0, warning: 'matches no series' },
    { ...kept, match: '', keep: '15d', series: 99, samples: 100000 },
  ], rollups: [{ ...kept, resolution: '5m', match: '', keep: '90d', windows: 4711 }] } }
  await page.route((u) => u.pathname === '/api/v1/status/retention', (route) => route.fulfill({ contentType: 'application/json', body: JSON.stringify(plan) }))
  await page.goto(BASE + '/status?tab=retention')
  await page.waitForSelector('h2:has-text("debug_")')
  assert.match(await page.textContent('section[aria-label*="debug_"]'), /Kept for3d.*Series12.*Within 24 hours3(\.0+)? KiB/s)
  assert.match(await page.textContent('section[aria-label*="gone"]'), /Warning: matches no series/)
  assert.equal(await page.locator('.card h2').count(), 4)
  assert.match(await page.textContent('section[aria-label="Rollups of 5m"]'), /90d/)
  assert.ok(await fitsWidth(page), 'no horizontal scroll')
  await done(page)
})

test('cardinality names the culprit, and narrows to a selector', async () => {
  const page = await open('/cardinality')
  await page.waitForSelector('.culprit.active')
  const text = await page.textContent('.culprit.active')
  assert.match(text, /user_id/)
  assert.match(text, /flood_total/)
  assert.match(text, /user-\d+/)
  await page.waitForSelector('.top li')
  const all = Number((await page.textContent('.figures b')).replace(/\D/g, ''))
  await page.fill('[data-focus-key]', '{job="flood"}')
  await page.keyboard.press('Enter')
  await until(async () => Number((await page.textContent('.figures b')).replace(/\D/g, '')) < all, 'fewer series')
  assert.match(page.url(), /match=/)
  await page.fill('[data-focus-key]', '{job=')
  await page.keyboard.press('Enter')
  await page.waitForSelector('.notice.bad')
  page.trouble = page.trouble.filter((t) => !/400/.test(t))
  await done(page)
})

test('tenants: the field appears, its header goes along', async () => {
  const page = await open('/no-page', { ...DESK, expectStatus: [404, 401] })
  const seen = []
  await page.route((u) => u.pathname.startsWith('/api/v1/'), (route) => {
    const who = route.request().headers()['x-scope-orgid']
    seen.push(who)
    return who ? route.fulfill({ status: 200, contentType: 'application/json', body: JSON.stringify({ status: 'success', data: new URL(route.request().url()).pathname.endsWith('/forwarding') ? [] : {} }) })
               : route.fulfill({ status: 401, contentType: 'application/json', body: JSON.stringify({ status: 'error', errorType: 'bad_data', error: 'no org id' }) })
  })
  await page.keyboard.press('g')
  await page.keyboard.press('s')
  await page.waitForSelector('#tenant')
  await page.fill('#tenant', 'acme')
  await page.click('.tenant button')
  await until(() => seen.includes('acme'), 'a request as acme')
  assert.equal(await page.inputValue('#tenant'), 'acme')
  await done(page)
})

test('an empty store shows first steps, not an empty table', async () => {
  const page = await open('/no-page', { ...DESK, expectStatus: [404] })
  await fake(page, (path) => ({ body: { status: 'success', data: path.startsWith('label') ? [] : path === 'query' ? { resultType: 'vector', result: [] } : path === 'status/tsdb' ? { headStats: { numSeries: 0 } } : { resultType: 'matrix', result: [] } } }))
  await page.click('text=Go to Overview')
  await page.waitForSelector('text=Nothing to see yet')
  assert.match(await page.textContent('.empty'), /scrape_configs/)
  assert.equal(await page.locator('.services').count(), 0)
  await done(page)
})

test('a failing API is shown as an error with its text, on every page', async () => {
  const page = await open('/no-page', { ...DESK, expectStatus: [404, 503] })
  await fake(page, () => ({ status: 503, body: { status: 'error', errorType: 'unavailable', error: 'the store is starting' } }))
  for (const key of ['o', 't', 's']) {
    await page.keyboard.press('g')
    await page.keyboard.press(key)
    await page.waitForSelector('.notice.bad >> text=the store is starting')
  }
  await done(page)
})

test('alerts: what fires first, filtered by state and text, markup in annotations is text', async () => {
  const page = await open('/alerts')
  await page.waitForSelector('.alert-rule')
  assert.deepEqual(await page.locator('.alert-rule h2').allTextContents(), ['TargetDown', 'ShopSlow'])
  assert.match(await page.textContent('.alert-rule .facts'), /is <b>down<\/b>/)
  assert.equal(await page.getAttribute('.alert-rule .facts a', 'href'), 'https://runbook.example/down')
  await page.click('.segmented button:has-text("Pending")')
  await until(async () => (await page.locator('.alert-rule').count()) === 1, 'the pending one alone')
  assert.equal(await page.textContent('.alert-rule .state'), 'pending')
  assert.match(page.url(), /state=pending/)
  await page.click('.segmented button:has-text("All")')
  await page.fill('input[type=search]', 'severity=page')
  await until(async () => (await page.locator('.alert-rule').count()) === 1, 'the one with that label')
  assert.equal(await page.textContent('.alert-rule h2'), 'TargetDown')
  await page.click('.alert-rule a.mono')
  await page.waitForSelector('h1:has-text("Explore")')
  assert.equal(new URL(page.url()).searchParams.get('g0.expr'), 'up == 0')
  await done(page)
})

test('rules: state and errors of every rule, details, and a way to its alerts', async () => {
  const page = await open('/rules')
  await page.waitForSelector('.rule-group')
  await until(async () => (await page.locator('.rule-group .state').allTextContents()).join() === 'ok,firing,pending,inactive,error', 'every state')
  assert.match(await page.textContent('.scrape-error'), /match/)
  await page.click('button[aria-label="Details of TargetDown"]')
  assert.match(await page.textContent('.detail-row'), /severity/)
  await page.click('.segmented button:has-text("Failing")')
  await until(async () => (await page.locator('.rule-group .state').count()) === 1, 'the failing one alone')
  await page.click('.segmented button:has-text("Alerting")')
  await page.click('a:has-text("ShopSlow")')
  await page.waitForSelector('h1:has-text("Alerts")')
  await until(async () => (await page.locator('.alert-rule').count()) === 1, 'the alerts of that rule')
  await done(page)
})
