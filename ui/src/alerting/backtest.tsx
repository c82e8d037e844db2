// What a rule would have done: how often it would have fired lately, and whom it would have told.

import { useState } from 'preact/hooks'
import type { Backtest } from '../lib/alerting'
import { api } from '../lib/api'
import { formatDuration, formatTime } from '../lib/time'
import { plural, utc } from '../lib/ui'
import { format } from '../lib/units'
import { ErrorBox, LabelSet, Segmented } from '../parts/bits'

const LENGTHS = [{ id: '1d', name: '1 day' }, { id: '7d', name: '7 days' }, { id: '30d', name: '30 days' }]
const EPISODES_MAX = 20

const at = (t: string | null): string => (t ? formatTime(Date.parse(t), utc.value) : '')

function Result({ data, name, group }: { data: Backtest; name: string; group: string }) {
  const mine = data.rules.filter((r) => r.name === name && r.group === group)
  const sum = (of: (r: Backtest['rules'][number]) => number | undefined) => mine.reduce((n, r) => n + (of(r) ?? 0), 0)
  const episodes = mine.flatMap((r) => r.episodes ?? []).sort((a, b) => b.activeAt.localeCompare(a.activeAt))
  const told = mine.flatMap((r) => r.receivers ?? [])
  const failed = mine.find((r) => r.lastError)
  return (
    <div role="status" data-test="backtest">
      <p><b>Fired {plural(sum((r) => r.fired), 'time')}</b>, for {formatDuration(Math.round(sum((r) => r.firingSeconds)) * 1000)} in all; {plural(sum((r) => r.endedPending), 'time')} only pending.{' '}
        {data.routed ? <>{plural(sum((r) => r.pages), 'message')}, {format(sum((r) => r.pagesPerWeek), 'short', 3)} a week{told.length > 0 && <>: {told.map((t) => `${t.name} ${t.pages}`).join(', ')}</>}.</> : <span class="muted">Nobody would have been told: no Alertmanager is configured.</span>}</p>
      {!data.complete && <p class="warn small">Not all of the time was tried: {data.why}</p>}
      {failed && <p class="bad small">{failed.failures} evaluations failed: {failed.lastError}</p>}
      {episodes.length > 0 && (
        <table class="episodes"><thead><tr><th>Since</th><th>Fired</th><th>Ended</th><th>Labels</th></tr></thead>
          <tbody>{episodes.slice(0, EPISODES_MAX).map((e) => <tr key={e.activeAt + JSON.stringify(e.labels)}><td>{at(e.activeAt)}</td><td>{at(e.firedAt) || 'never'}</td><td>{at(e.resolvedAt) || 'still there'}</td><td><LabelSet labels={e.labels} skip={['alertname']} /></td></tr>)}</tbody></table>
      )}
      {episodes.length > EPISODES_MAX && <p class="muted small">and {episodes.length - EPISODES_MAX} more</p>}
    </div>
  )
}

export default function BacktestPanel({ name, group, file }: { name: string; group: string; file: string }) {
  const [last, setLast] = useState('7d')
  const [state, set] = useState<{ busy: boolean; data?: Backtest; error?: unknown }>({ busy: false })
  const run = async () => {
    set({ busy: true })
    try {
      set({ busy: false, data: (await api<Backtest>('rules/backtest', { last, timeout: '1m', 'rule_name[]': name, 'rule_group[]': group, 'file[]': file }, undefined, { method: 'POST' })).data })
    } catch (error) {
      set({ busy: false, error })
    }
  }
  return (
    <div class="backtest">
      <div class="graph-bar">
        <span class="muted small">Backtest over</span>
        <Segmented label="Backtest over" value={last} options={LENGTHS} onChange={setLast} />
        <button type="button" class="button small" disabled={state.busy} onClick={() => void run()}>{state.busy ? 'Running…' : 'Run backtest'}</button>
      </div>
      {state.error !== undefined && <ErrorBox error={state.error} title="No backtest" />}
      {state.data && <Result data={state.data} name={name} group={group} />}
    </div>
  )
}
