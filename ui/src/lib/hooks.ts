import { useEffect, useRef, useState } from 'preact/hooks'
import { isAbort } from './api'

export interface Loaded<T> { data: T | undefined; error: unknown; loading: boolean }

/**
 * Runs an asynchronous function when deps change and cancels the run before. While a new run is under way the data of
 * the last one stays. When `tick` changes it runs again, but lets a run that is under way end first: a server that takes
 * longer than a tick is seen all the same.
 */
export function useLoad<T>(fn: (abort: AbortSignal) => Promise<T>, deps: unknown[], tick = 0): Loaded<T> {
  const [state, set] = useState<Loaded<T>>({ data: undefined, error: undefined, loading: true })
  const latest = useRef(fn), again = useRef(() => {}), seen = useRef(tick)
  latest.current = fn
  useEffect(() => {
    const c = new AbortController()
    let busy = false, missed = false
    const run = () => {
      missed = busy
      if (busy) return
      busy = true
      set((s) => ({ ...s, loading: true }))
      void latest.current(c.signal).then(
        (data) => !c.signal.aborted && set({ data, error: undefined, loading: false }),
        (error) => !c.signal.aborted && !isAbort(error) && set((s) => ({ data: s.data, error, loading: false })),
      ).then(() => {
        busy = false
        if (missed && !c.signal.aborted) run()
      })
    }
    again.current = run
    run()
    return () => c.abort()
  }, deps)
  useEffect(() => {
    if (seen.current !== tick) again.current()
    seen.current = tick
  }, [tick])
  return state
}

/** Counts up every `ms` while the page is visible (and once when it becomes visible after a missed turn). 0 = never. */
export function useTick(ms: number): [number, () => void] {
  const [n, set] = useState(0)
  const last = useRef(Date.now())
  const bump = () => {
    last.current = Date.now()
    set((x) => x + 1)
  }
  useEffect(() => {
    if (ms <= 0) return
    const timer = setInterval(() => !document.hidden && bump(), ms)
    const seen = () => !document.hidden && Date.now() - last.current > ms && bump()
    document.addEventListener('visibilitychange', seen)
    return () => {
      clearInterval(timer)
      document.removeEventListener('visibilitychange', seen)
    }
  }, [ms])
  return [n, bump]
}

/** Width of an element, kept up to date. */
export function useWidth<E extends HTMLElement>(): [{ current: E | null }, number] {
  const ref = useRef<E>(null)
  const [width, set] = useState(0)
  useEffect(() => {
    if (!ref.current) return
    const o = new ResizeObserver((e) => set(Math.floor(e[0].contentRect.width)))
    o.observe(ref.current)
    set(Math.floor(ref.current.getBoundingClientRect().width))
    return () => o.disconnect()
  }, [])
  return [ref, width]
}

export function useTitle(title: string): void {
  useEffect(() => {
    document.title = title ? `${title} · vane` : 'vane'
  }, [title])
}
