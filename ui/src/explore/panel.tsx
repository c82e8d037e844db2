// One panel of Explore: a query, its graph, heatmap or table, its legend, and what the server said about it.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { api, ApiError, type Answer, type ExemplarSeries, type QueryData, type RangeSeries, num } from '../lib/api'
import { useLoad, useWidth } from '../lib/hooks'
import { errorPlace, oneLine, splitCommon } from '../lib/promql'
import { toFrame, type Frame } from '../lib/series'
import { chooseStep, grid, limitStep } from '../lib/step'
import { formatDuration, parseDuration, type Range, type Span } from '../lib/time'
import { colour, copy, dark, plural, say, utc } from '../lib/ui'
import type { PanelState, View } from '../lib/urlstate'
import { format, formatCount, guessUnit, UNITS, type Unit } from '../lib/units'
import { Empty, ErrorBox, IconButton, Popover, SearchField, Segmented, Skeleton } from '../parts/bits'
import { Icon } from '../parts/icons'
import { heatChart, lineChart, shortName, type Chart, type Dot } from './chart'
import { hasBuckets, hasHistograms, heatData } from './heat'
import { forgetAll, pastQueries, remember } from './history'
import { Legend } from './legend'
import { MetricExplorer } from './metrics'
import { QueryField, type QueryFieldHandle } from './query-field'
import { ResultTable } from './table'

const LINES_MAX = 250
const DOTS_MAX = 500

interface RangeResult { kind: 'range'; answer: Answer<QueryData>; series: RangeSeries[]; frame: Frame; start: number; end: number; step: number; span: Span; dots: Dot[]; expr: string }
interface InstantResult { kind: 'instant'; answer: Answer<QueryData>; at: number; expr: string }
type Result = RangeResult | InstantResult | null

export interface PanelProps {
  n: number
  panel: PanelState
  range: Range
  span: Span
  step: string
  tick: number
  only: boolean
  onChange: (p: Partial<PanelState>, push?: boolean) => void
  onZoom: (s: Span) => void
  onZoomOut: () => void
  onRemove: () => void
  onDuplicate: () => void
  onBusy: (busy: boolean) => void
  onStep: (s: string) => void
  onRun: () => void
}

async function runQuery(p: PanelState, span: Span, step: string, width: number, abort: AbortSignal): Promise<Result> {
  const expr = p.expr.trim()
  if (!expr) return null
  if (p.view === 'table') {
    const at = span.to
    return { kind: 'instant', at, expr, answer: await api<QueryData>('query', { query: expr, time: at / 1000, stats: 'true' }, abort) }
  }
  const length = span.to - span.from
  const s = limitStep(step ? parseDuration(step) / 1000 : chooseStep(length, width), length)
  const g = grid(span.from, span.to, s)
  const exemplars = p.exemplars
    ? api<ExemplarSeries[]>('query_exemplars', { query: expr, start: span.from / 1000, end: span.to / 1000 }, abort).then((a) => dotsOf(a.data), () => [])
    : Promise.resolve([])
  const [answer, dots] = await Promise.all([api<QueryData>('query_range', { query: expr, start: g.start, end: g.end, step: s, stats: 'true' }, abort), exemplars])
  const series = answer.data.resultType === 'matrix' ? answer.data.result : []
  return { kind: 'range', answer, series, frame: toFrame(series, g.start, g.end, s), start: g.start, end: g.end, step: s, span, dots, expr }
}

/** A heatmap's axis shows bucket bounds: they have the metric's own unit, whatever rate() made of the counts. */
const bucketUnit = (expr: string): Unit => (/_seconds(_bucket)?\b/.test(expr) ? 'seconds' : /_bytes(_bucket)?\b/.test(expr) ? 'bytes' : 'short')

function dotsOf(list: ExemplarSeries[]): Dot[] {
  const dots = list.flatMap((s) => s.exemplars.map((e) => ({ at: e.timestamp, value: num(e.value), labels: { ...e.labels, ...s.seriesLabels } })))
  const every = Math.ceil(dots.length / DOTS_MAX)
  return dots.filter((_, i) => i % every === 0)
}

function QueryError({ error, expr, onShow, onRetry }: { error: unknown; expr: string; onShow: (from: number, to: number) => void; onRetry: () => void }) {
  const place = error instanceof ApiError ? errorPlace(error.message, expr) : null
  if (!(error instanceof ApiError) || !place) {
    const title = error instanceof ApiError && error.type === 'timeout' ? 'The query took too long' : error instanceof ApiError && error.type === 'bad_data' ? 'The query is not valid' : undefined
    return <ErrorBox error={error} title={title} onRetry={onRetry} />
  }
  const line = expr.split('\n')[place.line - 1]
  const start = place.column - 1, end = Math.min(line.length, start + Math.max(1, place.to - place.from))
  return (
    <div class="notice bad" role="alert">
      <Icon name="alert" size={16} />
      <div class="notice-body">
        <strong>The query is not valid</strong> <span class="muted">line {place.line}, column {place.column}</span>
        <div class="error-text">{place.text || error.message}</div>
        <pre class="error-place"><code>{line.slice(0, start)}<mark>{line.slice(start, end) || ' '}</mark>{line.slice(end)}</code></pre>
      </div>
      <button type="button" class="button" onClick={() => onShow(place.from, place.to)}>Show in query</button>
    </div>
  )
}

function History({ onPick }: { onPick: (expr: string) => void }) {
  const [text, setText] = useState('')
  const [list, setList] = useState(pastQueries())
  const found = list.filter((p) => p.expr.toLowerCase().includes(text.toLowerCase())).slice(0, 60)
  return (
    <div class="history">
      <SearchField value={text} onInput={setText} placeholder="Find a past query" autofocus />
      <div class="history-list">
        {found.map((p) => <button type="button" key={p.expr} class="menu-item mono" title={p.expr} onClick={() => onPick(p.expr)}>{oneLine(p.expr)}</button>)}
        {found.length === 0 && <p class="muted small">{list.length ? 'No past query matches.' : 'Queries you run are listed here. They stay in this browser.'}</p>}
      </div>
      {list.length > 0 && <button type="button" class="link small" onClick={() => { forgetAll(); setList([]) }}>Forget all</button>}
    </div>
  )
}

function Stats({ r, lines }: { r: NonNullable<Result>; lines: number }) {
  const s = r.answer.data.stats
  const parts: string[] = []
  if (r.kind === 'range') parts.push(plural(lines, 'series', 'series'), `step ${formatDuration(Math.round(r.step * 1000))}`)
  if (s?.samples?.totalQueryableSamples !== undefined) parts.push(`${formatCount(s.samples.totalQueryableSamples)} samples read`)
  if (s?.samples?.peakSamples !== undefined) parts.push(`${formatCount(s.samples.peakSamples)} at once`)
  if (s?.timings?.execTotalTime !== undefined) parts.push(`${format(s.timings.execTotalTime, 'seconds')} in the server`)
  else if (s?.timings?.evalTotalTime !== undefined) parts.push(`${format(s.timings.evalTotalTime, 'seconds')} in the server`)
  parts.push(`${format(r.answer.ms / 1000, 'seconds')} in all`, format(r.answer.bytes, 'bytes'))
  return <div class="stats" aria-label="Query statistics">{parts.map((p) => <span key={p}>{p}</span>)}</div>
}

function Notes({ answer, expr, onShow }: { answer: Answer<QueryData>; expr: string; onShow: (from: number, to: number) => void }) {
  const notes = [...answer.warnings.map((text) => ({ text, tone: 'warn' })), ...answer.infos.map((text) => ({ text, tone: 'info' }))]
  if (notes.length === 0) return null
  return (
    <ul class="notes" aria-label="Warnings">
      {notes.map(({ text, tone }) => {
        const place = errorPlace(text, expr)
        return <li key={text} class={tone}><Icon name={tone === 'warn' ? 'alert' : 'info'} size={14} /><span>{text.replace(/^PromQL (warning|info): /, '')}</span>{place && <button type="button" class="link" onClick={() => onShow(place.from, place.to)}>Show</button>}</li>
      })}
    </ul>
  )
}

function Graph({ r, p, unit, onZoom, onZoomOut, heat }: { r: RangeResult; p: PanelState; unit: Unit; onZoom: (s: Span) => void; onZoomOut: () => void; heat: boolean }) {
  const [box, width] = useWidth<HTMLDivElement>()
  const chart = useRef<Chart | null>(null)
  const [limit, setLimit] = useState(LINES_MAX)
  const [hidden, setHidden] = useState<Set<number>>(new Set())
  const lines = useMemo(() => r.frame.lines.slice(0, limit), [r, limit])
  const { common, own } = useMemo(() => splitCommon(lines.map((l) => l.labels)), [lines])
  const names = useMemo(() => lines.map((l, i) => shortName(own[i], l.labels, oneLine(r.expr))), [lines, own])
  const colours = useMemo(() => lines.map((_, i) => colour(i)), [lines, dark.value])
  const height = width < 500 ? 220 : 300
  // Toggles stay while the same series come back (refresh, zoom), and go when others come.
  const identity = names.join('\n')
  const known = useRef(identity)
  if (known.current !== identity) {
    known.current = identity
    if (hidden.size) setHidden(new Set())
  }
  const latest = useRef({ onZoom, onZoomOut })
  latest.current = { onZoom, onZoomOut }
  const heatable = useMemo(() => (heat ? heatData(r.series, r.start, r.end, r.step) : null), [r, heat])

  useEffect(() => {
    if (!box.current || width < 50) return
    const o = {
      width, height, span: r.span, unit, utc: utc.value, stacked: p.stack && !p.log, log: p.log, hidden,
      onZoom: (s: Span) => latest.current.onZoom(s), onZoomOut: () => latest.current.onZoomOut(),
      onDot: (d: Dot) => void copy(d.labels.trace_id ?? d.labels.traceID ?? JSON.stringify(d.labels), 'Trace id copied'),
    }
    chart.current = heat
      ? heatable && heatChart(box.current, heatable, o)
      : lineChart(box.current, { times: r.frame.times, lines: lines.map((l, i) => ({ name: names[i], colour: colours[i], values: l.values })), dots: r.dots }, o)
    return () => {
      chart.current?.destroy()
      chart.current = null
    }
  }, [r, lines, width > 50, height, unit, utc.value, p.stack, p.log, dark.value, heatable])
  useEffect(() => { if (width > 50) chart.current?.resize(width, height) }, [width, height])
  useEffect(() => chart.current?.setHidden(hidden), [hidden])

  return (
    <>
      <div class="chart" ref={box} style={{ minHeight: `${height}px` }} role="img" aria-label={heat ? 'Heatmap' : `Graph of ${lines.length} series`} />
      {r.frame.lines.length > limit && !heat && (
        <div class="notice info"><Icon name="info" size={15} /><div class="notice-body">The first {limit} of {formatCount(r.frame.lines.length)} series are drawn. <code>topk</code> or an aggregation reads better.</div><button type="button" class="button" onClick={() => setLimit(Infinity)}>Draw all</button></div>
      )}
      {!heat && <Legend lines={lines} names={names} colours={colours} common={common} own={own} unit={unit} hidden={hidden} onHidden={setHidden} onFocus={(i) => chart.current?.focus(i)} />}
      {heat && !heatable && <p class="muted center">A heatmap needs native histograms, or classic buckets summed by <code>le</code>.</p>}
    </>
  )
}

export function Panel(props: PanelProps) {
  const p = props.panel
  const [draft, setDraft] = useState(p.expr)
  const [outside, setOutside] = useState(p.expr)
  const ran = useRef(p.expr)
  const [metrics, setMetrics] = useState(false)
  const [again, setAgain] = useState(0)
  const field = useRef<QueryFieldHandle>(null)
  const [box, width] = useWidth<HTMLDivElement>()
  const bucketWidth = Math.max(300, Math.round(width / 150) * 150)
  // The panel's query changes by running the draft (nothing to do: more may have been typed since) or from outside.
  useEffect(() => {
    if (p.expr === ran.current) return
    ran.current = p.expr
    setDraft(p.expr)
    setOutside(p.expr)
  }, [p.expr])
  const query = useLoad(
    (abort) => (width > 0 ? runQuery(p, props.span, props.step, bucketWidth, abort) : Promise.resolve(undefined)),
    [p.expr, p.view === 'table', p.exemplars, props.span.from, props.span.to, props.step, props.tick, again, width > 0 ? bucketWidth : 0],
  )
  const busy = query.loading && p.expr.trim() !== ''
  useEffect(() => props.onBusy(busy), [busy])
  const r = query.data && (query.data.kind === 'instant') === (p.view === 'table') && query.data.expr === p.expr.trim() ? query.data : null
  useEffect(() => {
    if (!(query.error instanceof ApiError)) return
    const place = errorPlace(query.error.message, p.expr)
    if (place) field.current?.mark(place.from, place.to, place.text)
  }, [query.error])
  useEffect(() => { if (r && !query.error) remember(p.expr) }, [r?.expr])
  useEffect(() => {
    if (r?.kind === 'range') props.onStep(formatDuration(Math.round(r.step * 1000)))
  }, [r])

  const run = () => {
    if (draft === p.expr) setAgain(again + 1)
    else {
      ran.current = draft
      props.onChange({ expr: draft }, true)
    }
    props.onRun()
  }
  const use = (expr: string) => {
    ran.current = expr
    setDraft(expr)
    field.current?.set(expr)
    props.onChange({ expr }, true)
  }
  const tidy = async () => {
    try {
      const text = (await api<string>('format_query', { query: draft })).data
      setDraft(text)
      field.current?.set(text)
      if (draft === p.expr) {
        ran.current = text
        props.onChange({ expr: text })
      }
    } catch (e) {
      const place = errorPlace(e instanceof Error ? e.message : '', draft)
      if (place) field.current?.mark(place.from, place.to, place.text)
      say(place ? `Cannot format: ${place.text}` : 'Cannot format this query')
    }
  }
  const range = r?.kind === 'range' ? r : null
  const native = !!range && hasHistograms(range.series)
  const buckets = !!range && hasBuckets(range.series)
  const onlyHistograms = native && range!.frame.lines.length === 0
  const heat = p.view === 'heat' || (p.view === 'graph' && onlyHistograms)
  const unit = p.unit !== 'auto' ? p.unit : heat ? bucketUnit(p.expr) : guessUnit(p.expr)
  const empty = r !== null && (r.kind === 'range' ? r.series.length === 0 : Array.isArray(r.answer.data.result) && r.answer.data.resultType !== 'scalar' && r.answer.data.resultType !== 'string' && r.answer.data.result.length === 0)
  const views: { id: View; name: string; title?: string }[] = [{ id: 'graph', name: 'Graph' }, { id: 'table', name: 'Table', title: 'The values at the end of the range' }]
  if (native || buckets || p.view === 'heat') views.push({ id: 'heat', name: 'Heatmap' })

  return (
    <section class={'card panel' + (busy ? ' busy' : '')} ref={box} aria-label={`Query ${props.n}`} aria-busy={busy}>
      <div class="progress" aria-hidden="true" />
      <div class="panel-query">
        <QueryField ref={field} value={draft} outside={outside} label={`Query ${props.n}`} autofocus={props.only && !p.expr} first={props.n === 1} onChange={setDraft} onRun={run} />
        <button type="button" class={'button primary run' + (draft !== p.expr ? ' changed' : '')} onClick={run} title="Run (Enter)"><Icon name="play" size={14} /><span>Run</span></button>
      </div>
      <div class="panel-bar">
        <Segmented label="View" value={onlyHistograms && p.view === 'graph' ? 'heat' : p.view} options={views} onChange={(view) => props.onChange({ view })} />
        {p.view === 'graph' && !heat && (
          <>
            <button type="button" class={'button flat' + (p.stack ? ' active' : '')} aria-pressed={p.stack} onClick={() => props.onChange({ stack: !p.stack, log: false })}>Stacked</button>
            <button type="button" class={'button flat' + (p.log ? ' active' : '')} aria-pressed={p.log} title="Logarithmic value axis" onClick={() => props.onChange({ log: !p.log, stack: false })}>Log</button>
            <button type="button" class={'button flat' + (p.exemplars ? ' active' : '')} aria-pressed={p.exemplars} title="Show exemplars: single requests with their trace ids" onClick={() => props.onChange({ exemplars: !p.exemplars })}>Exemplars</button>
          </>
        )}
        <label class="select" title="Unit of the values"><span class="offscreen">Unit</span>
          <select value={p.unit} onChange={(e) => props.onChange({ unit: e.currentTarget.value as Unit })}>
            {UNITS.map((u) => <option key={u.id} value={u.id}>{u.id === 'auto' ? `Unit: auto (${UNITS.find((x) => x.id === (heat ? bucketUnit(p.expr) : guessUnit(p.expr)))!.name.toLowerCase()})` : u.name}</option>)}
          </select>
        </label>
        <span class="spring" />
        <IconButton icon="metrics" label="Browse metrics" keys="m" text="Metrics" onClick={() => setMetrics(true)} />
        <Popover label="Past queries" class="square" button={<Icon name="history" size={16} />}>{(close) => <History onPick={(e) => { close(); use(e) }} />}</Popover>
        <IconButton icon="format" label="Format query" disabled={!draft.trim()} onClick={() => void tidy()} />
        <IconButton icon="duplicate" label="Duplicate panel" onClick={props.onDuplicate} />
        <IconButton icon="trash" label={props.only ? 'Clear panel' : 'Remove panel'} onClick={props.onRemove} />
      </div>
      {query.error !== undefined && !busy && p.expr.trim() !== '' && <QueryError error={query.error} expr={p.expr} onShow={(a, b) => field.current?.select(a, b)} onRetry={() => setAgain(again + 1)} />}
      {r && !query.error && <Notes answer={r.answer} expr={p.expr} onShow={(a, b) => field.current?.select(a, b)} />}
      {!p.expr.trim() && (
        <Empty icon="explore" title="What would you like to see?">
          <p>Type a query, or start from one of these:</p>
          <div class="starters">
            {['up', 'sum by (job) (rate(http_requests_total[5m]))', 'topk(10, count by (__name__) ({__name__!=""}))', ...pastQueries().slice(0, 3).map((h) => h.expr)].filter((e, i, a) => a.indexOf(e) === i)
              .map((e) => <button type="button" key={e} class="starter mono" onClick={() => use(e)}>{oneLine(e)}</button>)}
            <button type="button" class="starter" onClick={() => setMetrics(true)}><Icon name="metrics" size={14} /> Browse all metrics</button>
          </div>
        </Empty>
      )}
      {p.expr.trim() !== '' && !r && query.error === undefined && <div class="chart-wait"><Skeleton rows={5} height={26} /></div>}
      {r && query.error === undefined && (empty
        ? <Empty icon="search" title="No data"><p>Nothing matches in {props.range.to === 'now' ? `the ${formatDuration(props.span.to - props.span.from)} up to now` : 'this time range'}. Check metric and label names, or <button type="button" class="link" onClick={props.onZoomOut}>widen the range</button>.</p></Empty>
        : r.kind === 'range'
          ? <Graph r={r} p={p} unit={unit} onZoom={props.onZoom} onZoomOut={props.onZoomOut} heat={heat} />
          : <ResultTable data={r.answer.data} unit={unit} at={r.at} />)}
      {r && query.error === undefined && <Stats r={r} lines={r.kind === 'range' ? r.series.length : 0} />}
      {metrics && <MetricExplorer onClose={() => setMetrics(false)} onUse={(e) => { setMetrics(false); use(e) }} />}
    </section>
  )
}
