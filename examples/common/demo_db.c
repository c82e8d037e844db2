/* The example services' database: a pool of SQLite connections, instrumented by contrib/sqlite; see demo.h. */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../contrib/sqlite/vane_sqlite.h"
#include "demo_int.h"

enum { CONNECTIONS_MAX = 4 };

static struct {
    sqlite3 *idle[CONNECTIONS_MAX];
    int n, n_idle;
    const char *name;
    pthread_mutex_t mu;
    pthread_cond_t given;
} pool = { .mu = PTHREAD_MUTEX_INITIALIZER, .given = PTHREAD_COND_INITIALIZER };

static sqlite3 *take(void)
{
    pthread_mutex_lock(&pool.mu);
    while (pool.n_idle == 0)
        pthread_cond_wait(&pool.given, &pool.mu);
    sqlite3 *db = pool.idle[--pool.n_idle];
    vane_db_pool(pool.name, pool.n - pool.n_idle, pool.n_idle, pool.n);
    pthread_mutex_unlock(&pool.mu);
    return db;
}

static void give(sqlite3 *db)
{
    pthread_mutex_lock(&pool.mu);
    pool.idle[pool.n_idle++] = db;
    vane_db_pool(pool.name, pool.n - pool.n_idle, pool.n_idle, pool.n);
    pthread_cond_signal(&pool.given);
    pthread_mutex_unlock(&pool.mu);
}

static json_t *row_of(sqlite3_stmt *st)
{
    json_t *row = json_object();
    for (int i = 0; i < sqlite3_column_count(st); i++) {
        json_t *v;
        switch (sqlite3_column_type(st, i)) {
        case SQLITE_INTEGER:
            v = json_integer(sqlite3_column_int64(st, i));
            break;
        case SQLITE_FLOAT:
            v = json_real(sqlite3_column_double(st, i));
            break;
        case SQLITE_NULL:
            v = json_null();
            break;
        default:
            v = json_string((const char *)sqlite3_column_text(st, i));
        }
        json_object_set_new(row, sqlite3_column_name(st, i), v);
    }
    return row;
}

static void bind(sqlite3_stmt *st, const char *types, va_list args)
{
    for (int i = 0; types[i]; i++) {
        if (types[i] == 'i')
            sqlite3_bind_int(st, i + 1, va_arg(args, int));
        else if (types[i] == 'd')
            sqlite3_bind_double(st, i + 1, va_arg(args, double));
        else
            sqlite3_bind_text(st, i + 1, va_arg(args, const char *), -1, SQLITE_TRANSIENT);
    }
}

static json_t *run(int *ret_changes, const char *sql, const char *types, va_list args)
{
    sqlite3 *db = take();
    sqlite3_stmt *st = NULL;
    json_t *rows = json_array();
    int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
    if (rc == SQLITE_OK) {
        bind(st, types, args);
        while ((rc = sqlite3_step(st)) == SQLITE_ROW)
            json_array_append_new(rows, row_of(st));
    }
    if (ret_changes)
        *ret_changes = sqlite3_changes(db);
    if (rc != SQLITE_DONE) {
        VANE_ERROR("a query failed", vane_str("db.query.text", sql), vane_str("error", sqlite3_errmsg(db)));
        json_decref(rows);
        rows = NULL;
    }
    sqlite3_finalize(st);
    give(db);
    return rows;
}

json_t *demo_sql(int *ret_changes, const char *sql, const char *types, ...)
{
    va_list args;
    va_start(args, types);
    json_t *rows = run(ret_changes, sql, types, args);
    va_end(args);
    return rows;
}

int demo_sql_do(const char *sql, const char *types, ...)
{
    int changes = 0;
    va_list args;
    va_start(args, types);
    json_t *rows = run(&changes, sql, types, args);
    va_end(args);
    int answer = rows ? changes : -1;
    json_decref(rows);
    return answer;
}

static vane_health check(void *ctx, char *message, size_t n)
{
    (void)ctx;
    if (demo_sql_do("SELECT 1", "") >= 0)
        return VANE_HEALTHY;
    snprintf(message, n, "the database does not answer");
    return VANE_UNHEALTHY;
}

static void fail(const char *what)
{
    fprintf(stderr, "%s: the database %s: %s\n", demo_options.name, demo_options.db ? demo_options.db : "in memory",
            what);
    exit(1);
}

void demo_db_open(const char *name, const char *schema)
{
    pool.name = name;
    pool.n = demo_options.db ? CONNECTIONS_MAX : 1; /* one in memory belongs to its connection */
    for (int i = 0; i < pool.n; i++) {
        sqlite3 *db;
        if (sqlite3_open(demo_options.db ? demo_options.db : ":memory:", &db) != SQLITE_OK) {
            vane_db_connect_failed(name);
            fail(sqlite3_errmsg(db));
        }
        sqlite3_busy_timeout(db, 2000);
        char *error = NULL;
        if (sqlite3_exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL", NULL, NULL, &error) ||
            (i == 0 && sqlite3_exec(db, schema, NULL, NULL, &error)))
            fail(error);
        vane_sqlite_watch(db, name);
        pool.idle[pool.n_idle++] = db;
    }
    vane_db_pool(name, 0, pool.n, pool.n);
    vane_health_opts o = { .size = sizeof(o), .name = "database", .check = check };
    vane_health_add(&o);
}
