// The one module that knows uPlot: line and stacked graphs with zoom, tooltip, exemplars; and heatmaps.
// Everything is drawn from plain data; a new result makes a new chart, a toggled series does not.

import uPlot from 'uplot'
import { seriesName, type Labels } from '../lib/promql'
import { stack } from '../lib/series'
import { formatTime, type Span } from '../lib/time'
import { format, formatExact, formatTicks, type Unit } from '../lib/units'

export interface Dot { at: number; value: number; labels: Labels } // at in seconds
export interface LineData {
  times: number[]                 // seconds
  lines: { name: string; colour: string; values: (number | null)[]; dash?: number[] }[]
  dots: Dot[]
  marks?: { at: number; colour: string }[] // moments, as upright lines; at in seconds
}
export interface HeatData {
  times: number[]
  step: number
  bounds: [number, number][]      // rows from low to high
  cells: Float64Array[]           // per row, one count per time
  max: number
}
export interface ChartOptions {
  width: number; height: number; span: Span; unit: Unit; utc: boolean; stacked: boolean; log: boolean; hidden: Set<number>
  onZoom: (s: Span) => void
  onZoomOut: () => void
  onDot?: (d: Dot) => void
}
export interface Chart { resize(width: number, height: number): void; setHidden(h: Set<number>): void; focus(i: number | null): void; destroy(): void }

const TOOLTIP_ROWS = 12
const css = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim()
const font = (): string => `11px ${getComputedStyle(document.body).fontFamily}`

const BYTE_STEPS = Array.from({ length: 60 }, (_, i) => 2 ** i)
const SECOND_STEPS = [1e-9, 1e-6, 1e-3].flatMap((s) => [1, 2, 5, 10, 20, 50, 100, 200, 500].map((n) => n * s))
  .concat([1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000, 31536000])

function timeLabels(o: ChartOptions) {
  return (_: uPlot, splits: number[], __: number, ___: number, incr: number): string[] => {
    let day = ''
    return splits.map((s, i) => {
      const full = formatTime(s * 1000, o.utc)
      const date = full.slice(5, 10)
      if (incr >= 86400) return date
      const time = incr < 60 ? full.slice(11) : full.slice(11, 16)
      const changed = date !== day
      day = date
      return changed && (i > 0 || o.span.to - o.span.from > 86_400_000) ? `${time}\n${date}` : time
    })
  }
}

const twoLines = (o: ChartOptions): boolean => formatTime(o.span.from, o.utc).slice(0, 10) !== formatTime(o.span.to, o.utc).slice(0, 10)

function axes(o: ChartOptions, y: Partial<uPlot.Axis>): uPlot.Axis[] {
  const base = { stroke: css('--text-3'), font: font(), labelFont: font(), ticks: { show: false }, border: { show: false } }
  return [
    { ...base, grid: { stroke: css('--grid'), width: 1 }, space: 70, size: twoLines(o) ? 36 : 24, gap: 6, values: timeLabels(o) },
    { ...base, grid: { stroke: css('--grid'), width: 1 }, gap: 8, size: (u, values) => {
      if (!values?.length) return 44
      u.ctx.save()
      u.ctx.font = font()
      const w = Math.max(...values.map((v) => u.ctx.measureText(v ?? '').width))
      u.ctx.restore()
      return Math.max(36, Math.ceil(w) + 16)
    }, ...y },
  ]
}

/** The value axis starts at zero unless that would flatten the lines: they move by less than this share. */
const FLAT = 0.12
function valueRange(o: ChartOptions) {
  return (_: uPlot, min: number | null, max: number | null): uPlot.Range.MinMax => {
    if (min === null || max === null || !Number.isFinite(min) || !Number.isFinite(max)) return [0, 1]
    if (o.stacked) return [Math.min(0, min), Math.max(max * 1.04, max === 0 ? 1 : 0)]
    if (min === max) return min === 0 ? [0, 1] : min > 0 ? [0, max * 1.25] : [min * 1.25, 0]
    const pad = (max - min) * 0.06
    if (min >= 0) return [max - min > max * FLAT ? 0 : Math.max(0, min - pad), max + pad]
    if (max <= 0) return [min - pad, max - min > -min * FLAT ? 0 : Math.min(0, max + pad)]
    return [min - pad, max + pad]
  }
}

/** Points that have no neighbour would be invisible as lines. */
function lonely(values: (number | null | undefined)[]): number[] {
  const out: number[] = []
  for (let i = 0; i < values.length; i++)
    if (values[i] != null && values[i - 1] == null && values[i + 1] == null) out.push(i)
  return out
}

function columns(d: LineData, o: ChartOptions, hidden: Set<number>): uPlot.AlignedData {
  const clean = d.lines.map((l) => l.values.map((v) => (v === null || !Number.isFinite(v) || (o.log && v <= 0) ? null : v)))
  if (!o.stacked) return [d.times, ...clean]
  const shown = clean.map((c, i) => (hidden.has(i) ? c.map(() => 0) : c))
  return [d.times, ...stack(shown)]
}

function withAlpha(hex: string, alpha: number): string {
  return hex + Math.round(alpha * 255).toString(16).padStart(2, '0')
}

function zoomHooks(o: ChartOptions): { cursor: uPlot.Cursor; setSelect: (u: uPlot) => void } {
  return {
    cursor: {
      drag: { x: true, y: false, setScale: false, dist: 4 },
      bind: { dblclick: () => () => { o.onZoomOut(); return null } },
    },
    setSelect: (u) => {
      if (u.select.width < 4) return
      const from = u.posToVal(u.select.left, 'x') * 1000, to = u.posToVal(u.select.left + u.select.width, 'x') * 1000
      u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
      if (to - from >= 1000) o.onZoom({ from, to })
    },
  }
}

export function lineChart(host: HTMLElement, d: LineData, o: ChartOptions): Chart {
  let hidden = o.hidden
  let focused: number | null = null
  const tip = tooltip(host)
  const many = d.lines.length > 80
  const zoom = zoomHooks(o)
  const data = columns(d, o, hidden)
  const opts: uPlot.Options = {
    width: o.width, height: o.height, padding: [10, 12, 0, 0], legend: { show: false },
    tzDate: (s) => (o.utc ? uPlot.tzDate(new Date(s * 1000), 'Etc/UTC') : new Date(s * 1000)),
    cursor: {
      ...zoom.cursor,
      sync: { key: 'vane', setSeries: false, scales: ['x', null], match: [(a, b) => a === b, () => false] },
      focus: { prox: many ? -1 : 24 },
      points: { size: 7, width: 2, stroke: (_, i) => d.lines[i - 1]?.colour ?? '', fill: () => css('--panel') },
      y: false,
    },
    focus: { alpha: many ? 1 : 0.28 },
    scales: {
      x: { time: true, range: () => [o.span.from / 1000, o.span.to / 1000] },
      y: o.log ? { distr: 3, log: 10 } : { range: valueRange(o) },
    },
    axes: axes(o, {
      values: (_, splits) => {
        if (!o.log) return formatTicks(splits, o.unit)
        return splits.map((s) => (s !== null && Math.abs(Math.log10(s) - Math.round(Math.log10(s))) < 1e-9 ? format(s, o.unit) : ''))
      },
      space: 38,
      incrs: o.log ? undefined : /^bytes/.test(o.unit) && maxOf(data) > 64 ? BYTE_STEPS : o.unit === 'seconds' ? SECOND_STEPS : undefined,
    }),
    series: [{}, ...d.lines.map((l, i): uPlot.Series => ({
      label: l.name, stroke: l.colour, width: 1.5, dash: l.dash, show: !hidden.has(i), spanGaps: false,
      fill: o.stacked ? withAlpha(l.colour, 0.28) : d.lines.length === 1 ? withAlpha(l.colour, 0.12) : undefined,
      points: { show: !l.dash, size: 4, width: 0, fill: l.colour, filter: (u, si) => lonely(u.data[si] as (number | null)[]) },
    }))],
    bands: o.stacked ? d.lines.slice(1).map((l, i): uPlot.Band => ({ series: [i + 2, i + 1], fill: withAlpha(l.colour, 0.28) })) : undefined,
    hooks: {
      setSelect: [zoom.setSelect],
      setSeries: [(_, i, s) => { if ('focus' in s) focused = i === null || i === 0 ? null : i - 1 }],
      setCursor: [(u) => showLines(u)],
      draw: [(u) => drawMarks(u, d.marks ?? []), (u) => drawDots(u, d.dots)],
    },
  }
  const u = new uPlot(opts, data, host)
  const leave = () => tip.hide()
  u.over.addEventListener('mouseleave', leave)
  u.over.addEventListener('click', () => {
    const dot = nearDot(u, d.dots)
    if (dot) o.onDot?.(dot)
  })

  function showLines(c: uPlot): void {
    const { idx, left, top } = c.cursor
    if (idx == null || left == null || left < 0) return tip.hide()
    const dot = top != null && top >= 0 ? nearDot(c, d.dots) : null
    if (dot) {
      const rows = Object.entries(dot.labels).map(([k, v]) => ({ name: k, value: v }))
      return tip.show(c, left, top ?? 0, `Exemplar, ${formatTime(dot.at * 1000, o.utc, { ms: true })}`, [{ name: 'value', value: format(dot.value, o.unit, 4), strong: true }, ...rows])
    }
    // A synced chart's cursor has no height: only the chart under the pointer shows its tooltip.
    if (top == null || top < 0) return tip.hide()
    const rows = d.lines.map((l, i) => ({ i, name: l.name, colour: l.colour, v: l.values[idx] }))
      .filter((r) => r.v !== null && r.v !== undefined && !hidden.has(r.i)) as { i: number; name: string; colour: string; v: number }[]
    if (rows.length === 0) return tip.hide()
    rows.sort((a, b) => (b.v === a.v ? a.i - b.i : b.v - a.v))
    let shown = rows.slice(0, TOOLTIP_ROWS)
    const focus = rows.find((r) => r.i === focused)
    if (focus && !shown.includes(focus)) shown = [...shown.slice(0, TOOLTIP_ROWS - 1), focus]
    tip.show(c, left, top, formatTime(d.times[idx] * 1000, o.utc),
      shown.map((r) => ({ name: r.name, value: format(r.v, o.unit, 4), colour: r.colour, strong: r.i === focused })),
      rows.length > shown.length ? `and ${rows.length - shown.length} more` : '')
  }

  return {
    resize: (width, height) => u.setSize({ width, height }),
    setHidden: (h) => {
      const before = hidden
      hidden = h
      u.batch(() => {
        if (o.stacked) u.setData(columns(d, o, h), false)
        d.lines.forEach((_, i) => {
          if (before.has(i) !== h.has(i)) u.setSeries(i + 1, { show: !h.has(i) })
        })
        if (o.stacked) u.setScale('y', { min: null as unknown as number, max: null as unknown as number })
      })
    },
    focus: (i) => u.setSeries(i === null ? null as unknown as number : i + 1, { focus: i !== null }),
    destroy: () => {
      tip.remove()
      u.destroy()
    },
  }
}

function maxOf(data: uPlot.AlignedData): number {
  let m = 0
  for (let c = 1; c < data.length; c++) for (const v of data[c]) if (v != null && v > m) m = v
  return m
}

const DOT = 4.5
function dotAt(u: uPlot, dot: Dot): { x: number; y: number } {
  const { min, max } = u.scales.y
  const v = Math.min(Math.max(dot.value, min ?? 0), max ?? 0)
  return { x: u.valToPos(dot.at, 'x'), y: u.valToPos(v, 'y') }
}
function nearDot(u: uPlot, dots: Dot[]): Dot | null {
  const { left, top } = u.cursor
  if (left == null || top == null) return null
  let best: Dot | null = null, distance = 8
  for (const d of dots) {
    const p = dotAt(u, d)
    const now = Math.hypot(p.x - left, p.y - top)
    if (now < distance) {
      distance = now
      best = d
    }
  }
  return best
}
function drawMarks(u: uPlot, marks: { at: number; colour: string }[]): void {
  const c = u.ctx
  c.save()
  c.lineWidth = devicePixelRatio
  c.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio])
  for (const m of marks) {
    const x = Math.round(u.valToPos(m.at, 'x', true))
    if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) continue
    c.strokeStyle = m.colour
    c.beginPath()
    c.moveTo(x, u.bbox.top)
    c.lineTo(x, u.bbox.top + u.bbox.height)
    c.stroke()
  }
  c.restore()
}
function drawDots(u: uPlot, dots: Dot[]): void {
  if (dots.length === 0) return
  const c = u.ctx, r = DOT * devicePixelRatio
  c.save()
  c.beginPath()
  c.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height)
  c.clip()
  c.fillStyle = css('--panel')
  c.strokeStyle = css('--text')
  c.lineWidth = 1.4 * devicePixelRatio
  for (const d of dots) {
    const p = dotAt(u, d)
    const x = u.bbox.left + p.x * devicePixelRatio, y = u.bbox.top + p.y * devicePixelRatio
    c.beginPath()
    c.moveTo(x, y - r)
    c.lineTo(x + r, y)
    c.lineTo(x, y + r)
    c.lineTo(x - r, y)
    c.closePath()
    c.fill()
    c.stroke()
  }
  c.restore()
}

export function heatChart(host: HTMLElement, d: HeatData, o: ChartOptions): Chart {
  const tip = tooltip(host)
  const zoom = zoomHooks(o)
  const n = d.bounds.length
  const every = Math.max(1, Math.ceil(n / Math.max(2, Math.floor(o.height / 26))))
  const edge = (i: number): string => (i < n ? format(d.bounds[i][0], o.unit) : format(d.bounds[n - 1][1], o.unit))
  const colour = css('--heat')
  const u = new uPlot({
    width: o.width, height: o.height, padding: [10, 12, 0, 0], legend: { show: false },
    tzDate: (s) => (o.utc ? uPlot.tzDate(new Date(s * 1000), 'Etc/UTC') : new Date(s * 1000)),
    cursor: { ...zoom.cursor, points: { show: false }, sync: { key: 'vane', setSeries: false, scales: ['x', null], match: [(a, b) => a === b, () => false] } },
    scales: { x: { time: true, range: () => [o.span.from / 1000, o.span.to / 1000] }, y: { range: () => [0, n] } },
    axes: axes(o, {
      grid: { show: false },
      splits: () => Array.from({ length: n + 1 }, (_, i) => i).filter((i) => i % every === 0),
      values: (_, splits) => splits.map((s) => edge(s)),
    }),
    series: [{}, { show: true, stroke: 'transparent', points: { show: false } }],
    hooks: { setSelect: [zoom.setSelect], draw: [draw], setCursor: [hover] },
  }, [d.times, d.times.map(() => null)], host)
  u.over.addEventListener('mouseleave', () => tip.hide())

  function draw(c: uPlot): void {
    const g = c.ctx
    g.save()
    g.beginPath()
    g.rect(c.bbox.left, c.bbox.top, c.bbox.width, c.bbox.height)
    g.clip()
    g.fillStyle = colour
    for (let row = 0; row < n; row++) {
      const y0 = c.valToPos(row + 1, 'y', true), y1 = c.valToPos(row, 'y', true)
      for (let i = 0; i < d.times.length; i++) {
        const v = d.cells[row][i]
        if (!(v > 0)) continue
        // A cell covers the step that ends at its time.
        const x0 = c.valToPos(d.times[i] - d.step, 'x', true), x1 = c.valToPos(d.times[i], 'x', true)
        g.globalAlpha = 0.08 + 0.92 * Math.sqrt(v / d.max)
        g.fillRect(Math.floor(x0), Math.floor(y0), Math.max(1, Math.ceil(x1) - Math.floor(x0) - 1), Math.max(1, Math.ceil(y1) - Math.floor(y0) - 1))
      }
    }
    g.restore()
  }
  function hover(c: uPlot): void {
    const { left, top } = c.cursor
    if (left == null || top == null || left < 0 || top < 0) return tip.hide()
    const row = Math.floor(c.posToVal(top, 'y')), at = c.posToVal(left, 'x')
    const i = d.times.findIndex((t) => t >= at)
    if (i < 0 || row < 0 || row >= n || d.times[i] - d.step > at) return tip.hide()
    let total = 0
    for (const cells of d.cells) total += cells[i]
    const v = d.cells[row][i]
    tip.show(c, left, top, formatTime(d.times[i] * 1000, o.utc), [
      { name: 'bucket', value: `${edge(row)} to ${format(d.bounds[row][1], o.unit)}` },
      { name: 'in bucket', value: format(v, 'short', 4), strong: true },
      { name: 'share', value: total > 0 ? format(v / total, 'ratio') : '' },
    ])
  }
  return { resize: (width, height) => u.setSize({ width, height }), setHidden: () => {}, focus: () => {}, destroy: () => { tip.remove(); u.destroy() } }
}

interface TipRow { name: string; value: string; colour?: string; strong?: boolean }

function tooltip(host: HTMLElement) {
  const box = document.createElement('div')
  box.className = 'tip'
  box.hidden = true
  host.append(box)
  const el = (tag: string, cls: string, text = '') => {
    const e = document.createElement(tag)
    e.className = cls
    e.textContent = text
    return e
  }
  return {
    hide: () => { box.hidden = true },
    remove: () => box.remove(),
    show: (u: uPlot, left: number, top: number, title: string, rows: TipRow[], more = '') => {
      box.replaceChildren(el('div', 'tip-title', title))
      for (const r of rows) {
        const row = el('div', 'tip-row' + (r.strong ? ' strong' : ''))
        if (r.colour) {
          const s = el('i', 'swatch')
          s.style.background = r.colour
          row.append(s)
        }
        row.append(el('span', 'tip-name', r.name), el('span', 'tip-value', r.value))
        box.append(row)
      }
      if (more) box.append(el('div', 'tip-more', more))
      box.hidden = false
      const x = u.over.offsetLeft + left, w = box.offsetWidth, h = box.offsetHeight
      const room = host.clientWidth
      box.style.left = Math.max(0, x + 16 + w < room ? x + 16 : x - w - 16) + 'px'
      box.style.top = Math.max(0, Math.min(u.over.offsetTop + top - h / 2, host.clientHeight - h)) + 'px'
    },
  }
}

/** A name for legend and tooltip: what tells the series apart, or all of it. */
export const shortName = (own: Labels, all: Labels, fallback: string): string => {
  const k = Object.keys(own)
  if (k.length === 0) return Object.keys(all).length ? seriesName(all) : fallback
  if (k.length === 1 && k[0] !== '__name__') return own[k[0]] === '' ? `${k[0]}=""` : own[k[0]]
  return seriesName(own)
}

export { formatExact }
