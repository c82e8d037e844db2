// The frame around every page: navigation, theme, help, lost connection, and which page a path shows.

import { useComputed, useSignal } from '@preact/signals'
import type { ComponentType } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { api, reachable, setTenant, tenant, tenantsOn } from './lib/api'
import { shortcuts, useShortcuts } from './lib/keys'
import { dark, navigate, route, theme, toast, toggleTheme } from './lib/ui'
import { Icon, Mark, type IconName } from './parts/icons'
import { Empty, ErrorBox, Modal, Skeleton } from './parts/bits'

/** `of`: not in the rail; it is one of that page's tabs. */
interface Page { path: string; name: string; icon: IconName; key: string; of?: string; load: () => Promise<{ default: ComponentType }> }

const PAGES: Page[] = [
  { path: '/', name: 'Overview', icon: 'overview', key: 'o', load: () => import('./pages/overview') },
  { path: '/explore', name: 'Explore', icon: 'explore', key: 'e', load: () => import('./pages/explore') },
  { path: '/targets', name: 'Targets', icon: 'targets', key: 't', load: () => import('./pages/targets') },
  { path: '/alerts', name: 'Alerts', icon: 'alert', key: 'a', load: () => import('./pages/alerts') },
  { path: '/rules', name: 'Rules', icon: 'book', key: 'r', of: '/alerts', load: () => import('./pages/rules') },
  { path: '/silences', name: 'Silences', icon: 'alert', key: 'i', of: '/alerts', load: () => import('./pages/silences') },
  { path: '/routing', name: 'Routing', icon: 'alert', key: 'w', of: '/alerts', load: () => import('./pages/routing') },
  { path: '/notifications', name: 'Notifications', icon: 'alert', key: 'n', of: '/alerts', load: () => import('./pages/notifications') },
  { path: '/cardinality', name: 'Cardinality', icon: 'metrics', key: 'c', load: () => import('./pages/cardinality') },
  { path: '/status', name: 'Status', icon: 'status', key: 's', load: () => import('./pages/status') },
]

const loaded = new Map<string, ComponentType>()

/** A page's code arrives when it is first opened, and then stays. */
function LazyPage({ page }: { page: Page }) {
  const [state, set] = useState<{ error?: unknown; n: number }>({ n: 0 })
  useEffect(() => {
    if (loaded.has(page.path)) return
    let gone = false
    page.load().then(
      (m) => {
        loaded.set(page.path, m.default)
        if (!gone) set({ n: state.n + 1 })
      },
      (error) => !gone && set({ error, n: state.n }),
    )
    return () => { gone = true }
  }, [page.path, state.n])
  const C = loaded.get(page.path)
  if (C) return <C />
  if (state.error) return <div class="page"><ErrorBox title="This page could not be loaded" error={new Error('The server was restarted or upgraded while this tab was open, or cannot be reached.')} onRetry={() => location.reload()} /></div>
  return <div class="page"><Skeleton rows={6} height={28} /></div>
}

const NotFound = () => (
  <div class="page">
    <Empty icon="search" title="There is no page here">
      <p><code>{route.value.path}</code> is not one of vane's pages.</p>
      <p><a class="button primary" href="/">Go to Overview</a></p>
    </Empty>
  </div>
)

function Nav({ onHelp }: { onHelp: () => void }) {
  const path = route.value.path.replace(/(.)\/+$/, '$1')
  const at = PAGES.find((p) => p.path === path)?.of ?? path
  return (
    <nav class="rail" aria-label="Main">
      <a class="brand" href="/" aria-label="vane, overview"><Mark /></a>
      <div class="rail-pages">
        {PAGES.filter((p) => !p.of).map((p) => (
          <a key={p.path} href={p.path} class={'rail-item' + (at === p.path ? ' on' : '')} aria-current={path === p.path ? 'page' : at === p.path ? 'true' : undefined} title={`${p.name} (g ${p.key})`}
            onPointerEnter={() => void p.load()}>
            <Icon name={p.icon} size={20} /><span>{p.name}</span>
          </a>
        ))}
      </div>
      <div class="rail-foot">
        <button type="button" class="rail-item small" onClick={toggleTheme} aria-label={`Switch to ${dark.value ? 'light' : 'dark'} theme`} title={`${dark.value ? 'Light' : 'Dark'} theme (d)`} data-test="theme">
          <Icon name={dark.value ? 'sun' : 'moon'} size={18} />
        </button>
        <button type="button" class="rail-item small help" onClick={onHelp} aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)"><Icon name="help" size={18} /></button>
      </div>
    </nav>
  )
}

function Help({ onClose }: { onClose: () => void }) {
  const groups = useComputed(() => {
    const m = new Map<string, { keys: string; text: string }[]>()
    for (const s of shortcuts.value) m.set(s.group, [...(m.get(s.group) ?? []), s])
    return [...m]
  })
  return (
    <Modal title="Keyboard shortcuts" onClose={onClose}>
      <div class="keys">
        {groups.value.map(([group, list]) => (
          <section key={group}>
            <h3>{group}</h3>
            <dl>{list.map((s) => <div key={s.keys}><dt>{s.keys.split(' ').map((k) => <kbd key={k}>{k}</kbd>)}</dt><dd>{s.text}</dd></div>)}</dl>
          </section>
        ))}
      </div>
      <p class="foot-note"><a href="/licenses.txt" target="_blank" rel="noreferrer">Licences</a></p>
    </Modal>
  )
}

/** Asks again every few seconds while the server cannot be reached, and says so. */
function Connection() {
  useEffect(() => {
    if (reachable.value) return
    const timer = setInterval(() => void api('status/buildinfo').catch(() => undefined), 4000)
    return () => clearInterval(timer)
  }, [reachable.value])
  if (reachable.value) return null
  return <div class="offline" role="alert"><Icon name="alert" size={16} /> The server cannot be reached. What you see may be old; trying again…</div>
}

/** Only while the server keeps tenants apart: whose data the pages show. */
function Tenant() {
  const [text, setText] = useState(tenant.value)
  if (!tenantsOn.value) return null
  const take = (e: Event) => {
    e.preventDefault()
    setTenant(text.trim())
    location.reload()
  }
  return (
    <form class="tenant" onSubmit={take}>
      <label for="tenant">Tenant</label>
      <input id="tenant" type="text" value={text} maxLength={150} autocomplete="off" spellcheck={false} placeholder="X-Scope-OrgID" onInput={(e) => setText(e.currentTarget.value)} />
      <button type="submit" class="button" disabled={!text.trim() || text.trim() === tenant.value}>Show</button>
      {!tenant.value && <span class="muted small">This server keeps tenants apart: say whose data to show.</span>}
    </form>
  )
}

export function App() {
  const help = useSignal(false)
  useShortcuts(() => [
    ...PAGES.map((p) => ({ keys: `g ${p.key}`, text: p.name, group: 'Go to', run: () => navigate(p.path) })),
    { keys: '/', text: 'Filter or query', group: 'Everywhere', run: () => document.querySelector<HTMLElement>('[data-focus-key]')?.focus() },
    { keys: 'd', text: 'Dark or light theme', group: 'Everywhere', run: toggleTheme },
    { keys: '?', text: 'This list', group: 'Everywhere', run: () => (help.value = true) },
  ])
  const path = route.value.path.replace(/(.)\/+$/, '$1')
  useEffect(() => {
    if (path === '/graph') navigate('/explore' + route.value.search, { replace: true })
  }, [path])
  const page = PAGES.find((p) => p.path === path)
  return (
    <div class="app" data-theme-choice={theme.value}>
      <a class="skip" href="#main">Skip to content</a>
      <Nav onHelp={() => (help.value = true)} />
      <main id="main" tabIndex={-1}>
        <Connection />
        <Tenant />
        {page ? <LazyPage key={page.path} page={page} /> : path === '/graph' ? null : <NotFound />}
      </main>
      {help.value && <Help onClose={() => (help.value = false)} />}
      <div class={'toast' + (toast.value ? ' on' : '')} role="status" aria-live="polite">{toast.value}</div>
    </div>
  )
}
