// A silence being written: matchers, how long, who and why; and all the time, which alerts it would keep quiet.

import { useEffect, useState } from 'preact/hooks'
import { am, matcher, matcherText, operator, OPERATORS, parseMatchers, saysNothing, sentAlerts, sentPage, type Matcher, type Operator, type Silence } from '../lib/alerting'
import { useLoad } from '../lib/hooks'
import { formatDuration, formatTime, parseDuration, parseTime } from '../lib/time'
import { plural, say, utc } from '../lib/ui'
import { ErrorBox, IconButton, LabelSet, Modal } from '../parts/bits'
import { author, setAuthor } from './bits'

const PRESETS = ['30m', '1h', '2h', '4h', '8h', '1d', '3d', '7d']
const PREVIEW_MAX = 8

interface Draft { matchers: Matcher[]; start: string; end: string; by: string; comment: string }

const local = (ms: number): string => formatTime(ms, utc.value)

function draftOf(silence: Silence | null, given: Matcher[]): Draft {
  const now = Date.now()
  if (!silence) return { matchers: given.length ? given : [matcher('', '=', '')], start: '', end: local(now + 7_200_000), by: author(), comment: '' }
  const start = Date.parse(silence.startsAt), over = silence.status.state === 'expired'
  return {
    matchers: silence.matchers, start: over || start < now ? '' : local(start), end: over ? local(now + 7_200_000) : local(Date.parse(silence.endsAt)),
    by: author() || silence.createdBy, comment: silence.comment,
  }
}

function Row({ m, n, names, focus, onChange, onRemove }: { m: Matcher; n: number; names: string[]; focus: boolean; onChange: (m: Matcher) => void; onRemove: () => void }) {
  return (
    <div class="matcher">
      <input type="text" class="mono" value={m.name} list="label-names" autofocus={focus} placeholder="label" aria-label={`Label ${n}`} spellcheck={false} autocomplete="off"
        onInput={(e) => {
          // A whole matcher, or several, may be pasted into the first field.
          const pasted = /[=~]/.test(e.currentTarget.value) ? parseMatchers(e.currentTarget.value) : null
          onChange(pasted?.length === 1 ? pasted[0] : { ...m, name: e.currentTarget.value })
        }} />
      <select value={operator(m)} aria-label={`Operator ${n}`} onChange={(e) => onChange(matcher(m.name, e.currentTarget.value as Operator, m.value))}>
        {OPERATORS.map((o) => <option key={o} value={o}>{o}</option>)}
      </select>
      <input type="text" class="mono" value={m.value} placeholder={m.isRegex ? 'regular expression' : 'value'} aria-label={`Value ${n}`} spellcheck={false} autocomplete="off"
        onInput={(e) => onChange({ ...m, value: e.currentTarget.value })} />
      <IconButton icon="trash" label={`Remove matcher ${n}`} onClick={onRemove} />
      {n === 1 && <datalist id="label-names">{names.map((k) => <option key={k} value={k} />)}</datalist>}
    </div>
  )
}

/** The alerts that these matchers match now, asked of the server so that its rules decide. */
function Preview({ list }: { list: Matcher[] }) {
  const [settled, settle] = useState(list)
  const text = list.map(matcherText).join()
  useEffect(() => {
    const timer = setTimeout(() => settle(list), 250)
    return () => clearTimeout(timer)
  }, [text])
  const ready = settled.length > 0 && settled.every((m) => m.name)
  const { data, error } = useLoad(async (abort) => (ready ? sentPage({ filter: settled.map(matcherText), groups: PREVIEW_MAX, limit: PREVIEW_MAX }, abort) : undefined), [settled.map(matcherText).join()])
  if (!ready) return <p class="muted small" aria-live="polite">Name a label to see which alerts match.</p>
  if (error !== undefined) return <ErrorBox error={error} title="These matchers are not valid" />
  return (
    <div class="preview" aria-live="polite" data-test="preview">
      <p>{data === undefined ? 'Looking…' : <><b>{data.matching}</b> of {plural(data.sent, 'alert')} that fire now {data.matching === 1 ? 'matches' : 'match'}.{data.matching === 0 && ' It will keep quiet what fires later.'}</>}</p>
      {data && sentAlerts(data).slice(0, PREVIEW_MAX).map((a) => <div key={a.fingerprint} class="preview-row"><b>{a.labels.alertname}</b> <LabelSet labels={a.labels} skip={['alertname']} /></div>)}
      {data && data.matching > PREVIEW_MAX && <p class="muted small">and {data.matching - PREVIEW_MAX} more</p>}
    </div>
  )
}

export default function SilenceEditor({ silence, given, onDone }: { silence: Silence | null; given: Matcher[]; onDone: (saved: boolean) => void }) {
  const [d, setDraft] = useState<Draft>(() => draftOf(silence, given))
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>()
  const { data: all } = useLoad((abort) => sentPage({ groups: 1, limit: 1 }, abort), [])
  const set = (c: Partial<Draft>) => setDraft((x) => ({ ...x, ...c }))
  const now = Date.now()
  const start = d.start.trim() ? parseTime(d.start, now, utc.value) : now
  const end = parseDuration(d.end) > 0 ? start + parseDuration(d.end) : parseTime(d.end, now, utc.value)
  const wrong = !d.matchers.length || d.matchers.some((m) => !m.name) ? 'Every matcher needs the name of a label.'
    : saysNothing(d.matchers) ? 'These matchers match every alert. At least one must say something.'
      : Number.isNaN(start) ? 'The start is no time: 2026-11-21 10:30, or empty for now.'
        : Number.isNaN(end) ? 'The end is no time: 2026-11-21 10:30, or a duration as 2h.'
          : end <= Math.max(start, now) ? 'It would end before it begins to work.'
            : !d.by.trim() ? 'Say who you are.' : !d.comment.trim() ? 'Say why: the next one on call will ask.' : ''
  const save = async (e: Event) => {
    e.preventDefault()
    if (wrong || busy) return
    setBusy(true)
    setError(undefined)
    try {
      const id = silence && silence.status.state !== 'expired' ? silence.id : undefined
      const startsAt = !d.start.trim() && id && Date.parse(silence!.startsAt) < now ? silence!.startsAt : new Date(start).toISOString()
      await am('silences', { method: 'POST', body: { id, matchers: d.matchers, startsAt, endsAt: new Date(end).toISOString(), createdBy: d.by.trim(), comment: d.comment.trim() } })
      setAuthor(d.by.trim())
      say(id ? 'Silence changed' : 'Silence created')
      onDone(true)
    } catch (x) {
      setError(x)
      setBusy(false)
    }
  }
  const names = all?.labelNames ?? []
  return (
    <Modal title={!silence ? 'New silence' : silence.status.state === 'expired' ? 'Silence again' : 'Edit silence'} onClose={() => onDone(false)} class="silence-editor">
      <form class="form" onSubmit={(e) => void save(e)}>
        <fieldset>
          <legend>Alerts whose labels match all of these</legend>
          {d.matchers.map((m, i) => (
            <Row key={i} m={m} n={i + 1} names={names} focus={i === 0 && !given.length && !silence} onChange={(x) => set({ matchers: d.matchers.map((o, k) => (k === i ? x : o)) })}
              onRemove={() => set({ matchers: d.matchers.filter((_, k) => k !== i) })} />
          ))}
          <button type="button" class="button" onClick={() => set({ matchers: [...d.matchers, matcher('', '=', '')] })}>Add a matcher</button>
        </fieldset>
        <Preview list={d.matchers} />
        <fieldset>
          <legend>How long</legend>
          <div class="presets">{PRESETS.map((p) => <button type="button" key={p} class="button" onClick={() => set({ end: local((Number.isNaN(start) ? now : start) + parseDuration(p)) })}>{p}</button>)}</div>
          <div class="two">
            <label>From<input type="text" value={d.start} placeholder="now" spellcheck={false} onInput={(e) => set({ start: e.currentTarget.value })} /></label>
            <label>Until<input type="text" value={d.end} placeholder="2026-11-21 18:00, or 2h" spellcheck={false} onInput={(e) => set({ end: e.currentTarget.value })} /></label>
          </div>
          <p class="muted small">{Number.isFinite(end - start) && end > start ? `${formatDuration(Math.round((end - start) / 60_000) * 60_000)}, until ${formatTime(end, utc.value)}` : ' '}</p>
        </fieldset>
        <div class="two">
          <label>Who<input type="text" value={d.by} autocomplete="username" maxLength={200} onInput={(e) => set({ by: e.currentTarget.value })} /></label>
          <label>Why<input type="text" value={d.comment} autofocus={given.length > 0 || !!silence} maxLength={2000} onInput={(e) => set({ comment: e.currentTarget.value })} /></label>
        </div>
        {error !== undefined && <ErrorBox error={error} title="The silence was not taken" />}
        <div class="form-foot">
          <span class="muted small" role="status">{wrong}</span>
          <button type="button" class="button" onClick={() => onDone(false)}>Cancel</button>
          <button type="submit" class="button primary" disabled={wrong !== '' || busy}>{!silence || silence.status.state === 'expired' ? 'Silence' : 'Save'}</button>
        </div>
      </form>
    </Modal>
  )
}
