/* libpq with libvane: spans with sanitised text, database_query_duration_seconds, database_errors_total by SQLSTATE,
 * failed connections. Copy the two files. Each function is libpq's of the same name otherwise. */
#pragma once

#include <libpq-fe.h>

#ifdef __cplusplus
extern "C" {
#endif

/* PQconnectdb(); a connection that cannot be made counts in database_connections_failed_total{pool}. */
PGconn *vane_pq_connectdb(const char *conninfo, const char *pool);

PGresult *vane_pq_exec(PGconn *conn, const char *command);
PGresult *vane_pq_exec_params(PGconn *conn, const char *command, int n_params, const Oid *types,
                              const char *const *values, const int *lengths, const int *formats, int result_format);
/* command: the text that was prepared, for the span; NULL: the name of the statement is all that is known. */
PGresult *vane_pq_exec_prepared(PGconn *conn, const char *name, const char *command, int n_params,
                                const char *const *values, const int *lengths, const int *formats, int result_format);

#ifdef __cplusplus
}
#endif
