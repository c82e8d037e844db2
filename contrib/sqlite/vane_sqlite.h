/* SQLite with libvane: a span and database_query_duration_seconds for every statement, by sqlite3_trace_v2(). Copy the
 * two files. A statement lasts from its first step to the step that ends it or its reset. SQLite's hook does not tell
 * whether it failed: count errors where they are handled. */
#pragma once

#include <sqlite3.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Watch a connection until it is closed. name: db.namespace, copied, may be NULL. Uses the connection's trace hook.
 * Returns SQLITE_OK, SQLITE_NOMEM, SQLITE_MISUSE. Threads: as the connection. */
int vane_sqlite_watch(sqlite3 *db, const char *name);

#ifdef __cplusplus
}
#endif
