import test from 'node:test'
import assert from 'node:assert/strict'
import { absolute, describeRange, formatAgo, formatDuration, formatTime, parseDuration, parseTime, resolveRange, shift, zoomOut } from './time'

const NOW = Date.UTC(2026, 10, 21, 12, 0, 0)

test('durations', () => {
  const rows: [string, number][] = [['5m', 300_000], ['1h30m', 5_400_000], ['1w', 604_800_000], ['90', 90_000], ['0.5', 500], ['250ms', 250], ['1h 5m', 3_900_000], ['', NaN], ['5x', NaN], ['m', NaN], ['-5m', NaN]]
  for (const [text, want] of rows) assert.equal(parseDuration(text), want, text)
  assert.equal(formatDuration(5_400_000), '1h30m')
  assert.equal(formatDuration(0), '0s')
  assert.equal(formatDuration(86_400_000 + 1500), '1d1s500ms')
})

test('points in time', () => {
  const rows: [string, number][] = [
    ['now', NOW], ['now-1h', NOW - 3600_000], ['now + 30m', NOW + 1800_000], ['2026-11-21', Date.UTC(2026, 10, 21)], ['2026-11-21 10:30', Date.UTC(2026, 10, 21, 10, 30)],
    ['2026-11-21T10:30:15.250Z', Date.UTC(2026, 10, 21, 10, 30, 15, 250)], ['2026-11-21T10:30:00+02:00', Date.UTC(2026, 10, 21, 8, 30)], ['2026-11-21 10:30:00 -0130', Date.UTC(2026, 10, 21, 12)],
    ['1795262400000', 1795262400000], ['1795262400', 1795262400000], ['', NaN], ['yesterday', NaN], ['2026-13-01', NaN], ['2026-11-21 10:61', NaN], ['now-', NaN], ['now-5x', NaN],
  ]
  for (const [text, want] of rows) assert.equal(parseTime(text, NOW, true), want, text)
})

test('a local time is read in the local zone', () => {
  assert.equal(parseTime('2026-07-01 08:00', NOW, false), new Date(2026, 6, 1, 8).getTime())
  assert.equal(formatTime(new Date(2026, 6, 1, 8).getTime(), false), '2026-07-01 08:00:00')
})

test('ranges', () => {
  assert.deepEqual(resolveRange({ from: 'now-1h', to: 'now' }, NOW, true), { from: NOW - 3600_000, to: NOW })
  assert.equal(resolveRange({ from: 'now', to: 'now-1h' }, NOW, true), null)
  assert.equal(resolveRange({ from: 'x', to: 'now' }, NOW, true), null)
  assert.equal(describeRange({ from: 'now-1h', to: 'now' }, true), 'Last hour')
  assert.equal(describeRange({ from: 'now-42m', to: 'now' }, true), 'Last 42m')
  assert.equal(describeRange({ from: '2026-11-21T08:00:00Z', to: '2026-11-21T09:30:00Z' }, true), '2026-11-21 08:00 to 09:30')
})

test('an absolute range resolves to itself', () => {
  const span = { from: NOW - 1234_000, to: NOW }
  assert.deepEqual(resolveRange(absolute(span), NOW, true), span)
})

test('shifting and zooming stop at now', () => {
  const span = { from: NOW - 3600_000, to: NOW - 600_000 }
  assert.deepEqual(shift(span, 1, NOW), { from: NOW - 3000_000, to: NOW })
  assert.deepEqual(shift(span, -2, NOW), { from: NOW - 6600_000, to: NOW - 3600_000 })
  const wide = zoomOut({ from: NOW - 3600_000, to: NOW }, NOW)
  assert.equal(wide.to, NOW)
  assert.equal(wide.to - wide.from, 7200_000)
})

test('ages', () => {
  const rows: [number, string][] = [[200, 'just now'], [5000, '5 s ago'], [600_000, '10 min ago'], [7_200_000, '2 h ago'], [864_000_000, '10 d ago'], [NaN, 'never'], [-60_000, 'in 60 s']]
  for (const [ms, want] of rows) assert.equal(formatAgo(ms), want)
})
