// The resolution of a range query.

const NICE = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 14400, 21600, 43200, 86400, 172800, 604800]
export const POINTS_MAX = 11_000 // the API refuses more per series

/** Seconds per step: a round number that gives about a point for every 3 pixels and stays under the API's limit. */
export function chooseStep(rangeMs: number, widthPx: number): number {
  const points = Math.max(60, Math.min(widthPx / 3, 1000))
  const want = rangeMs / 1000 / points
  return NICE.find((s) => s >= want) ?? Math.ceil(want / 86400) * 86400
}

/** The step the user asked for, made longer when it would pass the API's limit. */
export function limitStep(stepS: number, rangeMs: number): number {
  return Math.max(stepS, Math.ceil(rangeMs / 1000 / (POINTS_MAX - 1)), 0.001)
}

/** First and last time of the grid, in seconds: multiples of the step, so that refreshing does not make lines dance. */
export function grid(fromMs: number, toMs: number, stepS: number): { start: number; end: number; n: number } {
  const start = Math.ceil(fromMs / 1000 / stepS - 1e-9) * stepS
  const end = Math.max(start, Math.floor(toMs / 1000 / stepS + 1e-9) * stepS)
  return { start, end, n: Math.round((end - start) / stepS) + 1 }
}

/** A window for rate(): at least four scrapes, so that one lost scrape leaves no gap. Seconds. */
export function rateWindow(stepS: number, scrapeIntervalS: number): number {
  return Math.max(60, stepS, scrapeIntervalS * 4)
}
