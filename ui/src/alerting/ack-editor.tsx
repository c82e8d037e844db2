// Taking care of an alert: who, why and for how long. Its messages stop being repeated; it stays visible.

import { useState } from 'preact/hooks'
import type { Labels } from '../lib/promql'
import { api } from '../lib/api'
import { plural, say } from '../lib/ui'
import { ErrorBox, LabelSet, Modal, Segmented } from '../parts/bits'
import { author, setAuthor } from './bits'

const LENGTHS = [{ id: '', name: 'Until it ends' }, { id: '1h', name: '1 h' }, { id: '4h', name: '4 h' }, { id: '1d', name: '1 day' }]

export default function AckEditor({ fingerprint, labels, onDone }: { fingerprint: string; labels: Labels; onDone: (done: boolean) => void }) {
  const [owner, setOwner] = useState(author())
  const [comment, setComment] = useState('')
  const [lasts, setLasts] = useState('')
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>()
  const save = async (e: Event) => {
    e.preventDefault()
    if (!owner.trim() || busy) return
    setBusy(true)
    setError(undefined)
    try {
      const json = { fingerprint, owner: owner.trim(), comment: comment.trim(), ...(lasts ? { for: lasts } : {}) }
      const n = (await api<{ alerts: number }>('alerting/acks', {}, undefined, { method: 'POST', json })).data.alerts
      setAuthor(owner.trim())
      say(`${plural(n, 'alert')} acknowledged`)
      onDone(true)
    } catch (x) {
      setError(x)
      setBusy(false)
    }
  }
  return (
    <Modal title="Take care of this alert" onClose={() => onDone(false)}>
      <form class="form" onSubmit={(e) => void save(e)}>
        <LabelSet labels={labels} />
        <p class="muted small">It is not told again until something in its group changes, and escalation stops. Everybody sees who takes care.</p>
        <div class="two">
          <label>Who<input type="text" value={owner} autofocus={!owner} autocomplete="username" maxLength={200} onInput={(e) => setOwner(e.currentTarget.value)} /></label>
          <label>Comment<input type="text" value={comment} autofocus={!!owner} maxLength={2000} onInput={(e) => setComment(e.currentTarget.value)} /></label>
        </div>
        <Segmented label="How long" value={lasts} options={LENGTHS} onChange={setLasts} />
        {error !== undefined && <ErrorBox error={error} title="It was not acknowledged" />}
        <div class="form-foot">
          <span class="muted small" role="status">{owner.trim() ? '' : 'Say who you are.'}</span>
          <button type="button" class="button" onClick={() => onDone(false)}>Cancel</button>
          <button type="submit" class="button primary" disabled={!owner.trim() || busy}>Acknowledge</button>
        </div>
      </form>
    </Modal>
  )
}
