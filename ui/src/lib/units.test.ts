import test from 'node:test'
import assert from 'node:assert/strict'
import { format, formatExact, formatTicks, guessUnit, type Unit } from './units'

test('values are written with their unit', () => {
  const rows: [number | null, Unit, string][] = [
    [null, 'short', '–'], [NaN, 'short', 'NaN'], [Infinity, 'bytes', '+Inf'], [-Infinity, 'seconds', '-Inf'],
    [0, 'short', '0'], [1, 'short', '1'], [999, 'short', '999'], [999.9, 'short', '1000'], [1000, 'short', '1k'], [1234567, 'short', '1.23M'], [-1500, 'short', '-1.5k'],
    [0.00012345, 'short', '0.000123'], [1e-9, 'short', '1e-9'], 
    [0, 'bytes', '0 B'], [1023, 'bytes', '1023 B'], [1000, 'bytes', '1000 B'], [1536, 'bytes', '1.5 KiB'], [5 * 2 ** 30, 'bytes', '5 GiB'], [2048, 'bytes/s', '2 KiB/s'],
    [0, 'seconds', '0 s'], [2e-9, 'seconds', '2 ns'], [0.00025, 'seconds', '250 µs'], [0.0425, 'seconds', '42.5 ms'], [0.99999, 'seconds', '1 s'], [59.99, 'seconds', '1m'], [90, 'seconds', '1m 30s'],
    [3600, 'seconds', '1h'], [7260, 'seconds', '2h 1m'], [90000, 'seconds', '1d 1h'], [-90, 'seconds', '-1m 30s'],
    [0.0123, 'ratio', '1.23 %'], [42, 'percent', '42 %'], [120, 'per-second', '120/s'], [0.25, 'cores', '250 mcores'], [2, 'cores', '2 cores'],
  ]
  for (const [v, unit, want] of rows) assert.equal(format(v, unit), want, `${v} ${unit}`)
})

test('exact values keep every digit', () => {
  assert.equal(formatExact(1234567.25), '1\u2009234\u2009567.25')
  assert.equal(formatExact(0.1), '0.1')
  assert.equal(formatExact(NaN), 'NaN')
})

test('two ticks never read the same', () => {
  const ticks = [1000000, 1000001, 1000002]
  assert.equal(new Set(formatTicks(ticks, 'short')).size, 3)
  assert.deepEqual(formatTicks([0, 50, 100], 'short'), ['0', '50', '100'])
})

test('the unit is guessed from the query', () => {
  const rows: [string, Unit][] = [
    ['up', 'short'], ['http_requests_total', 'short'], ['rate(http_requests_total[5m])', 'per-second'],
    ['sum by (job) (rate(http_requests_total{path="/a_bytes"}[5m]))', 'per-second'],
    ['histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))', 'seconds'],
    ['process_resident_memory_bytes', 'bytes'], ['node_memory_MemAvailable_bytes', 'bytes'], ['rate(node_network_receive_bytes_total[1m])', 'bytes/s'],
    ['rate(process_cpu_seconds_total[1m])', 'cores'], ['rate(node_pressure_io_waiting_seconds_total[1m])', 'ratio'],
    ['1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes', 'ratio'],
    ['sum(rate(a_requests_total{code=~"5.."}[5m])) / sum(rate(a_requests_total[5m]))', 'ratio'],
    ['rate(x_duration_seconds_sum[5m]) / rate(x_duration_seconds_count[5m])', 'seconds'],
    ['100 * a_ratio', 'percent'], ['count(node_memory_MemFree_bytes)', 'short'],
  ]
  for (const [q, want] of rows) assert.equal(guessUnit(q), want, q)
})
