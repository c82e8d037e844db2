#include "control/control.h"

#include <sqlite3.h>

#include "base/check.h"
#include "base/fs.h"
#include "base/stats.h"
#include "base/thread.h"
#include "base/vec.h"

enum {
    BUSY_MS = 5000, /* another program (sqlite3, a backup) may hold the file for a moment */
    COLUMNS_MAX = 64,
    STATEMENTS_MAX = 256,
};

struct statement {
    const char *sql; /* its address is the key */
    sqlite3_stmt *st;
};
struct connection {
    const struct control *c;
    struct mtx mu; /* held by the open transaction */
    sqlite3 *db;
    VEC(struct statement) statements;
};
struct control_tx {
    struct connection *on;
    enum err failed; /* sticky */
    struct err_text why;
};
struct control {
    struct connection main, look; /* look.db NULL: there is only main (in memory) */
    char *path;
    bool durable;
    struct control_tx tx, view; /* each under the mutex of its connection */
};

static struct stat transactions =
    STAT_COUNTER("vane_control_transactions_total", "Transactions of the control database that were committed", "");
static struct stat errors = STAT_COUNTER("vane_control_errors_total", "Failed calls of the control database", "");

static enum err meaning(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return OK;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_BUSY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_CORRUPT;
    case SQLITE_FULL:
        return ERR_NO_SPACE;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
        return ERR_PERMISSION;
    case SQLITE_CONSTRAINT:
        return ERR_EXISTS;
    case SQLITE_TOOBIG:
        return ERR_LIMIT;
    default:
        return ERR_IO;
    }
}

static enum err fail(const struct connection *on, int rc, const char *doing, struct err_text *reterr)
{
    enum err e = meaning(rc);
    const char *hint = "";
    stat_add(&errors, 1);
    if (e == ERR_CORRUPT)
        hint = "; move this file away (with those that end in -wal and -shm) to start with empty state, or restore it";
    else if (e == ERR_BUSY)
        hint = "; another program holds it: end that one";
    return err_fail(reterr, e ? e : ERR_IO, "%s: %s: %s%s", on->c->path, doing,
                    on->db ? sqlite3_errmsg(on->db) : "no memory", hint);
}

/* ---- opening ---- */
static int is_ok(void *ctx, int n, char **cols, char **names)
{
    (void)names;
    *(bool *)ctx = n == 1 && cols[0] && str_eq(str_c(cols[0]), STR("ok"));
    return 0;
}

static enum err connect(struct control *c, struct connection *on, int flags, struct err_text *reterr)
{
    int rc = sqlite3_open_v2(c->path, &on->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (rc != SQLITE_OK)
        return fail(on, rc, "open", reterr);
    sqlite3_busy_timeout(on->db, BUSY_MS);
    return OK;
}

static enum err prepare_file(struct control *c, struct err_text *reterr)
{
    bool sound = false;
    struct connection *on = &c->main;
    TRY(connect(c, on, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, reterr));
    int rc = sqlite3_exec(on->db, "PRAGMA quick_check(1)", is_ok, &sound, NULL);
    if (rc != SQLITE_OK || !sound)
        return fail(on, rc ? rc : SQLITE_CORRUPT, "check", reterr);
    rc = sqlite3_exec(
        on->db,
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
        "PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;"
        "CREATE TABLE IF NOT EXISTS control_tables(name TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT",
        NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return fail(on, rc, "prepare", reterr);
    return c->durable ? connect(c, &c->look, SQLITE_OPEN_READONLY, reterr) : OK;
}

enum err control_open(const char *path, struct control **ret, struct err_text *reterr)
{
    struct control *c = mem_zalloc(sizeof(*c));
    mtx_init(&c->main.mu, 200);
    mtx_init(&c->look.mu, 199);
    c->main.c = c->look.c = c;
    c->durable = path != NULL;
    c->path = mem_strdup(str_c(path ? path : ":memory:"));
    stat_register(&transactions);
    stat_register(&errors);
    enum err e = prepare_file(c, reterr);
    if (e) {
        control_close(c);
        return e;
    }
    *ret = c;
    return OK;
}

bool control_durable(const struct control *c)
{
    return c->durable;
}

static void disconnect(struct connection *on)
{
    for (size_t i = 0; i < on->statements.n; i++)
        sqlite3_finalize(on->statements.p[i].st);
    vec_free(&on->statements);
    sqlite3_close(on->db);
    mtx_deinit(&on->mu);
}

void control_close(struct control *c)
{
    if (!c)
        return;
    disconnect(&c->look);
    disconnect(&c->main);
    mem_free(c->path);
    mem_free(c);
}

/* ---- copies ---- */
static enum err copy_to(struct connection *from, struct connection *to, struct err_text *reterr)
{
    bool sound = false;
    sqlite3_backup *b = sqlite3_backup_init(to->db, "main", from->db, "main");
    if (!b)
        return fail(to, sqlite3_errcode(to->db), "copy", reterr);
    int rc = sqlite3_backup_step(b, -1);
    int end = sqlite3_backup_finish(b);
    if (rc != SQLITE_DONE)
        return fail(to, end ? end : rc, "copy", reterr);
    /* A file that stands alone: nothing beside it has to be copied with it. */
    rc = sqlite3_exec(to->db, "PRAGMA journal_mode=DELETE", NULL, NULL, NULL);
    rc = rc ? rc : sqlite3_exec(to->db, "PRAGMA quick_check(1)", is_ok, &sound, NULL);
    return rc == SQLITE_OK && sound ? OK : fail(to, rc ? rc : SQLITE_CORRUPT, "check the copy", reterr);
}

enum err control_backup(struct control *c, const char *path, struct err_text *reterr)
{
    if (!c->durable)
        return err_fail(reterr, ERR_UNSUPPORTED, "rules and alerting have no database: their state is in memory only");
    struct control copy = { .path = mem_strdup(str_c(path)) };
    copy.main.c = &copy;
    mtx_init(&copy.main.mu, 0);
    enum err e = connect(&copy, &copy.main, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXCLUSIVE, reterr);
    bool made = e == OK;
    if (made) {
        mtx_lock(&c->look.mu);
        e = copy_to(&c->look, &copy.main, reterr);
        mtx_unlock(&c->look.mu);
    }
    disconnect(&copy.main);
    if (e && made)
        IGNORE_ERR(fs_unlink(fs_os(), path));
    mem_free(copy.path);
    return e;
}

/* ---- statements ---- */
static enum err prepared(struct connection *c, const char *sql, sqlite3_stmt **ret, struct err_text *reterr)
{
    for (size_t i = 0; i < c->statements.n; i++)
        if (c->statements.p[i].sql == sql) {
            *ret = c->statements.p[i].st;
            return OK;
        }
    ASSERT(c->statements.n < STATEMENTS_MAX); /* literals only */
    int rc = sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL);
    if (rc != SQLITE_OK)
        return fail(c, rc, sql, reterr);
    vec_push(&c->statements, ((struct statement){ sql, *ret }));
    return OK;
}

static int bind(sqlite3_stmt *st, int at, const struct control_val *v)
{
    switch (v->type) {
    case CONTROL_NULL:
        return sqlite3_bind_null(st, at);
    case CONTROL_INT:
        return sqlite3_bind_int64(st, at, v->i);
    case CONTROL_REAL:
        return sqlite3_bind_double(st, at, v->f);
    case CONTROL_TEXT:
        return sqlite3_bind_text64(st, at, v->s.n ? v->s.p : "", v->s.n, SQLITE_STATIC, SQLITE_UTF8);
    case CONTROL_BLOB:
        return sqlite3_bind_blob64(st, at, v->s.n ? v->s.p : "", v->s.n, SQLITE_STATIC);
    }
    return SQLITE_MISUSE;
}

static struct control_val column(sqlite3_stmt *st, int i)
{
    const char *p;
    switch (sqlite3_column_type(st, i)) {
    case SQLITE_INTEGER:
        return CV_INT(sqlite3_column_int64(st, i));
    case SQLITE_FLOAT:
        return CV_REAL(sqlite3_column_double(st, i));
    case SQLITE_TEXT:
        p = (const char *)sqlite3_column_text(st, i);
        return CV_TEXT(str_n(p, (size_t)sqlite3_column_bytes(st, i)));
    case SQLITE_BLOB:
        p = sqlite3_column_blob(st, i);
        return CV_BLOB(str_n(p, (size_t)sqlite3_column_bytes(st, i)));
    default:
        return CV_NULL;
    }
}

typedef bool row_fn(void *ctx, const struct control_val *cols, size_t n_cols);

static int step_all(sqlite3_stmt *st, row_fn *row, void *ctx)
{
    struct control_val cols[COLUMNS_MAX];
    int rc, n = MIN(sqlite3_column_count(st), COLUMNS_MAX);
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        for (int i = 0; i < n; i++)
            cols[i] = column(st, i);
        if (row && !row(ctx, cols, (size_t)n))
            return SQLITE_DONE;
    }
    return rc;
}

static enum err execute(struct connection *c, const char *sql, const struct control_val *args, size_t n, row_fn *row,
                        void *ctx, struct err_text *reterr)
{
    sqlite3_stmt *st;
    enum err e = OK;
    int rc = SQLITE_OK;
    TRY(prepared(c, sql, &st, reterr));
    ASSERT(n == (size_t)sqlite3_bind_parameter_count(st));
    for (size_t i = 0; i < n && rc == SQLITE_OK; i++)
        rc = bind(st, (int)i + 1, &args[i]);
    if (rc == SQLITE_OK)
        rc = step_all(st, row, ctx);
    if (rc != SQLITE_DONE)
        e = fail(c, rc, sql, reterr);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return e;
}

/* ---- transactions ---- */
static enum err begin(struct connection *on, const char *sql, struct control_tx *tx, struct control_tx **ret,
                      struct err_text *reterr)
{
    mtx_lock(&on->mu);
    enum err e = execute(on, sql, NULL, 0, NULL, NULL, reterr);
    if (e) {
        mtx_unlock(&on->mu);
        return e;
    }
    *tx = (struct control_tx){ .on = on };
    *ret = tx;
    return OK;
}

enum err control_begin(struct control *c, struct control_tx **ret, struct err_text *reterr)
{
    return begin(&c->main, "BEGIN IMMEDIATE", &c->tx, ret, reterr);
}

enum err control_view(struct control *c, struct control_tx **ret, struct err_text *reterr)
{
    return c->look.db ? begin(&c->look, "BEGIN", &c->view, ret, reterr) : control_begin(c, ret, reterr);
}

static void undo(struct connection *on)
{
    if (!sqlite3_get_autocommit(on->db)) /* SQLite itself ends a transaction on some errors */
        sqlite3_exec(on->db, "ROLLBACK", NULL, NULL, NULL);
}

enum err control_commit(struct control_tx *tx, struct err_text *reterr)
{
    struct connection *on = tx->on;
    enum err e = tx->failed ? err_fail(reterr, tx->failed, "%s", tx->why.msg)
                            : execute(on, "COMMIT", NULL, 0, NULL, NULL, reterr);
    if (e)
        undo(on);
    else if (tx == &on->c->tx)
        stat_add(&transactions, 1);
    mtx_unlock(&on->mu);
    return e;
}

void control_rollback(struct control_tx *tx)
{
    undo(tx->on);
    mtx_unlock(&tx->on->mu);
}

enum err control_query(struct control_tx *tx, const char *sql, const struct control_val *args, size_t n, row_fn *row,
                       void *ctx, struct err_text *reterr)
{
    if (!tx->failed)
        tx->failed = execute(tx->on, sql, args, n, row, ctx, &tx->why);
    return tx->failed ? err_fail(reterr, tx->failed, "%s", tx->why.msg) : OK;
}

enum err control_run(struct control_tx *tx, const char *sql, const struct control_val *args, size_t n,
                     struct err_text *reterr)
{
    return control_query(tx, sql, args, n, NULL, NULL, reterr);
}

/* ---- tables ---- */
static bool read_int(void *ctx, const struct control_val *cols, size_t n)
{
    if (n && cols[0].type == CONTROL_INT)
        *(int64_t *)ctx = cols[0].i;
    return false;
}

static enum err step_up(struct control *c, const struct control_tables *t, size_t from, struct err_text *reterr)
{
    struct control_tx *tx;
    TRY(control_begin(c, &tx, reterr));
    int rc = sqlite3_exec(c->main.db, t->steps[from], NULL, NULL, NULL);
    if (rc != SQLITE_OK) {
        enum err e = fail(&c->main, rc, t->name, reterr);
        control_rollback(tx);
        return e;
    }
    IGNORE_ERR(control_run(tx, "INSERT OR REPLACE INTO control_tables(name, version) VALUES(?, ?)",
                           (struct control_val[]){ CV_TEXT(str_c(t->name)), CV_INT((int64_t)from + 1) }, 2, NULL));
    return control_commit(tx, reterr); /* an error above comes back here */
}

enum err control_attach(struct control *c, const struct control_tables *t, struct err_text *reterr)
{
    struct control_tx *tx;
    int64_t version = 0;
    TRY(control_begin(c, &tx, reterr));
    IGNORE_ERR(control_query(tx, "SELECT version FROM control_tables WHERE name = ?", &CV_TEXT(str_c(t->name)), 1,
                             read_int, &version, NULL));
    TRY(control_commit(tx, reterr));
    if (version < 0 || version > (int64_t)t->n_steps)
        return err_fail(reterr, ERR_UNSUPPORTED,
                        "%s: the tables of \"%s\" have version %lld and this program knows up to %zu: a newer vane "
                        "wrote them; run that one, or move the file away to start with empty state",
                        c->path, t->name, (long long)version, t->n_steps);
    for (size_t i = (size_t)version; i < t->n_steps; i++)
        TRY(step_up(c, t, i, reterr));
    return OK;
}
