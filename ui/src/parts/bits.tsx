// The small parts every page is made of.

import type { ComponentChildren } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { ApiError, errorText } from '../lib/api'
import { Icon, type IconName } from './icons'

export function PageHead({ title, sub, children }: { title: string; sub?: ComponentChildren; children?: ComponentChildren }) {
  return (
    <header class="page-head">
      <div class="page-title">
        <h1>{title}</h1>
        {sub && <div class="sub">{sub}</div>}
      </div>
      <div class="page-tools">{children}</div>
    </header>
  )
}

export function IconButton(p: { icon: IconName; label: string; onClick?: () => void; disabled?: boolean; active?: boolean; text?: string; keys?: string }) {
  return (
    <button type="button" class={'button' + (p.text ? '' : ' square') + (p.active ? ' active' : '')} title={p.label + (p.keys ? ` (${p.keys})` : '')}
      aria-label={p.text ? undefined : p.label} aria-pressed={p.active === undefined ? undefined : p.active} disabled={p.disabled} onClick={p.onClick}>
      <Icon name={p.icon} size={16} />{p.text && <span>{p.text}</span>}
    </button>
  )
}

/** A row of buttons of which one is on. */
export function Segmented<T extends string>(p: { label: string; value: T; options: { id: T; name: ComponentChildren; title?: string; disabled?: boolean }[]; onChange: (v: T) => void }) {
  return (
    <div class="segmented" role="group" aria-label={p.label}>
      {p.options.map((o) => (
        <button type="button" key={o.id} class={o.id === p.value ? 'on' : ''} aria-pressed={o.id === p.value} title={o.title} disabled={o.disabled} onClick={() => p.onChange(o.id)}>{o.name}</button>
      ))}
    </div>
  )
}

export function Empty({ icon = 'info', title, children }: { icon?: IconName; title: string; children?: ComponentChildren }) {
  return (
    <div class="empty" role="status">
      <Icon name={icon} size={28} />
      <h2>{title}</h2>
      {children && <div class="empty-text">{children}</div>}
    </div>
  )
}

export function ErrorBox({ error, onRetry, title }: { error: unknown; onRetry?: () => void; title?: string }) {
  const type = error instanceof ApiError ? error.type : ''
  return (
    <div class="notice bad" role="alert">
      <Icon name="alert" size={16} />
      <div class="notice-body">
        <strong>{title ?? (type === 'unreachable' ? 'No connection' : 'This did not work')}</strong>
        <div class="mono small">{errorText(error)}</div>
      </div>
      {onRetry && <button type="button" class="button" onClick={onRetry}>Try again</button>}
    </div>
  )
}

/** Grey bars in the shape of what is coming. */
export function Skeleton({ rows = 4, height = 18 }: { rows?: number; height?: number }) {
  return (
    <div class="skeleton" aria-busy="true" aria-label="Loading">
      {Array.from({ length: rows }, (_, i) => <div key={i} style={{ height: `${height}px`, width: `${96 - ((i * 17) % 30)}%` }} />)}
    </div>
  )
}

export function LabelSet({ labels, skip = [], onPick }: { labels: Record<string, string>; skip?: string[]; onPick?: (k: string, v: string) => void }) {
  const keys = Object.keys(labels).filter((k) => !skip.includes(k)).sort()
  if (keys.length === 0) return <span class="muted">none</span>
  return (
    <span class="labels">
      {keys.map((k) => {
        const body = <><span class="k">{k}</span><span class="v">{labels[k] || '""'}</span></>
        return onPick
          ? <button type="button" key={k} class="label" title={`Filter by ${k}=${labels[k]}`} onClick={() => onPick(k, labels[k])}>{body}</button>
          : <span key={k} class="label">{body}</span>
      })}
    </span>
  )
}

export function SearchField(p: { value: string; onInput: (v: string) => void; placeholder: string; focusKey?: boolean; autofocus?: boolean }) {
  const ref = useRef<HTMLInputElement>(null)
  useEffect(() => {
    if (p.autofocus && !ref.current?.closest('dialog')) ref.current?.focus() // a dialog does it itself
  }, [])
  return (
    <label class="search">
      <Icon name="search" size={15} />
      <input ref={ref} type="search" value={p.value} placeholder={p.placeholder} aria-label={p.placeholder} spellcheck={false} autocomplete="off"
        autofocus={p.autofocus} data-focus-key={p.focusKey ? '' : undefined}
        onInput={(e) => p.onInput(e.currentTarget.value)}
        onKeyDown={(e) => {
          if (e.key !== 'Escape') return
          if (p.value) {
            e.preventDefault()
            e.stopPropagation()
            p.onInput('')
          } else e.currentTarget.blur()
        }} />
    </label>
  )
}

/** A button that opens a panel below itself; closes on Escape, on a click elsewhere and when focus leaves. */
export function Popover(p: { button: ComponentChildren; label: string; class?: string; align?: 'left' | 'right'; wide?: boolean; children: (close: () => void) => ComponentChildren }) {
  const [open, setOpen] = useState(false)
  const box = useRef<HTMLDivElement>(null)
  const opener = useRef<HTMLButtonElement>(null)
  useEffect(() => {
    if (!open) return
    const outside = (e: Event) => {
      if (!box.current?.contains(e.target as Node)) setOpen(false)
    }
    const key = (e: KeyboardEvent) => {
      if (e.key !== 'Escape') return
      e.preventDefault()
      setOpen(false)
      opener.current?.focus()
    }
    document.addEventListener('pointerdown', outside)
    document.addEventListener('focusin', outside)
    document.addEventListener('keydown', key)
    return () => {
      document.removeEventListener('pointerdown', outside)
      document.removeEventListener('focusin', outside)
      document.removeEventListener('keydown', key)
    }
  }, [open])
  return (
    <div class="popover" ref={box}>
      <button type="button" ref={opener} class={'button ' + (p.class ?? '') + (open ? ' active' : '')} aria-expanded={open} aria-haspopup="dialog" aria-label={p.label} title={p.label} onClick={() => setOpen(!open)}>{p.button}</button>
      {open && <div class={'popover-body ' + (p.align === 'left' ? 'left' : 'right') + (p.wide ? ' wide' : '')} role="dialog" aria-label={p.label}>{p.children(() => { setOpen(false); opener.current?.focus() })}</div>}
    </div>
  )
}

/** A modal dialog: the browser keeps the focus inside and closes it on Escape. */
export function Modal(p: { title: string; onClose: () => void; class?: string; children: ComponentChildren }) {
  const ref = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    const d = ref.current!
    const before = document.activeElement as HTMLElement | null
    if (!d.open) d.showModal()
    return () => {
      if (d.open) d.close()
      before?.focus?.()
    }
  }, [])
  return (
    <dialog ref={ref} class={'modal ' + (p.class ?? '')} aria-label={p.title} onClose={p.onClose}
      onClick={(e) => { if (e.target === ref.current) p.onClose() }}>
      <div class="modal-head"><h2>{p.title}</h2><IconButton icon="close" label="Close" onClick={p.onClose} /></div>
      <div class="modal-body">{p.children}</div>
    </dialog>
  )
}
