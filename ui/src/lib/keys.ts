// Keyboard shortcuts: one list that both runs them and is shown by "?".

import { signal } from '@preact/signals'
import { useEffect } from 'preact/hooks'

export interface Shortcut {
  keys: string // "?", or two in a row: "g e"
  text: string
  group: string
  run?: () => void // without it the row is only shown: the key is handled where it is typed
}

export const shortcuts = signal<Shortcut[]>([])

/** Adds shortcuts while the component is on the page. The list must not change between renders. */
export function useShortcuts(make: () => Shortcut[]): void {
  useEffect(() => {
    const mine = make()
    shortcuts.value = [...shortcuts.value, ...mine]
    return () => {
      shortcuts.value = shortcuts.value.filter((s) => !mine.includes(s))
    }
  }, [])
}

const typing = (e: KeyboardEvent): boolean => {
  const t = e.composedPath()[0] as HTMLElement | undefined
  return !!t && (t.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(t.tagName ?? ''))
}

let pending = ''
let pendingTimer = 0

addEventListener('keydown', (e) => {
  if (e.defaultPrevented || e.isComposing) return
  if (e.metaKey || e.ctrlKey || e.altKey || typing(e)) return
  if (document.querySelector('dialog[open]')) return
  if (['Shift', 'Control', 'Alt', 'Meta'].includes(e.key)) return
  const key = pending ? `${pending} ${e.key}` : e.key
  clearTimeout(pendingTimer)
  pending = ''
  const hit = shortcuts.value.find((s) => s.keys === key && s.run)
  if (hit?.run) {
    e.preventDefault()
    hit.run()
  } else if (shortcuts.value.some((s) => s.run && s.keys.startsWith(key + ' '))) {
    pending = key
    pendingTimer = window.setTimeout(() => (pending = ''), 1200)
  }
})
