// Numbers for people: one formatter per unit, and the guess of a unit from a query.

export type Unit = 'auto' | 'short' | 'bytes' | 'bytes/s' | 'seconds' | 'ratio' | 'percent' | 'per-second' | 'cores'

export const UNITS: { id: Unit; name: string }[] = [
  { id: 'auto', name: 'Auto' },
  { id: 'short', name: 'Number' },
  { id: 'per-second', name: 'Per second' },
  { id: 'seconds', name: 'Duration' },
  { id: 'bytes', name: 'Bytes' },
  { id: 'bytes/s', name: 'Bytes/s' },
  { id: 'ratio', name: 'Percent (0–1)' },
  { id: 'percent', name: 'Percent (0–100)' },
  { id: 'cores', name: 'CPU cores' },
]

export const NO_VALUE = '–'

/** Up to `digits` significant digits, no exponent for everyday sizes, no trailing zeros. */
function sig(v: number, digits = 3): string {
  if (v === 0) return '0'
  const a = Math.abs(v)
  if (a >= 1e15 || a < 1e-6) return v.toExponential(digits - 1).replace(/\.?0+e/, 'e')
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(a)))
  const s = v.toFixed(Math.min(decimals, 9))
  return s.includes('.') ? s.replace(/\.?0+$/, '') : s
}

function scaled(v: number, base: number, names: string[], digits: number): string {
  let i = 0
  let a = Math.abs(v)
  // 999.6 would print as 1000 with three digits: move on to the next name before that.
  while (i < names.length - 1 && a >= base * 0.9995) {
    a /= base
    v /= base
    i++
  }
  return sig(v, digits) + names[i]
}

const SI = ['', 'k', 'M', 'G', 'T', 'P']
const IEC = [' B', ' KiB', ' MiB', ' GiB', ' TiB', ' PiB']

export function formatDurationSeconds(v: number, digits = 3): string {
  const a = Math.abs(v)
  if (a === 0) return '0 s'
  if (a < 0.9995e-6) return sig(v * 1e9, digits) + ' ns'
  if (a < 0.9995e-3) return sig(v * 1e6, digits) + ' µs'
  if (a < 0.9995) return sig(v * 1e3, digits) + ' ms'
  if (a < 59.95) return sig(v, digits) + ' s'
  const sign = v < 0 ? '-' : ''
  const s = Math.round(a)
  if (s < 3600) return `${sign}${Math.floor(s / 60)}m ${s % 60}s`.replace(' 0s', '')
  const m = Math.round(a / 60)
  if (m < 1440) return `${sign}${Math.floor(m / 60)}h ${m % 60}m`.replace(' 0m', '')
  const h = Math.round(a / 3600)
  if (h < 24 * 365) return `${sign}${Math.floor(h / 24)}d ${h % 24}h`.replace(' 0h', '')
  return sig(v / 86400 / 365.25, digits) + ' y'
}

/** A value with its unit; NaN and infinities are spelled as PromQL spells them. */
export function format(v: number | null | undefined, unit: Unit = 'short', digits = 3): string {
  if (v === null || v === undefined) return NO_VALUE
  if (Number.isNaN(v)) return 'NaN'
  if (!Number.isFinite(v)) return v > 0 ? '+Inf' : '-Inf'
  switch (unit) {
    case 'bytes': return scaled(v, 1024, IEC, digits)
    case 'bytes/s': return scaled(v, 1024, IEC, digits) + '/s'
    case 'seconds': return formatDurationSeconds(v, digits)
    case 'ratio': return sig(v * 100, digits) + ' %'
    case 'percent': return sig(v, digits) + ' %'
    case 'per-second': return shortNumber(v, digits) + '/s'
    case 'cores': return Math.abs(v) < 0.9995 && v !== 0 ? sig(v * 1000, digits) + ' mcores' : sig(v, digits) + ' cores'
    default: return shortNumber(v, digits)
  }
}

function shortNumber(v: number, digits: number): string {
  return Math.abs(v) < 1000 ? sig(v, digits) : scaled(v, 1000, SI, digits)
}

/** The full value, as the server wrote it, with thousands separated by a thin space: for tables and tooltips. */
export function formatExact(v: number): string {
  if (!Number.isFinite(v)) return format(v)
  const s = String(v)
  if (s.includes('e')) return s
  const [whole, fraction] = s.split('.')
  const grouped = whole.replace(/\B(?=(\d{3})+(?!\d))/g, '\u2009')
  return fraction ? `${grouped}.${fraction}` : grouped
}

export const formatCount = (v: number): string => formatExact(Math.round(v))

/** Labels for an axis: as many digits as the distance between two ticks needs, so that no two labels are equal. */
export function formatTicks(ticks: number[], unit: Unit): string[] {
  const max = ticks.reduce((m, t) => Math.max(m, Math.abs(t)), 0)
  const gap = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : max
  const digits = max > 0 && gap > 0 ? Math.min(12, Math.max(3, Math.ceil(Math.log10(max / gap)) + 1)) : 3
  return ticks.map((t) => format(t, unit, digits))
}

const RATE = /\b(rate|irate|deriv)\s*\(/

/**
 * The unit a query's result has, as far as its text tells: metric names end in their unit by convention, rate() divides by
 * seconds, a quotient of two equal units has none.
 */
export function guessUnit(query: string): Exclude<Unit, 'auto'> {
  const q = query.replace(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|#[^\n]*/g, '""').replace(/\{[^{}]*\}/g, '')
  const names = (q.match(/[a-zA-Z_:][a-zA-Z0-9_:]*/g) ?? []).filter((n) => n.includes('_'))
  const names_unit = (suffix: RegExp) => names.some((n) => suffix.test(n))
  const quotient = /\)\s*\/|[\w\]}]\s*\/\s*(ignoring|on|[a-z(])/i.test(q)
  if (/\*\s*100\b|\b100\s*\*|\b100\s*-/.test(q)) return 'percent'
  if (/^\s*(count|count_values|absent|changes|resets|group)\b/.test(q)) return 'short'
  if (/\bhistogram_(quantile|avg|stddev)\s*\(|\bquantile_over_time\s*\(/.test(q)) {
    if (names_unit(/_seconds(_bucket)?$/)) return 'seconds'
    if (names_unit(/_bytes(_bucket)?$/)) return 'bytes'
    return 'short'
  }
  if (quotient) {
    const [top, bottom] = splitQuotient(q)
    if (/_(sum)\b/.test(top) && /_count\b/.test(bottom)) return /_seconds_sum\b/.test(top) ? 'seconds' : /_bytes_sum\b/.test(top) ? 'bytes' : 'short'
    const a = plainUnit(top), b = plainUnit(bottom)
    if (a === b && bottom !== '') return 'ratio'
    return 'short'
  }
  return plainUnit(q)
}

function splitQuotient(q: string): [string, string] {
  let depth = 0
  for (let i = 0; i < q.length; i++) {
    if (q[i] === '(') depth++
    else if (q[i] === ')') depth--
    else if (q[i] === '/' && depth === 0) return [q.slice(0, i), q.slice(i + 1)]
  }
  const i = q.indexOf('/')
  return [q.slice(0, i), q.slice(i + 1)]
}

function plainUnit(q: string): Exclude<Unit, 'auto'> {
  const has = (suffix: RegExp) => suffix.test(q)
  const rate = RATE.test(q)
  if (has(/timestamp_seconds\b|_time_seconds\b(?!_)/) && !rate && !/-/.test(q)) return 'short'
  if (has(/_(waiting|stalled)_seconds_total\b/) && rate) return 'ratio'
  if (has(/_seconds(_total|_sum)?\b/)) return rate && has(/_seconds(_total|_sum)\b/) ? (has(/cpu/) ? 'cores' : 'ratio') : 'seconds'
  if (has(/_bytes(_total|_sum|_[a-z]+)?\b/) && !has(/_bytes_bucket\b/)) return rate ? 'bytes/s' : 'bytes'
  if (has(/_ratio\b/)) return 'ratio'
  if (has(/_percent\b/)) return 'percent'
  if (rate) return 'per-second'
  return 'short'
}
