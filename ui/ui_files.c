/* Finding a file of the embedded UI. The rows themselves are generated: see ui_files.h and tools/embed_ui.py. */
#include "ui_files.h"

#include <string.h>

extern const char *const ui_pages[]; /* generated from the manifest, ends with NULL */

static int path_cmp(const char *row, const char *path, size_t n)
{
    int c = strncmp(row, path, n);
    return c ? c : row[n] != '\0';
}

static const struct ui_file *file_find(const char *path, size_t n)
{
    size_t lo = 0, hi = ui_files_n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = path_cmp(ui_files[mid].path, path, n);
        if (c == 0)
            return &ui_files[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

const struct ui_file *ui_file_find(const char *path, size_t n)
{
    if (n == 0 || memchr(path, '\0', n))
        return NULL;
    const struct ui_file *f = file_find(path, n);
    if (f)
        return f;
    while (n > 1 && path[n - 1] == '/')
        n--;
    for (const char *const *page = ui_pages; *page; page++)
        if (strlen(*page) == n && memcmp(*page, path, n) == 0)
            return file_find("/index.html", strlen("/index.html"));
    return NULL;
}
