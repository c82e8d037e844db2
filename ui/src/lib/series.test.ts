import test from 'node:test'
import assert from 'node:assert/strict'
import { heatData } from '../explore/heat'
import { stack, summarise, toFrame } from './series'

test('series land on the grid, gaps are null', () => {
  const f = toFrame([{ metric: { a: '1' }, values: [[10, '1'], [30, 'NaN'], [40, '+Inf']] }], 10, 40, 10)
  assert.deepEqual(f.times, [10, 20, 30, 40])
  assert.deepEqual(f.lines[0].values, [1, null, NaN, Infinity])
})

test('figures skip what is missing', () => {
  assert.deepEqual(summarise([null, 1, 3, NaN, null]), { last: 3, min: 1, max: 3, avg: 2 })
  assert.deepEqual(summarise([null]), { last: null, min: null, max: null, avg: null })
})

test('stacks add up', () => {
  assert.deepEqual(stack([[1, null], [2, 3]]), [[1, 0], [3, 3]])
})

test('classic buckets become a heatmap', () => {
  const s = (le: string, v: string) => ({ metric: { le }, values: [[10, v]] as [number, string][] })
  const h = heatData([s('+Inf', '10'), s('0.1', '4'), s('1', '9')], 10, 10, 5)!
  assert.deepEqual(h.bounds, [[0, 0.1], [0.1, 1], [1, Infinity]])
  assert.deepEqual(h.cells.map((c) => c[0]), [4, 5, 1])
  assert.equal(h.max, 5)
})

test('native histograms become a heatmap', () => {
  const h = heatData([{ metric: {}, histograms: [[10, { count: '3', sum: '4', buckets: [[0, '1', '2', '1'], [0, '2', '4', '2']] }]] }], 10, 10, 5)!
  assert.deepEqual(h.bounds, [[1, 2], [2, 4]])
  assert.deepEqual(h.cells.map((c) => c[0]), [1, 2])
})
