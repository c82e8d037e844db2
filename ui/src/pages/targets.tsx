// Targets: every scrape target by pool, its health, what went wrong, and what relabelling made of it.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { api, type Target, type Targets } from '../lib/api'
import { useLoad, useTick, useTitle } from '../lib/hooks'
import { useShortcuts } from '../lib/keys'
import type { Labels } from '../lib/promql'
import { quote } from '../lib/promql'
import { formatAgo, formatTime } from '../lib/time'
import { navigate, plural, route, utc } from '../lib/ui'
import { exploreLink } from '../lib/urlstate'
import { format } from '../lib/units'
import { Empty, ErrorBox, IconButton, LabelSet, PageHead, SearchField, Segmented, Skeleton } from '../parts/bits'
import { Icon } from '../parts/icons'

const ROWS_STEP = 100
type State = 'all' | 'up' | 'down' | 'unknown' | 'dropped'

interface Query { state: State; text: string; pool: string }

function readQuery(): Query {
  const p = new URLSearchParams(route.value.search)
  const state = p.get('state') as State
  return { state: ['up', 'down', 'unknown', 'dropped'].includes(state) ? state : 'all', text: p.get('q') ?? '', pool: p.get('pool') ?? '' }
}
function writeQuery(q: Query): void {
  const p = new URLSearchParams()
  if (q.state !== 'all') p.set('state', q.state)
  if (q.text) p.set('q', q.text)
  if (q.pool) p.set('pool', q.pool)
  const s = p.toString()
  navigate('/targets' + (s ? '?' + s : ''), { replace: true })
}

/** All words of the filter must be somewhere in the target: in its URL, its error or a label written k=v. */
function matcher(text: string): (url: string, labels: Labels, error: string) => boolean {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean)
  if (words.length === 0) return () => true
  return (url, labels, error) => {
    const hay = (url + ' ' + error + ' ' + Object.entries(labels).map(([k, v]) => `${k}=${v}`).join(' ')).toLowerCase()
    return words.every((w) => hay.includes(w))
  }
}

function Row({ t, now, onPick }: { t: Target; now: number; onPick: (k: string, v: string) => void }) {
  const [open, setOpen] = useState(false)
  const at = Date.parse(t.lastScrape)
  const scraped = at > 0
  const tone = t.health === 'up' ? 'good' : t.health === 'down' ? 'bad' : 'idle'
  return (
    <>
      <tr class={t.health === 'down' ? 'down' : ''}>
        <td><div class="endpoint">
          <button type="button" class="fold" aria-expanded={open} aria-label={`Discovered labels of ${t.scrapeUrl}`} onClick={() => setOpen(!open)}><Icon name={open ? 'down' : 'right'} size={14} /></button>
          <span class={'state ' + tone}>{t.health}</span>
          <a href={exploreLink(`up{job=${quote(t.labels.job ?? '')}, instance=${quote(t.labels.instance ?? '')}}`)} class="mono url" title="Show up{} of this target in Explore">{t.scrapeUrl}</a>
        </div></td>
        <td><LabelSet labels={t.labels} skip={['job']} onPick={onPick} /></td>
        <td class="num" data-label="Last scrape" title={scraped ? formatTime(at, utc.value, { ms: true }) : ''}>{scraped ? formatAgo(now - at) : 'never'}</td>
        <td class="num" data-label="Took">{scraped ? format(t.lastScrapeDuration, 'seconds') : ''}</td>
        <td class="num muted" data-label="Every">{t.scrapeInterval ?? ''}</td>
      </tr>
      {t.lastError && <tr class="error-row"><td colSpan={5}><div class="scrape-error mono"><Icon name="alert" size={14} />{t.lastError}</div></td></tr>}
      {open && (
        <tr class="detail-row"><td colSpan={5}>
          <dl class="facts">
            <div><dt>Discovered labels</dt><dd><LabelSet labels={t.discoveredLabels} /></dd></div>
            <div><dt>Labels</dt><dd><LabelSet labels={t.labels} /></dd></div>
            {t.scrapeTimeout && <div><dt>Time-out</dt><dd>{t.scrapeTimeout}</dd></div>}
            {scraped && <div><dt>Last scrape</dt><dd>{formatTime(at, utc.value, { ms: true })}</dd></div>}
          </dl>
        </td></tr>
      )}
    </>
  )
}

function Pool({ name, list, total, now, folded, onFold, onPick }: { name: string; list: Target[]; total: Target[]; now: number; folded: boolean; onFold: () => void; onPick: (k: string, v: string) => void }) {
  const [limit, setLimit] = useState(ROWS_STEP)
  const up = total.filter((t) => t.health === 'up').length
  return (
    <section class="card pool">
      <button type="button" class="pool-head" aria-expanded={!folded} onClick={onFold}>
        <Icon name={folded ? 'right' : 'down'} size={16} />
        <span class={'dot ' + (up === total.length ? 'good' : up === 0 ? 'bad' : 'warn')} />
        <h2>{name}</h2>
        <span class="muted">{up} of {total.length} up{list.length !== total.length && `, ${list.length} shown`}</span>
        <span class="pool-bar" aria-hidden="true">{healthBar(total)}</span>
      </button>
      {!folded && (
        <div class="table-wrap">
          <table class="targets">
            <thead><tr><th>Endpoint</th><th>Labels</th><th class="num">Last scrape</th><th class="num">Took</th><th class="num">Every</th></tr></thead>
            <tbody>{list.slice(0, limit).map((t) => <Row key={t.scrapeUrl + t.labels.instance} t={t} now={now} onPick={onPick} />)}</tbody>
          </table>
          {list.length > limit && <button type="button" class="button wide" onClick={() => setLimit(limit + ROWS_STEP)}>Show {Math.min(ROWS_STEP, list.length - limit)} more of {list.length - limit}</button>}
        </div>
      )}
    </section>
  )
}

function healthBar(list: Target[]) {
  const n = (h: string) => list.filter((t) => t.health === h).length
  return [['good', n('up')], ['bad', n('down')], ['idle', n('unknown')]].filter(([, c]) => c).map(([tone, c]) => <i key={tone} class={String(tone)} style={{ flexGrow: Number(c) }} />)
}

function Dropped({ d, test }: { d: Targets; test: ReturnType<typeof matcher> }) {
  const [limit, setLimit] = useState(ROWS_STEP)
  const list = d.droppedTargets.filter((t) => test('', t.discoveredLabels, ''))
  if (list.length === 0) return <Empty icon="targets" title={d.droppedTargets.length ? 'No dropped target matches' : 'No target was dropped'}><p>Targets that relabelling drops are listed here with the labels they were discovered with.</p></Empty>
  return (
    <section class="card">
      <table class="dropped">
        <thead><tr><th>Pool</th><th>Discovered labels</th></tr></thead>
        <tbody>{list.slice(0, limit).map((t, i) => <tr key={i}><td class="nowrap">{t.scrapePool ?? t.discoveredLabels.job}</td><td><LabelSet labels={t.discoveredLabels} /></td></tr>)}</tbody>
      </table>
      {list.length > limit && <button type="button" class="button wide" onClick={() => setLimit(limit + ROWS_STEP)}>Show more of {list.length - limit}</button>}
    </section>
  )
}

export default function TargetsPage() {
  useTitle('Targets')
  const [tick, bump] = useTick(10_000)
  useShortcuts(() => [{ keys: 'r', text: 'Refresh', group: 'Targets', run: bump }])
  const { data, error } = useLoad(async (abort) => ({ ...(await api<Targets>('targets', { state: 'any' }, abort)).data, now: Date.now() }), [], tick)
  const q = readQuery()
  const [text, setText] = useState(q.text)
  // The field owns what is typed; only a text that came otherwise (Back, a link) replaces it.
  const written = useRef(q.text)
  useEffect(() => {
    const now = readQuery().text
    if (now === written.current) return
    written.current = now
    setText(now)
  }, [q.text])
  const [folded, setFolded] = useState<Record<string, boolean>>({})
  const test = useMemo(() => matcher(q.text), [q.text])
  const set = (change: Partial<Query>) => {
    if (change.text !== undefined) written.current = change.text
    writeQuery({ ...readQuery(), ...change })
  }
  const active = data?.activeTargets ?? []
  const n = (h: string) => active.filter((t) => t.health === h).length
  const droppedCount = data ? (data.droppedTargetCounts ? Object.values(data.droppedTargetCounts).reduce((a, b) => a + b, 0) : data.droppedTargets.length) : 0
  const shown = active.filter((t) => (q.state === 'all' || t.health === q.state) && (!q.pool || t.scrapePool === q.pool) && test(t.scrapeUrl, t.labels, t.lastError))
  const byPool = new Map<string, Target[]>()
  for (const t of active) byPool.set(t.scrapePool, [...(byPool.get(t.scrapePool) ?? []), t])
  const names = [...byPool.keys()].sort((a, b) => {
    const bad = (p: string) => Number(byPool.get(p)!.some((t) => t.health === 'down'))
    return bad(b) - bad(a) || a.localeCompare(b)
  })
  const options: { id: State; name: preact.ComponentChildren }[] = [
    { id: 'all', name: <>All <b>{active.length}</b></> },
    { id: 'up', name: <>Up <b>{n('up')}</b></> },
    { id: 'down', name: <>Down <b class={n('down') ? 'bad' : ''}>{n('down')}</b></> },
    ...(n('unknown') ? [{ id: 'unknown' as State, name: <>Waiting <b>{n('unknown')}</b></> }] : []),
    { id: 'dropped', name: <>Dropped <b>{droppedCount}</b></> },
  ]
  return (
    <div class="page">
      <PageHead title="Targets" sub={data && active.length > 0 && <span><span class={'dot ' + (n('down') ? 'bad' : 'good')} /> {plural(active.length, 'target')} in {plural(byPool.size, 'pool')}{n('down') > 0 && `, ${n('down')} down`}</span>}>
        <IconButton icon="refresh" label="Refresh" keys="r" onClick={bump} />
      </PageHead>
      <div class="toolbar">
        <Segmented label="State" value={q.state} options={options} onChange={(state) => set({ state })} />
        {q.pool && <button type="button" class="chip" onClick={() => set({ pool: '' })} title="Show all pools">pool {q.pool} <Icon name="close" size={12} /></button>}
        <SearchField value={text} placeholder="Filter by address, label or error" focusKey onInput={(v) => { setText(v); set({ text: v }) }} />
      </div>
      {error !== undefined && <ErrorBox error={error} onRetry={bump} />}
      {!data && error === undefined && <Skeleton rows={6} height={30} />}
      {data && q.state === 'dropped' && <Dropped d={data} test={test} />}
      {data && q.state !== 'dropped' && (active.length === 0
        ? <Empty icon="targets" title="No targets yet"><p>Targets come from <code>scrape_configs</code>. Services that push with remote write or OTLP are not listed here; see <a href="/">Overview</a>.</p></Empty>
        : shown.length === 0
          ? <Empty icon="search" title="No target matches"><p>{q.text && <>Nothing contains <code>{q.text}</code>. </>}<button type="button" class="link" onClick={() => { setText(''); set({ state: 'all', text: '', pool: '' }) }}>Show all targets</button></p></Empty>
          : names.map((p) => {
            const list = shown.filter((t) => t.scrapePool === p)
            return list.length > 0 && <Pool key={p} name={p} list={list} total={byPool.get(p)!} now={data.now} folded={!!folded[p]} onFold={() => setFolded({ ...folded, [p]: !folded[p] })} onPick={(k, v) => { setText(`${k}=${v}`); set({ text: `${k}=${v}` }) }} />
          }))}
    </div>
  )
}
