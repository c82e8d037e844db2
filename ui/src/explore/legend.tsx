// The legend: every series with its colour and figures; click shows one alone, the swatch hides one.

import { useMemo, useState } from 'preact/hooks'
import { seriesName, type Labels } from '../lib/promql'
import { summarise, type Line, type Summary } from '../lib/series'
import { copy } from '../lib/ui'
import { format, formatExact, type Unit } from '../lib/units'
import { LabelSet } from '../parts/bits'

const ROWS = 100
type Key = 'name' | keyof Summary

export function Legend(p: { lines: Line[]; names: string[]; colours: string[]; common: Labels; own: Labels[]; unit: Unit; hidden: Set<number>; onHidden: (h: Set<number>) => void; onFocus: (i: number | null) => void }) {
  const [sort, setSort] = useState<{ key: Key; down: boolean } | null>(null)
  const [all, setAll] = useState(false)
  const rows = useMemo(() => p.lines.map((l, i) => ({ i, ...summarise(l.values) })), [p.lines])
  const sorted = useMemo(() => {
    if (!sort) return rows
    const by = [...rows].sort((a, b) => sort.key === 'name' ? p.names[a.i].localeCompare(p.names[b.i], 'en', { numeric: true }) : (a[sort.key] ?? -Infinity) - (b[sort.key] ?? -Infinity))
    return sort.down ? by.reverse() : by
  }, [rows, sort])
  const shown = all ? sorted : sorted.slice(0, ROWS)
  const toggle = (i: number) => {
    const h = new Set(p.hidden)
    if (!h.delete(i)) h.add(i)
    p.onHidden(h)
  }
  const alone = (i: number, add: boolean) => {
    if (add) return toggle(i)
    const isAlone = !p.hidden.has(i) && p.hidden.size === p.lines.length - 1
    p.onHidden(isAlone ? new Set() : new Set(p.lines.map((_, k) => k).filter((k) => k !== i)))
  }
  const head = (key: Key, name: string) => (
    <th class={key === 'name' ? '' : 'num'} aria-sort={sort?.key === key ? (sort.down ? 'descending' : 'ascending') : undefined}>
      <button type="button" class="sort" onClick={() => setSort(sort?.key !== key ? { key, down: key !== 'name' } : sort.down === (key !== 'name') ? { key, down: !sort.down } : null)}>
        {name}{sort?.key === key && <span aria-hidden="true">{sort.down ? ' ↓' : ' ↑'}</span>}
      </button>
    </th>
  )
  return (
    <div class="legend">
      {Object.keys(p.common).length > 0 && <div class="legend-common"><span class="muted small">All series</span><LabelSet labels={p.common} /></div>}
      <div class="table-wrap">
        <table>
          <thead><tr>{head('name', `${p.lines.length} series`)}{head('last', 'Last')}{head('min', 'Min')}{head('avg', 'Mean')}{head('max', 'Max')}</tr></thead>
          <tbody onMouseLeave={() => p.onFocus(null)}>
            {shown.map((r) => (
              <tr key={r.i} class={p.hidden.has(r.i) ? 'hidden' : ''} onMouseEnter={() => !p.hidden.has(r.i) && p.onFocus(r.i)}>
                <td class="legend-name">
                  <button type="button" class="swatch-button" aria-pressed={!p.hidden.has(r.i)} aria-label={`${p.hidden.has(r.i) ? 'Show' : 'Hide'} ${p.names[r.i]}`} onClick={() => toggle(r.i)}><i class="swatch" style={{ background: p.colours[r.i] }} /></button>
                  <button type="button" class="name" title={`${seriesName(p.lines[r.i].labels)}\nClick: show alone. Ctrl-click: hide or show. Double-click: copy.`}
                    onClick={(e) => alone(r.i, e.ctrlKey || e.metaKey)} onDblClick={() => void copy(seriesName(p.lines[r.i].labels), 'Series copied')}>{p.names[r.i]}</button>
                </td>
                {(['last', 'min', 'avg', 'max'] as const).map((k) => <td key={k} class="num" title={r[k] === null ? '' : formatExact(r[k]!)}>{format(r[k], p.unit, 4)}</td>)}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {shown.length < rows.length && <button type="button" class="button wide" onClick={() => setAll(true)}>Show all {rows.length} series</button>}
    </div>
  )
}
