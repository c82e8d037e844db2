// Alerts: what fires and what is pending now, grouped; each with its graph, its last day, and what can be done about it.
// Rules know why an alert is there, the Alertmanager (where one is configured) who is told, and what keeps it quiet.

import { useState } from 'preact/hooks'
import { AlertingTabs, author, lazy, useQuery } from '../alerting/bits'
import { Events } from '../alerting/history'
import { alertPage, matcherText, ofLabels, routeLink, silenceLink, type AlertGroup, type AlertPage, type Explained, type ListedAlert } from '../lib/alerting'
import { api } from '../lib/api'
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
const SECTIONS_STEP = 10

interface Query { state: string; by: string; q: string }

/** Some groups with their first alerts: the answer is small, however many there are. */
const find = (q: Query, more: { groups?: number; group?: string; limit: number }, abort: AbortSignal): Promise<AlertPage> =>
  alertPage({ state: q.state, by: q.by, q: q.q || undefined, ...more }, abort)
const keyOf = (i: ListedAlert): string => JSON.stringify([i.sent?.fingerprint, i.rule?.group, i.rule?.query, Object.keys(i.labels).sort().map((k) => [k, i.labels[k]])])
const titleOf = (s: AlertGroup, by: string): string => s.title || (by === 'rule' ? '' : by === 'receiver' ? 'Nobody is told' : `Without ${by}`)

/** Why it did or did not page, and all that was decided about it. */
function Why({ labels, tick }: { labels: Labels; tick: number }) {
  const { data, error } = useLoad(async (abort) => (await api<{ alerts: Explained[] }>('alerting/explain', { alert: `{${ofLabels(labels).map(matcherText).join(',')}}` }, abort)).data.alerts[0] ?? null, [JSON.stringify(labels)], tick)
  if (error !== undefined) return <ErrorBox error={error} title="No history" />
  if (!data) return null
  return <div class="why"><p data-test="verdict">{data.verdict}</p>{data.history.length > 0 && <Events list={data.history} max={12} />}</div>
}

function Details({ i, configured, tick }: { i: ListedAlert; configured: boolean; tick: number }) {
  return (
    <div class="alert-details">
      {i.rule && <Graph query={i.rule.query} labels={i.labels} since={Date.parse(i.since)} />}
      {i.rule && <Timeline labels={i.labels} tick={tick} />}
      {i.sent && (
        <dl class="facts">
          <div><dt>Told</dt><dd>{i.sent.receivers.join(', ') || 'nobody'} · <a class="link" href={routeLink(i.sent.labels)}>see the way</a></dd></div>
          {i.sent.silencedBy.length > 0 && <div><dt>Silenced by</dt><dd>{i.sent.silencedBy.map((id) => <a key={id} class="link mono" href={`/silences?state=active&q=${id}`}>{id} </a>)}</dd></div>}
          {i.sent.inhibitedBy.length > 0 && <div><dt>Inhibited by</dt><dd class="mono">{i.sent.inhibitedBy.join(' ')}</dd></div>}
          {i.sent.ack && <div><dt>Acknowledged</dt><dd>by {i.sent.ack.owner}{i.sent.ack.comment && `: ${i.sent.ack.comment}`}, {formatTime(Date.parse(i.sent.ack.at), utc.value)}{i.sent.ack.until && ` until ${formatTime(Date.parse(i.sent.ack.until), utc.value)}`}</dd></div>}
          <div><dt>Fingerprint</dt><dd class="mono">{i.sent.fingerprint}</dd></div>
          {i.sent.generatorURL && <div><dt>Source</dt><dd>{/^https?:\/\//.test(i.sent.generatorURL) ? <a class="link" href={i.sent.generatorURL} target="_blank" rel="noreferrer">{i.sent.generatorURL}</a> : i.sent.generatorURL}</dd></div>}
        </dl>
      )}
      {i.sent && <Why labels={i.sent.labels} tick={tick} />}
      {!i.sent && configured && i.state === 'firing' && <p class="muted small">The Alertmanager has not been told of this alert: rules reach it by the <code>alerting:</code> section.</p>}
    </div>
  )
}

function Row({ i, configured, now, tick, onChange }: { i: ListedAlert; configured: boolean; now: number; tick: number; onChange: () => void }) {
  const [open, setOpen] = useState(false)
  const [acking, setAcking] = useState(false)
  const unack = async () => {
    try {
      await api('alerting/acks', { fingerprint: i.sent!.fingerprint, owner: author() || undefined }, undefined, { method: 'DELETE' })
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
          {i.sent && i.sent.silencedBy.length > 0 && <span class="state">silenced</span>}
          {i.sent && i.sent.inhibitedBy.length > 0 && <span class="state">inhibited</span>}
          {i.sent?.ack && <span class="state good" title={i.sent?.ack.comment}>{i.sent?.ack.owner} takes care</span>}
          <LabelSet labels={i.labels} skip={['alertname']} />
        </div></td>
        <td class="num" data-label="Value">{i.value === null ? '' : format(Number(i.value), 'short', 4)}</td>
        <td class="num" data-label="Since" title={formatTime(Date.parse(i.since), utc.value, { ms: true })}>{formatAgo(now - Date.parse(i.since))}</td>
        <td class="actions">
          {i.sent && (i.sent?.ack
            ? <button type="button" class="button small" aria-label={`Take back the acknowledgement of ${name}`} onClick={() => void unack()}>Unacknowledge</button>
            : <button type="button" class="button small" aria-label={`Acknowledge ${name}`} onClick={() => setAcking(true)}>Acknowledge</button>)}
          {acking && i.sent && <AckEditor fingerprint={i.sent.fingerprint} labels={i.sent.labels} onDone={(done) => { setAcking(false); if (done) onChange() }} />}
          {configured && <a class="button small" href={silenceLink(i.labels)} aria-label={`Silence ${name}`}>Silence</a>}
        </td>
      </tr>
      {notes.length > 0 && <tr class="detail-row"><td colSpan={4}><dl class="facts">{notes.map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{/^(https?:\/)?\/\S*$/.test(v) ? <a class="link" href={v} target="_blank" rel="noreferrer">{v}</a> : v}</dd></div>)}</dl></td></tr>}
      {open && <tr class="detail-row"><td colSpan={4}><Details i={i} configured={configured} tick={tick} /></td></tr>}
    </>
  )
}

function SectionCard({ s, q, configured, now, tick, onChange }: { s: AlertGroup; q: Query; configured: boolean; now: number; tick: number; onChange: () => void }) {
  const [limit, setLimit] = useState(0) // 0: as many as came with the page
  const more = useLoad(async (abort) => (limit ? (await find(q, { group: s.key, limit }, abort)).groups[0]?.alerts : undefined), [limit, s.key, q.state, q.by, q.q], tick)
  const rows = (limit && more.data) || s.alerts
  const left = s.firing + s.pending - rows.length, title = titleOf(s, q.by)
  const note = q.by === 'rule' ? (s.rule ? s.rule.group : 'sent by others') : ''
  return (
    <section class="card pool alert-rule" aria-label={title}>
      <div class="pool-head">
        <span class={'dot ' + (s.firing ? 'bad' : 'warn')} />
        <h2>{title}</h2>
        <span class="muted">{[s.firing && `${s.firing} firing`, s.pending && `${s.pending} pending`].filter(Boolean).join(', ')}{note && ` · ${note}`}</span>
      </div>
      {s.rule && <a class="mono small" href={exploreLink(s.rule.query)} title="Open in Explore">{s.rule.query}</a>}
      {rows.length > 0 && <div class="table-wrap"><table class="targets alerts">
        <thead><tr><th>Alert</th><th class="num">Value</th><th class="num">Since</th><th><span class="offscreen">Actions</span></th></tr></thead>
        <tbody>{rows.map((i) => <Row key={keyOf(i)} i={i} configured={configured} now={now} tick={tick} onChange={onChange} />)}</tbody>
      </table></div>}
      {more.error !== undefined && <ErrorBox error={more.error} />}
      {left > 0 && <button type="button" class="button wide" onClick={() => setLimit(rows.length + ROWS_STEP)}>Show more of {left}</button>}
    </section>
  )
}

export default function AlertsPage() {
  useTitle('Alerts')
  const [limit, setLimit] = useState(SECTIONS_STEP)
  const [tick, bump] = useTick(10_000)
  useShortcuts(() => [{ keys: 'r', text: 'Refresh', group: 'Alerts', run: bump }])
  const [q, set] = useQuery('/alerts', { state: 'all', by: 'rule', q: '' })
  const { data: answer, error } = useLoad(async (abort) => ({ found: await find(q, { groups: limit, limit: ROWS_STEP }, abort), q, now: Date.now() }), [q.state, q.by, q.q, limit], tick)
  const data = answer?.found
  const all = data ? data.firing + data.pending : 0
  return (
    <div class="page">
      <PageHead title="Alerts" sub={data && (data.rules > 0 || all > 0) && <span><span class={'dot ' + (data.firing ? 'bad' : data.pending ? 'warn' : 'good')} /> {data.firing} firing, {data.pending} pending of {plural(data.rules, 'rule')}</span>}>
        <IconButton icon="refresh" label="Refresh" keys="r" onClick={bump} />
      </PageHead>
      <AlertingTabs />
      <div class="toolbar">
        <Segmented label="State" value={q.state} onChange={(state) => set({ state })} options={[
          { id: 'all', name: <>All <b>{all}</b></> },
          { id: 'firing', name: <>Firing <b class={data?.firing ? 'bad' : ''}>{data?.firing ?? 0}</b></> },
          { id: 'pending', name: <>Pending <b>{data?.pending ?? 0}</b></> },
          ...(data?.configured ? [{ id: 'quiet', name: <>Kept quiet <b>{data.quiet}</b></>, title: 'Silenced or inhibited' }] : []),
        ]} />
        <label class="select">Group by
          <select value={q.by} onChange={(e) => set({ by: e.currentTarget.value })}>
            <option value="rule">Rule</option>
            {data?.configured && <option value="receiver">Receiver</option>}
            {[...new Set([...(data?.labelNames ?? []), ...(q.by === 'rule' || q.by === 'receiver' ? [] : [q.by])])].filter((k) => k !== 'alertname' && k !== 'receiver' && k !== 'rule').map((k) => <option key={k} value={k}>{k}</option>)}
          </select>
        </label>
        <SearchField value={q.q} placeholder="Filter by label or annotation" focusKey onInput={(text) => set({ q: text })} />
      </div>
      {error !== undefined && <ErrorBox error={error} onRetry={bump} />}
      {!data && error === undefined && <Skeleton rows={6} height={30} />}
      {answer && data && (data.rules === 0 && all === 0
        ? <Empty icon="alert" title="No alerting rules"><p>Rules come from the files that <code>rule_files</code> names{data.configured && '; alerts may also be sent to /api/v2/alerts'}.</p></Empty>
        : all === 0
          ? <Empty icon="check" title="Nothing is wrong"><p>None of {plural(data.rules, 'alerting rule')} is pending or firing. See <a href="/rules">Rules</a>.</p></Empty>
          : data.matching === 0
            ? <Empty icon="search" title="No alert matches"><p><button type="button" class="link" onClick={() => set({ state: 'all', q: '' })}>Show all alerts</button></p></Empty>
            : data.groups.map((s) => <SectionCard key={answer.q.by + '\0' + s.key} s={s} q={answer.q} configured={data.configured} now={answer.now} tick={tick} onChange={bump} />))}
      {data && data.groupsMatching > data.groups.length && <button type="button" class="button wide" onClick={() => setLimit(limit + SECTIONS_STEP)}>Show more of {data.groupsMatching - data.groups.length}</button>}
      {data && data.failingRules > 0 && <p class="muted"><Icon name="alert" size={14} /> Some rules could not be evaluated: see <a href="/rules?state=err">Rules</a>.</p>}
    </div>
  )
}
