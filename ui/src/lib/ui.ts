// What all pages share: the route, preferences, and storage that may be forbidden.

import { computed, signal } from '@preact/signals'

export const route = signal({ path: location.pathname, search: location.search })

export function navigate(url: string, opts: { replace?: boolean } = {}): void {
  const u = new URL(url, location.href)
  const same = u.pathname + u.search === location.pathname + location.search
  if (opts.replace || same) history.replaceState(null, '', u)
  else history.pushState(null, '', u)
  const samePage = u.pathname === route.value.path
  route.value = { path: u.pathname, search: u.search }
  if (!samePage) scrollTo(0, 0)
}

addEventListener('popstate', () => {
  route.value = { path: location.pathname, search: location.search }
})

/** Plain left clicks on links to our own pages stay in this document. */
document.addEventListener('click', (e) => {
  if (e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return
  const a = (e.target as Element | null)?.closest?.('a')
  if (!a || a.target || a.hasAttribute('download') || a.origin !== location.origin || /^\/(api|-|metrics)(\/|$)/.test(a.pathname) || a.pathname.endsWith('.txt')) return
  if (a.hash && a.pathname === location.pathname && a.search === location.search) return
  e.preventDefault()
  navigate(a.href)
})

export function load<T>(key: string, fallback: T): T {
  try {
    const text = localStorage.getItem('vane.' + key)
    return text === null ? fallback : (JSON.parse(text) as T)
  } catch {
    return fallback
  }
}
export function save(key: string, value: unknown): void {
  try {
    localStorage.setItem('vane.' + key, JSON.stringify(value))
  } catch {
    // Storage is full or forbidden: the choice lasts until the page is left.
  }
}

export type Theme = 'auto' | 'dark' | 'light'
const systemDark = matchMedia('(prefers-color-scheme: dark)')
const systemIsDark = signal(systemDark.matches)
systemDark.addEventListener('change', () => (systemIsDark.value = systemDark.matches))

function storedTheme(): Theme {
  const t = document.documentElement.dataset.theme
  return t === 'dark' || t === 'light' ? t : 'auto'
}
export const theme = signal<Theme>(storedTheme())
export const dark = computed(() => (theme.value === 'auto' ? systemIsDark.value : theme.value === 'dark'))

export function setTheme(t: Theme): void {
  theme.value = t
  if (t === 'auto') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = t
  try {
    if (t === 'auto') localStorage.removeItem('vane.theme')
    else localStorage.setItem('vane.theme', t)
  } catch {
    // As in save().
  }
}
export const toggleTheme = (): void => setTheme(dark.value ? 'light' : 'dark')

export const utc = signal<boolean>(load('utc', false))
export function setUtc(v: boolean): void {
  utc.value = v
  save('utc', v)
}

/** A short message at the bottom of the page. */
export const toast = signal('')
let toastTimer = 0
export function say(text: string): void {
  toast.value = text
  clearTimeout(toastTimer)
  toastTimer = window.setTimeout(() => (toast.value = ''), 2500)
}

export async function copy(text: string, what = 'Copied'): Promise<void> {
  try {
    await navigator.clipboard.writeText(text)
  } catch {
    // No clipboard permission (plain http on another host): fall back to a selection.
    const t = document.createElement('textarea')
    t.value = text
    t.className = 'offscreen'
    document.body.append(t)
    t.select()
    document.execCommand('copy')
    t.remove()
  }
  say(what)
}

const DARK = ['#4fc4b4', '#74a9fb', '#efb45d', '#e8828f', '#b69bf0', '#94cb6c', '#5bc8ea', '#ea965f', '#d98cc9', '#b3b862', '#8a98f5', '#c8a377']
const LIGHT = ['#0f8f83', '#2d6fdb', '#bf7606', '#cf4658', '#7a59d1', '#4b9429', '#0a8bb0', '#c05419', '#ab3f96', '#75821a', '#4d5cd2', '#89682c']
export const colour = (i: number): string => (dark.value ? DARK : LIGHT)[i % DARK.length]

export const plural = (n: number, one: string, many = one + 's'): string => `${n.toLocaleString('en-US').replace(/,/g, '\u2009')} ${n === 1 ? one : many}`
