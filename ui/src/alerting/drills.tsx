// Fire drills: a made-up alert that takes the real way, each step with its time, against the bounds for detecting and telling.

import { useState } from 'preact/hooks'
import { api, type Rules } from '../lib/api'
import type { Receiver } from '../lib/alerting'
import { useLoad, useTick } from '../lib/hooks'
import type { Labels } from '../lib/promql'
import { formatTime } from '../lib/time'
import { say, utc } from '../lib/ui'
import { format } from '../lib/units'
import { Empty, ErrorBox, Skeleton } from '../parts/bits'
import { Icon } from '../parts/icons'

interface Bound { limitMs: number; tookMs: number | null; ok: boolean | null }
interface Drill {
  id: string; target: string; alert: string; labels: Labels; scheduled: boolean; state: string; error: string; startedAt: string; endedAt: string | null
  expected: number; delivered: number; bounds: { detect: Bound; alert: Bound }
  steps: { step: string; at: string; afterMs: number; receiver: string; integration: string; text: string }[]
}

const ms = (v: number): string => format(v / 1000, 'seconds')
const tone = (d: Drill): string => (d.state === 'passed' ? 'good' : d.state === 'failed' ? 'bad' : 'warn')

const BoundText = ({ name, b }: { name: string; b: Bound }) => (
  <span>{name} {b.tookMs === null ? <span class={b.ok === false ? 'bad' : 'muted'}>not yet</span> : <b class={b.ok === false ? 'bad' : 'good'}>{ms(b.tookMs)}</b>} <span class="muted">of {ms(b.limitMs)}</span></span>
)

function Row({ d }: { d: Drill }) {
  const [open, setOpen] = useState(d.state === 'running')
  return (
    <section class="card drill" aria-label={`Drill of ${d.target}`}>
      <div class="pool-head">
        <button type="button" class="fold" aria-expanded={open} aria-label={`Steps of the drill of ${d.target}`} onClick={() => setOpen(!open)}><Icon name={open ? 'down' : 'right'} size={14} /></button>
        <span class={'state ' + tone(d)}>{d.state}</span>
        <b class="mono">{d.target}</b>
        <span class="muted small">{formatTime(Date.parse(d.startedAt), utc.value)}{d.scheduled && ', scheduled'}</span>
      </div>
      <p class="small drill-bounds"><BoundText name="detected in" b={d.bounds.detect} /><BoundText name="told in" b={d.bounds.alert} /><span class="muted">{d.delivered} of {d.expected} messages delivered</span></p>
      {d.error && <p class="bad small">{d.error}</p>}
      {open && (
        <ol class="events">{d.steps.map((s, i) => (
          <li key={i}><time class="muted" title={formatTime(Date.parse(s.at), utc.value, { ms: true })}>+{ms(s.afterMs)}</time><span class={'state ' + (s.step === 'delivered' ? 'good' : s.step === 'failed' ? 'bad' : '')}>{s.step}</span><span class="event-text">{[s.receiver, s.integration].filter(Boolean).join(' ')} <span class="muted">{s.text}</span></span></li>
        ))}</ol>
      )}
    </section>
  )
}

export default function Drills({ receivers }: { receivers: Receiver[] }) {
  const [tick, bump] = useTick(2000)
  const [target, setTarget] = useState('')
  const [error, setError] = useState<unknown>()
  const { data, error: failed } = useLoad(async (abort) => (await api<Drill[]>('alerting/drills', {}, abort)).data, [], tick)
  const rules = useLoad(async (abort) => (await api<Rules>('rules', { type: 'alert', exclude_alerts: 'true' }, abort)).data.groups.flatMap((g) => g.rules.map((r) => r.name)), [])
  const start = async (e: Event) => {
    e.preventDefault()
    setError(undefined)
    try {
      await api('alerting/drills', { target: target.trim() }, undefined, { method: 'POST' })
      say('The drill has begun')
      bump()
    } catch (x) {
      setError(x)
    }
  }
  return (
    <>
      <form class="card tester drill-form" onSubmit={(e) => void start(e)}>
        <label>What is drilled: a rule, a receiver or labels. Everything it sends is marked as a drill.
          <input type="text" class="mono" value={target} list="drill-targets" placeholder={'rule:HighErrorRate, receiver:on-call, {team="db"}'} spellcheck={false} autocomplete="off" onInput={(e) => setTarget(e.currentTarget.value)} />
        </label>
        <datalist id="drill-targets">{[...new Set(rules.data ?? [])].map((r) => <option key={r} value={'rule:' + r} />)}{receivers.filter((r) => r.integrations.length).map((r) => <option key={r.name} value={'receiver:' + r.name} />)}</datalist>
        <button type="submit" class="button primary" disabled={!target.trim()}>Start a drill</button>
      </form>
      {error !== undefined && <ErrorBox error={error} title="The drill did not begin" />}
      {failed !== undefined && <ErrorBox error={failed} />}
      {!data && failed === undefined && <Skeleton rows={4} />}
      {data && (data.length === 0
        ? <Empty icon="check" title="No drill yet"><p>A drill takes an alert from ingestion to the receivers, and shows how long each step took.</p></Empty>
        : data.map((d) => <Row key={d.id} d={d} />))}
    </>
  )
}
