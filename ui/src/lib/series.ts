// Range results on a common grid of times.

import { num, type RangeSeries } from './api'
import type { Labels } from './promql'

export interface Line { labels: Labels; values: (number | null)[] }
export interface Frame { times: number[]; lines: Line[] } // times in seconds

/** Puts every series on the grid start, start+step, ...; a step without a sample is null. */
export function toFrame(result: RangeSeries[], start: number, end: number, step: number): Frame {
  const n = Math.max(1, Math.round((end - start) / step) + 1)
  const times = Array.from({ length: n }, (_, i) => start + i * step)
  const lines = result.filter((s) => s.values?.length).map((s) => {
    const values = new Array<number | null>(n).fill(null)
    for (const [t, v] of s.values!) {
      const i = Math.round((t - start) / step)
      if (i >= 0 && i < n) values[i] = num(v)
    }
    return { labels: s.metric, values }
  })
  return { times, lines }
}

export interface Summary { last: number | null; min: number | null; max: number | null; avg: number | null }

export function summarise(values: (number | null)[]): Summary {
  let last: number | null = null, min = Infinity, max = -Infinity, sum = 0, n = 0
  for (const v of values) {
    if (v === null || Number.isNaN(v)) continue
    last = v
    if (v < min) min = v
    if (v > max) max = v
    sum += v
    n++
  }
  return n ? { last, min, max, avg: sum / n } : { last: null, min: null, max: null, avg: null }
}

/** Running sums for a stacked graph; a missing value adds nothing. Lines come out bottom first. */
export function stack(lines: (number | null)[][]): (number | null)[][] {
  const acc: number[] = []
  return lines.map((l) => l.map((v, i) => {
    acc[i] = (acc[i] ?? 0) + (v === null || !Number.isFinite(v) ? 0 : v)
    return acc[i]
  }))
}
