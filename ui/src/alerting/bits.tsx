// What the alerting pages share: their tabs, matcher chips, durations to pick, and code that is loaded when it is looked at.

import type { ComponentType } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { load, navigate, route, save } from '../lib/ui'
import { Empty } from '../parts/bits'

const TABS = [
  { path: '/alerts', name: 'Alerts' },
  { path: '/rules', name: 'Rules' },
  { path: '/silences', name: 'Silences' },
  { path: '/routing', name: 'Routing' },
  { path: '/notifications', name: 'Notifications' },
]

export function AlertingTabs() {
  const path = route.value.path.replace(/(.)\/+$/, '$1')
  return (
    <nav class="tabs" aria-label="Alerting">
      {TABS.map((t) => <a key={t.path} href={t.path} class={t.path === path ? 'on' : ''} aria-current={t.path === path ? 'page' : undefined}>{t.name}</a>)}
    </nav>
  )
}

/** Says what is missing where a page needs an Alertmanager. */
export const NotConfigured = ({ what }: { what: string }) => (
  <Empty icon="alert" title="No Alertmanager is configured">
    <p>{what} Name an Alertmanager's file in <code>vane.yaml</code>, then restart:</p>
    <pre><code>alertmanager: alertmanager.yml</code></pre>
  </Empty>
)

/** The search of the page's URL as one value that is read and changed in parts; empty parts are left out of it. */
export function useQuery<T extends Record<string, string>>(path: string, defaults: T): [T, (change: Partial<T>, push?: boolean) => void] {
  const read = (): T => {
    const p = new URLSearchParams(route.value.search)
    return Object.fromEntries(Object.entries(defaults).map(([k, d]) => [k, p.get(k) ?? d])) as T
  }
  const set = (change: Partial<T>, push = false) => {
    const to: Record<string, string> = { ...read(), ...change }, p = new URLSearchParams()
    for (const k of Object.keys(defaults)) if (to[k] !== defaults[k] && to[k] !== '') p.set(k, to[k])
    navigate(path + (p.size ? '?' + p : ''), { replace: !push })
  }
  return [read(), set]
}

/** A component whose code arrives when it is first shown. */
export function lazy<P>(get: () => Promise<{ default: ComponentType<P> }>): ComponentType<P> {
  let got: ComponentType<P> | undefined
  return function Lazy(props: P) {
    const [C, set] = useState<ComponentType<P> | undefined>(() => got)
    const [failed, fail] = useState(false)
    useEffect(() => {
      let gone = false
      if (!got) get().then((m) => { got = m.default; if (!gone) set(() => m.default) }, () => !gone && fail(true))
      return () => { gone = true }
    }, [])
    if (C) return <C {...(props as P & object)} />
    return failed ? <p class="muted small">This part could not be loaded: the server was restarted, or cannot be reached.</p> : <div class="chart-wait" aria-busy="true" />
  }
}

/** Who acts: kept in this browser, asked for once. */
export const author = (): string => load('author', '')
export const setAuthor = (name: string): void => save('author', name)

export function Matchers({ list }: { list: string[] }) {
  if (list.length === 0) return <span class="muted">everything</span>
  return <span class="labels">{list.map((m) => <span key={m} class="label"><span class="v">{m}</span></span>)}</span>
}
