// The query editor: CodeMirror with PromQL's own grammar, completion and linting. A chunk of its own, loaded when
// Explore is open. It lives in a shadow root, where CodeMirror uses constructed style sheets: the page's policy
// forbids inline styles.

import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap, completionStatus, startCompletion } from '@codemirror/autocomplete'
import { defaultKeymap, history, historyKeymap, insertNewlineAndIndent } from '@codemirror/commands'
import { bracketMatching, HighlightStyle, syntaxHighlighting } from '@codemirror/language'
import { lintKeymap, setDiagnostics, forceLinting } from '@codemirror/lint'
import { EditorState, Prec } from '@codemirror/state'
import { drawSelection, EditorView, keymap, placeholder } from '@codemirror/view'
import { tags } from '@lezer/highlight'
import { PromQLExtension } from '@prometheus-io/codemirror-promql'

export interface EditorOptions {
  value: string
  label: string
  onChange: (text: string) => void
  onRun: () => void
  metricNames?: string[]
}
export interface Editor {
  get(): string
  set(text: string): void
  insert(text: string): void
  focus(): void
  hasFocus(): boolean
  select(from: number, to: number): void
  mark(from: number, to: number, message: string): void
  destroy(): void
}

const colours = HighlightStyle.define([
  { tag: tags.keyword, color: 'var(--syn-keyword)' },
  { tag: [tags.function(tags.variableName)], color: 'var(--syn-function)' },
  { tag: tags.operatorKeyword, color: 'var(--syn-keyword)' },
  { tag: [tags.string, tags.special(tags.string)], color: 'var(--syn-string)' },
  { tag: tags.number, color: 'var(--syn-number)' },
  { tag: tags.labelName, color: 'var(--syn-label)' },
  { tag: tags.comment, color: 'var(--text-3)', fontStyle: 'italic' },
  { tag: [tags.paren, tags.squareBracket, tags.brace, tags.operator, tags.modifier], color: 'var(--text-2)' },
  { tag: tags.invalid, color: 'var(--bad)' },
])

const look = EditorView.theme({
  '&': { fontSize: '13.5px', color: 'var(--text)', backgroundColor: 'transparent' },
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '1.55', overflowX: 'auto' },
  '.cm-content': { padding: '7px 0', caretColor: 'var(--text)', minHeight: '21px' },
  '.cm-line': { padding: '0 12px' },
  '.cm-cursor': { borderLeftColor: 'var(--accent)', borderLeftWidth: '2px' },
  '&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground': { background: 'var(--selection)' },
  '.cm-placeholder': { color: 'var(--text-3)' },
  '.cm-matchingBracket, &.cm-focused .cm-matchingBracket': { backgroundColor: 'var(--hover)', outline: '1px solid var(--line-2)' },
  '.cm-nonmatchingBracket': { color: 'var(--bad)' },
  '.cm-tooltip': { background: 'var(--pop)', border: '1px solid var(--line-2)', borderRadius: '8px', boxShadow: 'var(--shadow)', color: 'var(--text)', overflow: 'hidden' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul': { fontFamily: 'var(--mono)', fontSize: '12.5px', maxHeight: '18em', minWidth: 'min(320px, 80vw)', maxWidth: 'min(560px, 90vw)' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul > li': { padding: '3px 10px', display: 'flex', alignItems: 'center', gap: '6px' },
  '.cm-tooltip-autocomplete ul li[aria-selected]': { background: 'var(--accent-soft)', color: 'var(--text)' },
  '.cm-completionLabel': { overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap' },
  '.cm-completionMatchedText': { textDecoration: 'none', color: 'var(--accent)', fontWeight: '600' },
  '.cm-completionDetail': { marginLeft: 'auto', paddingLeft: '16px', color: 'var(--text-3)', fontStyle: 'normal', fontFamily: 'var(--sans)', fontSize: '11.5px' },
  '.cm-completionIcon': { display: 'none' },
  '.cm-tooltip.cm-completionInfo': { padding: '8px 12px', maxWidth: '340px', fontFamily: 'var(--sans)', fontSize: '12.5px', lineHeight: '1.45', color: 'var(--text-2)' },
  // The underlines are drawn as text decoration: CodeMirror's own are data: images, which the policy forbids.
  '.cm-lintRange': { backgroundImage: 'none !important', paddingBottom: '0' },
  '.cm-lintRange-error': { textDecoration: 'underline wavy var(--bad) 1px', textUnderlineOffset: '3px' },
  '.cm-lintRange-warning': { textDecoration: 'underline wavy var(--warn) 1px', textUnderlineOffset: '3px' },
  '.cm-lintRange-active': { background: 'var(--bad-soft)' },
  '.cm-lintPoint:after': { borderBottomColor: 'var(--bad)' },
  '.cm-tooltip-lint': { padding: '0' },
  '.cm-diagnostic': { padding: '6px 10px', fontSize: '12.5px', fontFamily: 'var(--sans)' },
  '.cm-diagnostic-error': { borderLeft: '3px solid var(--bad)' },
  '.cm-diagnostic-warning': { borderLeft: '3px solid var(--warn)' },
})

export function mount(host: HTMLElement, o: EditorOptions): Editor {
  const root = host.shadowRoot ?? host.attachShadow({ mode: 'open' })
  const promql = new PromQLExtension()
    .activateCompletion(true)
    .activateLinter(true)
    .setComplete({ remote: { apiPrefix: '/api/v1', httpMethod: 'GET', lookbackInterval: 12 * 3600_000, cache: { initialMetricList: o.metricNames }, httpErrorHandler: () => {} }, maxMetricsMetadata: 10_000 })
  let quiet = false
  const view = new EditorView({
    root,
    parent: root,
    state: EditorState.create({
      doc: o.value,
      extensions: [
        look, syntaxHighlighting(colours), history(), drawSelection(), bracketMatching(), closeBrackets(),
        autocompletion({ activateOnTyping: true, icons: false, closeOnBlur: true }),
        promql.asExtension(), EditorView.lineWrapping, placeholder('Enter a PromQL query; Ctrl-Space completes'),
        EditorView.contentAttributes.of({ 'aria-label': o.label, 'aria-multiline': 'true', spellcheck: 'false', autocapitalize: 'off', autocorrect: 'off', enterkeyhint: 'go' }),
        Prec.highest(keymap.of([
          { key: 'Mod-Enter', run: () => (o.onRun(), true) },
          { key: 'Enter', run: (v) => (completionStatus(v.state) === 'active' ? false : (o.onRun(), true)) },
          { key: 'Shift-Enter', run: insertNewlineAndIndent },
          { key: 'Escape', run: (v) => {
            if (completionStatus(v.state)) return false
            v.contentDOM.blur()
            return true
          } },
        ])),
        keymap.of([...completionKeymap, ...closeBracketsKeymap, ...defaultKeymap, ...historyKeymap, ...lintKeymap]),
        EditorView.updateListener.of((u) => { if (u.docChanged && !quiet) o.onChange(u.state.doc.toString()) }),
      ],
    }),
  })
  const clamp = (n: number) => Math.max(0, Math.min(n, view.state.doc.length))
  return {
    get: () => view.state.doc.toString(),
    set: (text) => {
      if (text === view.state.doc.toString()) return
      quiet = true
      view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text }, selection: { anchor: text.length } })
      quiet = false
      forceLinting(view)
    },
    insert: (text) => {
      view.dispatch(view.state.replaceSelection(text))
      view.focus()
      if (text.endsWith('{')) startCompletion(view)
    },
    focus: () => view.focus(),
    hasFocus: () => view.hasFocus,
    select: (from, to) => {
      view.dispatch({ selection: { anchor: clamp(from), head: clamp(to) }, scrollIntoView: true })
      view.focus()
    },
    mark: (from, to, message) => view.dispatch(setDiagnostics(view.state, [{ from: clamp(from), to: clamp(Math.max(to, from + 1)), severity: 'error', message }])),
    destroy: () => {
      promql.destroy()
      view.destroy()
    },
  }
}
