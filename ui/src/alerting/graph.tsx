// The graph of an alert or a rule: what its expression watches, the line where it fires, exemplars, and since when.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { api, num, type ExemplarSeries, type QueryData } from '../lib/api'
import { belongs, threshold } from '../lib/alerting'
import { lineChart, shortName, type Dot } from '../explore/chart'
import { useLoad, useWidth } from '../lib/hooks'
import { splitCommon, type Labels } from '../lib/promql'
import { toFrame } from '../lib/series'
import { chooseStep, grid } from '../lib/step'
import { formatTime, type Span } from '../lib/time'
import { colour, copy, dark, utc } from '../lib/ui'
import { exploreLink } from '../lib/urlstate'
import { format, guessUnit } from '../lib/units'
import { ErrorBox, Segmented, Skeleton } from '../parts/bits'

const LINES_MAX = 20
const DOTS_MAX = 200
const RANGES = [{ id: '1h', name: '1 h' }, { id: '6h', name: '6 h' }, { id: '24h', name: '24 h' }, { id: '7d', name: '7 d' }] as const
type RangeId = (typeof RANGES)[number]['id']
const HOURS: Record<RangeId, number> = { '1h': 1, '6h': 6, '24h': 24, '7d': 168 }

export interface GraphProps { query: string; labels?: Labels; since?: number }

export default function AlertGraph({ query, labels, since }: GraphProps) {
  const [range, setRange] = useState<RangeId>(since !== undefined && Date.now() - since > 3_000_000 ? (Date.now() - since > 5 * 3_600_000 ? '24h' : '6h') : '1h')
  const [zoom, setZoom] = useState<Span | null>(null)
  const [box, width] = useWidth<HTMLDivElement>()
  const t = useMemo(() => threshold(query), [query])
  const watched = t?.expr ?? query
  const bucket = Math.max(240, Math.round(width / 150) * 150)
  const { data, error } = useLoad(async (abort) => {
    if (width === 0) return undefined
    const now = Date.now(), span = zoom ?? { from: now - HOURS[range] * 3_600_000, to: now }
    const step = chooseStep(span.to - span.from, bucket), g = grid(span.from, span.to, step)
    const dots = api<ExemplarSeries[]>('query_exemplars', { query: watched, start: span.from / 1000, end: span.to / 1000 }, abort).then((a) => a.data, () => [])
    const answer = await api<QueryData>('query_range', { query: watched, start: g.start, end: g.end, step }, abort)
    const all = answer.data.resultType === 'matrix' ? answer.data.result : []
    const mine = labels ? all.filter((s) => belongs(s.metric, labels)) : all
    const series = mine.length ? mine : all
    return { span, frame: toFrame(series.slice(0, LINES_MAX), g.start, g.end, step), more: Math.max(0, series.length - LINES_MAX), dots: dotsOf(await dots, mine.length ? labels : undefined) }
  }, [watched, JSON.stringify(labels), range, zoom, width > 0 ? bucket : 0])
  const latest = useRef({ setZoom })
  latest.current = { setZoom }

  useEffect(() => {
    if (!data || !box.current || width < 50) return
    const unit = guessUnit(watched), lines = data.frame.lines, { own } = splitCommon(lines.map((l) => l.labels))
    const rows = lines.map((l, i) => ({ name: shortName(own[i], l.labels, watched), colour: colour(i), values: l.values, dash: undefined as number[] | undefined }))
    const bad = getComputedStyle(document.documentElement).getPropertyValue('--bad').trim()
    if (t) rows.push({ name: `fires ${t.op} ${format(t.value, unit, 4)}`, colour: bad, values: data.frame.times.map(() => t.value), dash: [6, 4] })
    const chart = lineChart(box.current, { times: data.frame.times, lines: rows, dots: data.dots, marks: since !== undefined && since > data.span.from ? [{ at: since / 1000, colour: bad }] : [] }, {
      width, height: 190, span: data.span, unit, utc: utc.value, stacked: false, log: false, hidden: new Set(),
      onZoom: (s) => latest.current.setZoom(s), onZoomOut: () => latest.current.setZoom(null),
      onDot: (d: Dot) => void copy(d.labels.trace_id ?? d.labels.traceID ?? JSON.stringify(d.labels), 'Trace id copied'),
    })
    return () => chart.destroy()
  }, [data, width, utc.value, dark.value])

  return (
    <div class="alert-graph">
      <div class="graph-bar">
        <Segmented label="Time range" value={zoom ? ('' as RangeId) : range} options={[...RANGES]} onChange={(r) => { setZoom(null); setRange(r) }} />
        <span class="muted small">{t ? <>fires when the value is {t.op} {format(t.value, guessUnit(watched), 4)}</> : 'what the expression gives'}{data && data.dots.length > 0 && `, ${data.dots.length} exemplars`}{data && data.more > 0 && `, ${data.more} more series are not drawn`}</span>
        <span class="spring" />
        <a class="link small" href={exploreLink(watched)}>Open in Explore</a>
      </div>
      {error !== undefined && <ErrorBox error={error} title="No graph" />}
      {!data && error === undefined && <Skeleton rows={4} height={30} />}
      <div class="chart" ref={box} role="img" aria-label={`Graph of ${watched}${t ? `, fires ${t.op} ${t.value}` : ''}${since ? `, since ${formatTime(since, utc.value)}` : ''}`} />
      {data && data.frame.lines.length === 0 && <p class="muted small">{t ? 'Nothing was stored in this time.' : 'The expression gave nothing in this time.'}</p>}
      {data && data.dots.length > 0 && <Exemplars dots={data.dots} />}
    </div>
  )
}

/** The newest single requests behind the numbers. */
function Exemplars({ dots }: { dots: Dot[] }) {
  const newest = [...dots].sort((a, b) => b.at - a.at).slice(0, 5)
  return (
    <ul class="exemplars" aria-label="Exemplars">
      {newest.map((d) => {
        const trace = d.labels.trace_id ?? d.labels.traceID
        return <li key={d.at + (trace ?? '')}><span class="muted">{formatTime(d.at * 1000, utc.value)}</span> <b>{format(d.value, 'short', 4)}</b> {trace ? <button type="button" class="link mono" title="Copy the trace id" onClick={() => void copy(trace, 'Trace id copied')}>{trace}</button> : <span class="mono small">{JSON.stringify(d.labels)}</span>}</li>
      })}
    </ul>
  )
}

function dotsOf(list: ExemplarSeries[], labels?: Labels): Dot[] {
  // The series of exemplars are the raw ones: only labels that both have can tell them apart.
  const mine = labels ? list.filter((s) => Object.keys(s.seriesLabels).every((k) => !(k in labels) || s.seriesLabels[k] === labels[k])) : list
  const dots = mine.flatMap((s) => s.exemplars.map((e) => ({ at: e.timestamp, value: num(e.value), labels: { ...e.labels, ...s.seriesLabels } })))
  const every = Math.ceil(dots.length / DOTS_MAX)
  return dots.filter((_, i) => i % every === 0)
}
