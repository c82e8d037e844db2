// Heatmap data from a range result: native histograms, or classic buckets (series that carry "le").

import { num, type RangeSeries } from '../lib/api'
import type { HeatData } from './chart'

export const hasHistograms = (r: RangeSeries[]): boolean => r.some((s) => s.histograms?.length)
export const hasBuckets = (r: RangeSeries[]): boolean => r.filter((s) => s.metric.le !== undefined).length > 1

export function heatData(result: RangeSeries[], start: number, end: number, step: number): HeatData | null {
  const n = Math.max(1, Math.round((end - start) / step) + 1)
  const times = Array.from({ length: n }, (_, i) => start + i * step)
  const rows = new Map<string, { lo: number; hi: number; cells: Float64Array }>()
  const add = (lo: number, hi: number, t: number, count: number) => {
    const i = Math.round((t - start) / step)
    if (i < 0 || i >= n || !Number.isFinite(count)) return
    const key = `${lo},${hi}`
    let row = rows.get(key)
    if (!row) rows.set(key, (row = { lo, hi, cells: new Float64Array(n) }))
    row.cells[i] += count
  }
  if (hasHistograms(result)) {
    for (const s of result) for (const [t, h] of s.histograms ?? []) for (const [, lo, hi, count] of h.buckets ?? []) add(num(lo), num(hi), t, num(count))
  } else {
    for (const group of bucketGroups(result)) {
      group.forEach((s, i) => {
        const below = i > 0 ? new Map(group[i - 1].values ?? []) : new Map<number, string>()
        const hi = num(s.metric.le), lo = i > 0 ? num(group[i - 1].metric.le) : Math.min(0, hi)
        // Cumulative counts of neighbours can be scraped a moment apart: never below zero.
        for (const [t, v] of s.values ?? []) add(lo, hi, t, Math.max(0, num(v) - num(below.get(t) ?? '0')))
      })
    }
  }
  const list = [...rows.values()].sort((a, b) => a.lo - b.lo || a.hi - b.hi)
  while (list.length > 1 && list[list.length - 1].cells.every((c) => c === 0)) list.pop()
  while (list.length > 1 && list[0].cells.every((c) => c === 0)) list.shift()
  if (list.length === 0) return null
  const max = list.reduce((m, r) => r.cells.reduce((a, b) => Math.max(a, b), m), 0)
  return { times, step, bounds: list.map((r) => [r.lo, r.hi]), cells: list.map((r) => r.cells), max: max || 1 }
}

/** Series that differ in "le" only, sorted by it. */
function bucketGroups(result: RangeSeries[]): RangeSeries[][] {
  const groups = new Map<string, RangeSeries[]>()
  for (const s of result) {
    if (s.metric.le === undefined) continue
    const { le: _, ...rest } = s.metric
    const key = JSON.stringify(Object.entries(rest).sort())
    groups.set(key, [...(groups.get(key) ?? []), s])
  }
  return [...groups.values()].map((g) => g.sort((a, b) => num(a.metric.le) - num(b.metric.le)))
}
