// The alerting pages, from alert to silence and back, against a vane with rules, an Alertmanager and a webhook.
//   HOOK_URL   answers GET with the messages the webhook got
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { BASE, closeBrowser, DESK, done, eventually, fitsWidth, inked, open, PHONE, until } from '../browser.mjs'

after(closeBrowser)

const ask = async (path, options) => (await fetch(BASE + path, options)).json()
const told = async (receiver) => (await (await fetch(process.env.HOOK_URL)).json()).filter((m) => m.path === receiver).map((m) => m.body)
const alert = async (name) => (await ask('/api/v2/alerts')).find((a) => a.labels.alertname === name)
/** The API as a test wants it: the path after /api/ -> what is answered, or nothing for the server's own answer. */
const fake = (page, answer) => page.route((u) => u.pathname.startsWith('/api/'), async (route) => {
  const a = await answer(new URL(route.request().url()).pathname.slice('/api/'.length))
  return a ? route.fulfill({ status: a.status ?? 200, contentType: 'application/json', body: JSON.stringify(a.body) }) : route.continue()
})

const PAGES = [
  { path: '/alerts', title: 'Alerts', ready: '.alert-rule tbody tr' },
  { path: '/alerts?by=receiver', title: 'Alerts', ready: '.alert-rule h2:has-text("shop")' },
  { path: '/rules', title: 'Rules', ready: '.rule-group tbody tr' },
  { path: '/silences?state=all', title: 'Silences', ready: '.silence, .empty' },
  { path: '/silences?new=1&m=severity%3D"page"', title: 'Silences', ready: '.silence-editor .preview-row' },
  { path: '/notifications', title: 'Notifications', ready: '.events li' },
  { path: '/notifications?show=drills', title: 'Notifications', ready: '.log .empty, .drill' },
  { path: '/routing', title: 'Routing', ready: '.route' },
  { path: '/routing?labels=team%3D"db",severity%3D"page"', title: 'Routing', ready: '.route.taken' },
]

for (const [device, options, colorScheme] of [['desk', DESK, 'dark'], ['phone', PHONE, 'light']])
  test(`every page on a ${device}, ${colorScheme}`, async () => {
    const page = await open(PAGES[0].path, { ...options, colorScheme }) // one profile: what is loaded once is cached
    for (const p of PAGES) {
      if (p !== PAGES[0]) await page.goto(BASE + p.path)
      await page.waitForSelector(p.ready)
      await eventually(async () => assert.equal(await page.textContent('h1'), p.title, p.path))
      assert.ok(await fitsWidth(page), `no horizontal scroll on ${p.path}`)
    }
    await done(page)
  })

test('an alert is silenced from its row, the silence edited and expired', async () => {
  const page = await open('/alerts')
  await page.click('button[aria-label="Details of TargetDown"]')
  await page.waitForSelector('.alert-details .timeline .firing')
  await until(async () => (await inked(page)) > 500, 'the graph')
  await eventually(async () => assert.match(await page.getAttribute('.alert-graph .chart', 'aria-label'), /fires == 0/))
  await eventually(async () => assert.match(await page.textContent('.alert-details .facts'), /Toldon-call, shop|Toldshop, on-call/))
  await page.click('a[aria-label="Silence TargetDown"]')
  await page.waitForSelector('.silence-editor [data-test=preview] .preview-row')
  await eventually(async () => assert.match(await page.textContent('[data-test=preview]'), /^1 of 2 alerts that fire now matches/))
  await eventually(async () => assert.ok(await page.isDisabled('.silence-editor button[type=submit]')))
  await page.fill('.silence-editor label:has-text("Who") input', 'ada')
  await page.fill('.silence-editor label:has-text("Why") input', 'the disk is being changed')
  await page.click('.presets button:has-text("4h")')
  await page.keyboard.press('Tab')
  await page.click('.silence-editor button[type=submit]')
  await page.waitForSelector('.silence:has-text("the disk is being changed")')
  const id = await page.textContent('.silence .mono.small, .silence p .mono')
  assert.match(id, /^[0-9a-f-]{36}$/)
  const made = await ask('/api/v2/silence/' + id)
  assert.equal(made.createdBy, 'ada')
  assert.ok(made.matchers.some((m) => m.name === 'alertname' && m.value === 'TargetDown' && m.isEqual && !m.isRegex))
  const hours = (Date.parse(made.endsAt) - Date.parse(made.startsAt)) / 3_600_000
  assert.ok(hours > 3.9 && hours < 4.1, `${hours} h`)
  await until(async () => (await alert('TargetDown')).status.silencedBy.includes(id), 'the alert to be silenced')

  await page.click('nav.tabs a:has-text("Alerts")')
  await page.waitForSelector('.alert-rule:has-text("TargetDown") .state:has-text("silenced")')
  await page.click('.segmented button:has-text("Kept quiet")')
  await until(async () => (await page.locator('.alert-rule').count()) === 1, 'the silenced one alone')
  await page.click('nav.tabs a:has-text("Silences")')
  await page.click(`section[aria-label="Silence ${id}"] button:has-text("Edit")`)
  await page.fill('.silence-editor label:has-text("Why") input', 'still the disk')
  await page.fill('.silence-editor label:has-text("Until") input', '1d')
  await page.click('.silence-editor button[type=submit]')
  await page.waitForSelector('.silence:has-text("still the disk")')
  const changed = await ask('/api/v2/silence/' + id)
  assert.equal(changed.comment, 'still the disk')
  assert.ok(Date.parse(changed.endsAt) - Date.parse(made.endsAt) > 3_600_000)

  await page.click(`button[aria-label="Alerts of ${id}"]`)
  await page.waitForSelector('.silence .preview-row:has-text("TargetDown")')
  await page.click(`section[aria-label="Silence ${id}"] button:has-text("Expire")`)
  await page.click('dialog[open] button:has-text("Cancel")')
  assert.equal((await ask('/api/v2/silence/' + id)).status.state, 'active')
  await page.click(`section[aria-label="Silence ${id}"] button:has-text("Expire")`)
  await page.click('dialog[open] button.primary')
  await until(async () => (await ask('/api/v2/silence/' + id)).status.state === 'expired', 'the silence to be expired')
  await until(async () => (await page.locator(`section[aria-label="Silence ${id}"]`).count()) === 0, 'it to go from the active ones')
  await page.click('.segmented button:has-text("Expired")')
  await page.waitForSelector(`section[aria-label="Silence ${id}"] button:has-text("Silence again")`)
  assert.equal((await alert('TargetDown')).status.silencedBy.length, 0)
  await done(page)
})

test('a silence from nothing: what it matches is seen while it is typed, and what cannot be is said', async () => {
  const page = await open('/silences', { ...DESK, expectStatus: [400] })
  await page.keyboard.press('n')
  await page.waitForSelector('.silence-editor')
  await eventually(async () => assert.equal(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), 'Label 1'))
  await page.keyboard.type('severity')
  await page.selectOption('select[aria-label="Operator 1"]', '=~')
  await page.fill('input[aria-label="Value 1"]', 'warn|page')
  await page.waitForSelector('[data-test=preview] >> text=2 of 2 alerts')
  await page.click('button:has-text("Add a matcher")')
  await page.fill('input[aria-label="Label 2"]', 'team!="db"')
  await eventually(async () => assert.equal(await page.inputValue('input[aria-label="Value 2"]'), 'db'))
  await page.waitForSelector('[data-test=preview] >> text=1 of 2 alerts')
  await page.fill('input[aria-label="Value 1"]', 'a(')
  await page.waitForSelector('.silence-editor .notice.bad')
  await page.fill('input[aria-label="Value 1"]', '.*')
  await page.click('button[aria-label="Remove matcher 2"]')
  await page.waitForSelector('.silence-editor >> text=match every alert')
  await eventually(async () => assert.ok(await page.isDisabled('.silence-editor button[type=submit]')))
  await page.fill('input[aria-label="Value 1"]', 'info')
  await page.waitForSelector('[data-test=preview] >> text=0 of 2 alerts')
  await page.fill('.silence-editor label:has-text("From") input', '2099-01-01 00:00')
  await page.fill('.silence-editor label:has-text("Until") input', '2h')
  await page.fill('.silence-editor label:has-text("Who") input', 'eve')
  await page.fill('.silence-editor label:has-text("Why") input', '<b>planned</b>')
  await page.keyboard.press('Enter')
  await until(async () => (await page.locator('dialog[open]').count()) === 0, 'the dialog to close')
  await page.click('.segmented button:has-text("Pending")')
  await page.waitForSelector('.silence .state:has-text("pending")')
  await eventually(async () => assert.match(await page.textContent('.silence-why'), /<b>planned<\/b>/))
  await page.keyboard.press('n')
  await page.waitForSelector('.silence-editor')
  await page.keyboard.press('Escape')
  await until(async () => (await page.locator('dialog[open]').count()) === 0, 'Escape to close the dialog')
  await eventually(async () => assert.doesNotMatch(page.url(), /new=/))
  await done(page)
})

test('which way labels take: typed, by continue, and from an alert', async () => {
  const page = await open('/routing', { ...DESK, expectStatus: [400] })
  await page.waitForSelector('.route')
  await eventually(async () => assert.equal(await page.locator('.route').count(), 5))
  await page.keyboard.press('/')
  await page.keyboard.type('team="shop", severity="page"')
  await page.waitForSelector('[data-test=route-result] >> text=2. on-call')
  const texts = await page.locator('[data-test=route-result] p').allTextContents()
  assert.match(texts[0], /^1\. shop \(webhook\) in group/)
  assert.match(texts[1], /muted now/)
  await eventually(async () => assert.deepEqual(await page.locator('.route.taken').evaluateAll((l) => l.map((x) => Number(x.dataset.route))), [1, 2]))
  await eventually(async () => assert.match(await page.textContent('[data-route="3"]'), /does not match/))
  await eventually(async () => assert.match(await page.textContent('[data-route="4"]'), /not asked/))
  await page.fill('[data-focus-key]', 'team!="x"')
  await page.waitForSelector('.notice.bad')
  await page.fill('[data-focus-key]', '')
  await until(async () => (await page.locator('.route.taken, .notice.bad').count()) === 0, 'no test')
  await page.goto(BASE + '/alerts')
  await page.click('button[aria-label="Details of Busy"]')
  await page.click('.alert-details a:has-text("see the way")')
  await page.waitForSelector('.route.taken[data-route="4"]')
  await eventually(async () => assert.match(await page.inputValue('[data-focus-key]'), /alertname="Busy"/))
  await done(page)
})

test('alerts that others sent are there, and groups by label', async () => {
  const sent = await fetch(BASE + '/api/v2/alerts', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify([{ labels: { alertname: 'FromAfar', zone: 'east' }, annotations: { summary: '<img src=x>' } }]) })
  assert.equal(sent.status, 200)
  const page = await open('/alerts?q=zone')
  await page.waitForSelector('.alert-rule:has-text("FromAfar")')
  await eventually(async () => assert.match(await page.textContent('.alert-rule'), /sent by others.*<img src=x>/s))
  await page.fill('input[type=search]', '')
  await page.selectOption('.toolbar select', 'severity')
  await page.waitForSelector('.alert-rule h2:has-text("Without severity")')
  await eventually(async () => assert.match(page.url(), /by=severity/))
  await fetch(BASE + '/api/v2/alerts', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify([{ labels: { alertname: 'FromAfar', zone: 'east' }, endsAt: new Date(Date.now() - 1000).toISOString() }]) })
  await done(page)
})

test('a rule shows its graph, health and what it recorded', async () => {
  const page = await open('/rules')
  await page.click('button[aria-label="Details of Busy"]')
  await until(async () => (await inked(page)) > 500, 'the graph')
  await eventually(async () => assert.match(await page.textContent('.detail-row .facts'), /Healththe last evaluation worked/))
  await page.click('button[aria-label="Details of Busy"]')
  await page.click('button[aria-label="Details of job:load:sum"]')
  await page.waitForSelector('.chart[aria-label="Graph of job:load:sum"]')
  await done(page)
})

test('a rule is tried over the past', async () => {
  const page = await open('/rules')
  await page.click('button[aria-label="Details of TargetDown"]')
  await page.click('.backtest button:has-text("1 day")')
  await page.click('button:has-text("Run backtest")')
  await page.waitForSelector('[data-test=backtest]', { timeout: 60_000 })
  const text = await page.textContent('[data-test=backtest]')
  assert.match(text, /Fired \d+ times?, for .* in all/)
  assert.match(text, /messages?, .* a week/)
  await eventually(async () => assert.match(await page.textContent('.episodes'), /job=?down/))
  await done(page)
})

test('somebody takes care of an alert, which is seen, told in the history, and taken back', async () => {
  const page = await open('/alerts')
  await page.click('button[aria-label="Acknowledge Busy"]')
  await page.waitForSelector('dialog[open]')
  await eventually(async () => assert.ok(await page.isDisabled('dialog[open] button[type=submit]')))
  await page.keyboard.type('ada')
  await page.fill('dialog[open] label:has-text("Comment") input', 'looking <i>into</i> it')
  await page.click('dialog[open] .segmented button:has-text("4 h")')
  await page.click('dialog[open] button[type=submit]')
  await page.waitForSelector('.alert-rule:has-text("Busy") .state:has-text("ada takes care")')
  const acks = (await ask('/api/v1/alerting/acks')).data
  assert.equal(acks.length, 1)
  assert.equal(acks[0].comment, 'looking <i>into</i> it')
  assert.ok(Date.parse(acks[0].until) > Date.now() + 3_600_000)
  await page.click('button[aria-label="Details of Busy"]')
  await page.waitForSelector('.alert-details .events .state:has-text("acknowledged")')
  await eventually(async () => assert.match(await page.textContent('.alert-details .facts'), /by ada: looking <i>into<\/i> it/))
  await eventually(async () => assert.match(await page.textContent('[data-test=verdict]'), /fires/))
  await page.click('nav.tabs a:has-text("Notifications")')
  await page.click('.segmented button:has-text("People")')
  await page.waitForSelector('.events li:has-text("acknowledged"):has-text("ada")')
  await page.click('nav.tabs a:has-text("Alerts")')
  await page.click('button[aria-label="Take back the acknowledgement of Busy"]')
  await page.waitForSelector('button[aria-label="Acknowledge Busy"]')
  await until(async () => (await ask('/api/v1/alerting/acks')).data.length === 0, 'no acknowledgement')
  await done(page)
})

test('the log tells what was delivered, is searched, and receivers are tested from the page', async () => {
  const page = await open('/notifications')
  await page.waitForSelector('.events li:has-text("TargetDown"):has-text("delivered"):has-text("shop")')
  await page.selectOption('.toolbar select', 'db')
  await until(async () => (await page.locator('.events li:has-text("TargetDown")').count()) === 0, 'only what db was told')
  await page.waitForSelector('.events li:has-text("Busy")')
  await eventually(async () => assert.match(page.url(), /receiver=db/))
  await page.selectOption('.toolbar select', '')
  await page.fill('input[type=search]', 'no such text anywhere')
  await page.waitForSelector('.log .empty')
  await page.click('text=Show all events')
  await page.waitForSelector('.events li:has-text("received")')
  const before = (await told('/shop')).length
  await page.click('button[aria-label="Send a test message to shop"]')
  await page.waitForSelector('.receiver:has-text("shop") .test-results .state:has-text("sent")')
  await until(async () => (await told('/shop')).length > before, 'the test message')
  await page.click('button[aria-label="Send a test message to broken"]')
  await page.waitForSelector('.receiver:has-text("broken") .test-results .state:has-text("failed")')
  await eventually(async () => assert.match(await page.textContent('.receiver:has-text("broken") .test-results'), /refused/i))
  await eventually(async () => assert.equal(await page.locator('button[aria-label="Send a test message to default"]').count(), 0))
  await done(page)
})

test('a drill is begun and its steps are shown', async () => {
  const page = await open('/notifications?show=drills', { ...DESK, expectStatus: [404] })
  await page.fill('.drill-form input', 'rule:NoSuchRule')
  await page.click('.drill-form button')
  await page.waitForSelector('.notice.bad >> text=The drill did not begin')
  await page.fill('.drill-form input', 'receiver:shop')
  await page.keyboard.press('Enter')
  await page.waitForSelector('.drill[aria-label="Drill of receiver:shop"] .state:has-text("passed")', { timeout: 60_000 })
  if (await page.locator('.drill .fold[aria-expanded=false]').count()) await page.click('.drill .fold')
  await page.waitForSelector('.drill .events li:has-text("delivered"):has-text("shop")')
  await eventually(async () => assert.match(await page.textContent('.drill-bounds'), /detected in .* of 1m.*told in .* of 5m.*1 of 1 messages delivered/))
  await done(page)
})

test('the webhook was told of the alerts, by their routes', async () => {
  await until(async () => (await told('/shop')).some((m) => m.groupLabels.alertname === 'TargetDown' && m.status === 'firing'), 'the message to shop')
  await until(async () => (await told('/db')).some((m) => m.groupLabels.alertname === 'Busy'), 'the message to db')
  assert.equal((await told('/call')).length, 0, 'muted')
})

test('by keyboard between the pages of alerting', async () => {
  const page = await open('/alerts')
  for (const [key, title] of [['i', 'Silences'], ['w', 'Routing'], ['n', 'Notifications'], ['r', 'Rules'], ['a', 'Alerts']]) {
    await page.keyboard.press('g')
    await page.keyboard.press(key)
    await page.waitForSelector(`h1:has-text("${title}")`)
    await eventually(async () => assert.equal((await page.textContent('nav.tabs [aria-current=page]')).trim(), title))
    await eventually(async () => assert.equal((await page.textContent('.rail [aria-current]')).trim(), 'Alerts'))
  }
  await done(page)
})

test('without an Alertmanager the pages say so, and alerts of rules are still there', async () => {
  const page = await open('/status')
  await fake(page, async (path) => {
    if (path === 'v1/alerting/status') return { body: { status: 'success', data: { configured: false } } }
    if (path !== 'v1/alerting/alerts') return null
    const { data } = await ask('/api/' + path)
    for (const g of data.groups) for (const a of g.alerts) a.sent = null
    return { body: { status: 'success', data: { ...data, configured: false } } }
  })
  await page.keyboard.press('g')
  await page.keyboard.press('a')
  await page.waitForSelector('.alert-rule:has-text("TargetDown")')
  await eventually(async () => assert.equal(await page.locator('a[aria-label="Silence TargetDown"]').count(), 0))
  for (const name of ['Silences', 'Routing', 'Notifications']) {
    await page.click(`nav.tabs a:has-text("${name}")`)
    await page.waitForSelector('.empty >> text=No Alertmanager is configured')
    await eventually(async () => assert.match(await page.textContent('.empty pre'), /alertmanager: alertmanager\.yml/))
  }
  await done(page)
})

test('errors and waiting are shown on every page', async () => {
  const page = await open('/status', { ...DESK, expectStatus: [503] })
  let hold = true
  await fake(page, async () => {
    while (hold) await new Promise((r) => setTimeout(r, 20))
    return { status: 503, body: { status: 'error', errorType: 'unavailable', error: 'the store is starting' } }
  })
  for (const key of ['a', 'r', 'i', 'w', 'n']) {
    hold = true
    await page.keyboard.press('g')
    await page.keyboard.press(key)
    await page.waitForSelector('.page .skeleton')
    hold = false
    await page.waitForSelector('.notice.bad >> text=the store is starting')
    await eventually(async () => assert.equal(await page.locator('.skeleton').count(), 0))
  }
  await done(page)
})
