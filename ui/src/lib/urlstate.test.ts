import test from 'node:test'
import assert from 'node:assert/strict'
import { exploreLink, fromSearch, newPanel, PANELS_MAX, toSearch, type ExploreState } from './urlstate'

test('every state survives the URL', () => {
  const s: ExploreState = {
    panels: [
      { expr: 'rate(a_total{path="/x?y=1&z", le=~"a+b"}[5m])\n# 100 %', view: 'graph', stack: true, log: false, exemplars: true, unit: 'bytes/s' },
      { expr: '', view: 'table', stack: false, log: true, exemplars: false, unit: 'auto' },
      { expr: 'h', view: 'heat', stack: false, log: false, exemplars: false, unit: 'seconds' },
    ],
    range: { from: '2026-11-21T08:00:00Z', to: '2026-11-21T09:00:00Z' }, step: '30s', refresh: '1m',
  }
  assert.deepEqual(fromSearch(toSearch(s)), s)
})

test('nothing, and nonsense, give the default', () => {
  const def: ExploreState = { panels: [newPanel()], range: { from: 'now-1h', to: 'now' }, step: '', refresh: '' }
  assert.deepEqual(fromSearch(''), def)
  assert.deepEqual(fromSearch('?from=x&to=now&step=-1&refresh=soon&g1.expr=lost'), def)
})

test('links made for the Prometheus graph page work', () => {
  const s = fromSearch('?g0.expr=up&g0.tab=1&g0.range_input=2h&g1.expr=x&g1.stacked=1')
  assert.equal(s.panels.length, 2)
  assert.equal(s.panels[0].view, 'table')
  assert.ok(s.panels[1].stack)
  assert.deepEqual(s.range, { from: 'now-2h', to: 'now' })
  const fixed = fromSearch('?g0.expr=up&g0.range_input=1h&g0.end_input=2026-11-21%2010%3A00%3A00')
  assert.deepEqual(fixed.range, { from: '2026-11-21T09:00:00.000Z', to: '2026-11-21T10:00:00.000Z' })
})

test('panels are bounded', () => {
  const q = Array.from({ length: 100 }, (_, i) => `g${i}.expr=up`).join('&')
  assert.equal(fromSearch('?' + q).panels.length, PANELS_MAX)
})

test('links to Explore', () => {
  assert.deepEqual(fromSearch(exploreLink(['a', 'b']).slice('/explore'.length)).panels.map((p) => p.expr), ['a', 'b'])
})
