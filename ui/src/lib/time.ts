// Durations and time ranges: parsing what people type, printing what they read.

export interface Range { from: string; to: string } // "now-1h" | "now" | ISO time | milliseconds since the epoch
export interface Span { from: number; to: number }  // milliseconds since the epoch

const UNIT_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000, y: 31_536_000_000 }

/** "1h30m", "15s", "90" (seconds) -> milliseconds; NaN when it is not a duration. */
export function parseDuration(text: string): number {
  const t = text.trim().replace(/\s+/g, '')
  if (/^\d+(\.\d+)?$/.test(t)) return Number(t) * 1000
  if (!/^(\d+(ms|[smhdwy]))+$/.test(t)) return NaN
  let total = 0
  for (const m of t.matchAll(/(\d+)(ms|[smhdwy])/g)) total += Number(m[1]) * UNIT_MS[m[2]]
  return total
}

/** Milliseconds -> "1h30m" in PromQL's form. */
export function formatDuration(ms: number): string {
  if (ms <= 0) return '0s'
  let out = ''
  for (const u of ['d', 'h', 'm', 's', 'ms']) {
    const n = Math.floor(ms / UNIT_MS[u])
    if (n > 0) out += n + u
    ms -= n * UNIT_MS[u]
  }
  return out || '0s'
}

/** "2 minutes ago" in short. */
export function formatAgo(ms: number): string {
  if (!Number.isFinite(ms)) return 'never'
  const s = ms / 1000
  if (s < -1) return 'in ' + formatAgo(-ms).replace(' ago', '')
  if (s < 1) return 'just now'
  if (s < 90) return `${Math.round(s)} s ago`
  if (s < 5400) return `${Math.round(s / 60)} min ago`
  if (s < 129600) return `${Math.round(s / 3600)} h ago`
  return `${Math.round(s / 86400)} d ago`
}

/**
 * A point in time: "now", "now-90m", "2026-11-21", "2026-11-21 10:30[:15]", ISO 8601 with zone, or milliseconds (or
 * seconds) since the epoch. Times without a zone are in the zone `utc` says. NaN when it is none of these.
 */
export function parseTime(text: string, now: number, utc: boolean): number {
  const t = text.trim()
  if (t === 'now') return now
  const rel = /^now\s*([+-])\s*(.+)$/.exec(t)
  if (rel) {
    const d = parseDuration(rel[2])
    return rel[1] === '-' ? now - d : now + d
  }
  if (/^\d{11,14}$/.test(t)) return Number(t)
  if (/^\d{9,10}(\.\d+)?$/.test(t)) return Number(t) * 1000
  const m = /^(\d{4})-(\d\d)-(\d\d)(?:[T ]+(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,3}))?)?)?\s*(Z|[+-]\d\d:?\d\d)?$/.exec(t)
  if (!m) return NaN
  const n = m.slice(1, 7).map((x) => Number(x ?? 0))
  if (n[1] < 1 || n[1] > 12 || n[2] < 1 || n[2] > 31 || n[3] > 24 || n[4] > 59 || n[5] > 59) return NaN
  const ms = Number((m[7] ?? '0').padEnd(3, '0'))
  if (m[8] && m[8] !== 'Z') {
    const sign = m[8][0] === '-' ? 1 : -1
    const digits = m[8].slice(1).replace(':', '')
    return Date.UTC(n[0], n[1] - 1, n[2], n[3], n[4], n[5], ms) + sign * (Number(digits.slice(0, 2)) * 60 + Number(digits.slice(2))) * 60_000
  }
  return m[8] === 'Z' || utc ? Date.UTC(n[0], n[1] - 1, n[2], n[3], n[4], n[5], ms) : new Date(n[0], n[1] - 1, n[2], n[3], n[4], n[5], ms).getTime()
}

export const isRelative = (r: Range): boolean => r.from.startsWith('now') || r.to.startsWith('now')

/** Both ends as times; null when the text is wrong or the range is empty or reversed. */
export function resolveRange(r: Range, now: number, utc: boolean): Span | null {
  const from = parseTime(r.from, now, utc), to = parseTime(r.to, now, utc)
  return Number.isFinite(from) && Number.isFinite(to) && from < to ? { from, to } : null
}

const pad = (n: number, w = 2) => String(n).padStart(w, '0')

export function formatTime(ms: number, utc: boolean, opts: { date?: boolean; seconds?: boolean; ms?: boolean } = {}): string {
  const d = new Date(ms)
  if (Number.isNaN(d.getTime())) return 'invalid time'
  const g = utc
    ? [d.getUTCFullYear(), d.getUTCMonth() + 1, d.getUTCDate(), d.getUTCHours(), d.getUTCMinutes(), d.getUTCSeconds(), d.getUTCMilliseconds()]
    : [d.getFullYear(), d.getMonth() + 1, d.getDate(), d.getHours(), d.getMinutes(), d.getSeconds(), d.getMilliseconds()]
  const date = `${g[0]}-${pad(g[1])}-${pad(g[2])}`
  let time = `${pad(g[3])}:${pad(g[4])}`
  if (opts.seconds !== false) time += ':' + pad(g[5])
  if (opts.ms) time += '.' + pad(g[6], 3)
  return opts.date === false ? time : `${date} ${time}`
}

export const QUICK_RANGES: { from: string; name: string }[] = [
  { from: 'now-5m', name: 'Last 5 minutes' },
  { from: 'now-15m', name: 'Last 15 minutes' },
  { from: 'now-30m', name: 'Last 30 minutes' },
  { from: 'now-1h', name: 'Last hour' },
  { from: 'now-3h', name: 'Last 3 hours' },
  { from: 'now-6h', name: 'Last 6 hours' },
  { from: 'now-12h', name: 'Last 12 hours' },
  { from: 'now-24h', name: 'Last 24 hours' },
  { from: 'now-2d', name: 'Last 2 days' },
  { from: 'now-7d', name: 'Last 7 days' },
  { from: 'now-30d', name: 'Last 30 days' },
  { from: 'now-90d', name: 'Last 90 days' },
]

/** What the range button says. */
export function describeRange(r: Range, utc: boolean): string {
  if (r.to === 'now') {
    const quick = QUICK_RANGES.find((q) => q.from === r.from)
    if (quick) return quick.name
    const m = /^now-(.+)$/.exec(r.from)
    if (m) return `Last ${m[1]}`
  }
  const span = resolveRange(r, Date.now(), utc)
  if (!span || isRelative(r)) return `${r.from} to ${r.to}`
  const sameDay = formatTime(span.from, utc).slice(0, 10) === formatTime(span.to, utc).slice(0, 10)
  const seconds = span.to - span.from < 600_000
  return `${formatTime(span.from, utc, { seconds })} to ${formatTime(span.to, utc, { seconds, date: !sameDay })}`
}

/** Zoomed ranges are kept as whole seconds in ISO form: they read well in a URL. */
export function absolute(span: Span): Range {
  const iso = (ms: number) => new Date(Math.round(ms / 1000) * 1000).toISOString().replace('.000Z', 'Z')
  return { from: iso(span.from), to: iso(span.to) }
}

/** The same length, shifted by half of it; or around the same middle with a factor. Never past now. */
export function shift(span: Span, halves: number, now: number): Span {
  const d = ((span.to - span.from) / 2) * halves
  const over = Math.max(0, span.to + d - now)
  return { from: span.from + d - over, to: span.to + d - over }
}
export function zoomOut(span: Span, now: number): Span {
  const d = (span.to - span.from) / 2
  const to = Math.min(span.to + d, Math.max(now, span.to))
  return { from: to - (span.to - span.from) * 2, to }
}
