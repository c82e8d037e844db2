// Notifications: what was decided and sent, with the providers' answers; receivers and whether they work; drills and heartbeats.

import { useEffect, useState } from 'preact/hooks'
import { AlertingTabs, lazy, NotConfigured, useQuery } from '../alerting/bits'
import { Events } from '../alerting/history'
import { ifConfigured, type History, type HistoryEvent, type Receiver, type Routes, type TestResult } from '../lib/alerting'
import { api } from '../lib/api'
import { useLoad, useTick, useTitle } from '../lib/hooks'
import { useShortcuts } from '../lib/keys'
import { formatAgo, formatTime } from '../lib/time'
import { plural, utc } from '../lib/ui'
import { Empty, ErrorBox, IconButton, PageHead, SearchField, Segmented, Skeleton } from '../parts/bits'

const Drills = lazy(() => import('../alerting/drills'))
const PAGE = 100
const KINDS: Record<string, string> = {
  messages: 'delivered,failed,escalated,digested', failed: 'failed', quiet: 'inhibited,silenced,muted,held,flapping',
  people: 'acknowledged,unacknowledged,silence_set,silence_expired', all: '',
}
interface Heartbeat { name: string; state: 'ok' | 'missing' | 'waiting'; period: string; lastSeen: string | null; due: string | null }

/** The newest word of each receiver's integrations. */
function lastWords(events: HistoryEvent[]): Map<string, HistoryEvent[]> {
  const seen = new Set<string>(), out = new Map<string, HistoryEvent[]>()
  for (const e of events) {
    const key = e.receiver + '\0' + e.integration
    if (seen.has(key)) continue
    seen.add(key)
    out.set(e.receiver, [...(out.get(e.receiver) ?? []), e])
  }
  return out
}

function ReceiverRow({ r, said, onTested }: { r: Receiver; said: HistoryEvent[]; onTested: () => void }) {
  const [state, set] = useState<{ busy: boolean; result?: TestResult; error?: unknown }>({ busy: false })
  const bad = said.filter((e) => e.kind === 'failed')
  const test = async () => {
    set({ busy: true })
    try {
      set({ busy: false, result: (await api<TestResult>('alerting/receivers/test', {}, undefined, { method: 'POST', json: { receiver: r.name } })).data })
    } catch (error) {
      set({ busy: false, error })
    }
    onTested()
  }
  return (
    <li class="receiver">
      <div class="pool-head">
        <span class={'dot ' + (bad.length ? 'bad' : said.length ? 'good' : '')} />
        <b>{r.name}</b>
        <span class="muted">{r.integrations.length ? r.integrations.map((i) => i.kind).join(', ') : 'tells nobody'}</span>
        <span class="spring" />
        {r.integrations.length > 0 && <button type="button" class="button small" disabled={state.busy} aria-label={`Send a test message to ${r.name}`} onClick={() => void test()}>{state.busy ? 'Sending…' : 'Test'}</button>}
      </div>
      {said.map((e) => <p key={e.id} class="small"><span class={e.kind === 'failed' ? 'bad' : 'muted'}>{e.integration || 'last'}: {e.kind} {formatAgo(Date.now() - Date.parse(e.time))}{e.text && `, ${e.text}`}</span></p>)}
      {state.error !== undefined && <ErrorBox error={state.error} title="The test could not be sent" />}
      {state.result && (
        <ul class="test-results" role="status">{state.result.results.map((x) => (
          <li key={x.integration + x.index + x.message}><span class={'state ' + (x.outcome === 'sent' ? 'good' : 'bad')}>{x.outcome}</span> {x.integration}[{x.index}] {x.message}{x.status !== null && `, status ${x.status}`} <span class="muted">{x.answer}</span></li>
        ))}</ul>
      )}
    </li>
  )
}

function Heartbeats({ list }: { list: Heartbeat[] }) {
  return (
    <section class="card" aria-label="Heartbeats">
      <h2>Heartbeats</h2>
      {list.length === 0 ? <p class="muted">None are expected. <code>alert_policy</code> in vane.yaml names them.</p> : (
        <dl class="facts">{list.map((h) => <div key={h.name}><dt><span class={'dot ' + (h.state === 'ok' ? 'good' : h.state === 'missing' ? 'bad' : '')} /> {h.name}</dt><dd>{h.state}{h.lastSeen && `, seen ${formatAgo(Date.now() - Date.parse(h.lastSeen))}`}{h.due && `, due ${formatTime(Date.parse(h.due), utc.value)}`}</dd></div>)}</dl>
      )}
    </section>
  )
}

function Log({ q, set, tick }: { q: Record<'show' | 'q' | 'receiver', string>; set: (c: Partial<Record<'show' | 'q' | 'receiver', string>>) => void; tick: number }) {
  const [older, setOlder] = useState<HistoryEvent[]>([])
  const [next, setNext] = useState<number | null>(null)
  const params = { kind: KINDS[q.show] || undefined, q: q.q || undefined, receiver: q.receiver || undefined, limit: PAGE }
  const { data, error } = useLoad(async (abort) => (await api<History>('alerting/history', params, abort)).data, [q.show, q.q, q.receiver], tick)
  useEffect(() => { setOlder([]) }, [q.show, q.q, q.receiver])
  useEffect(() => { if (data && older.length === 0) setNext(data.next) }, [data])
  const more = async () => {
    const page = (await api<History>('alerting/history', { ...params, before: next ?? undefined })).data
    setOlder([...older, ...page.events])
    setNext(page.next)
  }
  if (error !== undefined) return <ErrorBox error={error} />
  if (!data) return <Skeleton rows={8} />
  const seen = new Set(data.events.map((e) => e.id))
  const list = [...data.events, ...older.filter((e) => !seen.has(e.id))]
  if (list.length === 0)
    return q.show === 'messages' && !q.q && !q.receiver
      ? <Empty icon="check" title="Nothing was sent yet"><p>What is told, and why something is not, is listed here as it happens.</p></Empty>
      : <Empty icon="search" title="No event matches"><p><button type="button" class="link" onClick={() => set({ show: 'all', q: '', receiver: '' })}>Show all events</button></p></Empty>
  return (
    <>
      <section class="card"><Events list={list} names /></section>
      {next !== null && <button type="button" class="button wide" onClick={() => void more()}>Show older events</button>}
    </>
  )
}

export default function NotificationsPage() {
  useTitle('Notifications')
  const [tick, bump] = useTick(10_000)
  useShortcuts(() => [{ keys: 'r', text: 'Refresh', group: 'Notifications', run: bump }])
  const [q, set] = useQuery('/notifications', { show: 'messages', q: '', receiver: '' })
  const { data, error } = useLoad(async (abort) => ({ conf: await ifConfigured(async () => {
    const [tree, words, beats] = await Promise.all([
      api<Routes>('alerting/routes', {}, abort), api<History>('alerting/history', { kind: 'delivered,failed', limit: 500 }, abort), api<Heartbeat[]>('heartbeats', {}, abort),
    ])
    return { receivers: tree.data.receivers, words: lastWords(words.data.events), beats: beats.data }
  }, abort) }), [], tick)
  const conf = data?.conf
  const bad = conf ? conf.receivers.filter((r) => conf.words.get(r.name)?.some((e) => e.kind === 'failed')).length : 0
  return (
    <div class="page">
      <PageHead title="Notifications" sub={conf && <span><span class={'dot ' + (bad ? 'bad' : 'good')} /> {plural(conf.receivers.length, 'receiver')}{bad > 0 && `, ${bad} failing`}</span>}>
        <IconButton icon="refresh" label="Refresh" keys="r" onClick={bump} />
      </PageHead>
      <AlertingTabs />
      {error !== undefined && <ErrorBox error={error} onRetry={bump} />}
      {!data && error === undefined && <Skeleton rows={6} height={36} />}
      {data && data.conf === null && <NotConfigured what="Notifications are an Alertmanager's." />}
      {conf && (
        <>
          <div class="toolbar">
            <Segmented label="Events" value={q.show} onChange={(show) => set({ show })} options={[
              { id: 'messages', name: 'Messages' }, { id: 'failed', name: 'Failed' }, { id: 'quiet', name: 'Kept back', title: 'Silenced, inhibited, muted, acknowledged, flapping' },
              { id: 'people', name: 'People' }, { id: 'drills', name: 'Drills' }, { id: 'all', name: 'All' },
            ]} />
            {q.show !== 'drills' && <label class="select">Receiver
              <select value={q.receiver} onChange={(e) => set({ receiver: e.currentTarget.value })}>
                <option value="">all</option>
                {[...new Set([...conf.receivers.map((r) => r.name), q.receiver])].filter(Boolean).map((r) => <option key={r} value={r}>{r}</option>)}
              </select>
            </label>}
            {q.show !== 'drills' && <SearchField value={q.q} placeholder="Find in answers and names" focusKey onInput={(text) => set({ q: text })} />}
          </div>
          <div class="notifications">
            <div class="log">{q.show === 'drills' ? <Drills receivers={conf.receivers} /> : <Log q={q} set={set} tick={tick} />}</div>
            <div class="beside">
              <section class="card" aria-label="Receivers">
                <h2>Receivers</h2>
                <ul>{conf.receivers.map((r) => <ReceiverRow key={r.name} r={r} said={conf.words.get(r.name) ?? []} onTested={bump} />)}</ul>
              </section>
              <Heartbeats list={conf.beats} />
            </div>
          </div>
        </>
      )}
    </div>
  )
}
