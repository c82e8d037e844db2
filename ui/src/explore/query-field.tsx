// The query field: a plain text area at once, the full editor as soon as its chunk is here.

import { useEffect, useImperativeHandle, useRef, useState } from 'preact/hooks'
import { forwardRef } from 'preact/compat'
import type { Editor } from './editor'

export interface QueryFieldHandle { focus(): void; set(text: string): void; insert(text: string): void; select(from: number, to: number): void; mark(from: number, to: number, message: string): void }

let chunk: Promise<typeof import('./editor')> | undefined
const loadEditor = () => (chunk ??= import('./editor').catch((e) => { chunk = undefined; throw e }))

export const QueryField = forwardRef<QueryFieldHandle, { value: string; outside: string; label: string; autofocus?: boolean; first?: boolean; onChange: (t: string) => void; onRun: () => void }>((p, ref) => {
  const host = useRef<HTMLDivElement>(null)
  const area = useRef<HTMLTextAreaElement>(null)
  const editor = useRef<Editor | null>(null)
  const latest = useRef(p)
  latest.current = p
  const focusAt = useRef<[number, number] | null>(null)
  const [ready, setReady] = useState(false)

  useEffect(() => {
    let gone = false
    loadEditor().then((m) => {
      if (gone || !host.current) return
      const text = area.current?.value ?? latest.current.value
      const focused = document.activeElement === area.current || latest.current.autofocus
      const at: [number, number] = [area.current?.selectionStart ?? text.length, area.current?.selectionEnd ?? text.length]
      editor.current = m.mount(host.current, { value: text, label: latest.current.label, onChange: (t) => latest.current.onChange(t), onRun: () => latest.current.onRun() })
      focusAt.current = focused ? at : null
      setReady(true)
    }, () => undefined) // without the chunk the text area goes on working
    return () => {
      gone = true
      editor.current?.destroy()
      editor.current = null
    }
  }, [])

  // The editor owns its text while someone types; only a text from outside (URL, Back) replaces it. Setting what the
  // editor itself reported would overwrite what was typed since.
  useEffect(() => {
    if (ready) editor.current?.set(p.outside)
  }, [p.outside])
  useEffect(() => {
    if (ready && focusAt.current) editor.current?.select(...focusAt.current)
  }, [ready])

  useImperativeHandle(ref, () => ({
    focus: () => (editor.current ?? area.current)?.focus(),
    set: (text) => {
      editor.current?.set(text)
      latest.current.onChange(text)
    },
    insert: (text) => (editor.current ? editor.current.insert(text) : latest.current.onChange(latest.current.value + text)),
    select: (from, to) => {
      if (editor.current) return editor.current.select(from, to)
      area.current?.focus()
      area.current?.setSelectionRange(from, to)
    },
    mark: (from, to, message) => editor.current?.mark(from, to, message),
  }), [])

  return (
    <div class="query-field" onClick={(e) => { if (e.target === e.currentTarget) editor.current?.focus() }}>
      <div ref={host} class="editor" hidden={!ready} tabIndex={-1} data-focus-key={ready && p.first ? '' : undefined} onFocus={(e) => { if (e.target === host.current && !editor.current?.hasFocus()) editor.current?.focus() }} />
      {!ready && (
        <textarea ref={area} rows={Math.max(1, p.value.split('\n').length)} value={p.value} aria-label={p.label} placeholder="Enter a PromQL query" spellcheck={false} autocapitalize="off"
          data-focus-key={p.first ? '' : undefined}
          onInput={(e) => p.onChange(e.currentTarget.value)}
          onKeyDown={(e) => {
            if (e.key === 'Enter' && !e.shiftKey) {
              e.preventDefault()
              p.onRun()
            }
          }} />
      )}
    </div>
  )
})
