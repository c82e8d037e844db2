import assert from 'node:assert/strict'
import test from 'node:test'
import { belongs, matcherText, parseMatcher, parseMatchers, saysNothing, threshold } from './alerting'

test('matchers are read as they are written', () => {
  assert.deepEqual(parseMatcher('a="b"'), { name: 'a', value: 'b', isRegex: false, isEqual: true })
  assert.deepEqual(parseMatcher(' a !~ "b|c" '), { name: 'a', value: 'b|c', isRegex: true, isEqual: false })
  assert.deepEqual(parseMatcher('a=b'), { name: 'a', value: 'b', isRegex: false, isEqual: true })
  assert.deepEqual(parseMatcher('"a b"="c\\"d"'), { name: 'a b', value: 'c"d', isRegex: false, isEqual: true })
  for (const bad of ['', 'a', '="b"', 'a="b', 'a="b"c"']) assert.equal(parseMatcher(bad), null, bad)
  assert.deepEqual(parseMatchers('{a="x,y", b=~"z"}')!.map(matcherText), ['a="x,y"', 'b=~"z"'])
  assert.deepEqual(parseMatchers('{}'), [])
  assert.equal(parseMatchers('a="b", c'), null)
  for (const text of ['a="b"', '"a.b"!="c\\nd"', 'x=~"\\\\d+"']) assert.equal(matcherText(parseMatcher(text)!), text)
})

test('filters that match everything are known', () => {
  assert.ok(saysNothing([]))
  assert.ok(saysNothing(parseMatchers('a=~".*"')!))
  assert.ok(saysNothing(parseMatchers('a=""')!))
  assert.ok(!saysNothing(parseMatchers('a=~".+"')!))
  assert.ok(!saysNothing(parseMatchers('a=~".*", b="c"')!))
})

test('thresholds of expressions', () => {
  const cases: [string, unknown][] = [
    ['up == 0', { expr: 'up', op: '==', value: 0 }],
    ['(rate(x[5m]) > bool 24 * 3600)', { expr: 'rate(x[5m])', op: '>', value: 86400 }],
    ['5 < foo{a="x > y"}', { expr: 'foo{a="x > y"}', op: '>', value: 5 }],
    ['a / b >= 0.05 and on () c > 3', { expr: 'a / b', op: '>=', value: 0.05 }],
    ['(a > 1) or (b > 2)', null],
    ['(a) > (b)', null],
    ['x', null],
    ['(a > 1) * (b > 2)', null],
    ['sum(up{job!="x"}) != 3 # why', { expr: 'sum(up{job!="x"})', op: '!=', value: 3 }],
    ['x < -1e3', { expr: 'x', op: '<', value: -1000 }],
  ]
  for (const [expr, want] of cases) assert.deepEqual(threshold(expr), want, expr)
})

test('series of an alert', () => {
  assert.ok(belongs({ __name__: 'up', job: 'a' }, { alertname: 'X', job: 'a', severity: 'page' }))
  assert.ok(!belongs({ job: 'b' }, { alertname: 'X', job: 'a' }))
})
