#include "vane_sqlite.h"

#include <vane/http.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Statements of a connection may be stepped in turns: so many at a time are watched. */
enum { OPEN_MAX_ = 8 };
struct watch {
    char name[64];
    struct {
        sqlite3_stmt *stmt;
        vane_db_query query;
    } open[OPEN_MAX_];
};

static void begin(struct watch *w, sqlite3_stmt *stmt, const char *text)
{
    if (!text || !strncmp(text, "--", 2)) /* a trigger's: inside the statement that fired it */
        return;
    for (int i = 0; i < OPEN_MAX_; i++)
        if (w->open[i].stmt == stmt)
            return;
    for (int i = 0; i < OPEN_MAX_; i++)
        if (!w->open[i].stmt) {
            w->open[i].stmt = stmt;
            vane_db_begin(&w->open[i].query, "sqlite", w->name, text);
            return;
        }
}

static int hook(unsigned event, void *ctx, void *p, void *x)
{
    struct watch *w = ctx;
    switch (event) {
    case SQLITE_TRACE_STMT:
        begin(w, p, x);
        break;
    case SQLITE_TRACE_PROFILE:
        for (int i = 0; i < OPEN_MAX_; i++)
            if (w->open[i].stmt == p) {
                vane_db_end(&w->open[i].query, NULL, -1);
                w->open[i].stmt = NULL;
            }
        break;
    case SQLITE_TRACE_CLOSE:
        free(w);
        break;
    }
    return 0;
}

int vane_sqlite_watch(sqlite3 *db, const char *name)
{
    if (!db)
        return SQLITE_MISUSE;
    struct watch *w = calloc(1, sizeof *w);
    if (!w)
        return SQLITE_NOMEM;
    snprintf(w->name, sizeof w->name, "%s", name ? name : "");
    int rc = sqlite3_trace_v2(db, SQLITE_TRACE_STMT | SQLITE_TRACE_PROFILE | SQLITE_TRACE_CLOSE, hook, w);
    if (rc)
        free(w);
    return rc;
}
