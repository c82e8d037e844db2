/* The web UI as a table of files inside the binary.
 *
 * The build turns ui/dist (made by `npm run build` in ui/) into this table: tools/embed_ui.py writes an assembly
 * file that holds the compressed bytes and a C file that holds the rows. Without ui/dist the table has one row,
 * "/index.html", a plain page that says the UI was not built.
 *
 * How to serve it:
 *   "/assets/..."    names carry a hash of their content: Cache-Control: public, max-age=31536000, immutable
 *   everything else  Cache-Control: no-cache, and 304 when If-None-Match is the row's etag
 *   pages            the UI draws all its pages from "/index.html": ui_file_find() maps them there. A path it does
 *                    not know deserves status 404 with the bytes of "/index.html" as body when the client accepts
 *                    text/html: the UI then draws its own "not found" page.
 *   headers          Content-Encoding: gzip, Vary: Accept-Encoding, X-Content-Type-Options: nosniff, and UI_CSP.
 */
#ifndef UI_UI_FILES_H
#define UI_UI_FILES_H

#include <stddef.h>

/* The UI needs nothing beyond this policy: no inline script or style, no request to any other origin. */
#define UI_CSP "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'; object-src 'none'"

struct ui_file {
    const char *path;        /* "/assets/app-5GH2KQ.js" */
    const char *type;        /* "text/javascript; charset=utf-8" */
    const char *etag;        /* with its quotes: "\"5GH2KQ...\"" */
    const unsigned char *gz; /* the file, gzip */
    size_t n_gz;             /* bytes at gz */
    size_t n_raw;            /* bytes after decompression */
};

extern const struct ui_file ui_files[]; /* sorted by path, byte order */
extern const size_t ui_files_n;         /* at least 1 */

/* The file for a request path: the row of that name, or "/index.html" when path is one of the UI's pages
 * ("/", "/explore", "/targets", "/status", "/graph"; a trailing slash is ignored).
 *   path  without query string, not NUL-terminated, n bytes
 * Returns   a row of ui_files, or NULL when the path is neither a file nor a page.
 * Threads   any. */
const struct ui_file *ui_file_find(const char *path, size_t n);

#endif
