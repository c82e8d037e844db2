// Overview: every service at a glance, the hosts below, the store's own health.

import { useComputed } from '@preact/signals'
import { useMemo, useState } from 'preact/hooks'
import { api, errorText, type Answer, type InstantSeries, type QueryData, type RangeSeries, type TsdbStatus } from '../lib/api'
import { useLoad, useTick, useTitle } from '../lib/hooks'
import { useShortcuts } from '../lib/keys'
import { quote } from '../lib/promql'
import { toFrame } from '../lib/series'
import { chooseStep, grid, rateWindow } from '../lib/step'
import { parseDuration } from '../lib/time'
import { navigate, plural, route } from '../lib/ui'
import { exploreLink } from '../lib/urlstate'
import { format, NO_VALUE, type Unit } from '../lib/units'
import { Empty, ErrorBox, IconButton, PageHead, Segmented, Skeleton } from '../parts/bits'
import { Icon } from '../parts/icons'
import { cursorTime, Spark, useCursor, valueAt, type Cursor, type SparkData } from '../parts/spark'
import { cellQuery, codeLabel, HOST, MEASURES, measureQuery, serviceMetrics, serviceQueries, services, STORE, type Measure, type Service } from './overview-data'

const RANGES = ['15m', '1h', '6h', '24h', '7d']
const REFRESH_MS = 15_000
const ROWS_MAX = 60

interface Found { names: Set<string>; list: Service[]; intervalS: number }

async function discover(abort: AbortSignal): Promise<Found> {
  const recent = String(Math.floor(Date.now() / 1000) - 3600)
  const [names, jobs, scrapes] = await Promise.all([
    api<string[]>('label/__name__/values', { start: recent }, abort),
    api<string[]>('label/job/values', { start: recent, 'match[]': ['up'] }, abort),
    api<QueryData>('query', { query: 'max(count_over_time(up[10m]))' }, abort),
  ])
  const wanted = serviceMetrics(names.data)
  const count = scrapes.data.resultType === 'vector' ? Number(scrapes.data.result[0]?.value?.[1] ?? 0) : 0
  const intervalS = count > 1 ? Math.min(75, 600 / count) : 15
  let has: { job: string; name: string }[] = []
  const codes: Record<string, string> = {}
  if (wanted.length) {
    const counted = wanted.filter((n) => !/^(process|container)_/.test(n)).slice(0, 40)
    const [answer] = await Promise.all([
      api<QueryData>('query', { query: `count by (job, __name__) ({__name__=~${quote(wanted.join('|'))}})` }, abort),
      ...counted.map(async (n) => {
        codes[n] = codeLabel((await api<string[]>('labels', { 'match[]': [`{__name__=${quote(n)}}`], start: recent }, abort)).data)
      }),
    ])
    const vector = answer.data.resultType === 'vector' ? (answer.data.result as InstantSeries[]) : []
    has = vector.map((s) => ({ job: s.metric.job ?? '', name: s.metric.__name__ ?? '' }))
  }
  return { names: new Set(names.data), list: services(jobs.data, has, names.data, codes), intervalS }
}

type Rows = Map<string, Record<string, SparkData>> // job or instance -> measure -> line
interface Data { window: string; jobs: Rows; hosts: Rows; store: Record<string, SparkData>; series: number | null; at: number; failed: string[] }

async function measure(found: Found, rangeMs: number, abort: AbortSignal): Promise<Data> {
  const now = Date.now()
  const step = chooseStep(rangeMs, 270)
  const g = grid(now - rangeMs, now, step)
  const window = Math.ceil(rateWindow(step, found.intervalS)) + 's'
  const failed: string[] = []
  const run = async (query: string): Promise<RangeSeries[]> => {
    if (!query) return []
    try {
      const a: Answer<QueryData> = await api<QueryData>('query_range', { query, start: g.start, end: g.end, step }, abort)
      return a.data.resultType === 'matrix' ? a.data.result : []
    } catch (e) {
      if (abort.aborted) throw e
      failed.push(errorText(e))
      return []
    }
  }
  const jobs: Rows = new Map(), hosts: Rows = new Map()
  const store: Record<string, SparkData> = {}
  let series: number | null = null
  const put = (rows: Rows, key: string, id: string, series: RangeSeries[]) => {
    const frame = toFrame(series, g.start, g.end, step)
    for (const line of frame.lines) {
      const k = line.labels[key] ?? ''
      if (!rows.has(k)) rows.set(k, {})
      rows.get(k)![id] = { times: frame.times, values: line.values.map((v) => (v === null || Number.isNaN(v) ? null : v)) }
    }
  }
  await Promise.all([
    ...MEASURES.map(async (m) => put(jobs, 'job', m.id, await run(measureQuery(m.id, found.list, window)))),
    api<TsdbStatus>('status/tsdb', { limit: 1 }, abort).then((a) => { series = a.data.headStats?.numSeries ?? null }, () => undefined),
    run('sum by (job) (up)').then((s) => put(jobs, 'job', 'up', s)),
    run('count by (job) (up)').then((s) => put(jobs, 'job', 'targets', s)),
    ...HOST.filter((h) => found.names.has(h.needs)).map(async (h) => put(hosts, 'instance', h.id, await run(h.query(window)))),
    ...STORE.map(async (s) => {
      const c = s.candidates.find((x) => found.names.has(x.needs))
      const frame = toFrame(await run(c ? c.query(window) : ''), g.start, g.end, step)
      if (frame.lines[0]) store[s.id] = { times: frame.times, values: frame.lines[0].values }
    }),
  ])
  if (failed.length >= MEASURES.length) throw new Error(failed[0])
  return { window, jobs, hosts, store, series, at: now, failed }
}

function Cell(p: { name: string; unit: Unit; data?: SparkData; cursor: Cursor; href: string; tone?: string; max?: number; small?: boolean }) {
  if (!p.data) return <div class="cell off" role="cell" data-name={p.name}>{NO_VALUE}</div>
  return (
    <div class="cell" role="cell" data-name={p.name}>
      <a href={p.href} title={`${p.name}: open in Explore`}>
        <span class={'value ' + (p.tone ?? '')}>{format(valueAt(p.data, p.cursor), p.unit)}</span>
        <Spark data={p.data} unit={p.unit} cursor={p.cursor} tone={p.tone} max={p.max} label={p.name} />
      </a>
    </div>
  )
}

const errorTone = (v: number | null): string => (v === null ? '' : v >= 0.05 ? 'bad' : v >= 0.01 ? 'warn' : '')

function ServiceRow({ s, d, window, range }: { s: Service; d: Record<string, SparkData>; window: string; range: string }) {
  const cursor = useCursor()
  const link = (m: Measure, unit: Unit) => exploreLink(cellQuery(m, s, window), { from: `now-${range}`, to: 'now' }, unit)
  const up = valueAt(d.up, cursor), targets = valueAt(d.targets, cursor)
  const down = up !== null && targets !== null ? targets - up : 0
  const tone = targets === null || up === null ? 'idle' : down === 0 ? 'good' : up === 0 ? 'bad' : 'warn'
  const errors = valueAt(d.errors, cursor)
  const at = cursorTime(d.rate ?? d.cpu ?? d.memory ?? d.up, cursor)
  return (
    <div class={'service' + (tone === 'bad' ? ' down' : '')} role="row">
      <div class="who" role="rowheader">
        <span class={'dot ' + tone} aria-hidden="true" />
        <a href={exploreLink(serviceQueries(s, window), { from: `now-${range}`, to: 'now' })} title="Open this service in Explore">{s.job}</a>
        {at ? <span class="up muted">{at}</span> : <a class={'up ' + (down ? tone : 'muted')} href={`/targets?pool=${encodeURIComponent(s.job)}`} title="Its targets">
          {targets === null || up === null ? 'pushed' : down === 0 ? `${up} up` : `${down} of ${targets} down`}
        </a>}
      </div>
      <Cell name="Requests" unit="per-second" data={d.rate} cursor={cursor} href={link('rate', 'per-second')} />
      <Cell name="Errors" unit="ratio" data={d.errors} cursor={cursor} href={link('errors', 'ratio')} tone={errorTone(errors)} max={0.02} />
      <LatencyCell s={s} d={d} cursor={cursor} link={link} />
      <Cell name="CPU" unit="cores" data={d.cpu} cursor={cursor} href={link('cpu', 'cores')} />
      <Cell name="Memory" unit="bytes" data={d.memory} cursor={cursor} href={link('memory', 'bytes')} />
    </div>
  )
}

function LatencyCell({ d, cursor, link }: { s: Service; d: Record<string, SparkData>; cursor: Cursor; link: (m: Measure, u: Unit) => string }) {
  if (!d.p95) return <div class="cell latency off" role="cell" data-name="Latency">{NO_VALUE}</div>
  const q = (m: 'p50' | 'p95' | 'p99') => (
    <a href={link(m, 'seconds')} class={m} title={`${m}: open in Explore`}><i>{m}</i>{format(valueAt(d[m], cursor), 'seconds')}</a>
  )
  return (
    <div class="cell latency" role="cell" data-name="Latency">
      <span class="quantiles">{q('p50')}{q('p95')}{q('p99')}</span>
      <a href={link('p95', 'seconds')} tabIndex={-1} aria-hidden="true"><Spark data={d.p95} unit="seconds" cursor={cursor} label="p95" /></a>
    </div>
  )
}

function Host({ name, d, window, range }: { name: string; d: Record<string, SparkData>; window: string; range: string }) {
  const cursor = useCursor()
  const any = Object.values(d)[0]
  return (
    <section class="card host" aria-label={`Host ${name}`}>
      <h3><span class="muted">Host</span> {name}<span class="at">{cursorTime(any, cursor)}</span></h3>
      <div class="tiles">
        {HOST.filter((h) => d[h.id]).map((h) => {
          const v = valueAt(d[h.id], cursor)
          const tone = v !== null && h.bad !== undefined && v >= h.bad ? 'bad' : v !== null && h.warn !== undefined && v >= h.warn ? 'warn' : ''
          return (
            <a class="tile" key={h.id} href={exploreLink(h.query(window, `instance=${quote(name)}`), { from: `now-${range}`, to: 'now' }, h.unit)}>
              <span class="name">{h.name}</span>
              <span class={'value ' + tone}>{format(v, h.unit)}</span>
              <Spark data={d[h.id]} unit={h.unit} cursor={cursor} tone={tone} max={h.max} label={h.name} />
            </a>
          )
        })}
      </div>
    </section>
  )
}

function Store({ data, found, range }: { data: Data; found: Found; range: string }) {
  const cursor = useCursor()
  const tiles = STORE.filter((s) => data.store[s.id])
  if (tiles.length === 0 && data.series === null) return null
  return (
    <section class="card" aria-label="Store">
      <h3>Store<span class="at">{cursorTime(Object.values(data.store)[0], cursor)}</span><a class="more" href="/status">Status</a></h3>
      <div class="tiles">
        {data.series !== null && !data.store.series && <a class="tile" href="/status?tab=store"><span class="name">Active series</span><span class="value">{format(data.series)}</span></a>}
        {tiles.map((s) => {
          const q = s.candidates.find((c) => found.names.has(c.needs))!.query(data.window)
          return (
            <a class="tile" key={s.id} href={exploreLink(q, { from: `now-${range}`, to: 'now' }, s.unit)}>
              <span class="name">{s.name}</span>
              <span class="value">{format(valueAt(data.store[s.id], cursor), s.unit)}</span>
              <Spark data={data.store[s.id]} unit={s.unit} cursor={cursor} label={s.name} />
            </a>
          )
        })}
      </div>
    </section>
  )
}

const FirstSteps = () => (
  <Empty icon="overview" title="Nothing to see yet">
    <p>vane is running and has no services to show. Give it something to look at:</p>
    <ul>
      <li><strong>Scrape</strong> your services: list them under <code>scrape_configs</code> in the configuration; they appear on <a href="/targets">Targets</a>.</li>
      <li><strong>Push</strong> with remote write to <code>{location.origin}/api/v1/write</code>, or OTLP metrics to <code>{location.origin}/v1/metrics</code>.</li>
      <li><strong>Send one number</strong> by hand:<pre>{`curl ${location.origin}/metrics/custom -d '{"name":"hello","value":1}'`}</pre></li>
    </ul>
  </Empty>
)

export default function Overview() {
  useTitle('Overview')
  const range = useComputed(() => {
    const r = new URLSearchParams(route.value.search).get('range') ?? '1h'
    return parseDuration(r) > 0 ? r : '1h'
  }).value
  const [tick, bump] = useTick(REFRESH_MS)
  const [all, setAll] = useState(false)
  useShortcuts(() => [{ keys: 'r', text: 'Refresh', group: 'Overview', run: bump }])
  // What exists changes seldom: asked again every two minutes, the values every turn.
  const epoch = Math.floor(tick / 8)
  const found = useLoad(discover, [epoch])
  const data = useLoad(async (abort) => (found.data ? measure(found.data, parseDuration(range), abort) : undefined), [found.data, range, tick])
  const jobs = found.data?.list ?? []
  const rows = useMemo(() => jobs.filter((s) => all || jobs.indexOf(s) < ROWS_MAX), [jobs, all])
  const d = data.data
  const down = d ? jobs.filter((s) => {
    const r = d.jobs.get(s.job)
    const up = r?.up?.values.at(-1) ?? r?.up?.values.at(-2), n = r?.targets?.values.at(-1) ?? r?.targets?.values.at(-2)
    return up !== undefined && n !== undefined && up !== null && n !== null && up < n
  }).length : 0
  const error = found.error ?? data.error
  return (
    <div class="page overview">
      <PageHead title="Overview" sub={d && jobs.length > 0 && (
        <span><span class={'dot ' + (down ? 'bad' : 'good')} /> {plural(jobs.length, 'job')}{down ? `, ${down} with targets down` : ', all targets up'}</span>
      )}>
        <Segmented label="Time range" value={range} options={RANGES.map((r) => ({ id: r, name: r }))} onChange={(r) => navigate(r === '1h' ? '/' : `/?range=${r}`, { replace: true })} />
        <IconButton icon="refresh" label="Refresh" keys="r" onClick={bump} active={undefined} />
      </PageHead>
      {error !== undefined && <ErrorBox error={error} onRetry={bump} />}
      {!error && d && d.failed.length > 0 && <div class="notice warn"><Icon name="alert" size={16} /><div class="notice-body">Some figures are missing: <span class="mono small">{d.failed[0]}</span></div></div>}
      {!d && !error && <Skeleton rows={7} height={40} />}
      {d && jobs.length === 0 && d.hosts.size === 0 && <FirstSteps />}
      {d && jobs.length > 0 && (
        <div class="services" role="table" aria-label="Services">
          <div class="service head" role="row">
            <span role="columnheader">Service</span><span role="columnheader">Requests</span><span role="columnheader">Errors</span>
            <span role="columnheader">Latency</span><span role="columnheader">CPU</span><span role="columnheader">Memory</span>
          </div>
          {rows.map((s) => <ServiceRow key={s.job} s={s} d={d.jobs.get(s.job) ?? {}} window={d.window} range={range} />)}
          {rows.length < jobs.length && <button type="button" class="button wide" onClick={() => setAll(true)}>Show all {jobs.length} jobs</button>}
        </div>
      )}
      {d && (
        <div class="cards">
          {[...d.hosts].sort((a, b) => a[0].localeCompare(b[0])).slice(0, all ? undefined : ROWS_MAX).map(([name, r]) => <Host key={name} name={name} d={r} window={d.window} range={range} />)}
          {found.data && <Store data={d} found={found.data} range={range} />}
        </div>
      )}
    </div>
  )
}
