import test from 'node:test'
import assert from 'node:assert/strict'
import { cellQuery, codeLabel, measureQuery, serviceMetrics, serviceQueries, services } from './overview-data'

const NAMES = ['up', 'http_request_duration_seconds_bucket', 'http_request_duration_seconds_count', 'http_request_duration_seconds_sum', 'http_requests_total',
  'http_server_request_duration_seconds', 'db_client_operation_duration_seconds_count', 'db_client_operation_duration_seconds_bucket',
  'process_cpu_seconds_total', 'process_resident_memory_bytes', 'promhttp_metric_handler_requests_total', 'node_nfs_requests_total', 'rpc_server_duration_milliseconds_count', 'rpc_server_duration_milliseconds_bucket']

test('only names that tell about a service are asked for', () => {
  assert.deepEqual(serviceMetrics(NAMES).sort(), ['db_client_operation_duration_seconds_count', 'http_request_duration_seconds_count', 'http_requests_total',
    'http_server_request_duration_seconds', 'process_cpu_seconds_total', 'process_resident_memory_bytes', 'rpc_server_duration_milliseconds_count'])
})

const list = services(['shop', 'node', 'otel', 'rpc'], [
  { job: 'shop', name: 'http_request_duration_seconds_count' }, { job: 'shop', name: 'http_requests_total' }, { job: 'shop', name: 'db_client_operation_duration_seconds_count' },
  { job: 'shop', name: 'process_cpu_seconds_total' }, { job: 'otel', name: 'http_server_request_duration_seconds' }, { job: 'rpc', name: 'rpc_server_duration_milliseconds_count' },
], NAMES, { http_request_duration_seconds_count: 'status', http_requests_total: 'code', http_server_request_duration_seconds: 'http_response_status_code' })

test('a service uses its own server-side metrics', () => {
  const shop = list.find((s) => s.job === 'shop')!
  assert.deepEqual(shop.latency, { base: 'http_request_duration_seconds', kind: 'classic', scale: 1 })
  assert.deepEqual(shop.requests, { metric: 'http_request_duration_seconds_count', native: false, code: 'status' })
  assert.equal(list.find((s) => s.job === 'otel')!.latency!.kind, 'native')
  assert.equal(list.find((s) => s.job === 'node')!.requests, null)
  assert.equal(list[list.length - 1].job, 'node', 'services without requests come last')
})

test('one histogram, classic in one job and native in another', () => {
  const names = ['http_client_request_duration_seconds', 'http_client_request_duration_seconds_bucket', 'http_client_request_duration_seconds_count', 'api_request_duration_seconds', 'api_request_duration_seconds_count']
  assert.deepEqual(serviceMetrics(names), [names[0], names[2], names[4]], 'the last is a summary')
  const both = services([], [{ job: 'shop', name: names[2] }, { job: 'traffic', name: names[0] }], names, {})
  assert.deepEqual(both.map((s) => [s.job, s.latency!.kind]), [['shop', 'classic'], ['traffic', 'native']])
})

test('queries', () => {
  const shop = list.find((s) => s.job === 'shop')!, otel = list.find((s) => s.job === 'otel')!, rpc = list.find((s) => s.job === 'rpc')!
  assert.equal(cellQuery('rate', shop, '60s'), 'sum by (job) (rate(http_request_duration_seconds_count{job="shop"}[60s]))')
  assert.equal(cellQuery('p95', otel, '60s'), 'histogram_quantile(0.95, sum by (job) (rate(http_server_request_duration_seconds{job="otel"}[60s])))')
  assert.match(cellQuery('p95', rpc, '60s'), /rpc_server_duration_milliseconds_bucket.* \* 0\.001$/)
  assert.match(cellQuery('errors', shop, '60s'), /status=~"5\.\.\|/)
  assert.equal(cellQuery('errors', rpc, '60s'), '')
  assert.equal(measureQuery('rate', list, '60s').split(' or ').length, 3)
  assert.equal(serviceQueries(shop, '60s').length, 3)
  assert.deepEqual(serviceQueries(list.find((s) => s.job === 'node')!, '60s'), ['up{job="node"}'])
})

test('jobs with odd names are matched literally', () => {
  const odd = services([], [{ job: 'a.b|c', name: 'http_requests_total' }, { job: 'd"e', name: 'http_requests_total' }], ['http_requests_total'], {})
  assert.equal(measureQuery('rate', odd, '60s'), 'sum by (job) (rate(http_requests_total{job=~"a\\\\.b\\\\|c|d\\"e"}[60s]))')
})

test('outcome labels', () => {
  assert.equal(codeLabel(['job', 'status', 'method']), 'status')
  assert.equal(codeLabel(['job']), '')
})
