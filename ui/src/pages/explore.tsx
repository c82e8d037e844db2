// Explore: query panels over one time range. The URL is the state; this page only reads and writes it.

import { useComputed } from '@preact/signals'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { useTick, useTitle } from '../lib/hooks'
import { useShortcuts } from '../lib/keys'
import { oneLine } from '../lib/promql'
import { absolute, parseDuration, resolveRange, shift, type Range } from '../lib/time'
import { copy, navigate, route, utc } from '../lib/ui'
import { fromSearch, newPanel, PANELS_MAX, toSearch, type ExploreState } from '../lib/urlstate'
import { IconButton, PageHead } from '../parts/bits'
import { Panel } from '../explore/panel'
import { RefreshSelect, StepSelect, TimePicker, wider } from '../explore/time-picker'

let nextId = 1

export default function Explore() {
  const search = useComputed(() => (route.value.path.startsWith('/explore') ? route.value.search : '')).value
  const st = useMemo(() => fromSearch(search), [search])
  const [tick, bump] = useTick(st.refresh && st.range.to === 'now' ? parseDuration(st.refresh) : 0)
  const [busy, setBusy] = useState<Set<number>>(new Set())
  const [actualStep, setActualStep] = useState('')
  // Panels keep their identity (and an edited query) when one before them goes.
  const ids = useRef<number[]>([])
  while (ids.current.length < st.panels.length) ids.current.push(nextId++)
  ids.current.length = st.panels.length

  const latest = useRef(st)
  latest.current = st
  const set = (change: Partial<ExploreState>, push = true) => {
    const next = { ...latest.current, ...change }
    latest.current = next
    navigate('/explore' + toSearch(next), { replace: !push })
  }
  const setRange = (range: Range) => set({ range })
  const span = useMemo(() => resolveRange(st.range, Date.now(), utc.value) ?? resolveRange({ from: 'now-1h', to: 'now' }, Date.now(), false)!, [st.range.from, st.range.to, tick, utc.value])
  const latestSpan = useRef(span)
  latestSpan.current = span

  const add = (expr = '', at = latest.current.panels.length) => {
    const panels = [...latest.current.panels]
    if (panels.length >= PANELS_MAX) return
    panels.splice(at, 0, newPanel(expr))
    ids.current.splice(at, 0, nextId++)
    set({ panels })
  }
  const remove = (i: number) => {
    const panels = latest.current.panels.filter((_, k) => k !== i)
    ids.current.splice(i, 1)
    if (panels.length === 0) panels.push(newPanel())
    set({ panels })
  }
  useTitle(st.panels[0].expr ? oneLine(st.panels[0].expr).slice(0, 60) : 'Explore')
  useShortcuts(() => [
    { keys: 'r', text: 'Run all queries again', group: 'Explore', run: bump },
    { keys: 'a', text: 'Add a query', group: 'Explore', run: () => add() },
    { keys: 'm', text: 'Browse metrics', group: 'Explore', run: () => document.querySelector<HTMLElement>('.panel [aria-label="Browse metrics"], .panel [title^="Browse metrics"]')?.click() },
    { keys: '[', text: 'Earlier', group: 'Explore', run: () => setRange(absolute(shift(latestSpan.current, -1, Date.now()))) },
    { keys: ']', text: 'Later', group: 'Explore', run: () => setRange(absolute(shift(latestSpan.current, 1, Date.now()))) },
    { keys: '-', text: 'Zoom out', group: 'Explore', run: () => setRange(wider(latest.current.range)) },
    { keys: 's', text: 'Copy a link to this view', group: 'Explore', run: () => share() },
    { keys: 'Enter', text: 'In a query: run it', group: 'Explore' },
    { keys: 'Shift Enter', text: 'In a query: new line', group: 'Explore' },
    { keys: 'Ctrl Space', text: 'In a query: complete', group: 'Explore' },
  ])
  const share = () => {
    // A shared link shows what its sender saw: a relative range becomes a fixed one.
    const fixed = { ...latest.current, range: absolute(latestSpan.current), refresh: '' }
    void copy(location.origin + '/explore' + toSearch(fixed), 'Link copied, with this time range')
  }
  // The address of an empty page has its state as well: a reload keeps it.
  useEffect(() => {
    // From the route as it is now: by the time an effect runs it may be newer than this render.
    const now = route.value.search, whole = toSearch(fromSearch(now))
    if (now !== whole && route.value.path.startsWith('/explore')) navigate('/explore' + whole, { replace: true })
  }, [search])

  return (
    <div class="page explore">
      <PageHead title="Explore">
        <TimePicker range={st.range} onChange={setRange} />
        <StepSelect value={st.step} actual={actualStep} onChange={(step) => set({ step })} />
        <RefreshSelect value={st.refresh} busy={busy.size > 0} onChange={(refresh) => set({ refresh }, false)} onNow={bump} />
        <IconButton icon="link" label="Copy a link to this view" keys="s" text="Share" onClick={share} />
      </PageHead>
      {st.panels.map((panel, i) => (
        <Panel key={ids.current[i]} n={i + 1} panel={panel} range={st.range} span={span} step={st.step} tick={tick} only={st.panels.length === 1}
          onChange={(change, push = false) => set({ panels: latest.current.panels.map((q, k) => (k === i ? { ...q, ...change } : q)) }, push)}
          onZoom={(s) => setRange(absolute(s))} onZoomOut={() => setRange(wider(latest.current.range))}
          onRemove={() => remove(i)} onDuplicate={() => add(latest.current.panels[i].expr, i + 1)}
          onBusy={(b) => setBusy((old) => { const n = new Set(old); if (b) n.add(ids.current[i]); else n.delete(ids.current[i]); return n })}
          onStep={i === 0 ? setActualStep : () => undefined}
          onRun={() => { if (latest.current.range.to === 'now') bump() }} />
      ))}
      <button type="button" class="button wide add" disabled={st.panels.length >= PANELS_MAX} onClick={() => add()}>Add query</button>
    </div>
  )
}
