// What the overview asks for: which metrics a service has, and the queries over them. Pure functions, tested in
// overview-data.test.ts; the page itself is overview.tsx.

import { escapeRegex, quote, selector } from '../lib/promql'
import type { Unit } from '../lib/units'

/** Where a service's latency comes from. */
export interface Latency { base: string; kind: 'classic' | 'native' | 'none'; scale: number }
/** What counts a service's requests; `code` is the label that tells errors, '' when there is none. */
export interface Requests { metric: string; native: boolean; code: string }
export interface Service { job: string; latency: Latency | null; requests: Requests | null; cpu: string; memory: string }

const LATENCY = /^(?:.+_)?(?:requests?|query|queries|handling|operation|server|rpc|call)(?:_duration|_latency)?_(seconds|milliseconds)$/
const COUNTER = /^(?:.+_)?(?:requests|handled)_total$/
/** Counts of scrapes of /metrics and of the kernel's I/O: not the service's requests. */
const SCRAPES = /^promhttp_|^scrape_|^node_/
const CPU = ['process_cpu_seconds_total', 'process_cpu_time_seconds_total', 'container_cpu_usage_seconds_total']
const MEMORY = ['process_resident_memory_bytes', 'process_memory_usage_bytes', 'container_memory_working_set_bytes']

/** In order of preference; earlier is better. Client-side metrics are a service's view of others, so they come last. */
const KNOWN = [
  'http_server_request_duration_seconds', 'http_request_duration_seconds', 'http_server_requests_seconds', 'http_server_duration_seconds',
  'http_server_duration_milliseconds', 'grpc_server_handling_seconds', 'rpc_server_duration_seconds', 'rpc_server_duration_milliseconds',
]
function rank(base: string): number {
  const known = KNOWN.indexOf(base)
  if (known >= 0) return known
  if (/client|downstream|upstream|external/.test(base)) return 90
  if (/http_request_duration/.test(base)) return 20
  if (/request_duration/.test(base)) return 30
  return 40
}
function counterRank(name: string): number {
  if (name === 'http_requests_total') return 0
  if (/client|upstream|external/.test(name)) return 90
  return /http_requests_total$/.test(name) ? 10 : /handled_total$/.test(name) ? 20 : 30
}

/** Metric names that can say something about a service; the question "which job has which" is asked about these only. */
export function serviceMetrics(names: string[]): string[] {
  const set = new Set(names)
  return names.filter((n) =>
    (COUNTER.test(n) && !SCRAPES.test(n)) || CPU.includes(n) || MEMORY.includes(n) ||
    (n.endsWith('_count') && LATENCY.test(n.slice(0, -6))) ||
    // a native histogram, which another job may have as a classic; with a count and no buckets it is a summary
    (LATENCY.test(n) && (!set.has(n + '_count') || set.has(n + '_bucket'))))
}

/** Labels that carry the outcome of a request, best first. */
const CODES = ['http_response_status_code', 'status_code', 'http_status_code', 'code', 'status', 'http_status', 'response_code', 'grpc_code', 'rpc_grpc_status_code', 'grpc_status', 'outcome', 'result']
export const codeLabel = (labels: string[]): string => CODES.find((c) => labels.includes(c)) ?? ''

function errorMatcher(code: string): string {
  if (/grpc/.test(code)) return `${code}=~"Unknown|DeadlineExceeded|ResourceExhausted|Unimplemented|Internal|Unavailable|DataLoss|2|4|8|12|13|14|15"`
  return `${code}=~"5..|5xx|(?i:error|failure|failed|server_error)"`
}

/** One service per job, from `count by (job, __name__)` over serviceMetrics(). `codes`: metric -> its outcome label. */
export function services(jobs: string[], has: { job: string; name: string }[], names: string[], codes: Record<string, string>): Service[] {
  const all = new Set(names)
  const list = [...new Set([...jobs, ...has.map((h) => h.job)])].filter((j) => j !== '').map((job): Service => {
    const mine = has.filter((h) => h.job === job).map((h) => h.name)
    const bases = mine.map((n) => (n.endsWith('_count') ? n.slice(0, -6) : n)).filter((b) => LATENCY.test(b)).sort((a, b) => rank(a) - rank(b) || a.localeCompare(b))
    const counters = mine.filter((n) => COUNTER.test(n)).sort((a, b) => counterRank(a) - counterRank(b) || a.localeCompare(b))
    const base = bases[0]
    let latency: Latency | null = null
    if (base) {
      const scale = base.endsWith('_milliseconds') ? 0.001 : 1
      const kind = mine.includes(base) ? 'native' : all.has(base + '_bucket') ? 'classic' : 'none'
      latency = { base, kind, scale }
    }
    const fromLatency: Requests | null = latency && (latency.kind === 'native'
      ? { metric: base, native: true, code: codes[base] ?? '' }
      : { metric: base + '_count', native: false, code: codes[base + '_count'] ?? '' })
    const coded = counters.find((c) => codes[c])
    const fromCounter: Requests | null = counters.length ? { metric: coded ?? counters[0], native: false, code: codes[coded ?? counters[0]] ?? '' } : null
    const requests = fromLatency?.code ? fromLatency : fromCounter?.code && (!fromLatency || related(fromCounter.metric, base)) ? fromCounter : fromLatency ?? fromCounter
    return { job, latency: latency && latency.kind !== 'none' ? latency : null, requests, cpu: CPU.find((n) => mine.includes(n)) ?? '', memory: MEMORY.find((n) => mine.includes(n)) ?? '' }
  })
  return list.sort((a, b) => Number(!a.requests) - Number(!b.requests) || a.job.localeCompare(b.job))
}

/** prometheus_http_requests_total counts what prometheus_http_request_duration_seconds times. */
const related = (counter: string, base: string): boolean => counter.replace(/s_total$/, '') === base.replace(/_(duration_)?(milli)?seconds$/, '')

export type Measure = 'rate' | 'errors' | 'p50' | 'p95' | 'p99' | 'cpu' | 'memory'
export const MEASURES: { id: Measure; unit: Unit }[] = [
  { id: 'rate', unit: 'per-second' }, { id: 'errors', unit: 'ratio' }, { id: 'p50', unit: 'seconds' }, { id: 'p95', unit: 'seconds' },
  { id: 'p99', unit: 'seconds' }, { id: 'cpu', unit: 'cores' }, { id: 'memory', unit: 'bytes' },
]

/** The query of one measure for jobs that share their metrics. `by`: kept labels. '' when they have no such measure. */
function expr(m: Measure, s: Service, jobs: string[], w: string, by = 'job'): string {
  const job = jobs.length === 1 ? `job=${quote(jobs[0])}` : `job=~${quote(jobs.map(escapeRegex).join('|'))}`
  const requests = (extra = '') => {
    const r = `sum by (${by}) (rate(${selector(s.requests!.metric, job + extra)}[${w}]))`
    return s.requests!.native ? `histogram_count(${r})` : r
  }
  switch (m) {
    case 'rate': return s.requests ? requests() : ''
    case 'errors': return s.requests?.code ? `(${requests(',' + errorMatcher(s.requests.code))} or 0 * ${requests()}) / ${requests()}` : ''
    case 'p50': case 'p95': case 'p99': {
      if (!s.latency) return ''
      const q = m === 'p50' ? '0.5' : m === 'p95' ? '0.95' : '0.99'
      const h = s.latency.kind === 'classic'
        ? `sum by (${by}, le) (rate(${selector(s.latency.base + '_bucket', job)}[${w}]))`
        : `sum by (${by}) (rate(${selector(s.latency.base, job)}[${w}]))`
      return `histogram_quantile(${q}, ${h})` + (s.latency.scale === 1 ? '' : ` * ${s.latency.scale}`)
    }
    case 'cpu': return s.cpu ? `sum by (${by}) (rate(${selector(s.cpu, job)}[${w}]))` : ''
    case 'memory': return s.memory ? `sum by (${by}) (${selector(s.memory, job)})` : ''
  }
}

/** One query that answers a measure for every service: services with the same metrics share a term. */
export function measureQuery(m: Measure, list: Service[], w: string): string {
  const terms = new Map<string, { s: Service; jobs: string[] }>()
  for (const s of list) {
    const shape = expr(m, s, ['\0'], w)
    if (shape) terms.set(shape, { s, jobs: [...(terms.get(shape)?.jobs ?? []), s.job] })
  }
  return [...terms.values()].map((t) => expr(m, t.s, t.jobs, w)).join(' or ')
}

/** What a click on a cell opens. */
export const cellQuery = (m: Measure, s: Service, w: string): string => expr(m, s, [s.job], w)

/** What a click on a service opens: its rate by outcome, its errors, its quantiles. */
export function serviceQueries(s: Service, w: string): string[] {
  const out: string[] = []
  if (s.requests) out.push(expr('rate', s, [s.job], w, s.requests.code || 'job'))
  if (s.requests?.code) out.push(expr('errors', s, [s.job], w))
  if (s.latency) {
    const q = (p: Measure, name: string) => `label_replace(${expr(p, s, [s.job], w)}, "quantile", ${quote(name)}, "", "")`
    out.push(`${q('p50', 'p50')}\nor ${q('p95', 'p95')}\nor ${q('p99', 'p99')}`)
  }
  if (out.length === 0) {
    if (s.cpu) out.push(expr('cpu', s, [s.job], w))
    if (s.memory) out.push(expr('memory', s, [s.job], w))
  }
  return out.length ? out : [`up{job=${quote(s.job)}}`]
}

export interface HostMeasure { id: string; name: string; unit: Unit; needs: string; query: (w: string, only?: string) => string; max?: number; warn?: number; bad?: number }

/** Measures of a host from node_exporter's names, by instance. */
export const HOST: HostMeasure[] = [
  { id: 'cpu', name: 'CPU', unit: 'ratio', needs: 'node_cpu_seconds_total', max: 1, warn: 0.8, bad: 0.95, query: (w, o = '') => `1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"${o && ',' + o}}[${w}]))` },
  { id: 'memory', name: 'Memory', unit: 'ratio', needs: 'node_memory_MemAvailable_bytes', max: 1, warn: 0.85, bad: 0.95, query: (_, o = '') => `max by (instance) (1 - node_memory_MemAvailable_bytes{${o}} / node_memory_MemTotal_bytes{${o}})` },
  { id: 'disk', name: 'Fullest disk', unit: 'ratio', needs: 'node_filesystem_avail_bytes', max: 1, warn: 0.8, bad: 0.92, query: (_, o = '') => `max by (instance) (1 - node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs|overlay|squashfs|devtmpfs|fuse.*|iso9660"${o && ',' + o}} / node_filesystem_size_bytes{${o}})` },
  { id: 'io', name: 'Disk I/O', unit: 'bytes/s', needs: 'node_disk_read_bytes_total', query: (w, o = '') => `sum by (instance) (rate(node_disk_read_bytes_total{${o}}[${w}]) + rate(node_disk_written_bytes_total{${o}}[${w}]))` },
  { id: 'rx', name: 'Network in', unit: 'bytes/s', needs: 'node_network_receive_bytes_total', query: (w, o = '') => `sum by (instance) (rate(node_network_receive_bytes_total{device!="lo"${o && ',' + o}}[${w}]))` },
  { id: 'tx', name: 'Network out', unit: 'bytes/s', needs: 'node_network_transmit_bytes_total', query: (w, o = '') => `sum by (instance) (rate(node_network_transmit_bytes_total{device!="lo"${o && ',' + o}}[${w}]))` },
  { id: 'load', name: 'Load', unit: 'short', needs: 'node_load1', query: (_, o = '') => `max by (instance) (node_load1{${o}})` },
  { id: 'psi-cpu', name: 'CPU pressure', unit: 'ratio', needs: 'node_pressure_cpu_waiting_seconds_total', warn: 0.25, bad: 0.6, query: (w, o = '') => `max by (instance) (rate(node_pressure_cpu_waiting_seconds_total{${o}}[${w}]))` },
  { id: 'psi-memory', name: 'Memory pressure', unit: 'ratio', needs: 'node_pressure_memory_waiting_seconds_total', warn: 0.05, bad: 0.2, query: (w, o = '') => `max by (instance) (rate(node_pressure_memory_waiting_seconds_total{${o}}[${w}]))` },
  { id: 'psi-io', name: 'I/O pressure', unit: 'ratio', needs: 'node_pressure_io_waiting_seconds_total', warn: 0.2, bad: 0.5, query: (w, o = '') => `max by (instance) (rate(node_pressure_io_waiting_seconds_total{${o}}[${w}]))` },
]

/** The store's own health, by the first name that exists. */
export const STORE: { id: string; name: string; unit: Unit; candidates: { needs: string; query: (w: string) => string }[] }[] = [
  { id: 'series', name: 'Active series', unit: 'short', candidates: [
    { needs: 'vane_tsdb_head_series', query: () => 'sum(vane_tsdb_head_series)' },
    { needs: 'prometheus_tsdb_head_series', query: () => 'sum(prometheus_tsdb_head_series)' }] },
  { id: 'samples', name: 'Samples in', unit: 'per-second', candidates: [
    { needs: 'vane_tsdb_samples_appended_total', query: (w) => `sum(rate(vane_tsdb_samples_appended_total[${w}]))` },
    { needs: 'prometheus_tsdb_head_samples_appended_total', query: (w) => `sum(rate(prometheus_tsdb_head_samples_appended_total[${w}]))` },
    { needs: 'scrape_samples_post_metric_relabeling', query: (w) => `sum(sum_over_time(scrape_samples_post_metric_relabeling[${w}])) / ${w.replace('s', '')}` }] },
  { id: 'bytes', name: 'On disk', unit: 'bytes', candidates: [
    { needs: 'vane_store_segment_bytes', query: () => 'sum(vane_store_segment_bytes) + (sum(vane_store_wal_live_bytes) or vector(0))' },
    { needs: 'prometheus_tsdb_storage_blocks_bytes', query: () => 'sum(prometheus_tsdb_storage_blocks_bytes) + (sum(prometheus_tsdb_wal_storage_size_bytes) or vector(0))' }] },
]
