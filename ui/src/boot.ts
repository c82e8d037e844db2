// Runs before the first paint: sets the theme the user chose, so the page never flashes in the other one.
try {
  const theme = localStorage.getItem('vane.theme')
  if (theme === 'dark' || theme === 'light') document.documentElement.dataset.theme = theme
} catch {
  // Storage is forbidden: the system's theme is used.
}
