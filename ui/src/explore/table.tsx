// The instant result as a table: a column per label that differs, the value, and a bar to compare.

import { useMemo, useState } from 'preact/hooks'
import { num, type HistogramJson, type QueryData, type Sample } from '../lib/api'
import { seriesName, splitCommon, type Labels } from '../lib/promql'
import { formatTime } from '../lib/time'
import { copy, plural, utc } from '../lib/ui'
import { format, formatExact, type Unit } from '../lib/units'
import { LabelSet } from '../parts/bits'

const ROWS = 200
const COLUMNS_MAX = 8

const Value = ({ v, unit }: { v: number; unit: Unit }) => <span title={format(v, unit)}>{formatExact(v)}</span>

function HistogramBars({ h, unit }: { h: HistogramJson; unit: Unit }) {
  const buckets = h.buckets ?? []
  const max = Math.max(1e-300, ...buckets.map((b) => num(b[3])))
  return (
    <div class="hist">
      <div class="small muted">count {formatExact(num(h.count))}, sum {formatExact(num(h.sum))}</div>
      <div class="hist-bars" role="img" aria-label={`${buckets.length} buckets`}>
        {buckets.map(([rule, lo, hi, c], i) => {
          const open = rule === 0 || rule === 2 ? '(' : '[', close = rule === 0 || rule === 1 ? ']' : ')'
          const text = `${rule === 3 ? '[' : open}${format(num(lo), unit)}, ${format(num(hi), unit)}${close}: ${formatExact(num(c))}`
          return <i key={i} title={text} style={{ height: `${Math.max(2, (num(c) / max) * 100)}%` }} />
        })}
      </div>
    </div>
  )
}

interface Row { labels: Labels; value?: number; text?: string; samples?: Sample[]; histogram?: HistogramJson }

function rowsOf(d: QueryData): Row[] {
  switch (d.resultType) {
    case 'scalar': return [{ labels: {}, value: num(d.result[1]) }]
    case 'string': return [{ labels: {}, text: d.result[1] }]
    case 'vector': return d.result.map((s) => ({ labels: s.metric, value: s.value && num(s.value[1]), histogram: s.histogram?.[1] }))
    case 'matrix': return d.result.map((s) => ({ labels: s.metric, samples: s.values, histogram: s.histograms?.at(-1)?.[1] }))
  }
}

export function ResultTable({ data, unit, at }: { data: QueryData; unit: Unit; at: number }) {
  const [sort, setSort] = useState<{ key: string; down: boolean } | null>(null)
  const [limit, setLimit] = useState(ROWS)
  const rows = useMemo(() => rowsOf(data), [data])
  const { common, own } = useMemo(() => splitCommon(rows.map((r) => r.labels)), [rows])
  const columns = useMemo(() => {
    const seen = new Set<string>()
    for (const o of own) for (const k of Object.keys(o)) seen.add(k)
    return [...seen].sort((a, b) => Number(b === '__name__') - Number(a === '__name__') || a.localeCompare(b))
  }, [own])
  const wide = columns.length > COLUMNS_MAX
  const order = useMemo(() => {
    const idx = rows.map((_, i) => i)
    if (!sort) return idx
    const get = (i: number): string | number => (sort.key === '\0' ? (rows[i].value ?? -Infinity) : (rows[i].labels[sort.key] ?? ''))
    idx.sort((a, b) => {
      const x = get(a), y = get(b)
      return typeof x === 'number' && typeof y === 'number' ? (Number.isNaN(x) ? -1 : Number.isNaN(y) ? 1 : x - y) : String(x).localeCompare(String(y), 'en', { numeric: true })
    })
    return sort.down ? idx.reverse() : idx
  }, [rows, sort])
  const max = Math.max(0, ...rows.map((r) => Math.abs(r.value ?? 0)).filter(Number.isFinite))
  const head = (key: string, name: string, numeric = false) => (
    <th class={numeric ? 'num' : ''} key={key} aria-sort={sort?.key === key ? (sort.down ? 'descending' : 'ascending') : undefined}>
      <button type="button" class="sort" onClick={() => setSort(sort?.key !== key ? { key, down: numeric } : sort.down === numeric ? { key, down: !numeric } : null)}>{name}{sort?.key === key && (sort.down ? ' ↓' : ' ↑')}</button>
    </th>
  )
  const tsv = () => order.map((i) => [seriesName(rows[i].labels), rows[i].text ?? String(rows[i].value ?? rows[i].samples?.map((s) => `${s[1]}@${s[0]}`).join(' ') ?? '')].join('\t')).join('\n')
  const bars = rows.length > 1 && rows.every((r) => r.value !== undefined)
  return (
    <div class="result-table">
      <div class="table-note">
        <span class="muted small">{plural(rows.length, data.resultType === 'matrix' ? 'series' : 'row', data.resultType === 'matrix' ? 'series' : 'rows')} at {formatTime(at, utc.value)}</span>
        {Object.keys(common).length > 0 && <><span class="muted small">all with</span><LabelSet labels={common} /></>}
        <button type="button" class="link small" onClick={() => void copy(tsv(), 'Table copied')}>Copy</button>
      </div>
      <div class="table-wrap">
        <table>
          <thead><tr>{wide || rows.length === 1 ? <th>Series</th> : columns.map((c) => head(c, c === '__name__' ? 'metric' : c))}{head('\0', 'Value', true)}{bars && <th class="bar-col" aria-hidden="true" />}</tr></thead>
          <tbody>
            {order.slice(0, limit).map((i) => {
              const r = rows[i]
              return (
                <tr key={i}>
                  {wide || rows.length === 1
                    ? <td class="mono">{Object.keys(own[i]).length ? seriesName(own[i]) : data.resultType === 'scalar' || data.resultType === 'string' ? data.resultType : '{}'}</td>
                    : columns.map((c) => <td key={c} class="mono">{own[i][c] ?? ''}</td>)}
                  <td class="num mono">
                    {r.value !== undefined && <Value v={r.value} unit={unit} />}
                    {r.text !== undefined && r.text}
                    {r.histogram && <HistogramBars h={r.histogram} unit={unit} />}
                    {r.samples && <Samples list={r.samples} />}
                  </td>
                  {bars && <td class="bar-col" aria-hidden="true"><meter class="bar" min={0} max={max || 1} value={Number.isFinite(r.value!) ? Math.abs(r.value!) : 0} /></td>}
                </tr>
              )
            })}
          </tbody>
        </table>
      </div>
      {rows.length > limit && <button type="button" class="button wide" onClick={() => setLimit(limit + 1000)}>Show {Math.min(1000, rows.length - limit)} more of {rows.length - limit}</button>}
    </div>
  )
}

/** The raw samples of a range selector. */
function Samples({ list }: { list: Sample[] }) {
  const [all, setAll] = useState(false)
  const shown = all ? list : list.slice(-8)
  return (
    <div class="samples">
      {shown.length < list.length && <button type="button" class="link small" onClick={() => setAll(true)}>{list.length - shown.length} older samples</button>}
      {shown.map(([t, v]) => <div key={t}><span>{v}</span><span class="muted"> @ {formatTime(t * 1000, utc.value, { ms: true })}</span></div>)}
    </div>
  )
}
