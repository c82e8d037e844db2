// A sparkline: one series, no axes. Hovering shows the same moment in every sparkline of the group.

import { signal, useSignal, type Signal } from '@preact/signals'
import { useRef } from 'preact/hooks'
import { formatTime } from '../lib/time'
import { utc } from '../lib/ui'
import { format, type Unit } from '../lib/units'

export interface SparkData { times: number[]; values: (number | null)[] } // seconds; null = no value

/** Index of the moment under the pointer, shared by the sparklines that get the same signal; -1 = none. */
export type Cursor = Signal<number>
export const newCursor = (): Cursor => signal(-1)
export const useCursor = (): Cursor => useSignal(-1)

const W = 100, H = 28

function paths(d: SparkData, min: number, max: number): { line: string; area: string } {
  const n = d.times.length, t0 = d.times[0], span = d.times[n - 1] - t0 || 1
  const x = (i: number) => ((d.times[i] - t0) / span) * W
  const y = (v: number) => H - 2 - ((v - min) / (max - min || 1)) * (H - 4)
  let line = '', area = '', open = -1
  const close = (last: number) => {
    if (open < 0) return
    if (last === open) line += `h.6`
    area += `L${x(last).toFixed(1)} ${H}L${x(open).toFixed(1)} ${H}Z`
    open = -1
  }
  d.values.forEach((v, i) => {
    if (v === null || !Number.isFinite(v)) return close(i - 1)
    const p = `${x(i).toFixed(1)} ${y(v).toFixed(1)}`
    if (open < 0) {
      line += 'M' + p
      area += 'M' + p
      open = i
    } else {
      line += 'L' + p
      area += 'L' + p
    }
  })
  close(n - 1)
  return { line, area }
}

export function Spark({ data, unit, cursor, tone = '', max: fixedMax, label }: { data: SparkData; unit: Unit; cursor: Cursor; tone?: string; max?: number; label: string }) {
  const ref = useRef<SVGSVGElement>(null)
  const finite = data.values.filter((v): v is number => v !== null && Number.isFinite(v))
  if (data.times.length < 2 || finite.length === 0) return <div class="spark none" aria-hidden="true" />
  const top = Math.max(fixedMax ?? 0, ...finite), low = Math.min(0, ...finite)
  const max = top > low ? top : low + 1
  const { line, area } = paths(data, low, max)
  const move = (e: PointerEvent) => {
    const r = ref.current!.getBoundingClientRect()
    const f = Math.max(0, Math.min(1, (e.clientX - r.left) / r.width))
    cursor.value = Math.round(f * (data.times.length - 1))
  }
  const i = cursor.value
  const at = i >= 0 && i < data.times.length ? i : -1
  return (
    <svg ref={ref} class={'spark ' + tone} viewBox={`0 0 ${W} ${H}`} preserveAspectRatio="none" role="img"
      aria-label={`${label}: now ${format(lastValue(data), unit)}`} onPointerMove={move} onPointerLeave={() => (cursor.value = -1)}>
      <path class="area" d={area} />
      <path class="line" d={line} />
      {at >= 0 && <line class="at" x1={(at / (data.times.length - 1)) * W} x2={(at / (data.times.length - 1)) * W} y1="0" y2={H} />}
    </svg>
  )
}

/** The newest value that is not older than a few steps: a series that ended has none. */
export function lastValue(d: SparkData | undefined): number | null {
  if (!d) return null
  for (let i = d.values.length - 1; i >= Math.max(0, d.values.length - 4); i--) if (d.values[i] !== null) return d.values[i]
  return null
}

export const valueAt = (d: SparkData | undefined, cursor: Cursor): number | null =>
  cursor.value >= 0 ? (d?.values[cursor.value] ?? null) : lastValue(d)

export const cursorTime = (d: SparkData | undefined, cursor: Cursor): string =>
  d && cursor.value >= 0 && cursor.value < d.times.length ? formatTime(d.times[cursor.value] * 1000, utc.value, { date: false }) : ''
