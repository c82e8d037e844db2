// Routing: the tree that decides who is told, and which way an alert with given labels takes through it.

import { useEffect, useMemo, useState } from 'preact/hooks'
import { AlertingTabs, Matchers, NotConfigured, useQuery } from '../alerting/bits'
import { ifConfigured, matcherText, ofLabels, sentAlerts, sentPage, type Route, type Routes, type RouteTest, type SentAlert } from '../lib/alerting'
import { api } from '../lib/api'
import { useLoad, useTick, useTitle } from '../lib/hooks'
import { useShortcuts } from '../lib/keys'
import { plural } from '../lib/ui'
import { Empty, ErrorBox, IconButton, LabelSet, PageHead, Skeleton } from '../parts/bits'
import { Icon } from '../parts/icons'

const NODES_MAX = 300
const PICKS_MAX = 5

type Step = RouteTest['steps'][number]['result']
const SAYS: Record<Step, string> = { no: 'does not match', passed: 'matches, passed on', taken: 'takes it' }

function Node({ r, below, said, tested, order }: { r: Route; below: Map<number | null, Route[]>; said: Map<number, Step>; tested: boolean; order: Map<number, number> }) {
  const step = said.get(r.index)
  const tone = !tested ? '' : step === 'taken' ? ' taken' : step === 'passed' ? ' passed' : ' off'
  const facts = [
    r.groupByAll ? 'each alert alone' : r.groupBy.length ? `by ${r.groupBy.join(', ')}` : 'all in one group',
    `waits ${r.groupWait}`, `then every ${r.groupInterval}`, `again after ${r.repeatInterval}`,
  ]
  return (
    <li>
      <div class={'route' + tone} data-route={r.index}>
        <div class="route-head">
          {tested && <span class={'state ' + (step === 'taken' ? 'good' : '')}>{step ? SAYS[step] : 'not asked'}</span>}
          {r.parent === null ? <span class="muted">every alert</span> : <Matchers list={r.matchers} />}
          <Icon name="right" size={13} /><b>{r.receiver}</b>
          {tested && order.has(r.index) && <span class="tag">receiver {order.get(r.index)! + 1}</span>}
          {r.continue && <span class="tag" title="Routes after this one are asked too">continue</span>}
          {r.muted && <span class="state warn" title="By its time intervals, at this moment">muted now</span>}
        </div>
        <div class="muted small">{facts.join(' · ')}</div>
        {(r.muteTimeIntervals.length > 0 || r.activeTimeIntervals.length > 0) && (
          <div class="muted small">{[r.muteTimeIntervals.length && `muted in ${r.muteTimeIntervals.join(', ')}`, r.activeTimeIntervals.length && `active only in ${r.activeTimeIntervals.join(', ')}`].filter(Boolean).join(' · ')}</div>
        )}
      </div>
      {below.has(r.index) && <ol>{below.get(r.index)!.map((c) => <Node key={c.index} r={c} below={below} said={said} tested={tested} order={order} />)}</ol>}
    </li>
  )
}

/** Children by parent, of at most so many routes: those on the way of the tested labels first, then from the top. */
function shownTree(all: Route[], said: Map<number, Step>, max: number): Map<number | null, Route[]> {
  const keep = new Set([...said].filter(([, s]) => s !== 'no').map(([i]) => i))
  for (const r of all) {
    if (keep.size >= max) break
    if (r.parent === null || keep.has(r.parent)) keep.add(r.index)
  }
  const below = new Map<number | null, Route[]>()
  for (const r of all) {
    if (!keep.has(r.index)) continue
    const list = below.get(r.parent)
    if (list) list.push(r)
    else below.set(r.parent, [r])
  }
  return below
}

function Result({ t, tree }: { t: RouteTest; tree: Routes }) {
  const kinds = (name: string) => tree.receivers.find((r) => r.name === name)?.integrations.map((i) => i.kind) ?? []
  return (
    <div class="route-result" role="status" data-test="route-result">
      {t.matches.map((m, n) => (
        <p key={m.route}><b>{n + 1}. {m.receiver}</b> {kinds(m.receiver).length ? <span class="muted">({kinds(m.receiver).join(', ')})</span> : <span class="warn">(no integration: nobody is told)</span>} in group {Object.keys(m.group).length ? <LabelSet labels={m.group} /> : <span class="muted">of all alerts</span>}{m.muted && <span class="warn"> muted now by a time interval</span>}</p>
      ))}
      {t.silencedBy.length > 0 && <p class="warn">Kept quiet by {t.silencedBy.map((id) => <a key={id} class="link mono" href={`/silences?q=${id}`}>{id} </a>)}</p>}
    </div>
  )
}

function Tester({ value, onChange, picks }: { value: string; onChange: (v: string) => void; picks: SentAlert[] }) {
  return (
    <section class="card tester" aria-label="Test labels">
      <label>Which way does an alert with these labels take?
        <input type="text" class="mono" data-focus-key value={value} placeholder={'alertname="HighErrorRate", severity="page", team="db"'} spellcheck={false} autocomplete="off" onInput={(e) => onChange(e.currentTarget.value)} />
      </label>
      {picks.length > 0 && !value && (
        <div class="starters">{picks.map((a) => <button type="button" key={a.fingerprint} class="starter mono" onClick={() => onChange(ofLabels(a.labels).map(matcherText).join(', '))}>{a.labels.alertname ?? a.fingerprint}</button>)}</div>
      )}
      {value && <button type="button" class="link small" onClick={() => onChange('')}>Clear</button>}
    </section>
  )
}

export default function RoutingPage() {
  useTitle('Routing')
  const [tick, bump] = useTick(30_000)
  useShortcuts(() => [{ keys: 'r', text: 'Refresh', group: 'Routing', run: bump }])
  const [q, set] = useQuery('/routing', { labels: '' })
  const [text, setText] = useState(q.labels)
  const [max, setMax] = useState(NODES_MAX)
  useEffect(() => { if (q.labels !== text) setText(q.labels) }, [q.labels])
  useEffect(() => {
    const timer = setTimeout(() => text !== q.labels && set({ labels: text }), 250)
    return () => clearTimeout(timer)
  }, [text])
  const { data, error } = useLoad(async (abort) => ({ conf: await ifConfigured(async () => {
    const [tree, alerts] = await Promise.all([api<Routes>('alerting/routes', {}, abort), sentPage({ by: 'alertname', groups: PICKS_MAX, limit: 1 }, abort)])
    return { tree: tree.data, picks: sentAlerts(alerts) }
  }, abort) }), [], tick)
  const conf = data?.conf
  const test = useLoad(async (abort) => (conf && q.labels.trim() ? (await api<RouteTest>('alerting/routes/test', { labels: q.labels }, abort)).data : null), [q.labels, conf])
  const t = q.labels.trim() && !test.error ? test.data : null
  const said = useMemo(() => new Map((t?.steps ?? []).map((s) => [s.route, s.result])), [t])
  const order = useMemo(() => new Map((t?.matches ?? []).map((m, i) => [m.route, i])), [t])
  const below = useMemo(() => shownTree(conf?.tree.routes ?? [], said, max), [conf, said, max])
  const hidden = (conf?.tree.routes.length ?? 0) - [...below.values()].reduce((n, l) => n + l.length, 0)
  return (
    <div class="page">
      <PageHead title="Routing" sub={conf && <span>{plural(conf.tree.routes.length, 'route')}, {plural(conf.tree.receivers.length, 'receiver')}, {plural(conf.tree.inhibitRules, 'inhibition rule')}</span>}>
        <IconButton icon="refresh" label="Refresh" keys="r" onClick={bump} />
      </PageHead>
      <AlertingTabs />
      {error !== undefined && <ErrorBox error={error} onRetry={bump} />}
      {!data && error === undefined && <Skeleton rows={6} height={44} />}
      {data && data.conf === null && <NotConfigured what="The routing tree decides which receiver is told of an alert." />}
      {conf && (
        <>
          <Tester value={text} onChange={setText} picks={conf.picks} />
          {test.error !== undefined && q.labels.trim() !== '' && <ErrorBox error={test.error} title="These are no labels" />}
          {t && <Result t={t} tree={conf.tree} />}
          <section class="card" aria-label="Routing tree">
            <ol class="routes">{(below.get(null) ?? []).map((r) => <Node key={r.index} r={r} below={below} said={said} tested={!!t} order={order} />)}</ol>
            {hidden > 0 && <button type="button" class="button wide" onClick={() => setMax(max + NODES_MAX)}>Show more of {hidden} routes</button>}
          </section>
          <div class="cards two routing-more">
            <section class="card" aria-label="Receivers">
              <h2>Receivers</h2>
              <dl class="facts">{conf.tree.receivers.slice(0, 200).map((r) => <div key={r.name}><dt>{r.name}</dt><dd>{r.integrations.length ? r.integrations.map((i) => `${i.kind}${i.sendResolved ? '' : ' (not of ends)'}`).join(', ') : <span class="muted">tells nobody</span>}</dd></div>)}</dl>
            </section>
            <section class="card" aria-label="Time intervals">
              <h2>Time intervals</h2>
              {conf.tree.timeIntervals.length === 0 ? <p class="muted">None are named.</p>
                : <dl class="facts">{conf.tree.timeIntervals.map((i) => <div key={i.name}><dt>{i.name}</dt><dd>{i.now ? <span class="warn">now</span> : 'not now'}</dd></div>)}</dl>}
            </section>
          </div>
          {conf.tree.routes.length === 1 && <Empty icon="info" title="One route for everything"><p>Below <code>routes:</code> of the root, further ones can send alerts elsewhere by their labels.</p></Empty>}
        </>
      )}
    </div>
  )
}
