// Explore: writing a query with completion, graph, zoom, legend, table, sharing, errors, emptiness.
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { closeBrowser, DESK, done, fitsWidth, inked, open, PHONE, until } from './browser.mjs'

after(closeBrowser)

const param = (page, k) => new URL(page.url()).searchParams.get(k)
const editor = (page) => page.locator('.cm-content').first()

test('a query is completed, run and drawn', async () => {
  const page = await open('/explore')
  await editor(page).waitFor()
  await editor(page).click()
  await page.keyboard.type('max(scrape_dura', { delay: 20 })
  await page.locator('.cm-tooltip-autocomplete li', { hasText: 'scrape_duration_seconds' }).first().waitFor()
  await page.waitForTimeout(150) // CodeMirror ignores Enter for a moment after the list opened
  await page.keyboard.press('Enter')
  await until(async () => (await editor(page).innerText()).includes('max(scrape_duration_seconds)'), 'the completed query')
  await page.keyboard.press('Control+Enter')
  await page.waitForSelector('.legend tbody tr')
  assert.equal(param(page, 'g0.expr'), 'max(scrape_duration_seconds)')
  await until(async () => (await inked(page)) > 500, 'the graph to be drawn')
  await page.waitForSelector('.stats')
  assert.match(await page.textContent('.stats'), /series/)
  await done(page)
})

test('fast typing is not disturbed', async () => {
  const page = await open('/explore')
  await editor(page).click()
  const text = 'label_replace(up, "a", "b", "c", "d") # words, words, words'
  await page.keyboard.type(text, { delay: 2 })
  await page.keyboard.press('Escape')
  assert.equal((await editor(page).innerText()).replace(/\u200b/g, '').trim(), text)
  await done(page)
})

test('dragging zooms, Back and zoom out return', async () => {
  const page = await open('/explore?g0.expr=up&from=now-1h&to=now')
  await page.waitForSelector('.legend tbody tr')
  const over = await page.locator('.u-over').boundingBox()
  await page.mouse.move(over.x + over.width * 0.3, over.y + 60)
  await page.mouse.down()
  await page.mouse.move(over.x + over.width * 0.6, over.y + 70, { steps: 6 })
  await page.mouse.up()
  await until(() => param(page, 'from')?.startsWith('20'), 'an absolute range')
  const length = Date.parse(param(page, 'to')) - Date.parse(param(page, 'from'))
  assert.ok(Math.abs(length - 0.3 * 3600_000) < 60_000, `zoomed to ${length} ms`)
  await page.waitForTimeout(300) // the zoomed graph is drawn
  await page.keyboard.press('-')
  await until(() => Date.parse(param(page, 'to')) - Date.parse(param(page, 'from')) > length * 1.9, 'a wider range')
  await page.goBack()
  await page.goBack()
  await until(() => param(page, 'from') === null, 'the first range')
  await done(page)
})

test('the tooltip names time and value', async () => {
  const page = await open('/explore?g0.expr=up&from=now-15m&to=now')
  await page.waitForSelector('.legend tbody tr')
  const over = await page.locator('.u-over').boundingBox()
  await page.mouse.move(over.x + over.width * 0.98, over.y + 80)
  await page.waitForSelector('.tip:not([hidden]) .tip-row')
  assert.match(await page.textContent('.tip-title'), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/)
  await done(page)
})

test('legend: hide, show alone, sort', async () => {
  const page = await open('/explore?g0.expr=' + encodeURIComponent('label_replace(vector(1),"a","x","","") or label_replace(vector(2),"a","y","","") or label_replace(vector(3),"a","z","","")'))
  await page.waitForSelector('.legend tbody tr')
  const rows = page.locator('.legend tbody tr')
  assert.equal(await rows.count(), 3)
  await rows.nth(0).locator('.swatch-button').click()
  assert.equal(await page.locator('.legend tr.hidden').count(), 1)
  await rows.nth(1).locator('.name').click()
  assert.equal(await page.locator('.legend tr.hidden').count(), 2)
  await rows.nth(1).locator('.name').click()
  assert.equal(await page.locator('.legend tr.hidden').count(), 0)
  await page.click('.legend th >> text=Max')
  assert.match(await rows.nth(0).innerText(), /^z/)
  await page.click('text=Stacked')
  await until(() => param(page, 'g0.stack') === '1', 'the stacked graph in the URL')
  await until(async () => (await inked(page)) > 500, 'the stacked graph to be drawn')
  await done(page)
})

test('the table shows values and labels', async () => {
  const page = await open('/explore?g0.expr=up')
  await page.waitForSelector('.legend tbody tr')
  await page.click('.segmented >> text=Table')
  await page.waitForSelector('.result-table tbody tr')
  assert.equal(param(page, 'g0.view'), 'table')
  assert.match(await page.locator('.result-table tbody tr').first().innerText(), /[01]/)
  await done(page)
})

test('a shared link restores the view', async () => {
  const page = await open('/explore?g0.expr=up&g0.view=table&g1.expr=sum(up)&g1.stack=1&from=now-6h&to=now&step=1m')
  await page.waitForSelector('.panel >> nth=1')
  await page.click('text=Share')
  await page.waitForSelector('.toast.on')
  const link = await page.evaluate(() => navigator.clipboard.readText())
  await done(page)
  const u = new URL(link)
  const again = await open(u.pathname + u.search)
  await again.waitForSelector('.legend tbody tr')
  assert.equal(await again.locator('.panel').count(), 2)
  assert.equal(await again.locator('.cm-content').nth(1).innerText(), 'sum(up)')
  assert.equal(await again.getAttribute('.panel >> nth=0 >> .segmented button:has-text("Table")', 'aria-pressed'), 'true')
  assert.match(param(again, 'from'), /^\d{4}-/)
  assert.equal(param(again, 'step'), '1m')
  await done(again)
})

test('a wrong query shows where', async () => {
  const page = await open('/explore', { ...DESK, expectStatus: [400] })
  await editor(page).click()
  await page.keyboard.type('sum(up', { delay: 5 })
  await page.keyboard.press('Delete') // the closing bracket the editor added
  await page.keyboard.press('Escape')
  await editor(page).click()
  await page.keyboard.press('Control+Enter')
  await page.waitForSelector('.notice.bad[role=alert]')
  assert.match(await page.textContent('.notice.bad'), /line 1, column \d+/)
  assert.ok(await page.locator('.error-place mark').count() === 1)
  await page.click('text=Show in query')
  await done(page)
})

test('a query without result says so', async () => {
  const page = await open('/explore?g0.expr=there_is_no_such_metric')
  await page.waitForSelector('.panel .empty >> text=No data')
  await done(page)
})

test('an empty panel offers a start; panels are added and removed', async () => {
  const page = await open('/explore')
  await page.click('.starter >> text=/^up$/')
  await page.waitForSelector('.legend tbody tr')
  await page.click('text=Add query')
  await page.waitForSelector('.panel >> nth=1')
  await page.locator('button[aria-label="Remove panel"]').first().click()
  await until(async () => (await page.locator('.panel').count()) === 1, 'one panel')
  await done(page)
})

test('metrics are browsed by keyboard', async () => {
  const page = await open('/explore?g0.expr=up')
  await page.waitForSelector('.legend tbody tr')
  await page.keyboard.press('m')
  await page.waitForSelector('dialog[open] .metric')
  await page.keyboard.type('scrape_duration')
  await until(async () => (await page.textContent('.metric.on'))?.includes('scrape_duration_seconds'), 'the metric on top')
  await page.keyboard.press('Enter')
  await until(() => param(page, 'g0.expr') === 'scrape_duration_seconds', 'the query')
  await done(page)
})

test('formatting and history', async () => {
  const page = await open('/explore?g0.expr=' + encodeURIComponent('sum(up)by(job)'))
  await page.waitForSelector('.legend tbody tr')
  await page.click('button[aria-label="Format query"]')
  await until(async () => (await editor(page).innerText()).startsWith('sum by (job)'), 'the formatted query')
  await page.click('button[aria-label="Past queries"]')
  await page.waitForSelector('.history .menu-item')
  await done(page)
})

test('time range: typed, absolute, UTC', async () => {
  const page = await open('/explore?g0.expr=up')
  await page.waitForSelector('.legend tbody tr')
  await page.click('.button.range')
  await page.click('.zone >> text=UTC')
  await page.fill('input[name=from]', '2026-01-02 03:04')
  await page.fill('input[name=to]', 'nonsense')
  assert.ok(await page.isDisabled('.range-form button[type=submit]'))
  await page.fill('input[name=to]', '2026-01-02 04:04')
  await page.click('.range-form button[type=submit]')
  await until(() => param(page, 'from') === '2026-01-02T03:04:00Z', 'the range in the URL')
  assert.match(await page.textContent('.button.range'), /2026-01-02 03:04 to 04:04/)
  await done(page)
})

test('links of the Prometheus graph page arrive', async () => {
  const page = await open('/graph?g0.expr=up&g0.tab=1')
  await page.waitForSelector('.result-table tbody tr')
  assert.match(page.url(), /\/explore\?/)
  await done(page)
})

test('on a phone a query is written and drawn', async () => {
  const page = await open('/explore', PHONE)
  await editor(page).tap()
  await page.keyboard.type('up')
  await page.keyboard.press('Escape')
  await page.tap('.run')
  await page.waitForSelector('.legend tbody tr')
  assert.ok(await fitsWidth(page))
  await until(async () => (await inked(page)) > 300, 'the graph to be drawn')
  await done(page)
})

/** Answers of a kind that not every store has: the API's shapes, made up here. */
async function answer(page, path, make) {
  await page.route((u) => u.pathname === '/api/v1/' + path, (route) => {
    const url = new URL(route.request().url())
    return route.fulfill({ contentType: 'application/json', body: JSON.stringify({ status: 'success', ...make(url.searchParams) }) })
  })
}
const steps = (p) => {
  const out = []
  for (let t = Number(p.get('start')); t <= Number(p.get('end')); t += Number(p.get('step'))) out.push(t)
  return out
}

test('native histograms become a heatmap', async () => {
  const page = await open('/status')
  await answer(page, 'query_range', (p) => ({ data: { resultType: 'matrix', result: [{ metric: { job: 'a' }, histograms: steps(p).map((t, i) => [t, {
    count: '60', sum: '9', buckets: Array.from({ length: 12 }, (_, k) => [0, String(0.01 * 2 ** k), String(0.02 * 2 ** k), String(Math.round(20 * Math.exp(-((k - 5 - 3 * Math.sin(i / 20)) ** 2) / 3)))]) }]) }] } }))
  await page.keyboard.press('g')
  await page.keyboard.press('e')
  await page.click('.starter >> text=/^up$/')
  await page.waitForSelector('.chart[aria-label=Heatmap] canvas')
  await until(async () => (await inked(page)) > 5000, 'the heatmap to be drawn')
  assert.equal(await page.getAttribute('.segmented button:has-text("Heatmap")', 'aria-pressed'), 'true')
  const over = await page.locator('.u-over').boundingBox()
  await page.mouse.move(over.x + over.width / 2, over.y + over.height / 2)
  await page.waitForSelector('.tip:not([hidden]) >> text=bucket')
  await done(page)
})

test('exemplars, warnings and infos are shown', async () => {
  const page = await open('/status')
  await answer(page, 'query_range', (p) => ({
    warnings: ['PromQL warning: bucket label "le" is missing or has a malformed value of "x" (1:1)'],
    infos: ['PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "up" (1:1)'],
    data: { resultType: 'matrix', result: [{ metric: { job: 'a' }, values: steps(p).map((t, i) => [t, String(1 + Math.sin(i / 30))]) }] } }))
  let at = 0
  await answer(page, 'query_exemplars', (p) => {
    at = (Number(p.get('start')) + Number(p.get('end'))) / 2
    return { data: [{ seriesLabels: { job: 'a' }, exemplars: [{ labels: { trace_id: '4bf92f3577b34da6a3ce929d0e0e4736' }, value: '1', timestamp: at }] }] }
  })
  await page.keyboard.press('g')
  await page.keyboard.press('e')
  await page.click('.starter >> text=/^up$/')
  await page.waitForSelector('.legend tbody tr')
  assert.equal(await page.locator('.notes .warn').count(), 1)
  assert.equal(await page.locator('.notes .info').count(), 1)
  await page.click('text=Exemplars')
  await until(() => at > 0, 'the exemplars')
  await page.waitForTimeout(300)
  const over = await page.locator('.u-over').boundingBox()
  let seen = false
  for (let y = 0; y < over.height && !seen; y += 6) {
    await page.mouse.move(over.x + over.width / 2, over.y + y)
    seen = await page.locator('.tip:not([hidden]) >> text=4bf92f3577b34da6a3ce929d0e0e4736').count() > 0
  }
  assert.ok(seen, 'the tooltip names the trace')
  await done(page)
})

test('thousands of series are bounded, not refused', async () => {
  const page = await open('/status')
  await answer(page, 'query_range', (p) => ({ data: { resultType: 'matrix', result: Array.from({ length: 3000 }, (_, i) => ({ metric: { job: 'a', i: String(i) }, values: steps(p).slice(-20).map((t) => [t, String(i)]) })) } }))
  await page.keyboard.press('g')
  await page.keyboard.press('e')
  await page.click('.starter >> text=/^up$/')
  await page.waitForSelector('text=The first 250 of')
  assert.equal(await page.locator('.legend tbody tr').count(), 100)
  await done(page)
})
