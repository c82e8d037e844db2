#include "vane_pq.h"

#include <vane/http.h>

PGconn *vane_pq_connectdb(const char *conninfo, const char *pool)
{
    PGconn *conn = PQconnectdb(conninfo);
    if (PQstatus(conn) != CONNECTION_OK)
        vane_db_connect_failed(pool);
    return conn;
}

static PGresult *end(vane_db_query *q, PGresult *r)
{
    ExecStatusType st = PQresultStatus(r); /* of NULL: PGRES_FATAL_ERROR */
    if (st == PGRES_FATAL_ERROR || st == PGRES_BAD_RESPONSE) {
        const char *code = PQresultErrorField(r, PG_DIAG_SQLSTATE);
        vane_db_end(q, code ? code : "connection_lost", -1);
    } else {
        vane_db_end(q, NULL, st == PGRES_TUPLES_OK ? PQntuples(r) : -1);
    }
    return r;
}

PGresult *vane_pq_exec(PGconn *conn, const char *command)
{
    vane_db_query q;
    vane_db_begin(&q, "postgresql", PQdb(conn), command);
    return end(&q, PQexec(conn, command));
}

PGresult *vane_pq_exec_params(PGconn *conn, const char *command, int n_params, const Oid *types,
                              const char *const *values, const int *lengths, const int *formats, int result_format)
{
    vane_db_query q;
    vane_db_begin(&q, "postgresql", PQdb(conn), command);
    return end(&q, PQexecParams(conn, command, n_params, types, values, lengths, formats, result_format));
}

PGresult *vane_pq_exec_prepared(PGconn *conn, const char *name, const char *command, int n_params,
                                const char *const *values, const int *lengths, const int *formats, int result_format)
{
    vane_db_query q;
    vane_db_begin(&q, "postgresql", PQdb(conn), command);
    return end(&q, PQexecPrepared(conn, name, n_params, values, lengths, formats, result_format));
}
