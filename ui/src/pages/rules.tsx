// Rules: every group with its rules, how the last evaluation went, how long it took, and the expression to look at.

import { useState } from 'preact/hooks'
import { AlertingTabs, lazy } from '../alerting/bits'
import { api, type Rule, type RuleGroup, type Rules } from '../lib/api'
import { useLoad, useTick, useTitle } from '../lib/hooks'
import { useShortcuts } from '../lib/keys'
import { labelName, quote, selector } from '../lib/promql'
import { formatAgo, formatTime } from '../lib/time'
import { navigate, plural, route, utc } from '../lib/ui'
import { exploreLink } from '../lib/urlstate'
import { format } from '../lib/units'
import { Empty, ErrorBox, IconButton, LabelSet, PageHead, SearchField, Segmented, Skeleton } from '../parts/bits'
import { Icon } from '../parts/icons'

const Graph = lazy(() => import('../alerting/graph'))
const Backtest = lazy(() => import('../alerting/backtest'))
const ROWS_STEP = 100
const GROUPS_STEP = 50
type Show = 'all' | 'alerting' | 'recording' | 'err'

function readQuery(): { state: Show; text: string } {
  const p = new URLSearchParams(route.value.search)
  const state = p.get('state') as Show
  return { state: ['alerting', 'recording', 'err'].includes(state) ? state : 'all', text: p.get('q') ?? '' }
}

function shows(r: Rule, g: RuleGroup, state: Show, text: string): boolean {
  const hay = `${r.name} ${r.query} ${g.name} ${g.file} ${Object.entries(r.labels ?? {}).map(([k, v]) => `${k}=${v}`).join(' ')}`.toLowerCase()
  return (state === 'all' || (state === 'err' ? r.health === 'err' : r.type === state)) && text.toLowerCase().split(/\s+/).every((w) => hay.includes(w))
}

function tone(r: Rule): string {
  if (r.health === 'err') return 'bad'
  if (r.type === 'alerting' && r.state === 'firing') return 'bad'
  if (r.type === 'alerting' && r.state === 'pending') return 'warn'
  return r.health === 'ok' ? 'good' : 'idle'
}

/** A recording rule is looked at as what it wrote: cheaper than its expression. */
const recorded = (r: Rule): string => selector(r.name, Object.entries(r.labels ?? {}).filter(([, v]) => !v.includes('{{')).map(([k, v]) => `${labelName(k)}=${quote(v)}`).join(','))

function Row({ r, g, now }: { r: Rule; g: RuleGroup; now: number }) {
  const [open, setOpen] = useState(false)
  const at = Date.parse(r.lastEvaluation)
  const alerting = r.type === 'alerting'
  return (
    <>
      <tr class={r.health === 'err' ? 'down' : ''}>
        <td><div class="endpoint">
          <button type="button" class="fold" aria-expanded={open} aria-label={`Details of ${r.name}`} onClick={() => setOpen(!open)}><Icon name={open ? 'down' : 'right'} size={14} /></button>
          <span class={'state ' + tone(r)}>{r.health === 'err' ? 'error' : alerting ? r.state : r.health}</span>
          <span class="mono url">{alerting ? <a href={`/alerts?q=${encodeURIComponent('alertname=' + r.name)}`}>{r.name}</a> : <a href={exploreLink(r.name)}>{r.name}</a>}</span>
        </div></td>
        <td><a class="mono small" href={exploreLink(r.query)} title="Open in Explore">{r.query}</a></td>
        <td class="num" data-label="Evaluated" title={at > 0 ? formatTime(at, utc.value, { ms: true }) : ''}>{at > 0 ? formatAgo(now - at) : 'never'}</td>
        <td class="num" data-label="Took">{at > 0 ? format(r.evaluationTime, 'seconds') : ''}</td>
      </tr>
      {r.lastError && <tr class="error-row"><td colSpan={4}><div class="scrape-error mono"><Icon name="alert" size={14} />{r.lastError}</div></td></tr>}
      {open && (
        <tr class="detail-row"><td colSpan={4}>
          <dl class="facts">
            <div><dt>Kind</dt><dd>{r.type}</dd></div>
            {r.labels && <div><dt>Labels</dt><dd><LabelSet labels={r.labels} /></dd></div>}
            {alerting && <div><dt>For</dt><dd>{format(r.duration, 'seconds')}</dd></div>}
            {alerting && r.keepFiringFor > 0 && <div><dt>Keeps firing for</dt><dd>{format(r.keepFiringFor, 'seconds')}</dd></div>}
            {alerting && Object.entries(r.annotations).map(([k, v]) => <div key={k}><dt>{k}</dt><dd class="mono">{v}</dd></div>)}
            <div><dt>Health</dt><dd>{r.health === 'ok' ? 'the last evaluation worked' : r.health === 'err' ? 'the last evaluation failed' : 'not evaluated yet'}{at > 0 && `, ${formatTime(at, utc.value)}, took ${format(r.evaluationTime, 'seconds')}`}</dd></div>
          </dl>
          <Graph query={alerting ? r.query : recorded(r)} />
          {alerting && <Backtest name={r.name} group={g.name} file={g.file} />}
        </td></tr>
      )}
    </>
  )
}

function Group({ g, list, now }: { g: RuleGroup; list: Rule[]; now: number }) {
  const [limit, setLimit] = useState(ROWS_STEP)
  const bad = g.rules.filter((r) => r.health === 'err').length
  return (
    <section class="card pool rule-group">
      <div class="pool-head">
        <span class={'dot ' + (bad ? 'bad' : 'good')} />
        <h2>{g.name}</h2>
        <span class="muted">{g.file} · every {format(g.interval, 'seconds')} · took {format(g.evaluationTime, 'seconds')}{bad > 0 && `, ${bad} failing`}</span>
      </div>
      <div class="table-wrap"><table class="targets">
        <thead><tr><th>Rule</th><th>Expression</th><th class="num">Evaluated</th><th class="num">Took</th></tr></thead>
        <tbody>{list.slice(0, limit).map((r) => <Row key={r.type + r.name + r.query + JSON.stringify(r.labels)} r={r} g={g} now={now} />)}</tbody>
      </table></div>
      {list.length > limit && <button type="button" class="button wide" onClick={() => setLimit(limit + ROWS_STEP)}>Show more of {list.length - limit}</button>}
    </section>
  )
}

export default function RulesPage() {
  useTitle('Rules')
  const [limit, setLimit] = useState(GROUPS_STEP)
  const [tick, bump] = useTick(10_000)
  useShortcuts(() => [{ keys: 'r', text: 'Refresh', group: 'Rules', run: bump }])
  const { data, error } = useLoad(async (abort) => ({ ...(await api<Rules>('rules', { exclude_alerts: 'true' }, abort)).data, now: Date.now() }), [], tick)
  const q = readQuery()
  const set = (change: Partial<typeof q>) => {
    const to = { ...readQuery(), ...change }, p = new URLSearchParams()
    if (to.state !== 'all') p.set('state', to.state)
    if (to.text) p.set('q', to.text)
    navigate('/rules' + (p.size ? '?' + p : ''), { replace: true })
  }
  const all = (data?.groups ?? []).flatMap((g) => g.rules)
  const failing = all.filter((r) => r.health === 'err').length
  const shown = (data?.groups ?? []).map((g) => ({ g, list: g.rules.filter((r) => shows(r, g, q.state, q.text)) })).filter((x) => x.list.length)
  return (
    <div class="page">
      <PageHead title="Rules" sub={data && all.length > 0 && <span><span class={'dot ' + (failing ? 'bad' : 'good')} /> {plural(all.length, 'rule')} in {plural(data.groups.length, 'group')}{failing > 0 && `, ${failing} failing`}</span>}>
        <IconButton icon="refresh" label="Refresh" keys="r" onClick={bump} />
      </PageHead>
      <AlertingTabs />
      <div class="toolbar">
        <Segmented label="Kind" value={q.state} onChange={(state) => set({ state })} options={[
          { id: 'all', name: <>All <b>{all.length}</b></> },
          { id: 'alerting', name: <>Alerting <b>{all.filter((r) => r.type === 'alerting').length}</b></> },
          { id: 'recording', name: <>Recording <b>{all.filter((r) => r.type === 'recording').length}</b></> },
          { id: 'err', name: <>Failing <b class={failing ? 'bad' : ''}>{failing}</b></> },
        ]} />
        <SearchField value={q.text} placeholder="Filter by name, expression, label or file" focusKey onInput={(text) => set({ text })} />
      </div>
      {error !== undefined && <ErrorBox error={error} onRetry={bump} />}
      {!data && error === undefined && <Skeleton rows={6} height={30} />}
      {data && (all.length === 0
        ? <Empty icon="book" title="No rules"><p>Rules come from the files that <code>rule_files</code> names.</p></Empty>
        : shown.length === 0
          ? <Empty icon="search" title="No rule matches"><p><button type="button" class="link" onClick={() => set({ state: 'all', text: '' })}>Show all rules</button></p></Empty>
          : shown.slice(0, limit).map(({ g, list }) => <Group key={g.file + ';' + g.name} g={g} list={list} now={data.now} />))}
      {data && shown.length > limit && <button type="button" class="button wide" onClick={() => setLimit(limit + GROUPS_STEP)}>Show more of {shown.length - limit} groups</button>}
    </div>
  )
}
