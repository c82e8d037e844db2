// The query API (Prometheus' HTTP API, same origin).

import { signal } from '@preact/signals'
import type { Labels } from './promql'

export type Sample = [number, string]
export interface HistogramJson { count: string; sum: string; buckets?: [number, string, string, string][] }
export interface InstantSeries { metric: Labels; value?: Sample; histogram?: [number, HistogramJson] }
export interface RangeSeries { metric: Labels; values?: Sample[]; histograms?: [number, HistogramJson][] }
export interface QueryStats {
  timings?: { evalTotalTime?: number; execTotalTime?: number }
  samples?: { totalQueryableSamples?: number; peakSamples?: number }
}
export type QueryData = { stats?: QueryStats } & (
  | { resultType: 'vector'; result: InstantSeries[] }
  | { resultType: 'matrix'; result: RangeSeries[] }
  | { resultType: 'scalar' | 'string'; result: Sample })
export interface Exemplar { labels: Labels; value: string; timestamp: number }
export interface ExemplarSeries { seriesLabels: Labels; exemplars: Exemplar[] }
export interface Metadata { type: string; help: string; unit: string }
export interface Target {
  labels: Labels; discoveredLabels: Labels; scrapePool: string; scrapeUrl: string; globalUrl?: string; lastError: string
  lastScrape: string; lastScrapeDuration: number; health: 'up' | 'down' | 'unknown'; scrapeInterval?: string; scrapeTimeout?: string
}
export interface Targets { activeTargets: Target[]; droppedTargets: { discoveredLabels: Labels; scrapePool?: string }[]; droppedTargetCounts?: Record<string, number> }
export interface RuleAlert { labels: Labels; annotations: Labels; state: 'pending' | 'firing'; activeAt: string; keepFiringSince?: string; value: string }
interface RuleBase { name: string; query: string; health: 'ok' | 'err' | 'unknown'; lastError?: string; evaluationTime: number; lastEvaluation: string }
export interface AlertingRule extends RuleBase {
  type: 'alerting'; state: 'inactive' | 'pending' | 'firing' | 'unknown'; duration: number; keepFiringFor: number; labels: Labels; annotations: Labels; alerts: RuleAlert[]
}
export interface RecordingRule extends RuleBase { type: 'recording'; labels?: Labels }
export type Rule = AlertingRule | RecordingRule
export interface RuleGroup { name: string; file: string; rules: Rule[]; interval: number; limit: number; evaluationTime: number; lastEvaluation: string }
export interface Rules { groups: RuleGroup[] }
export interface TsdbStatus {
  headStats?: { numSeries: number; numLabelPairs?: number; chunkCount?: number; minTime?: number; maxTime?: number }
  seriesCountByMetricName?: Count[]; labelValueCountByLabelName?: Count[]; memoryInBytesByLabelName?: Count[]; seriesCountByLabelValuePair?: Count[]
}
export interface Usage { name?: string; job?: string; instance?: string; series: number; created: number; limit: number }
export interface Overflow {
  limit: 'tenant' | 'job' | 'target' | 'metric' | 'store'; metric?: string; job?: string; instance?: string; max: number; active: boolean; since: string; last: string
  foldedSeries: number; foldedSamples: number; label: string; labels: { name: string; values: number; examples: string[] }[]; metrics: { name: string; foldedSeries: number }[]
}
export interface Cardinality extends TsdbStatus {
  series: number; labelPairs: number; labelNames: number; seriesCountByJob: Count[]
  limits: { seriesPerTenant: number; seriesPerJob: number; seriesPerTarget: number; seriesPerMetric: number }
  usage: { series: number; jobs: Usage[]; targets: Usage[]; metrics: Usage[] }
  churn: { created: number; jobs: Usage[]; metrics: Usage[] }
  overflows: Overflow[]
  replicas: { cluster: string; replica: string; lastSeen: string; elected: string; changes: number; droppedSamples: number }[]
}
export interface Count { name: string; value: number }

export interface Answer<T> { data: T; warnings: string[]; infos: string[]; ms: number; bytes: number }

/** The server said no, or could not be reached (type 'unreachable'). */
export class ApiError extends Error {
  constructor(readonly type: string, message: string, readonly status: number) {
    super(message)
  }
}

/** Whether the last request reached the server: the shell shows a banner when not. */
export const reachable = signal(true)

/** Whose data is asked for, while the server keeps tenants apart: for this browser session. */
export const tenant = signal(sessionTenant())
export const tenantsOn = signal(tenant.value !== '')
function sessionTenant(): string {
  try {
    return sessionStorage.getItem('vane.tenant') ?? ''
  } catch {
    return ''
  }
}
export function setTenant(name: string): void {
  tenant.value = name
  try {
    sessionStorage.setItem('vane.tenant', name)
  } catch {
    // Forbidden storage: it lasts until the page is left.
  }
}

export type Params = Record<string, string | number | string[] | undefined>

/** `change`: another method than the reading one, with a JSON body or none. */
export async function api<T>(path: string, params: Params = {}, abort?: AbortSignal, change?: { method: 'POST' | 'DELETE'; json?: unknown }): Promise<Answer<T>> {
  const q = new URLSearchParams()
  for (const [k, v] of Object.entries(params)) {
    if (v === undefined) continue
    if (Array.isArray(v)) v.forEach((x) => q.append(k, x))
    else q.set(k, String(v))
  }
  const search = q.toString()
  const url = '/api/v1/' + path
  const started = performance.now()
  const headers: Record<string, string> = tenant.value ? { 'X-Scope-OrgID': tenant.value } : {}
  let response: Response, text: string
  try {
    // Short queries stay cacheable and visible in logs as GET; long ones would not fit a request line.
    if (change?.json !== undefined) headers['Content-Type'] = 'application/json'
    response = change
      ? await fetch(search ? `${url}?${search}` : url, { method: change.method, headers, signal: abort, body: change.json === undefined ? undefined : JSON.stringify(change.json) })
      : search.length < 4000
      ? await fetch(search ? `${url}?${search}` : url, { headers, signal: abort })
      : await fetch(url, { method: 'POST', headers, body: q, signal: abort })
    text = await response.text()
  } catch (e) {
    if (abort?.aborted) throw e
    reachable.value = false
    throw new ApiError('unreachable', 'The server cannot be reached.', 0)
  }
  reachable.value = response.status !== 502
  let body: { status?: string; data?: T; error?: string; errorType?: string; warnings?: string[]; infos?: string[] }
  try {
    body = JSON.parse(text)
  } catch {
    throw new ApiError('bad_response', `The server answered ${response.status} without JSON: ${text.slice(0, 200).trim() || response.statusText}`, response.status)
  }
  if (response.status === 401 && body.error === 'no org id') tenantsOn.value = true
  if (body.status !== 'success') throw new ApiError(body.errorType ?? 'error', body.error ?? `status ${response.status}`, response.status)
  return { data: body.data as T, warnings: body.warnings ?? [], infos: body.infos ?? [], ms: performance.now() - started, bytes: text.length }
}

export const isAbort = (e: unknown): boolean => e instanceof DOMException && e.name === 'AbortError'
export const errorText = (e: unknown): string => (e instanceof Error ? e.message : String(e))

/** Sample values are strings in the API because JSON has no NaN and no infinities. */
export function num(s: string): number {
  if (s === '+Inf' || s === 'Inf') return Infinity
  if (s === '-Inf') return -Infinity
  return Number(s)
}
