// Alerts: what fires and what is pending now, grouped; each with its graph, its last day, and what can be done about it.
// Rules know why an alert is there, the Alertmanager (where one is configured) who is told, and what keeps it quiet.

import { useMemo, useState } from 'preact/hooks'
import { AlertingTabs, author, lazy, useQuery } from '../alerting/bits'
import { Events } from '../alerting/history'
import { am, ifConfigured, matcherText, ofLabels, routeLink, silenceLink, type Ack, type AmAlert, type Explained } from '../lib/alerting'
import { api, type AlertingRule, type Rules } from '../lib/api'
import { useLoad, useTick, useTitle } from '../lib/hooks'
import { useShortcuts } from '../lib/keys'
import type { Labels } from '../lib/promql'
import { formatAgo, formatTime } from '../lib/time'
import { plural, say, utc } from '../lib/ui'
import { exploreLink } from '../lib/urlstate'
import { format } from '../lib/units'
import { Empty, ErrorBox, IconButton, LabelSet, PageHead, SearchField, Segmented, Skeleton } from '../parts/bits'
import { Icon } from '../parts/icons'

const Graph = lazy(() => import('../alerting/graph'))
const Timeline = lazy(() => import('../alerting/timeline'))
const AckEditor = lazy(() => import('../alerting/ack-editor'))
const ROWS_STEP = 25
const SECTIONS_STEP = 20

interface Item {
  key: string; labels: Labels; annotations: Labels; state: 'firing' | 'pending'; since: number; value?: number
  rule?: AlertingRule; group?: string; am?: AmAlert; ack?: Ack
}
interface Section { key: string; title: string; note: string; rule?: AlertingRule; items: Item[]; firing: number }

const keyOf = (l: Labels): string => JSON.stringify(Object.keys(l).sort().map((k) => [k, l[k]]))
const quiet = (i: Item): boolean => i.am?.status.state === 'suppressed'

/** Every word must be somewhere in a label or annotation. */
function matches(i: Item, text: string): boolean {
  const hay = Object.entries({ ...i.annotations, ...i.labels }).map(([k, v]) => `${k}=${v}`).join(' ').toLowerCase()
  return text.toLowerCase().split(/\s+/).every((w) => hay.includes(w))
}

/** Alerts of rules, each with what the Alertmanager knows of it; then those that came from elsewhere. */
function join(rules: Rules, known: AmAlert[], acks: Ack[]): Item[] {
  const cared = new Map(acks.map((a) => [a.fingerprint, a]))
  const left = new Map(known.map((a) => [keyOf(a.labels), a]))
  // Sending adds external labels, the same to all: what the first one has more is looked for with the others.
  let extra: Labels = {}, tries = 20
  const find = (l: Labels): AmAlert | undefined => {
    const same = left.get(keyOf(l)) ?? left.get(keyOf({ ...extra, ...l }))
    if (same || Object.keys(extra).length || tries-- <= 0) return same
    const its = known.find((x) => Object.keys(l).every((k) => x.labels[k] === l[k]))
    if (its) extra = Object.fromEntries(Object.entries(its.labels).filter(([k]) => !(k in l)))
    return its
  }
  const items: Item[] = []
  for (const g of rules.groups)
    for (const rule of g.rules)
      for (const a of rule.type === 'alerting' ? rule.alerts : []) {
        const its = a.state === 'firing' && left.size ? find(a.labels) : undefined
        if (its) left.delete(keyOf(its.labels))
        items.push({ key: keyOf(a.labels) + g.name + rule.query, labels: a.labels, annotations: a.annotations, state: a.state, since: Date.parse(a.activeAt), value: Number(a.value), rule: rule as AlertingRule, group: g.name, am: its, ack: its && cared.get(its.fingerprint) })
      }
  for (const a of left.values()) items.push({ key: a.fingerprint, labels: a.labels, annotations: a.annotations, state: 'firing', since: Date.parse(a.startsAt), am: a, ack: cared.get(a.fingerprint) })
  return items
}

function sections(items: Item[], by: string): Section[] {
  const found = new Map<string, Section>()
  for (const i of items) {
    const values = by === 'rule' ? [i.labels.alertname ?? ''] : by === 'receiver' ? (i.am?.receivers.map((r) => r.name) ?? ['']) : [i.labels[by] ?? '']
    for (const v of values) {
      const key = by === 'rule' ? (i.rule ? i.group + i.rule.name + i.rule.query + JSON.stringify(i.rule.labels) : '\0' + v) : v
      const s = found.get(key) ?? { key, title: by === 'rule' ? v : v || (by === 'receiver' ? 'Nobody is told' : `Without ${by}`), note: by === 'rule' ? (i.group ?? 'sent by others') : '', rule: by === 'rule' ? i.rule : undefined, items: [], firing: 0 }
      s.items.push(i)
      s.firing += Number(i.state === 'firing')
      found.set(key, s)
    }
  }
  return [...found.values()].sort((a, b) => Number(b.firing > 0) - Number(a.firing > 0) || a.title.localeCompare(b.title))
}

/** Why it did or did not page, and all that was decided about it. */
function Why({ labels, tick }: { labels: Labels; tick: number }) {
  const { data, error } = useLoad(async (abort) => (await api<{ alerts: Explained[] }>('alerting/explain', { alert: `{${ofLabels(labels).map(matcherText).join(',')}}` }, abort)).data.alerts[0] ?? null, [JSON.stringify(labels)], tick)
  if (error !== undefined) return <ErrorBox error={error} title="No history" />
  if (!data) return null
  return <div class="why"><p data-test="verdict">{data.verdict}</p>{data.history.length > 0 && <Events list={data.history} max={12} />}</div>
}

function Details({ i, configured, tick }: { i: Item; configured: boolean; tick: number }) {
  return (
    <div class="alert-details">
      {i.rule && <Graph query={i.rule.query} labels={i.labels} since={i.since} />}
      {i.rule && <Timeline labels={i.labels} tick={tick} />}
      {i.am && (
        <dl class="facts">
          <div><dt>Told</dt><dd>{i.am.receivers.map((r) => r.name).join(', ') || 'nobody'} · <a class="link" href={routeLink(i.am.labels)}>see the way</a></dd></div>
          {i.am.status.silencedBy.length > 0 && <div><dt>Silenced by</dt><dd>{i.am.status.silencedBy.map((id) => <a key={id} class="link mono" href={`/silences?state=active&q=${id}`}>{id} </a>)}</dd></div>}
          {i.am.status.inhibitedBy.length > 0 && <div><dt>Inhibited by</dt><dd class="mono">{i.am.status.inhibitedBy.join(' ')}</dd></div>}
          {i.ack && <div><dt>Acknowledged</dt><dd>by {i.ack.owner}{i.ack.comment && `: ${i.ack.comment}`}, {formatTime(Date.parse(i.ack.at), utc.value)}{i.ack.until && ` until ${formatTime(Date.parse(i.ack.until), utc.value)}`}</dd></div>}
          <div><dt>Fingerprint</dt><dd class="mono">{i.am.fingerprint}</dd></div>
          {i.am.generatorURL && <div><dt>Source</dt><dd>{/^https?:\/\//.test(i.am.generatorURL) ? <a class="link" href={i.am.generatorURL} target="_blank" rel="noreferrer">{i.am.generatorURL}</a> : i.am.generatorURL}</dd></div>}
        </dl>
      )}
      {i.am && <Why labels={i.am.labels} tick={tick} />}
      {!i.am && configured && i.state === 'firing' && <p class="muted small">The Alertmanager has not been told of this alert: rules reach it by the <code>alerting:</code> section.</p>}
    </div>
  )
}

function Row({ i, configured, now, tick, onChange }: { i: Item; configured: boolean; now: number; tick: number; onChange: () => void }) {
  const [open, setOpen] = useState(false)
  const [acking, setAcking] = useState(false)
  const unack = async () => {
    try {
      await api('alerting/acks', { fingerprint: i.am!.fingerprint, owner: author() || undefined }, undefined, { method: 'DELETE' })
      say('No longer acknowledged')
    } catch (e) {
      say(e instanceof Error ? e.message : String(e))
    }
    onChange()
  }
  const notes = Object.entries(i.annotations)
  const name = i.labels.alertname ?? 'this alert'
  return (
    <>
      <tr>
        <td><div class="endpoint">
          <button type="button" class="fold" aria-expanded={open} aria-label={`Details of ${name}`} onClick={() => setOpen(!open)}><Icon name={open ? 'down' : 'right'} size={14} /></button>
          <span class={'state ' + (i.state === 'firing' ? 'bad' : 'warn')}>{i.state}</span>
          {i.am && i.am.status.silencedBy.length > 0 && <span class="state">silenced</span>}
          {i.am && i.am.status.inhibitedBy.length > 0 && <span class="state">inhibited</span>}
          {i.ack && <span class="state good" title={i.ack.comment}>{i.ack.owner} takes care</span>}
          <LabelSet labels={i.labels} skip={['alertname']} />
        </div></td>
        <td class="num" data-label="Value">{i.value === undefined ? '' : format(i.value, 'short', 4)}</td>
        <td class="num" data-label="Since" title={formatTime(i.since, utc.value, { ms: true })}>{formatAgo(now - i.since)}</td>
        <td class="actions">
          {i.am && (i.ack
            ? <button type="button" class="button small" aria-label={`Take back the acknowledgement of ${name}`} onClick={() => void unack()}>Unacknowledge</button>
            : <button type="button" class="button small" aria-label={`Acknowledge ${name}`} onClick={() => setAcking(true)}>Acknowledge</button>)}
          {acking && i.am && <AckEditor fingerprint={i.am.fingerprint} labels={i.am.labels} onDone={(done) => { setAcking(false); if (done) onChange() }} />}
          {configured && <a class="button small" href={silenceLink(i.labels)} aria-label={`Silence ${name}`}>Silence</a>}
        </td>
      </tr>
      {notes.length > 0 && <tr class="detail-row"><td colSpan={4}><dl class="facts">{notes.map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{/^(https?:\/)?\/\S*$/.test(v) ? <a class="link" href={v} target="_blank" rel="noreferrer">{v}</a> : v}</dd></div>)}</dl></td></tr>}
      {open && <tr class="detail-row"><td colSpan={4}><Details i={i} configured={configured} tick={tick} /></td></tr>}
    </>
  )
}

function SectionCard({ s, configured, now, tick, onChange }: { s: Section; configured: boolean; now: number; tick: number; onChange: () => void }) {
  const [limit, setLimit] = useState(ROWS_STEP)
  return (
    <section class="card pool alert-rule" aria-label={s.title}>
      <div class="pool-head">
        <span class={'dot ' + (s.firing ? 'bad' : 'warn')} />
        <h2>{s.title}</h2>
        <span class="muted">{[s.firing && `${s.firing} firing`, s.items.length - s.firing && `${s.items.length - s.firing} pending`].filter(Boolean).join(', ')}{s.note && ` · ${s.note}`}</span>
      </div>
      {s.rule && <a class="mono small" href={exploreLink(s.rule.query)} title="Open in Explore">{s.rule.query}</a>}
      <div class="table-wrap"><table class="targets alerts">
        <thead><tr><th>Alert</th><th class="num">Value</th><th class="num">Since</th><th><span class="offscreen">Actions</span></th></tr></thead>
        <tbody>{s.items.slice(0, limit).map((i) => <Row key={i.key} i={i} configured={configured} now={now} tick={tick} onChange={onChange} />)}</tbody>
      </table></div>
      {s.items.length > limit && <button type="button" class="button wide" onClick={() => setLimit(limit + ROWS_STEP)}>Show more of {s.items.length - limit}</button>}
    </section>
  )
}

export default function AlertsPage() {
  useTitle('Alerts')
  const [limit, setLimit] = useState(SECTIONS_STEP)
  const [tick, bump] = useTick(10_000)
  useShortcuts(() => [{ keys: 'r', text: 'Refresh', group: 'Alerts', run: bump }])
  const { data, error } = useLoad(async (abort) => {
    const [rules, known] = await Promise.all([api<Rules>('rules', { type: 'alert' }, abort), ifConfigured(() => Promise.all([am<AmAlert[]>('alerts', { abort }), api<Ack[]>('alerting/acks', {}, abort)]), abort)])
    return { items: join(rules.data, known?.[0] ?? [], known?.[1].data ?? []), configured: known !== null, groups: rules.data.groups, now: Date.now() }
  }, [], tick)
  const [q, set] = useQuery('/alerts', { state: 'all', by: 'rule', q: '' })
  const rules = useMemo(() => (data?.groups ?? []).flatMap((g) => g.rules), [data])
  const all = data?.items ?? []
  const n = { firing: all.filter((i) => i.state === 'firing').length, pending: all.filter((i) => i.state === 'pending').length, quiet: all.filter(quiet).length }
  const names = useMemo(() => [...new Set(all.flatMap((i) => Object.keys(i.labels)))].filter((k) => k !== 'alertname').sort(), [data])
  const shown = useMemo(() => sections(all.filter((i) => (q.state === 'all' || (q.state === 'quiet' ? quiet(i) : i.state === q.state)) && matches(i, q.q)), q.by), [data, q.state, q.q, q.by])
  return (
    <div class="page">
      <PageHead title="Alerts" sub={data && (rules.length > 0 || all.length > 0) && <span><span class={'dot ' + (n.firing ? 'bad' : n.pending ? 'warn' : 'good')} /> {n.firing} firing, {n.pending} pending of {plural(rules.length, 'rule')}</span>}>
        <IconButton icon="refresh" label="Refresh" keys="r" onClick={bump} />
      </PageHead>
      <AlertingTabs />
      <div class="toolbar">
        <Segmented label="State" value={q.state} onChange={(state) => set({ state })} options={[
          { id: 'all', name: <>All <b>{all.length}</b></> },
          { id: 'firing', name: <>Firing <b class={n.firing ? 'bad' : ''}>{n.firing}</b></> },
          { id: 'pending', name: <>Pending <b>{n.pending}</b></> },
          ...(data?.configured ? [{ id: 'quiet', name: <>Kept quiet <b>{n.quiet}</b></>, title: 'Silenced or inhibited' }] : []),
        ]} />
        <label class="select">Group by
          <select value={q.by} onChange={(e) => set({ by: e.currentTarget.value })}>
            <option value="rule">Rule</option>
            {data?.configured && <option value="receiver">Receiver</option>}
            {[...new Set([...names, ...(q.by === 'rule' || q.by === 'receiver' ? [] : [q.by])])].filter((k) => k !== 'receiver' && k !== 'rule').map((k) => <option key={k} value={k}>{k}</option>)}
          </select>
        </label>
        <SearchField value={q.q} placeholder="Filter by label or annotation" focusKey onInput={(text) => set({ q: text })} />
      </div>
      {error !== undefined && <ErrorBox error={error} onRetry={bump} />}
      {!data && error === undefined && <Skeleton rows={6} height={30} />}
      {data && (rules.length === 0 && all.length === 0
        ? <Empty icon="alert" title="No alerting rules"><p>Rules come from the files that <code>rule_files</code> names{data.configured && '; alerts may also be sent to /api/v2/alerts'}.</p></Empty>
        : all.length === 0
          ? <Empty icon="check" title="Nothing is wrong"><p>None of {plural(rules.length, 'alerting rule')} is pending or firing. See <a href="/rules">Rules</a>.</p></Empty>
          : shown.length === 0
            ? <Empty icon="search" title="No alert matches"><p><button type="button" class="link" onClick={() => set({ state: 'all', q: '' })}>Show all alerts</button></p></Empty>
            : shown.slice(0, limit).map((s) => <SectionCard key={s.key} s={s} configured={data.configured} now={data.now} tick={tick} onChange={bump} />))}
      {data && shown.length > limit && <button type="button" class="button wide" onClick={() => setLimit(limit + SECTIONS_STEP)}>Show more of {shown.length - limit}</button>}
      {data && rules.some((r) => r.health === 'err') && <p class="muted"><Icon name="alert" size={14} /> Some rules could not be evaluated: see <a href="/rules?state=err">Rules</a>.</p>}
    </div>
  )
}
