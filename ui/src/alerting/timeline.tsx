// The last day of an alert as a strip: when it was pending, when it fired. From the ALERTS series that rules write.

import { api, type QueryData } from '../lib/api'
import { useLoad } from '../lib/hooks'
import { labelName, quote, type Labels } from '../lib/promql'
import { formatDuration, formatTime } from '../lib/time'
import { plural, utc } from '../lib/ui'
import { ErrorBox } from '../parts/bits'

const STEP = 120, HOURS = 24

interface Part { from: number; to: number; state: 'pending' | 'firing' } // seconds

export default function Timeline({ labels, tick }: { labels: Labels; tick: number }) {
  const { data, error } = useLoad(async (abort) => {
    const end = Math.floor(Date.now() / 1000), g = { start: end - HOURS * 3600, end }
    const query = `ALERTS{${Object.keys(labels).sort().map((k) => `${labelName(k)}=${quote(labels[k])}`).join(',')}}`
    const answer = await api<QueryData>('query_range', { query, start: g.start, end: g.end, step: STEP }, abort)
    return { ...g, parts: answer.data.resultType === 'matrix' ? partsOf(answer.data.result, labels) : [] }
  }, [JSON.stringify(labels), Math.floor(tick / 6)])
  if (error !== undefined) return <ErrorBox error={error} title="No history" />
  if (!data) return <div class="strip" aria-busy="true" />
  const at = (s: number) => ((s - data.start) / (data.end - data.start)) * 1000
  const firings = data.parts.filter((p) => p.state === 'firing')
  const total = firings.reduce((n, p) => n + p.to - p.from, 0)
  const text = firings.length ? `fired ${plural(firings.length, 'time')} in the last 24 hours, for ${formatDuration(total * 1000)} in all` : 'did not fire in the last 24 hours'
  return (
    <figure class="timeline">
      <svg class="strip" viewBox="0 0 1000 14" preserveAspectRatio="none" role="img" aria-label={`This alert ${text}`}>
        {data.parts.map((p) => (
          <rect key={p.from + p.state} class={p.state} x={Math.min(997, at(p.from))} width={Math.max(3, at(p.to) - at(p.from))} y="0" height="14">
            <title>{`${p.state}: ${formatTime(p.from * 1000, utc.value)} to ${formatTime(p.to * 1000, utc.value)}`}</title>
          </rect>
        ))}
      </svg>
      <figcaption class="muted small"><span>{formatTime(data.start * 1000, utc.value, { seconds: false })}</span><span>{text}</span><span>now</span></figcaption>
    </figure>
  )
}

/** Runs of samples without a gap, of the series that have exactly these labels. */
function partsOf(result: { metric: Labels; values?: [number, string][] }[], labels: Labels): Part[] {
  const parts: Part[] = []
  for (const s of result) {
    const state = s.metric.alertstate
    if ((state !== 'firing' && state !== 'pending') || Object.keys(s.metric).some((k) => k !== '__name__' && k !== 'alertstate' && s.metric[k] !== labels[k])) continue
    let last: Part | null = null
    for (const [t] of s.values ?? []) {
      if (last && t - last.to <= STEP) last.to = t + STEP
      else parts.push((last = { from: t, to: t + STEP, state }))
    }
  }
  return parts.sort((a, b) => a.from - b.from || (a.state === 'pending' ? -1 : 1))
}
