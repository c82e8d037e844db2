// Small helpers around PromQL text and label sets. The grammar itself lives in the editor chunk and in the server.

export type Labels = Record<string, string>

/** A string literal for a matcher. */
export const quote = (s: string): string => '"' + s.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n') + '"'
/** Text that a regular expression matches literally (inside a PromQL string). */
export const escapeRegex = (s: string): string => s.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

const LEGACY_LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/
const LEGACY_METRIC = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/
export const labelName = (n: string): string => (LEGACY_LABEL.test(n) ? n : quote(n))
/** A selector for a metric, also when its name needs quoting; `matchers` without braces. */
export function selector(metric: string, matchers = ''): string {
  if (LEGACY_METRIC.test(metric)) return matchers ? `${metric}{${matchers}}` : metric
  return `{${quote(metric)}${matchers ? ',' + matchers : ''}}`
}

/** name{a="b"} as the server prints it. */
export function seriesName(l: Labels): string {
  const rest = Object.keys(l).filter((k) => k !== '__name__').sort().map((k) => `${labelName(k)}=${quote(l[k])}`)
  const name = l.__name__ ?? ''
  if (rest.length === 0) return name ? selector(name) : '{}'
  return name ? selector(name, rest.join(', ')) : `{${rest.join(', ')}}`
}

/** The labels all series share, and for each series those that tell it from the others. */
export function splitCommon(series: Labels[]): { common: Labels; own: Labels[] } {
  if (series.length < 2) return { common: {}, own: series }
  const common: Labels = {}
  for (const k of Object.keys(series[0])) if (series.every((s) => s[k] === series[0][k])) common[k] = series[0][k]
  const own = series.map((s) => {
    const o: Labels = {}
    for (const k of Object.keys(s)) if (!(k in common)) o[k] = s[k]
    return o
  })
  return { common, own }
}

export interface ErrorPlace { from: number; to: number; line: number; column: number; text: string }

/**
 * Where in the query the server's message points: "1:7: parse error: ..." (line and column of characters, from 1) or
 * "... (1:7)" or "at char 6". null when the message names no place.
 */
export function errorPlace(message: string, query: string): ErrorPlace | null {
  const m = /(?:^|[\s":])(\d+):(\d+): (?:parse error: )?(.*)$/s.exec(message)
  if (m) return place(query, Number(m[1]), Number(m[2]), m[3].replace(/"$/, ''))
  const tail = /^(.*?)\s*\((\d+):(\d+)\)\s*$/s.exec(message)
  if (tail) return place(query, Number(tail[2]), Number(tail[3]), tail[1])
  const char = /^(.*?) at char (\d+)/s.exec(message)
  if (char) return place(query, 1, Number(char[2]), message)
  return null
}

function place(query: string, line: number, column: number, text: string): ErrorPlace | null {
  const lines = query.split('\n')
  if (line < 1 || line > lines.length || column < 1) return null
  let from = Math.min(column - 1, lines[line - 1].length)
  for (let i = 0; i < line - 1; i++) from += lines[i].length + 1
  const word = /^[\w:.]+|^./.exec(query.slice(from))
  return { from, to: from + (word ? word[0].length : 0), line, column, text }
}

/** The query a newcomer wants first for a metric of this type. */
export function suggestQuery(name: string, type: string): string {
  const m = selector(name)
  if (/_(sum|count)$/.test(name) && (type === 'histogram' || type === 'summary')) return `rate(${m}[5m])`
  if (type === 'histogram' || /_bucket$/.test(name)) {
    const bucket = /_bucket$/.test(name) ? name : name + '_bucket'
    return `histogram_quantile(0.95, sum by (le) (rate(${selector(bucket)}[5m])))`
  }
  if (type === 'counter' || /_total$/.test(name)) return `rate(${m}[5m])`
  return m
}

/** One line for lists and titles. */
export const oneLine = (q: string): string => q.replace(/\s+/g, ' ').trim()
