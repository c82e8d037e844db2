// The metric explorer: every metric with its type and help, its labels and their values, and a first query.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { api, type Metadata } from '../lib/api'
import { useLoad } from '../lib/hooks'
import { quote, selector, suggestQuery } from '../lib/promql'
import { plural } from '../lib/ui'
import { Empty, ErrorBox, Modal, SearchField, Skeleton } from '../parts/bits'

const ROWS = 150
const VALUES = 12

interface Metric { name: string; type: string; help: string; unit: string }

/** _bucket, _sum and _count of a histogram or summary are described under the family's name. */
function describe(name: string, meta: Record<string, Metadata[]>): Metric {
  const own = meta[name]?.[0]
  const base = name.replace(/_(bucket|sum|count|total|created|info)$/, '')
  const m = own ?? meta[base]?.[0]
  const type = own ? own.type : m && /_(bucket|sum|count)$/.test(name) ? m.type : (m?.type ?? (/_total$/.test(name) ? 'counter' : ''))
  return { name, type: type === 'unknown' ? '' : type, help: m?.help ?? '', unit: m?.unit ?? '' }
}

/** All words in the name rank before words in the help text. */
function search(list: Metric[], text: string): Metric[] {
  const words = text.toLowerCase().split(/[\s]+/).filter(Boolean)
  if (words.length === 0) return list
  const names: Metric[] = [], helps: Metric[] = []
  for (const m of list) {
    const name = m.name.toLowerCase()
    if (words.every((w) => name.includes(w))) names.push(m)
    else if (words.every((w) => (name + ' ' + m.help + ' ' + m.type).toLowerCase().includes(w))) helps.push(m)
  }
  return [...names, ...helps]
}

function Detail({ m, onUse }: { m: Metric; onUse: (expr: string) => void }) {
  const recent = String(Math.floor(Date.now() / 1000) - 3600)
  const { data, error } = useLoad(async (abort) => {
    const match = [`{__name__=${quote(m.name)}}`]
    const labels = (await api<string[]>('labels', { 'match[]': match, start: recent }, abort)).data.filter((l) => l !== '__name__').slice(0, 40)
    return Promise.all(labels.map(async (l) => ({ label: l, values: (await api<string[]>(`label/${encodeURIComponent(l)}/values`, { 'match[]': match, start: recent }, abort)).data })))
  }, [m.name])
  const query = suggestQuery(m.name, m.type)
  return (
    <div class="metric-detail">
      <h3 class="mono">{m.name}</h3>
      <p>{m.type && <span class={'type ' + m.type}>{m.type}</span>} {m.unit && <span class="tag">{m.unit}</span>}</p>
      <p class="help">{m.help || <span class="muted">No description: its source sends no HELP.</span>}</p>
      <div class="row">
        <button type="button" class="button primary" onClick={() => onUse(query)}>Use {query === selector(m.name) ? 'metric' : query.startsWith('rate') ? 'rate' : '95th percentile'}</button>
        {query !== selector(m.name) && <button type="button" class="button" onClick={() => onUse(selector(m.name))}>Use plain</button>}
      </div>
      {error !== undefined && <ErrorBox error={error} />}
      {!data && error === undefined && <Skeleton rows={4} />}
      {data?.map(({ label, values }) => (
        <div class="metric-label" key={label}>
          <h4><span class="mono">{label}</span> <span class="muted small">{plural(values.length, 'value')}</span></h4>
          <div class="labels">
            {values.slice(0, VALUES).map((v) => <button type="button" key={v} class="label" title={`Use ${label}=${v}`} onClick={() => onUse(selector(m.name, `${label}=${quote(v)}`))}><span class="v">{v || '""'}</span></button>)}
            {values.length > VALUES && <span class="muted small">and {values.length - VALUES} more</span>}
          </div>
        </div>
      ))}
    </div>
  )
}

export function MetricExplorer({ onClose, onUse }: { onClose: () => void; onUse: (expr: string) => void }) {
  const [text, setText] = useState('')
  const [at, setAt] = useState(0)
  const listRef = useRef<HTMLDivElement>(null)
  const { data, error } = useLoad(async (abort) => {
    const [names, meta] = await Promise.all([
      api<string[]>('label/__name__/values', {}, abort),
      api<Record<string, Metadata[]>>('metadata', {}, abort).then((a) => a.data, () => ({}) as Record<string, Metadata[]>),
    ])
    return names.data.map((n) => describe(n, meta))
  }, [])
  const found = useMemo(() => search(data ?? [], text), [data, text])
  const shown = found.slice(0, ROWS)
  const current = shown[Math.min(at, shown.length - 1)]
  useEffect(() => setAt(0), [text])
  useEffect(() => {
    listRef.current?.querySelector('.on')?.scrollIntoView({ block: 'nearest' })
  }, [at])
  const key = (e: KeyboardEvent) => {
    if (e.key === 'ArrowDown' || e.key === 'ArrowUp') {
      e.preventDefault()
      setAt(Math.max(0, Math.min(shown.length - 1, at + (e.key === 'ArrowDown' ? 1 : -1))))
    } else if (e.key === 'Enter' && current && (e.target as HTMLElement).tagName === 'INPUT') {
      e.preventDefault()
      onUse(suggestQuery(current.name, current.type))
    }
  }
  return (
    <Modal title="Metrics" class="metrics" onClose={onClose}>
      <div class="metrics-body" onKeyDown={key}>
        <div class="metrics-left">
          <SearchField value={text} onInput={setText} placeholder="Search by name or description" autofocus />
          {error !== undefined && <ErrorBox error={error} />}
          {!data && error === undefined && <Skeleton rows={10} />}
          <div class="metrics-list" ref={listRef} role="listbox" aria-label="Metrics" tabIndex={0}>
            {shown.map((m, i) => (
              <button type="button" role="option" aria-selected={m === current} tabIndex={-1} key={m.name} class={'metric' + (m === current ? ' on' : '')} onClick={() => setAt(i)} onDblClick={() => onUse(suggestQuery(m.name, m.type))}>
                <span class="mono">{m.name}</span>{m.type && <span class={'type ' + m.type}>{m.type}</span>}
              </button>
            ))}
            {data && found.length === 0 && <Empty icon="search" title={data.length ? 'No metric matches' : 'There are no metrics yet'} />}
          </div>
          {data && <div class="muted small">{found.length > ROWS ? `First ${ROWS} of ${found.length}; type to narrow down` : plural(found.length, 'metric')}</div>}
        </div>
        {current && <Detail key={current.name} m={current} onUse={onUse} />}
      </div>
    </Modal>
  )
}
