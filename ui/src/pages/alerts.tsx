// Alerts: what fires and what is pending now, by rule, with labels, annotations and since when.

import { useMemo, useState } from 'preact/hooks'
import { api, type AlertingRule, type RuleAlert, type Rules } from '../lib/api'
import { useLoad, useTick, useTitle } from '../lib/hooks'
import { useShortcuts } from '../lib/keys'
import { formatAgo, formatTime } from '../lib/time'
import { navigate, plural, route, utc } from '../lib/ui'
import { exploreLink } from '../lib/urlstate'
import { formatCount } from '../lib/units'
import { Empty, ErrorBox, IconButton, LabelSet, PageHead, SearchField, Segmented, Skeleton } from '../parts/bits'
import { Icon } from '../parts/icons'

const ROWS_STEP = 100
type State = 'all' | 'firing' | 'pending'
interface Found { rule: AlertingRule; group: string; alerts: RuleAlert[] }

function readQuery(): { state: State; text: string } {
  const p = new URLSearchParams(route.value.search)
  const state = p.get('state') as State
  return { state: ['firing', 'pending'].includes(state) ? state : 'all', text: p.get('q') ?? '' }
}

/** Every word must be somewhere in a label or annotation. */
function matches(a: RuleAlert, text: string): boolean {
  const hay = Object.entries({ ...a.annotations, ...a.labels }).map(([k, v]) => `${k}=${v}`).join(' ').toLowerCase()
  return text.toLowerCase().split(/\s+/).every((w) => hay.includes(w))
}

function Row({ a, now }: { a: RuleAlert; now: number }) {
  const since = Date.parse(a.activeAt)
  const notes = Object.entries(a.annotations)
  return (
    <>
      <tr>
        <td><div class="endpoint"><span class={'state ' + (a.state === 'firing' ? 'bad' : 'warn')}>{a.state}</span><LabelSet labels={a.labels} skip={['alertname']} /></div></td>
        <td class="num" data-label="Value">{formatCount(Number(a.value))}</td>
        <td class="num" data-label="Since" title={formatTime(since, utc.value, { ms: true })}>{formatAgo(now - since)}</td>
      </tr>
      {notes.length > 0 && <tr class="detail-row"><td colSpan={3}><dl class="facts">{notes.map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{/^https?:\/\//.test(v) ? <a href={v} target="_blank" rel="noreferrer">{v}</a> : v}</dd></div>)}</dl></td></tr>}
    </>
  )
}

function RuleCard({ f, now }: { f: Found; now: number }) {
  const [limit, setLimit] = useState(ROWS_STEP)
  const firing = f.alerts.filter((a) => a.state === 'firing').length
  return (
    <section class="card pool alert-rule">
      <div class="pool-head">
        <span class={'dot ' + (firing ? 'bad' : 'warn')} />
        <h2>{f.rule.name}</h2>
        <span class="muted">{[firing && `${firing} firing`, f.alerts.length - firing && `${f.alerts.length - firing} pending`].filter(Boolean).join(', ')} · {f.group}</span>
      </div>
      <a class="mono small" href={exploreLink(f.rule.query)} title="Open in Explore">{f.rule.query}</a>
      <div class="table-wrap"><table class="targets">
        <thead><tr><th>Alert</th><th class="num">Value</th><th class="num">Since</th></tr></thead>
        <tbody>{f.alerts.slice(0, limit).map((a) => <Row key={JSON.stringify(a.labels)} a={a} now={now} />)}</tbody>
      </table></div>
      {f.alerts.length > limit && <button type="button" class="button wide" onClick={() => setLimit(limit + ROWS_STEP)}>Show more of {f.alerts.length - limit}</button>}
    </section>
  )
}

export default function AlertsPage() {
  useTitle('Alerts')
  const [tick, bump] = useTick(10_000)
  useShortcuts(() => [{ keys: 'r', text: 'Refresh', group: 'Alerts', run: bump }])
  const { data, error } = useLoad(async (abort) => ({ ...(await api<Rules>('rules', { type: 'alert' }, abort)).data, now: Date.now() }), [tick])
  const q = readQuery()
  const set = (change: Partial<typeof q>) => {
    const to = { ...readQuery(), ...change }, p = new URLSearchParams()
    if (to.state !== 'all') p.set('state', to.state)
    if (to.text) p.set('q', to.text)
    navigate('/alerts' + (p.size ? '?' + p : ''), { replace: true })
  }
  const found = useMemo<Found[]>(() => (data?.groups ?? []).flatMap((g) => g.rules.flatMap((rule) => rule.type === 'alerting' ? [{ rule, group: g.name, alerts: rule.alerts }] : [])), [data])
  const all = found.flatMap((f) => f.alerts)
  const n = (s: string) => all.filter((a) => a.state === s).length
  const shown = found
    .map((f) => ({ ...f, alerts: f.alerts.filter((a) => (q.state === 'all' || a.state === q.state) && matches(a, q.text)) }))
    .filter((f) => f.alerts.length)
    .sort((a, b) => Number(b.rule.state === 'firing') - Number(a.rule.state === 'firing') || a.rule.name.localeCompare(b.rule.name))
  return (
    <div class="page">
      <PageHead title="Alerts" sub={data && found.length > 0 && <span><span class={'dot ' + (n('firing') ? 'bad' : n('pending') ? 'warn' : 'good')} /> {n('firing')} firing, {n('pending')} pending of {plural(found.length, 'rule')}</span>}>
        <IconButton icon="refresh" label="Refresh" keys="r" onClick={bump} />
      </PageHead>
      <div class="toolbar">
        <Segmented label="State" value={q.state} onChange={(state) => set({ state })} options={[
          { id: 'all', name: <>All <b>{all.length}</b></> },
          { id: 'firing', name: <>Firing <b class={n('firing') ? 'bad' : ''}>{n('firing')}</b></> },
          { id: 'pending', name: <>Pending <b>{n('pending')}</b></> },
        ]} />
        <SearchField value={q.text} placeholder="Filter by label or annotation" focusKey onInput={(text) => set({ text })} />
      </div>
      {error !== undefined && <ErrorBox error={error} onRetry={bump} />}
      {!data && error === undefined && <Skeleton rows={6} height={30} />}
      {data && (found.length === 0
        ? <Empty icon="alert" title="No alerting rules"><p>Rules come from the files that <code>rule_files</code> names.</p></Empty>
        : all.length === 0
          ? <Empty icon="check" title="Nothing is wrong"><p>None of {plural(found.length, 'alerting rule')} is pending or firing. See <a href="/rules">Rules</a>.</p></Empty>
          : shown.length === 0
            ? <Empty icon="search" title="No alert matches"><p><button type="button" class="link" onClick={() => set({ state: 'all', text: '' })}>Show all alerts</button></p></Empty>
            : shown.map((f) => <RuleCard key={f.group + f.rule.name + f.rule.query + JSON.stringify(f.rule.labels)} f={f} now={data.now} />))}
      {data && found.some((f) => f.rule.health === 'err') && <p class="muted"><Icon name="alert" size={14} /> Some rules could not be evaluated: see <a href="/rules?state=err">Rules</a>.</p>}
    </div>
  )
}
