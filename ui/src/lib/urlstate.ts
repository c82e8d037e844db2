// Explore's whole state in the URL, and back. Links made for Prometheus' own graph page (g0.range_input, g0.tab, ...) work.

import { parseDuration, parseTime, type Range } from './time'
import type { Unit } from './units'
import { UNITS } from './units'

export type View = 'graph' | 'table' | 'heat'
export interface PanelState { expr: string; view: View; stack: boolean; log: boolean; exemplars: boolean; unit: Unit }
export interface ExploreState {
  panels: PanelState[]
  range: Range
  step: string    // '' = automatic, otherwise a duration
  refresh: string // '' = off, otherwise a duration
}

export const PANELS_MAX = 20
export const DEFAULT_RANGE: Range = { from: 'now-1h', to: 'now' }
export const newPanel = (expr = ''): PanelState => ({ expr, view: 'graph', stack: false, log: false, exemplars: false, unit: 'auto' })

export function toSearch(s: ExploreState): string {
  const p = new URLSearchParams()
  s.panels.forEach((panel, i) => {
    p.set(`g${i}.expr`, panel.expr)
    if (panel.view !== 'graph') p.set(`g${i}.view`, panel.view)
    if (panel.stack) p.set(`g${i}.stack`, '1')
    if (panel.log) p.set(`g${i}.log`, '1')
    if (panel.exemplars) p.set(`g${i}.ex`, '1')
    if (panel.unit !== 'auto') p.set(`g${i}.unit`, panel.unit)
  })
  if (s.range.from !== DEFAULT_RANGE.from || s.range.to !== DEFAULT_RANGE.to) {
    p.set('from', s.range.from)
    p.set('to', s.range.to)
  }
  if (s.step) p.set('step', s.step)
  if (s.refresh) p.set('refresh', s.refresh)
  return '?' + p.toString()
}

export function fromSearch(search: string): ExploreState {
  const p = new URLSearchParams(search)
  const panels: PanelState[] = []
  for (let i = 0; i < PANELS_MAX && p.has(`g${i}.expr`); i++) {
    const get = (k: string) => p.get(`g${i}.${k}`) ?? ''
    const unit = UNITS.find((u) => u.id === get('unit'))?.id ?? 'auto'
    const view: View = get('view') === 'table' || get('tab') === '1' ? 'table' : get('view') === 'heat' || get('display_mode') === 'heatmap' ? 'heat' : 'graph'
    panels.push({
      expr: get('expr'), view, unit, log: get('log') === '1',
      stack: get('stack') === '1' || get('stacked') === '1' || get('display_mode') === 'stacked',
      exemplars: get('ex') === '1' || get('show_exemplars') === '1',
    })
  }
  if (panels.length === 0) panels.push(newPanel(p.get('expr') ?? ''))
  const duration = (k: string) => (parseDuration(p.get(k) ?? '') > 0 ? p.get(k)! : '')
  return { panels, range: rangeOf(p), step: duration('step') || duration('g0.step_input'), refresh: duration('refresh') }
}

function rangeOf(p: URLSearchParams): Range {
  const ok = (t: string | null): t is string => !!t && Number.isFinite(parseTime(t, 0, true))
  const from = p.get('from'), to = p.get('to')
  if (ok(from) && ok(to)) return { from, to }
  const length = parseDuration(p.get('g0.range_input') ?? '')
  if (length > 0) {
    const end = parseTime((p.get('g0.end_input') ?? p.get('g0.moment_input') ?? '').trim(), 0, true)
    if (Number.isFinite(end) && end > 0) return { from: new Date(end - length).toISOString(), to: new Date(end).toISOString() }
    return { from: 'now-' + p.get('g0.range_input')!.trim(), to: 'now' }
  }
  return { ...DEFAULT_RANGE }
}

/** A link to Explore with these queries. */
export function exploreLink(exprs: string | string[], range?: Range, unit?: Unit): string {
  const panels = (Array.isArray(exprs) ? exprs : [exprs]).map((e) => ({ ...newPanel(e), unit: unit ?? ('auto' as Unit) }))
  return '/explore' + toSearch({ panels, range: range ?? DEFAULT_RANGE, step: '', refresh: '' })
}
