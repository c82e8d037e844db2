// Time range, step and refresh: what all panels of Explore share.

import { useEffect, useState } from 'preact/hooks'
import { absolute, describeRange, formatTime, isRelative, parseDuration, QUICK_RANGES, resolveRange, shift, zoomOut, type Range } from '../lib/time'
import { load, save, setUtc, utc } from '../lib/ui'
import { IconButton, Popover, Segmented } from '../parts/bits'
import { Icon } from '../parts/icons'

const zone = (): string => Intl.DateTimeFormat().resolvedOptions().timeZone || 'local'

function RangeForm({ range, onChange, close }: { range: Range; onChange: (r: Range) => void; close: () => void }) {
  const span = resolveRange(range, Date.now(), utc.value)
  const text = (t: string, ms: number | undefined) => (t.startsWith('now') || ms === undefined ? t : formatTime(ms, utc.value))
  const [from, setFrom] = useState(text(range.from, span?.from))
  const [to, setTo] = useState(text(range.to, span?.to))
  useEffect(() => {
    setFrom(text(range.from, span?.from))
    setTo(text(range.to, span?.to))
  }, [utc.value])
  const typed = resolveRange({ from, to }, Date.now(), utc.value)
  const recent = load<Range[]>('ranges', [])
  const apply = (e: Event) => {
    e.preventDefault()
    if (!typed) return
    const r = from.trim().startsWith('now') || to.trim().startsWith('now') ? { from: from.trim(), to: to.trim() } : absolute(typed)
    save('ranges', [r, ...recent.filter((x) => x.from !== r.from || x.to !== r.to)].slice(0, 4))
    onChange(r)
    close()
  }
  return (
    <div class="range-form">
      <div class="quick" role="group" aria-label="Quick ranges">
        {QUICK_RANGES.map((q) => (
          <button type="button" key={q.from} class={'menu-item' + (range.from === q.from && range.to === 'now' ? ' on' : '')} onClick={() => { onChange({ from: q.from, to: 'now' }); close() }}>{q.name}</button>
        ))}
      </div>
      <form onSubmit={apply}>
        <label>From<input value={from} onInput={(e) => setFrom(e.currentTarget.value)} spellcheck={false} name="from" /></label>
        <label>To<input value={to} onInput={(e) => setTo(e.currentTarget.value)} spellcheck={false} name="to" /></label>
        <p class={'small ' + (typed ? 'muted' : 'bad')}>{typed ? `${formatTime(typed.from, utc.value)} to ${formatTime(typed.to, utc.value)}` : 'Write times as 2026-11-21 10:30 or now-90m; “from” must be before “to”.'}</p>
        <button type="submit" class="button primary" disabled={!typed}>Apply</button>
        <div class="zone">
          <Segmented label="Time zone" value={utc.value ? 'utc' : 'local'} options={[{ id: 'local', name: zone() === 'UTC' ? 'Local' : zone().replace(/_/g, ' ') }, { id: 'utc', name: 'UTC' }]} onChange={(v) => setUtc(v === 'utc')} />
        </div>
        {recent.length > 0 && <div class="recent"><h3>Recent</h3>{recent.map((r) => <button type="button" key={r.from + r.to} class="menu-item small" onClick={() => { onChange(r); close() }}>{describeRange(r, utc.value)}</button>)}</div>}
      </form>
    </div>
  )
}

export function TimePicker({ range, onChange }: { range: Range; onChange: (r: Range) => void }) {
  const span = () => resolveRange(range, Date.now(), utc.value) ?? { from: Date.now() - 3600_000, to: Date.now() }
  return (
    <div class="time-picker">
      <IconButton icon="left" label="Earlier" keys="[" onClick={() => onChange(absolute(shift(span(), -1, Date.now())))} />
      <Popover label="Time range" class="range" wide button={<><Icon name="clock" size={15} /><span>{describeRange(range, utc.value)}</span>{utc.value && <span class="tag">UTC</span>}</>}>
        {(close) => <RangeForm range={range} onChange={onChange} close={close} />}
      </Popover>
      <IconButton icon="right" label="Later" keys="]" disabled={isRelative(range) && range.to === 'now'} onClick={() => onChange(absolute(shift(span(), 1, Date.now())))} />
      <IconButton icon="zoomout" label="Zoom out" keys="-" onClick={() => onChange(wider(range))} />
    </div>
  )
}

/** Twice the range: a relative one stays relative. */
export function wider(range: Range): Range {
  const m = /^now-(.+)$/.exec(range.from)
  const ms = m ? parseDuration(m[1]) : NaN
  if (range.to === 'now' && ms > 0) {
    const next = QUICK_RANGES.find((q) => parseDuration(q.from.slice(4)) > ms)
    return { from: next?.from ?? `now-${Math.round((ms * 2) / 3600_000)}h`, to: 'now' }
  }
  const span = resolveRange(range, Date.now(), utc.value)
  return span ? absolute(zoomOut(span, Date.now())) : range
}

const STEPS = ['', '1s', '5s', '15s', '30s', '1m', '5m', '15m', '1h', '6h', '1d']
export function StepSelect({ value, actual, onChange }: { value: string; actual: string; onChange: (s: string) => void }) {
  const options = STEPS.includes(value) ? STEPS : [...STEPS, value]
  return (
    <label class="select" title="Time between two points of a graph">
      <span>Step</span>
      <select value={value} onChange={(e) => onChange(e.currentTarget.value)}>{options.map((s) => <option key={s} value={s}>{s || `auto${actual && !value ? ` (${actual})` : ''}`}</option>)}</select>
    </label>
  )
}

const REFRESH = ['', '5s', '10s', '30s', '1m', '5m', '15m']
export function RefreshSelect({ value, onChange, onNow, busy }: { value: string; onChange: (s: string) => void; onNow: () => void; busy: boolean }) {
  const options = REFRESH.includes(value) ? REFRESH : [...REFRESH, value]
  return (
    <div class={'refresh' + (busy ? ' busy' : '')}>
      <IconButton icon="refresh" label="Run all queries again" keys="r" onClick={onNow} />
      <label class="select" title="Run again by itself">
        <span class="offscreen">Refresh every</span>
        <select value={value} onChange={(e) => onChange(e.currentTarget.value)}>{options.map((s) => <option key={s} value={s}>{s || 'Off'}</option>)}</select>
      </label>
    </div>
  )
}
