// Silences: which keep something quiet now, which will, which did; made, changed and ended here.

import { useState } from 'preact/hooks'
import { AlertingTabs, lazy, Matchers, NotConfigured, useQuery } from '../alerting/bits'
import { am, ifConfigured, matcherText, parseMatchers, sentAlerts, sentPage, type Silence } from '../lib/alerting'
import { useLoad, useTick, useTitle } from '../lib/hooks'
import { useShortcuts } from '../lib/keys'
import { formatAgo, formatDuration, formatTime } from '../lib/time'
import { navigate, plural, say, utc } from '../lib/ui'
import { Empty, ErrorBox, IconButton, LabelSet, Modal, PageHead, SearchField, Segmented, Skeleton } from '../parts/bits'
import { Icon } from '../parts/icons'

const Editor = lazy(() => import('../alerting/silence-editor'))
const ROWS_STEP = 50
const TONE = { active: 'good', pending: 'warn', expired: '' } as const

function matches(s: Silence, text: string): boolean {
  const hay = `${s.id} ${s.createdBy} ${s.comment} ${s.matchers.map(matcherText).join(' ')} ${s.matchers.map((m) => `${m.name}=${m.value}`).join(' ')}`.toLowerCase()
  return text.toLowerCase().split(/\s+/).every((w) => hay.includes(w))
}

const MATCHED_MAX = 20
/** The alerts a silence matches now. */
function Matched({ s }: { s: Silence }) {
  const { data, error } = useLoad((abort) => sentPage({ filter: s.matchers.map(matcherText), limit: MATCHED_MAX }, abort), [s.id])
  if (error !== undefined) return <ErrorBox error={error} />
  if (!data) return <Skeleton rows={1} />
  if (data.matching === 0) return <p class="muted small">No alert that fires now matches.</p>
  return <div class="preview">{sentAlerts(data).slice(0, MATCHED_MAX).map((a) => <div key={a.fingerprint} class="preview-row"><b>{a.labels.alertname}</b> <LabelSet labels={a.labels} skip={['alertname']} /></div>)}{data.matching > MATCHED_MAX && <p class="muted small">and {data.matching - MATCHED_MAX} more</p>}</div>
}

function Card({ s, now, onEdit, onExpire }: { s: Silence; now: number; onEdit: () => void; onExpire: () => void }) {
  const [open, setOpen] = useState(false)
  const start = Date.parse(s.startsAt), end = Date.parse(s.endsAt), state = s.status.state
  const when = state === 'active' ? `ends in ${formatDuration(Math.max(60_000, Math.round((end - now) / 60_000) * 60_000))}` : state === 'pending' ? `begins in ${formatDuration(Math.max(60_000, Math.round((start - now) / 60_000) * 60_000))}` : `ended ${formatAgo(now - end)}`
  return (
    <section class="card silence" aria-label={`Silence ${s.id}`}>
      <div class="pool-head">
        <button type="button" class="fold" aria-expanded={open} aria-label={`Alerts of ${s.id}`} onClick={() => setOpen(!open)}><Icon name={open ? 'down' : 'right'} size={14} /></button>
        <span class={'state ' + TONE[state]}>{state}</span>
        <Matchers list={s.matchers.map(matcherText)} />
        <span class="spring" />
        <button type="button" class="button" onClick={onEdit}>{state === 'expired' ? 'Silence again' : 'Edit'}</button>
        {state !== 'expired' && <button type="button" class="button" onClick={onExpire}>Expire</button>}
      </div>
      <p class="silence-why">{s.comment}</p>
      <p class="muted small"><span title={`${formatTime(start, utc.value)} to ${formatTime(end, utc.value)}`}>{when}</span> · {formatTime(start, utc.value, { seconds: false })} to {formatTime(end, utc.value, { seconds: false })} · by {s.createdBy} · <span class="mono">{s.id}</span></p>
      {open && <Matched s={s} />}
    </section>
  )
}

function ExpireDialog({ s, onDone }: { s: Silence; onDone: (done: boolean) => void }) {
  const [error, setError] = useState<unknown>()
  const go = async () => {
    try {
      await am('silence/' + s.id, { method: 'DELETE' })
      say('Silence expired')
      onDone(true)
    } catch (e) {
      setError(e)
    }
  }
  return (
    <Modal title="Expire this silence?" onClose={() => onDone(false)}>
      <p><Matchers list={s.matchers.map(matcherText)} /></p>
      <p class="muted">What it keeps quiet is told again from now on.</p>
      {error !== undefined && <ErrorBox error={error} />}
      <div class="form-foot"><span class="spring" /><button type="button" class="button" onClick={() => onDone(false)}>Cancel</button><button type="button" class="button primary" autofocus onClick={() => void go()}>Expire</button></div>
    </Modal>
  )
}

export default function SilencesPage() {
  useTitle('Silences')
  const [tick, bump] = useTick(10_000)
  const [q, set] = useQuery('/silences', { state: 'active', q: '', new: '', m: '', edit: '' })
  const [expiring, setExpiring] = useState<Silence | null>(null)
  const [limit, setLimit] = useState(ROWS_STEP)
  useShortcuts(() => [
    { keys: 'r', text: 'Refresh', group: 'Silences', run: bump },
    { keys: 'n', text: 'New silence', group: 'Silences', run: () => navigate('/silences?new=1') },
  ])
  const { data, error } = useLoad(async (abort) => ({ list: await ifConfigured(() => am<Silence[]>('silences', { abort }), abort), now: Date.now() }), [], tick)
  const list = data?.list ?? []
  const count = (s: string) => list.filter((x) => x.status.state === s).length
  const found = list.filter((s) => (q.state === 'all' || s.status.state === q.state) && (!q.q || matches(s, q.q)))
  const edited = q.edit ? list.find((s) => s.id === q.edit) : undefined
  const closeEditor = (saved: boolean) => {
    set({ new: '', m: '', edit: '', ...(saved ? { state: 'active', q: '' } : {}) })
    if (saved) bump()
  }
  return (
    <div class="page">
      <PageHead title="Silences" sub={data?.list && <span><span class={'dot ' + (count('active') ? 'warn' : 'good')} /> {plural(count('active'), 'silence')} active, {count('pending')} pending</span>}>
        {data?.list && <IconButton icon="plus" label="New silence" keys="n" text="New silence" onClick={() => set({ new: '1', m: '', edit: '' }, true)} />}
        <IconButton icon="refresh" label="Refresh" keys="r" onClick={bump} />
      </PageHead>
      <AlertingTabs />
      {error !== undefined && <ErrorBox error={error} onRetry={bump} />}
      {!data && error === undefined && <Skeleton rows={5} height={40} />}
      {data && data.list === null && <NotConfigured what="Silences keep an Alertmanager's notifications back." />}
      {data?.list && (
        <>
          <div class="toolbar">
            <Segmented label="State" value={q.state} onChange={(state) => set({ state })} options={[
              { id: 'active', name: <>Active <b>{count('active')}</b></> }, { id: 'pending', name: <>Pending <b>{count('pending')}</b></> },
              { id: 'expired', name: <>Expired <b>{count('expired')}</b></> }, { id: 'all', name: 'All' },
            ]} />
            <SearchField value={q.q} placeholder="Filter by matcher, author or comment" focusKey onInput={(text) => set({ q: text })} />
          </div>
          {found.length === 0
            ? list.length === 0
              ? <Empty icon="check" title="Nothing is silenced"><p>A silence keeps notifications of matching alerts back for a while. Start from <a href="/alerts">an alert</a>, or make a <button type="button" class="link" onClick={() => set({ new: '1' }, true)}>new silence</button>.</p></Empty>
              : <Empty icon="search" title={q.q ? 'No silence matches' : `No silence is ${q.state}`}><p><button type="button" class="link" onClick={() => set({ state: 'all', q: '' })}>Show all silences</button></p></Empty>
            : found.slice(0, limit).map((s) => <Card key={s.id} s={s} now={data.now} onEdit={() => set({ edit: s.id, new: '' }, true)} onExpire={() => setExpiring(s)} />)}
          {found.length > limit && <button type="button" class="button wide" onClick={() => setLimit(limit + ROWS_STEP)}>Show more of {found.length - limit}</button>}
          {(q.new || edited) && <Editor silence={edited ?? null} given={parseMatchers(q.m) ?? []} onDone={closeEditor} />}
          {expiring && <ExpireDialog s={expiring} onDone={(done) => { setExpiring(null); if (done) bump() }} />}
        </>
      )}
    </div>
  )
}
