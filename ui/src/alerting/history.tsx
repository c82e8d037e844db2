// What was decided about alerts, one line an event.

import { useState } from 'preact/hooks'
import type { HistoryEvent } from '../lib/alerting'
import { formatTime } from '../lib/time'
import { utc } from '../lib/ui'
import { LabelSet } from '../parts/bits'

const TONES: Record<string, string> = {
  delivered: 'good', resolved: 'good', acknowledged: 'good', failed: 'bad', flapping: 'warn', escalated: 'bad',
  silenced: 'warn', inhibited: 'warn', muted: 'warn', held: 'warn',
}

/** Who or what an event is about, in the order people look for. */
function about(e: HistoryEvent): string {
  const to = e.receiver && `${e.receiver}${e.integration ? ` (${e.integration})` : ''}`
  return [to, e.actor && `by ${e.actor}`, e.attempt > 1 && `attempt ${e.attempt}`, e.alerts.length > 1 && `${e.alerts.length} alerts`, e.drill && 'drill'].filter(Boolean).join(', ')
}

export function Events({ list: all, names = false, max = Infinity }: { list: HistoryEvent[]; names?: boolean; max?: number }) {
  const [whole, setWhole] = useState(false)
  const list = whole ? all : all.slice(0, max)
  return (
    <>
    <ol class="events" aria-label="History">
      {list.map((e) => (
        <li key={e.id}>
          <time class="muted" dateTime={e.time} title={formatTime(Date.parse(e.time), utc.value, { ms: true })}>{formatTime(Date.parse(e.time), utc.value, { date: names })}</time>
          <span class={'state ' + (TONES[e.kind] ?? '')}>{e.kind.replace('_', ' ')}</span>
          <span class="event-text">
            {names && (e.labels.alertname ? <a href={`/alerts?q=${encodeURIComponent('alertname=' + e.labels.alertname)}`}><b>{e.labels.alertname}</b></a> : Object.keys(e.labels).length > 0 && <LabelSet labels={e.labels} />)} {about(e)}{e.text && <span class="muted"> {e.text}</span>}
          </span>
        </li>
      ))}
    </ol>
    {all.length > list.length && <button type="button" class="link small" onClick={() => setWhole(true)}>Show {all.length - list.length} more</button>}
    </>
  )
}
