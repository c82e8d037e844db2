// Line icons on a 20 x 20 grid, drawn with the text's colour.

const PATHS = {
  overview: 'M3.5 10.5h4l2-6 3 11 2-5h2',
  explore: 'M3.5 3.5v13h13M6.5 12.5l3-4 2.5 2.5 4.5-6',
  targets: 'M10 3.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM10 7a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM10 1.5v3M10 15.5v3M1.5 10h3M15.5 10h3',
  status: 'M3.5 5a1.5 1.5 0 0 1 1.5-1.5h10A1.5 1.5 0 0 1 16.5 5v2.5a1.5 1.5 0 0 1-1.5 1.5H5a1.5 1.5 0 0 1-1.5-1.5zM3.5 12.5A1.5 1.5 0 0 1 5 11h10a1.5 1.5 0 0 1 1.5 1.5V15a1.5 1.5 0 0 1-1.5 1.5H5A1.5 1.5 0 0 1 3.5 15zM6.5 6.25h.01M6.5 13.75h.01',
  sun: 'M10 6.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7zM10 1.5v2M10 16.5v2M1.5 10h2M16.5 10h2M4 4l1.4 1.4M14.6 14.6L16 16M4 16l1.4-1.4M14.6 5.4L16 4',
  moon: 'M16.5 11.8A7 7 0 0 1 8.2 3.5a7 7 0 1 0 8.3 8.3z',
  help: 'M10 17.5a7.5 7.5 0 1 0 0-15 7.5 7.5 0 0 0 0 15zM7.8 7.8a2.2 2.2 0 1 1 3.2 2c-.7.4-1 .8-1 1.6M10 14h.01',
  refresh: 'M16.5 10a6.5 6.5 0 1 1-2-4.7M16.5 2.8v3.2h-3.2',
  search: 'M9 3.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11zM13 13l4 4',
  clock: 'M10 17a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM10 6v4l2.5 2',
  plus: 'M10 4v12M4 10h12',
  close: 'M5 5l10 10M15 5L5 15',
  left: 'M12 5l-5 5 5 5',
  right: 'M8 5l5 5-5 5',
  down: 'M5 8l5 5 5-5',
  zoomout: 'M9 3.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11zM13 13l4 4M6.5 9h5',
  link: 'M8.5 11.5a3 3 0 0 0 4.3 0l3-3a3 3 0 0 0-4.3-4.3l-1 1M11.5 8.5a3 3 0 0 0-4.3 0l-3 3a3 3 0 0 0 4.3 4.3l1-1',
  copy: 'M7.5 7.5h8v8h-8zM4.5 12.5v-8h8',
  history: 'M3.5 10a6.5 6.5 0 1 0 2-4.7M3.5 3v3.2h3.2M10 6.5V10l2.5 1.5',
  format: 'M3.5 5h13M6.5 10h10M6.5 15h6',
  book: 'M4 4.5h5a1.5 1.5 0 0 1 1.5 1.5v10a1.5 1.5 0 0 0-1.5-1.5H4zM16.5 4.5h-4.5A1.5 1.5 0 0 0 10.5 6',
  metrics: 'M4 16V9M8 16V4M12 16v-5M16 16V7',
  trash: 'M4 5.5h12M8 5.5V4h4v1.5M5.5 5.5l.7 10.5h7.6l.7-10.5',
  duplicate: 'M7.5 7.5h8v8h-8zM4.5 12.5v-8h8M11.5 9.5v4M9.5 11.5h4',
  play: 'M6.5 4.5v11l9-5.5z',
  alert: 'M10 3.5l7 12.5H3zM10 8v3.5M10 13.8h.01',
  info: 'M10 17a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM10 9.3V13.5M10 6.7h.01',
  check: 'M4.5 10.5l3.5 3.5 7.5-8',
} as const

export type IconName = keyof typeof PATHS

export function Icon({ name, size = 18 }: { name: IconName; size?: number }) {
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  )
}

export const Mark = () => (
  <svg class="mark" width="30" height="30" viewBox="0 0 32 32" aria-hidden="true">
    <path d="M16 27V13M6.5 13h16M18.5 7.5L24 13l-5.5 5.5M10 9.5L6.5 13l3.5 3.5" />
  </svg>
)
