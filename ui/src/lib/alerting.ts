// Alertmanager's side of the API (/api/v2, /api/v1/alerting), matchers as people write them, and thresholds in expressions.

import { api, ApiError, isAbort, reachable, tenant, type Params } from './api'
import type { Labels } from './promql'
import { quote } from './promql'

export interface Matcher { name: string; value: string; isRegex: boolean; isEqual: boolean }
export interface Silence {
  id: string; status: { state: 'active' | 'pending' | 'expired' }; matchers: Matcher[]
  startsAt: string; endsAt: string; updatedAt: string; createdBy: string; comment: string
}
export interface Route {
  index: number; parent: number | null; id: string; matchers: string[]; continue: boolean; receiver: string; groupBy: string[]; groupByAll: boolean
  groupWait: string; groupInterval: string; repeatInterval: string; muteTimeIntervals: string[]; activeTimeIntervals: string[]; muted: boolean
}
export interface Integration { kind: string; index: number; sendResolved: boolean }
export interface Receiver { name: string; integrations: Integration[] }
export interface Routes { routes: Route[]; receivers: Receiver[]; timeIntervals: { name: string; now: boolean }[]; inhibitRules: number }
export interface RouteTest {
  labels: Labels; steps: { route: number; result: 'no' | 'passed' | 'taken' }[]
  matches: { route: number; receiver: string; group: Labels; muted: boolean }[]; silencedBy: string[]
}

export interface HistoryEvent {
  id: number; time: string; kind: string; fingerprint: string | null; labels: Labels; groupKey: string; receiver: string; integration: string
  actor: string; text: string; attempt: number; alerts: string[]; drill: boolean
}
export interface History { events: HistoryEvent[]; next: number | null; cut: boolean }
export interface Ack { fingerprint: string; labels: Labels; owner: string; comment: string; at: string; until: string | null }
export interface SentAlert { fingerprint: string; labels: Labels; generatorURL: string; receivers: string[]; silencedBy: string[]; inhibitedBy: string[]; ack: Pick<Ack, 'owner' | 'comment' | 'at' | 'until'> | null }
interface OfRule { name: string; group: string; query: string }
export interface ListedAlert { labels: Labels; annotations: Labels; state: 'firing' | 'pending'; since: string; value: string | null; rule: OfRule | null; sent: SentAlert | null }
export interface AlertGroup { key: string; title: string; firing: number; pending: number; rule?: OfRule | null; alerts: ListedAlert[] }
export interface AlertPage {
  configured: boolean; rules: number; failingRules: number; firing: number; pending: number; quiet: number; sent: number; matching: number
  groupsMatching: number; labelNames: string[]; groups: AlertGroup[]
}
export interface Explained { verdict: string; state: string; fingerprint: string | null; history: HistoryEvent[] }
export interface TestResult { receiver: string; ok: boolean; results: { integration: string; index: number; message: string; outcome: string; status: number | null; seconds: number; answer: string }[] }
export interface Backtest {
  start: string; end: string; complete: boolean; why?: string; routed: boolean; pages: number; pagesPerWeek: number
  rules: { group: string; name: string; type: string; evaluations: number; failures: number; lastError?: string; fired?: number; endedPending?: number; firingSeconds?: number; pages?: number; pagesPerWeek?: number
    receivers?: { name: string; pages: number; pagesPerWeek: number }[]; episodes?: { labels: Labels; value: string; activeAt: string; firedAt: string | null; resolvedAt: string | null }[] }[]
}

/** Alertmanager's API answers plain JSON, and errors as a string or {code, message}. */
export async function am<T>(path: string, opts: { method?: string; body?: unknown; abort?: AbortSignal } = {}): Promise<T> {
  const headers: Record<string, string> = tenant.value ? { 'X-Scope-OrgID': tenant.value } : {}
  if (opts.body !== undefined) headers['Content-Type'] = 'application/json'
  let response: Response, text: string
  try {
    response = await fetch('/api/v2/' + path, { method: opts.method, headers, signal: opts.abort, body: opts.body === undefined ? undefined : JSON.stringify(opts.body) })
    text = await response.text()
  } catch (e) {
    if (isAbort(e)) throw e
    reachable.value = false
    throw new ApiError('unreachable', 'The server cannot be reached.', 0)
  }
  reachable.value = response.status !== 502
  let body: unknown
  try {
    body = text ? JSON.parse(text) : undefined
  } catch {
    body = text.slice(0, 200)
  }
  if (response.ok) return body as T
  const said = body as { message?: string; error?: string } | string | undefined
  throw new ApiError('error', typeof said === 'string' ? said : (said?.message ?? said?.error ?? `status ${response.status}`), response.status)
}

/** Some groups of alerts with the first of each, and how many there are: small, however many fire. */
export const alertPage = async (params: Params, abort?: AbortSignal): Promise<AlertPage> => (await api<AlertPage>('alerting/alerts', params, abort)).data
/** Of those that the Alertmanager knows; how many these matchers match is `matching` of `sent`. */
export const sentPage = (params: Params, abort?: AbortSignal): Promise<AlertPage> => alertPage({ state: 'sent', ...params }, abort)
export const sentAlerts = (p: AlertPage): SentAlert[] => p.groups.flatMap((g) => g.alerts.flatMap((a) => a.sent ?? []))

/** What an Alertmanager has to say; null when none is configured. */
export async function ifConfigured<T>(ask: () => Promise<T>, abort?: AbortSignal): Promise<T | null> {
  return (await api<{ configured: boolean }>('alerting/status', {}, abort)).data.configured ? ask() : null
}

// ---- matchers ----
export const OPERATORS = ['=', '!=', '=~', '!~'] as const
export type Operator = (typeof OPERATORS)[number]

export const operator = (m: Matcher): Operator => (m.isRegex ? (m.isEqual ? '=~' : '!~') : m.isEqual ? '=' : '!=')
export const matcher = (name: string, op: Operator, value: string): Matcher => ({ name, value, isRegex: op === '=~' || op === '!~', isEqual: op === '=' || op === '=~' })
const PLAIN = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/
export const matcherText = (m: Matcher): string => (PLAIN.test(m.name) ? m.name : quote(m.name)) + operator(m) + quote(m.value)
export const ofLabels = (l: Labels): Matcher[] => Object.keys(l).sort().map((k) => matcher(k, '=', l[k]))

const unquote = (s: string): string => (/^".*"$/s.test(s) ? s.slice(1, -1).replace(/\\(["\\n])/g, (_, c: string) => (c === 'n' ? '\n' : c)) : s)

/** `a="b"`, `a=~b.*`: one matcher; null when it is none. */
export function parseMatcher(text: string): Matcher | null {
  const m = /^\s*("(?:[^"\\]|\\.)*"|[^=!~"\s]+)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|[^"]*?)\s*$/s.exec(text)
  return m && unquote(m[1]) ? matcher(unquote(m[1]), m[2] as Operator, unquote(m[3])) : null
}

/** `{a="b", c=~"d,e"}`, braces optional: a list; null when a part is no matcher. */
export function parseMatchers(text: string): Matcher[] | null {
  const inner = text.trim().replace(/^\{(.*)\}$/s, '$1')
  const parts = inner.match(/(?:"(?:[^"\\]|\\.)*"|[^",])+/gs) ?? []
  const list = parts.filter((p) => p.trim()).map(parseMatcher)
  return list.every((m): m is Matcher => m !== null) ? list : null
}

/** A filter that every alert passes says nothing: it would silence everything. */
export const saysNothing = (list: Matcher[]): boolean =>
  list.every((m) => (m.isRegex ? (m.isEqual ? /^(|\.\*|\^?\.\*\$?)$/.test(m.value) : false) : m.isEqual ? m.value === '' : false))

export const silenceLink = (l: Labels): string => '/silences?new=1&m=' + encodeURIComponent(ofLabels(l).map(matcherText).join(','))
export const routeLink = (l: Labels): string => '/routing?labels=' + encodeURIComponent(ofLabels(l).map(matcherText).join(', '))

// ---- thresholds ----
export interface Threshold { expr: string; op: string; value: number }

/** Positions outside of strings and brackets. */
function topLevel(expr: string): boolean[] {
  const out: boolean[] = []
  let depth = 0, inString = ''
  for (let i = 0; i < expr.length; i++) {
    const c = expr[i]
    if (inString) {
      out.push(false)
      if (c === '\\' && inString !== '`') {
        out.push(false)
        i++
      } else if (c === inString) inString = ''
      continue
    }
    if (c === '"' || c === "'" || c === '`') inString = c
    if (')]}'.includes(c)) depth--
    out.push(depth === 0 && !inString)
    if ('([{'.includes(c)) depth++
  }
  return out
}

const COMPARISON = /==|!=|>=|<=|>|</g

/** "0.5", "-1e3", "24 * 3600": what a number literal or a product or quotient of some comes to; NaN for anything else. */
function constant(text: string): number {
  const t = text.trim()
  if (!/^[-+]?[\d.]+(e[-+]?\d+)?(\s*[*/]\s*[\d.]+(e[-+]?\d+)?)*$/i.test(t)) return NaN
  const parts = t.split(/\s*([*/])\s*/)
  let v = Number(parts[0])
  for (let i = 1; i < parts.length; i += 2) v = parts[i] === '*' ? v * Number(parts[i + 1]) : v / Number(parts[i + 1])
  return v
}

const MIRROR: Record<string, string> = { '>': '<', '<': '>', '>=': '<=', '<=': '>=', '==': '==', '!=': '!=' }

/** What an alerting expression watches and where it fires: `x > 5` is {x, >, 5}. null when there is no such single line. */
export function threshold(expr: string): Threshold | null {
  let text = expr.replace(/#[^\n"'`]*$/gm, '').trim()
  for (;;) {
    if (!/^\(.*\)$/s.test(text)) break
    const inner = text.slice(1, -1)
    if (topLevel(text).slice(1, -1).some((t) => t)) break
    text = inner.trim()
  }
  const top = topLevel(text)
  const words = [...text.matchAll(/\b(and|or|unless)\b/g)].filter((m) => top[m.index!])
  if (words.length) return words.some((w) => w[1] === 'or') ? null : threshold(text.slice(0, words[0].index))
  const found = [...text.matchAll(COMPARISON)].filter((m) => top[m.index!] && (m[0] !== '==' && m[0] !== '!=' ? !/[=!<>]/.test(text[m.index! - 1] ?? '') : true))
  if (found.length !== 1) return null
  const at = found[0].index!, op = found[0][0]
  const left = text.slice(0, at).trim(), right = text.slice(at + op.length).replace(/^\s*bool\b/, '').trim()
  if (!Number.isNaN(constant(right))) return { expr: left, op, value: constant(right) }
  if (!Number.isNaN(constant(left))) return { expr: right, op: MIRROR[op], value: constant(left) }
  return null
}

/** Do these labels of a series belong to that alert? Labels the rule added are not in the series, nor is its name in the alert. */
export const belongs = (series: Labels, alert: Labels): boolean =>
  Object.keys(series).every((k) => k === '__name__' || series[k] === alert[k])
