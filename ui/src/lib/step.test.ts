import test from 'node:test'
import assert from 'node:assert/strict'
import { chooseStep, grid, limitStep, POINTS_MAX, rateWindow } from './step'

test('steps are round and fit the width', () => {
  assert.equal(chooseStep(3600_000, 1200), 10)
  assert.equal(chooseStep(300_000, 1200), 1)
  assert.equal(chooseStep(86_400_000, 1200), 300)
  assert.equal(chooseStep(3600_000, 0), 60)
})

test('no range and width passes the limit of points', () => {
  for (const hours of [0.01, 0.1, 1, 6, 24, 168, 720, 8760, 87600])
    for (const width of [100, 390, 1440, 5000]) {
      const step = chooseStep(hours * 3600_000, width)
      assert.ok(hours * 3600 / step <= POINTS_MAX, `${hours} h at ${width} px`)
    }
  assert.ok((7 * 86400) / limitStep(1, 7 * 86400_000) <= POINTS_MAX)
  assert.equal(limitStep(15, 3600_000), 15)
})

test('the grid is aligned, inside the range and does not move within a step', () => {
  assert.deepEqual(grid(1000_500, 1060_000, 15), { start: 1005, end: 1050, n: 4 })
  assert.deepEqual(grid(1000_500, 1060_000, 15), grid(1001_000, 1061_000, 15))
  assert.equal(grid(1000_000, 1000_100, 15).n, 1)
})

test('rate windows hold four scrapes', () => {
  assert.equal(rateWindow(10, 15), 60)
  assert.equal(rateWindow(10, 60), 240)
  assert.equal(rateWindow(600, 15), 600)
})
