// Queries that were run, newest first, kept in this browser.

import { load, save } from '../lib/ui'

const KEY = 'history'
const MAX = 200

export interface Past { expr: string; at: number }

export const pastQueries = (): Past[] => load<Past[]>(KEY, []).filter((p) => typeof p?.expr === 'string')

export function remember(expr: string): void {
  const e = expr.trim()
  if (!e) return
  save(KEY, [{ expr: e, at: Date.now() }, ...pastQueries().filter((p) => p.expr !== e)].slice(0, MAX))
}

export const forgetAll = (): void => save(KEY, [])
