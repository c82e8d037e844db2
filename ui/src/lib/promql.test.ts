import test from 'node:test'
import assert from 'node:assert/strict'
import { errorPlace, escapeRegex, quote, selector, seriesName, splitCommon, suggestQuery } from './promql'

test('names and values are quoted where they must be', () => {
  assert.equal(quote('a"b\\c\n'), '"a\\"b\\\\c\\n"')
  assert.equal(selector('up'), 'up')
  assert.equal(selector('http.requests'), '{"http.requests"}')
  assert.equal(selector('http.requests', 'a="b"'), '{"http.requests",a="b"}')
  assert.equal(seriesName({ __name__: 'up', job: 'a', 'host.name': 'x' }), 'up{"host.name"="x", job="a"}')
  assert.equal(seriesName({}), '{}')
  assert.ok(new RegExp(`^${escapeRegex('a.b|c(d)')}$`).test('a.b|c(d)'))
})

test('labels all series share are split off', () => {
  const { common, own } = splitCommon([{ job: 'a', i: '1' }, { job: 'a', i: '2', x: '' }])
  assert.deepEqual(common, { job: 'a' })
  assert.deepEqual(own, [{ i: '1' }, { i: '2', x: '' }])
  assert.deepEqual(splitCommon([{ job: 'a' }]), { common: {}, own: [{ job: 'a' }] })
})

test('the place of an error', () => {
  const q = 'sum(rate(x[5m]) by\n  (job'
  const rows: [string, number | null, number, number][] = [
    ['invalid parameter "query": 1:17: parse error: unexpected <by> in aggregation', 16, 1, 17],
    ['2:4: parse error: unexpected end of input', 22, 2, 4],
    ['1:1: parse error: bad', 0, 1, 1],
    ['PromQL info: metric might not be a counter: "x" (1:10)', 9, 1, 10],
    ['query timed out in expression evaluation', null, 0, 0],
    ['9:1: parse error: no such line', null, 0, 0],
  ]
  for (const [message, from, line, column] of rows) {
    const p = errorPlace(message, q)
    if (from === null) assert.equal(p, null, message)
    else assert.deepEqual([p?.from, p?.line, p?.column], [from, line, column], message)
  }
  assert.equal(errorPlace('invalid parameter "query": 1:17: parse error: unexpected <by> in aggregation', q)?.text, 'unexpected <by> in aggregation')
})

test('first queries', () => {
  assert.equal(suggestQuery('a_total', 'counter'), 'rate(a_total[5m])')
  assert.equal(suggestQuery('d_seconds_count', 'histogram'), 'rate(d_seconds_count[5m])')
  assert.match(suggestQuery('d_seconds_bucket', 'histogram'), /histogram_quantile\(0\.95, sum by \(le\) \(rate\(d_seconds_bucket\[5m\]\)\)\)/)
  assert.equal(suggestQuery('temperature', 'gauge'), 'temperature')
})
