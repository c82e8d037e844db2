// Status: what this server is, how it was started, what its store holds and which names make it big.

import { useState } from 'preact/hooks'
import { api, type Count, type TsdbStatus } from '../lib/api'
import { useLoad, useTitle } from '../lib/hooks'
import { quote, selector } from '../lib/promql'
import { formatAgo, formatTime } from '../lib/time'
import { copy, navigate, route, utc } from '../lib/ui'
import { exploreLink } from '../lib/urlstate'
import { format, formatCount } from '../lib/units'
import { Empty, ErrorBox, IconButton, PageHead, SearchField, Segmented, Skeleton } from '../parts/bits'

type Tab = 'server' | 'store' | 'retention' | 'flags' | 'config'
const TABS: { id: Tab; name: string }[] = [{ id: 'server', name: 'Server' }, { id: 'store', name: 'Store' }, { id: 'retention', name: 'Retention' }, { id: 'flags', name: 'Flags' }, { id: 'config', name: 'Configuration' }]

type Facts = Record<string, string | number | boolean>

const NAMES: Record<string, string> = {
  version: 'Version', revision: 'Revision', branch: 'Branch', buildUser: 'Built by', buildDate: 'Built', goVersion: 'Compiler',
  startTime: 'Started', CWD: 'Working folder', hostname: 'Host', serverTime: 'Server time', reloadConfigSuccess: 'Last reload', lastConfigTime: 'Configuration loaded',
  corruptionCount: 'Corruptions found', GOMAXPROCS: 'Processors used', GOMEMLIMIT: 'Memory limit',
  storageRetention: 'Retention', threadCount: 'Threads',
}

/** Fields of Prometheus' API that say nothing about a program in C. */
const FOREIGN = new Set(['goroutineCount', 'GOGC', 'GODEBUG'])

function show(k: string, v: string | number | boolean): string {
  if (typeof v === 'boolean') return k === 'reloadConfigSuccess' ? (v ? 'worked' : 'failed') : v ? 'yes' : 'no'
  if (typeof v === 'string' && /^\d{4}-\d\d-\d\dT/.test(v)) {
    const at = Date.parse(v)
    return at > 0 ? `${formatTime(at, utc.value)} (${formatAgo(Date.now() - at)})` : 'never'
  }
  if (k === 'GOMEMLIMIT') return Number(v) > 2 ** 60 ? 'none' : format(Number(v), 'bytes')
  if (typeof v === 'number') return Number.isInteger(v) ? formatCount(v) : String(v)
  return v
}
/** threadCount -> Thread count */
const named = (k: string) => NAMES[k] ?? (k[0].toUpperCase() + k.slice(1)).replace(/([a-z])([A-Z])/g, (_, a: string, b: string) => `${a} ${b.toLowerCase()}`)

function FactsCard({ title, facts }: { title: string; facts: Facts }) {
  const rows = Object.entries(facts).filter(([k, v]) => v !== '' && v !== null && !FOREIGN.has(k))
  return (
    <section class="card">
      <h2>{title}</h2>
      <dl class="facts two">{rows.map(([k, v]) => <div key={k}><dt>{named(k)}</dt><dd class={k === 'reloadConfigSuccess' && v === false ? 'bad' : k === 'corruptionCount' && Number(v) > 0 ? 'bad' : ''}>{show(k, v)}</dd></div>)}</dl>
    </section>
  )
}

interface Remote {
  name: string; url: string; protobufMessage: string; shards: number; shardsDesired: number; pending: number; sent: number; failed: number; retried: number; dropped: number
  lagSeconds: number; lagBytes: number; highestSentTimestamp: string; lastSuccess: string; lastError: string
}

/** Where samples are forwarded to, and how far behind that is. Nothing when there is no remote_write. */
function Forwarding() {
  const { data } = useLoad(async (abort) => (await api<Remote[]>('status/forwarding', {}, abort)).data, [])
  if (!data || data.length === 0) return null
  return (
    <section class="card" aria-label="Forwarding">
      <h2>Forwarding</h2>
      <table>
        <thead><tr><th scope="col">Remote</th><th scope="col" class="num">Sent</th><th scope="col" class="num">Pending</th><th scope="col" class="num">Failed</th><th scope="col" class="num">Dropped</th><th scope="col" class="num">Shards</th><th scope="col" class="num">Lag</th><th scope="col">State</th></tr></thead>
        <tbody>{data.map((r) => (
          <tr key={r.name}>
            <th scope="row"><span class="mono">{r.name}</span> <span class="muted mono small">{r.url}</span></th>
            <td class="num">{formatCount(r.sent)}</td><td class="num">{formatCount(r.pending)}</td>
            <td class={r.failed ? 'num bad' : 'num'}>{formatCount(r.failed)}</td><td class={r.dropped ? 'num bad' : 'num'}>{formatCount(r.dropped)}</td>
            <td class="num">{r.shards}</td><td class="num">{format(r.lagSeconds, 'seconds')}, {format(r.lagBytes, 'bytes')}</td>
            <td class={r.lastError ? 'bad' : ''}>{r.lastError || (r.lastSuccess ? `works, ${formatAgo(Date.now() - Date.parse(r.lastSuccess))}` : 'nothing sent yet')}</td>
          </tr>
        ))}</tbody>
      </table>
    </section>
  )
}

function Server() {
  const { data, error } = useLoad(async (abort) => {
    const [build, runtime] = await Promise.all([api<Facts>('status/buildinfo', {}, abort), api<Facts>('status/runtimeinfo', {}, abort)])
    return { build: build.data, runtime: runtime.data }
  }, [])
  if (error !== undefined) return <ErrorBox error={error} />
  if (!data) return <Skeleton rows={8} />
  return <div class="cards two"><FactsCard title="Runtime" facts={data.runtime} /><FactsCard title="Build" facts={data.build} /><Forwarding /></div>
}

function Top({ title, hint, list, unit, link }: { title: string; hint: string; list?: Count[]; unit: 'count' | 'bytes'; link: (name: string) => string }) {
  if (!list) return null
  const max = Math.max(1, ...list.map((c) => c.value))
  return (
    <section class="card top">
      <h2>{title}</h2>
      <p class="muted small">{hint}</p>
      {list.length === 0 ? <p class="muted">Nothing yet.</p> : (
        <ol>{list.map((c) => (
          <li key={c.name}>
            <a href={link(c.name)} class="mono" title={c.name}>{c.name || '""'}</a>
            <meter class="bar" min={0} max={max} value={c.value} aria-hidden="true" />
            <span class="num">{unit === 'bytes' ? format(c.value, 'bytes') : formatCount(c.value)}</span>
          </li>
        ))}</ol>
      )}
    </section>
  )
}

function Store() {
  const [limit, setLimit] = useState(10)
  const { data, error } = useLoad(async (abort) => (await api<TsdbStatus>('status/tsdb', { limit }, abort)).data, [limit])
  if (error !== undefined) return <ErrorBox error={error} />
  if (!data) return <Skeleton rows={8} />
  const h = data.headStats
  const when = (ms?: number) => (ms && Number.isFinite(ms) && Math.abs(ms) < 8.64e15 ? formatTime(ms, utc.value) : '–')
  const pair = (name: string) => {
    const i = name.indexOf('=')
    return i < 0 ? '/explore' : exploreLink(`topk(20, count by (__name__) ({${name.slice(0, i)}=${quote(name.slice(i + 1))}}))`)
  }
  return (
    <>
      {h && (
        <div class="figures">
          <div><b>{formatCount(h.numSeries)}</b><span>series in the head</span></div>
          {h.numLabelPairs !== undefined && <div><b>{formatCount(h.numLabelPairs)}</b><span>label pairs</span></div>}
          {h.chunkCount !== undefined && <div><b>{formatCount(h.chunkCount)}</b><span>chunks in memory</span></div>}
          <div><b class="time">{when(h.minTime)}</b><span>oldest sample in the head</span></div>
          <div><b class="time">{when(h.maxTime)}</b><span>newest sample</span></div>
        </div>
      )}
      <div class="cards two">
        <Top title="Metrics with the most series" hint="What a single metric name costs." list={data.seriesCountByMetricName} unit="count" link={(n) => exploreLink(`count(${selector(n)})`)} />
        <Top title="Label pairs with the most series" hint="One value of one label." list={data.seriesCountByLabelValuePair} unit="count" link={pair} />
        <Top title="Labels with the most values" hint="High numbers here are what makes a store grow." list={data.labelValueCountByLabelName} unit="count" link={(n) => exploreLink(`topk(20, count by (__name__) ({${n}!=""}))`)} />
        <Top title="Labels by memory" hint="Bytes of all values of a label." list={data.memoryInBytesByLabelName} unit="bytes" link={(n) => exploreLink(`topk(20, count by (${n}) ({${n}!=""}))`)} />
      </div>
      {limit === 10 && (data.seriesCountByMetricName?.length ?? 0) >= 10 && <button type="button" class="button wide" onClick={() => setLimit(50)}>Show 50 of each</button>}
    </>
  )
}

interface Gone { samples?: number; windows?: number; bytes: number }
interface Kept { match: string; keep: string; bytes: number; oldest?: string; expired: Gone; expires24h: Gone; expires7d: Gone; warning?: string }
interface Plan {
  bytes: number; maxBytes: number; bytesOverMax: number; headSamples: number
  rules: (Kept & { series: number; samples: number })[]
  rollups: (Kept & { resolution: string; windows: number })[]
}

const goes = (g: Gone) => (g.bytes ? `${format(g.bytes, 'bytes')} (${formatCount(g.samples ?? g.windows ?? 0)})` : '–')
const since = (at?: string) => (at ? formatTime(Date.parse(at), utc.value) : '–')

function KeptCard({ title, hint, kept }: { title: string; hint: string; kept: Kept & { series?: number; samples?: number; windows?: number } }) {
  const rows: [string, string][] = [['Kept for', kept.keep]]
  if (kept.series !== undefined) rows.push(['Series', formatCount(kept.series)])
  if (kept.samples !== undefined) rows.push(['Samples on disk', formatCount(kept.samples)])
  if (kept.windows !== undefined) rows.push(['Windows', formatCount(kept.windows)])
  rows.push(['Disk', format(kept.bytes, 'bytes')], ['Oldest', since(kept.oldest)], ['Expired now', goes(kept.expired)], ['Within 24 hours', goes(kept.expires24h)], ['Within 7 days', goes(kept.expires7d)])
  return (
    <section class="card" aria-label={title}>
      <h2 class="mono">{title}</h2>
      <p class={kept.warning ? 'bad small' : 'muted small'}>{kept.warning ? `Warning: ${kept.warning}` : hint}</p>
      <dl class="facts two">{rows.map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>
    </section>
  )
}

/** What the rules of retention keep, and what goes when. */
function Retention() {
  const { data, error } = useLoad(async (abort) => (await api<Plan>('status/retention', {}, abort)).data, [])
  if (error !== undefined) return <ErrorBox error={error} />
  if (!data) return <Skeleton rows={8} />
  return (
    <>
      <div class="figures">
        <div><b>{format(data.bytes, 'bytes')}</b><span>{data.maxBytes ? `on disk, of at most ${format(data.maxBytes, 'bytes')}` : 'on disk, log and segments'}</span></div>
        <div><b>{formatCount(data.headSamples)}</b><span>samples that are not in segments yet</span></div>
        {data.bytesOverMax > 0 && <div><b>{format(data.bytesOverMax, 'bytes')}</b><span>over the limit: the oldest go</span></div>}
      </div>
      <div class="cards two">
        {data.rules.map((r, i) => <KeptCard key={r.match} title={r.match || 'All other series'} hint={r.match ? `Rule ${i + 1}: the first that matches a series decides.` : 'The default, for series that no rule matches.'} kept={r} />)}
        {data.rollups.map((r) => <KeptCard key={r.resolution} title={`Rollups of ${r.resolution}`} hint={r.match ? `Of ${r.match}` : 'Of all series; used where samples are gone.'} kept={r} />)}
      </div>
    </>
  )
}

function Flags() {
  const [text, setText] = useState('')
  const { data, error } = useLoad(async (abort) => (await api<Record<string, string>>('status/flags', {}, abort)).data, [])
  if (error !== undefined) return <ErrorBox error={error} />
  if (!data) return <Skeleton rows={10} />
  const rows = Object.entries(data).sort(([a], [b]) => a.localeCompare(b))
  const shown = rows.filter(([k, v]) => (k + '=' + v).toLowerCase().includes(text.toLowerCase()))
  return (
    <>
      <div class="toolbar"><SearchField value={text} onInput={setText} placeholder="Filter flags" focusKey /></div>
      {shown.length === 0 ? <Empty icon="search" title={rows.length ? 'No flag matches' : 'There are no flags'} /> : (
        <section class="card">
          <table class="flags"><tbody>{shown.map(([k, v]) => <tr key={k}><th scope="row" class="mono">--{k}</th><td class="mono">{v || <span class="muted">not set</span>}</td></tr>)}</tbody></table>
        </section>
      )}
    </>
  )
}

/** Keys, comments and values of YAML in their colours, a line at a time. */
function yamlLine(line: string) {
  const m = /^(\s*(?:- )*)("[^"]*"|[\w.\-/]+)(:)(\s.*)?$/.exec(line)
  if (/^\s*#/.test(line)) return <span class="y-comment">{line}</span>
  if (!m) return line
  return <>{m[1]}<span class="y-key">{m[2]}</span>{m[3]}<span class={/^\s*<secret>/.test(m[4] ?? '') ? 'y-comment' : 'y-value'}>{m[4] ?? ''}</span></>
}

function Config() {
  const { data, error } = useLoad(async (abort) => (await api<{ yaml: string }>('status/config', {}, abort)).data.yaml, [])
  if (error !== undefined) return <ErrorBox error={error} />
  if (data === undefined) return <Skeleton rows={14} />
  if (!data.trim()) return <Empty icon="status" title="No configuration file"><p>The server runs with its defaults.</p></Empty>
  return (
    <section class="card config">
      <div class="corner"><IconButton icon="copy" label="Copy configuration" text="Copy" onClick={() => void copy(data, 'Configuration copied')} /></div>
      <pre class="yaml" tabIndex={0} aria-label="Configuration">{data.split('\n').map((l, i) => <div key={i}>{yamlLine(l) || ' '}</div>)}</pre>
    </section>
  )
}

export default function Status() {
  useTitle('Status')
  const asked = new URLSearchParams(route.value.search).get('tab') as Tab
  const tab: Tab = TABS.some((t) => t.id === asked) ? asked : 'server'
  return (
    <div class="page">
      <PageHead title="Status">
        <Segmented label="Section" value={tab} options={TABS} onChange={(id) => navigate(id === 'server' ? '/status' : `/status?tab=${id}`)} />
      </PageHead>
      {tab === 'server' && <Server />}
      {tab === 'store' && <Store />}
      {tab === 'retention' && <Retention />}
      {tab === 'flags' && <Flags />}
      {tab === 'config' && <Config />}
    </div>
  )
}
