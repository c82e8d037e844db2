// Cardinality: what makes the store big, what is new, which limits were passed and by which label.

import { useEffect, useState } from 'preact/hooks'
import { api, type Cardinality as Data, type Count, type Overflow, type Usage } from '../lib/api'
import { useLoad, useTick, useTitle } from '../lib/hooks'
import { quote, selector } from '../lib/promql'
import { formatAgo } from '../lib/time'
import { navigate, route } from '../lib/ui'
import { exploreLink } from '../lib/urlstate'
import { format, formatCount } from '../lib/units'
import { Empty, ErrorBox, IconButton, PageHead, SearchField, Skeleton } from '../parts/bits'

const ago = (at: string) => formatAgo(Date.now() - Date.parse(at))
const labels = (l: Record<string, string | undefined>) =>
  '{' + Object.entries(l).filter(([, v]) => v).map(([k, v]) => `${k}=${quote(v as string)}`).join(', ') + '}'

const WHOSE: Record<Overflow['limit'], string> = { tenant: 'All series', job: 'Job', target: 'Target', metric: 'Metric', store: 'The store' }

function subject(o: Overflow): string {
  if (o.limit === 'metric') return o.metric ?? ''
  if (o.limit === 'job') return o.job ?? ''
  if (o.limit === 'target') return `${o.job} ${o.instance}`
  return ''
}

function Culprit({ o }: { o: Overflow }) {
  const [more, setMore] = useState(false)
  const metric = o.metrics[0]?.name
  const worst = o.labels[0]
  const where = labels({ otel_metric_overflow: 'true', job: o.job, instance: o.instance })
  return (
    <section class={'card culprit' + (o.active ? ' active' : '')}>
      <h2>{WHOSE[o.limit]} {subject(o) && <code>{subject(o)}</code>} <span class={o.active ? 'warn' : 'muted'}>{o.active ? 'over its limit now' : `over its limit until ${ago(o.last)}`}</span></h2>
      <p>
        {o.max > 0 ? <>The limit is {formatCount(o.max)} active series. </> : <>There was no room for more series. </>}
        About <b>{formatCount(o.foldedSeries)}</b> more were folded into overflow series since {ago(o.since)}
        {metric && <>, most of them of <a class="mono" href={exploreLink(`${metric}${where}`)}>{metric}</a></>}.
        {worst && <> The label <b class="mono">{worst.name}</b> has exploded: about {formatCount(worst.values)} values.</>}
      </p>
      {worst && <p class="examples mono small">{worst.examples.map((e) => `${worst.name}=${quote(e)}`).join('  ')}</p>}
      {more && (
        <div class="table-wrap"><table class="usage">
          <thead><tr><th scope="col">Label</th><th scope="col" class="num">Values, about</th><th scope="col">Examples</th></tr></thead>
          <tbody>{o.labels.map((l) => <tr key={l.name}><td class="mono">{l.name}</td><td class="num">{formatCount(l.values)}</td><td class="mono small">{l.examples.join('  ')}</td></tr>)}</tbody>
        </table></div>
      )}
      {o.labels.length > 1 && <button type="button" class="link" aria-expanded={more} onClick={() => setMore(!more)}>{more ? 'Fewer labels' : 'All labels'}</button>}
    </section>
  )
}

function Top({ title, hint, list, unit = 'count', link }: { title: string; hint: string; list?: Count[]; unit?: 'count' | 'bytes'; link: (name: string) => string }) {
  const max = Math.max(1, ...(list ?? []).map((c) => c.value))
  return (
    <section class="card top">
      <h2>{title}</h2>
      <p class="muted small">{hint}</p>
      {!list?.length ? <p class="muted">Nothing yet.</p> : (
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

function UsageTable({ title, hint, list, by }: { title: string; hint: string; list: Usage[]; by: 'series' | 'created' }) {
  return (
    <section class="card">
      <h2>{title}</h2>
      <p class="muted small">{hint}</p>
      {list.length === 0 ? <p class="muted">None.</p> : (
        <div class="table-wrap"><table class="usage">
          <thead><tr><th scope="col">Name</th><th scope="col" class="num">Series</th><th scope="col" class="num">New in 1 h</th>{by === 'series' && <th scope="col" class="num">Of its limit</th>}</tr></thead>
          <tbody>{list.map((u) => {
            const name = u.name ?? `${u.job} ${u.instance}`
            const share = u.limit ? u.series / u.limit : 0
            return (
              <tr key={name}>
                <td class="mono">{name || '""'}</td><td class="num">{formatCount(u.series)}</td><td class="num">{formatCount(u.created)}</td>
                {by === 'series' && <td class={'num ' + (share >= 1 ? 'bad' : share > 0.8 ? 'warn' : '')}>{u.limit ? `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %` : 'no limit'}</td>}
              </tr>
            )
          })}</tbody>
        </table></div>
      )}
    </section>
  )
}

export default function Cardinality() {
  useTitle('Cardinality')
  const match = new URLSearchParams(route.value.search).get('match') ?? ''
  const [text, setText] = useState(match)
  const [limit, setLimit] = useState(10)
  const [tick, refresh] = useTick(30000)
  useEffect(() => setText(match), [match])
  const { data, error } = useLoad(async (abort) => (await api<Data>('status/cardinality', { limit, 'match[]': match || undefined }, abort)).data, [limit, match, tick])
  const take = (e: Event) => {
    e.preventDefault()
    const m = text.trim()
    navigate(m ? `/cardinality?match=${encodeURIComponent(m)}` : '/cardinality')
  }
  const pair = (name: string) => {
    const i = name.indexOf('=')
    return i < 0 ? '/explore' : exploreLink(`topk(20, count by (__name__) ({${name.slice(0, i)}=${quote(name.slice(i + 1))}}))`)
  }
  const active = data?.overflows.filter((o) => o.active).length ?? 0
  return (
    <div class="page">
      <PageHead title="Cardinality" sub={active ? `${active} over a limit` : undefined}>
        <IconButton icon="refresh" label="Refresh" onClick={refresh} />
      </PageHead>
      <form class="toolbar" onSubmit={take}><SearchField value={text} onInput={setText} placeholder={'Series that match, as {job="api"}, then Enter'} focusKey /></form>
      {error !== undefined && <ErrorBox error={error} onRetry={refresh} />}
      {!data ? error === undefined && <Skeleton rows={10} /> : data.series === 0 && !match ? (
        <Empty icon="metrics" title="No series yet"><p>As soon as samples arrive, this page shows what they cost.</p></Empty>
      ) : (
        <>
          <div class="figures">
            <div><b>{formatCount(data.series)}</b><span>{match ? 'series match' : 'active series'}</span></div>
            <div><b>{formatCount(data.labelPairs)}</b><span>label pairs</span></div>
            <div><b>{formatCount(data.churn.created)}</b><span>new series in the last hour</span></div>
            <div><b>{formatCount(data.overflows.length)}</b><span>limits passed</span></div>
          </div>
          {data.overflows.map((o) => <Culprit key={`${o.limit} ${subject(o)}`} o={o} />)}
          <div class="cards two">
            <Top title="Metrics" hint="Series of a metric name." list={data.seriesCountByMetricName} link={(n) => exploreLink(`count(${selector(n)})`)} />
            <Top title="Jobs" hint="Series of a job." list={data.seriesCountByJob} link={(n) => exploreLink(`topk(20, count by (__name__) ({job=${quote(n)}}))`)} />
            <Top title="Labels by values" hint="High numbers here are what makes a store grow." list={data.labelValueCountByLabelName} link={(n) => exploreLink(`topk(20, count by (__name__) ({${n}!=""}))`)} />
            <Top title="Label pairs" hint="Series with one value of one label." list={data.seriesCountByLabelValuePair} link={pair} />
            <UsageTable title="New series by metric" hint="Made in the last hour: what comes and goes." list={data.churn.metrics} by="created" />
            <UsageTable title="New series by job" hint="Who makes them." list={data.churn.jobs} by="created" />
            <UsageTable title="Targets and their limit" hint="Beyond it new series are folded into overflow series." list={data.usage.targets} by="series" />
            <UsageTable title="Jobs and their limit" hint="Active series, whatever the selector above says." list={data.usage.jobs} by="series" />
          </div>
          {data.replicas.length > 0 && (
            <section class="card">
              <h2>Replicas</h2>
              <p class="muted small">One replica of a cluster is taken, the others' samples are dropped.</p>
              <div class="table-wrap"><table class="usage">
                <thead><tr><th scope="col">Cluster</th><th scope="col">Taken</th><th scope="col">Last heard of</th><th scope="col" class="num">Changes</th><th scope="col" class="num">Dropped samples</th></tr></thead>
                <tbody>{data.replicas.map((r) => <tr key={r.cluster}><td class="mono">{r.cluster}</td><td class="mono">{r.replica}</td><td>{ago(r.lastSeen)}</td><td class="num">{formatCount(r.changes)}</td><td class="num">{formatCount(r.droppedSamples)}</td></tr>)}</tbody>
              </table></div>
            </section>
          )}
          {limit === 10 && (data.labelValueCountByLabelName?.length ?? 0) >= 10 && <button type="button" class="button wide" onClick={() => setLimit(50)}>Show 50 of each</button>}
        </>
      )}
    </div>
  )
}
