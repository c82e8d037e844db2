/* Room `control`: the durable state of what the process decides, as opposed to what it measures: alerts, silences, the
 * log of notifications. One SQLite file (WAL, synchronous=FULL: what control_commit() said OK to survives a power cut).
 *
 *   control_open("DATA/control.db", &c, &why)
 *   control_attach(c, &my_tables, &why)              each user brings its tables and their history
 *   struct control_tx *tx;
 *   control_begin(c, &tx, &why)
 *   control_run(tx, "INSERT INTO t(a, b) VALUES(?, ?)", (struct control_val[]){ CV_INT(1), CV_TEXT(s) }, 2, &why)
 *   control_commit(tx, &why)                         or control_rollback(tx)
 *
 * One transaction at a time: control_begin() waits for the one before. Keep them short, and never wait for anything
 * else in one. An error inside a transaction is sticky: control_commit() then rolls back and returns it.
 * Statements are prepared once and kept, by the address of their text: sql must be a literal.
 * control_view() is for long looks: it sees what was committed when it began and holds up no control_begin().
 * Threads: all functions but control_close may be called from any thread; a tx belongs to one. Lock rank: 200. */
#ifndef VANE_CONTROL_CONTROL_H
#define VANE_CONTROL_CONTROL_H

#include "base/str.h"
#include "base/err.h"

struct control;
struct control_tx;

/* Creates the file if there is none. path NULL: in memory, gone with control_close(). ERR_CORRUPT: it is damaged, and
 * says what to do; ERR_BUSY: another program has it locked. */
enum err control_open(const char *path, struct control **ret, struct err_text *reterr) MUST_CHECK;
bool control_durable(const struct control *c); /* false: in memory */
void control_close(struct control *c);         /* NULL is fine; no transaction may be open */

/* A copy of everything that is committed, as of one moment, in a new file without -wal and -shm; on disk when this
 * returns. Holds up views, not control_begin(). ERR_UNSUPPORTED: there is nothing but memory. On error no file is left. */
enum err control_backup(struct control *c, const char *path, struct err_text *reterr) MUST_CHECK;

/* The tables of one user. steps[i] takes them from version i to i + 1; a step that was ever released never changes.
 * Each step runs once, in a transaction of its own. ERR_UNSUPPORTED: the file was written by a newer version. */
struct control_tables {
    const char *name; /* "rules" */
    const char *const *steps;
    size_t n_steps;
};
enum err control_attach(struct control *c, const struct control_tables *t, struct err_text *reterr) MUST_CHECK;

enum control_type { CONTROL_NULL, CONTROL_INT, CONTROL_REAL, CONTROL_TEXT, CONTROL_BLOB };
struct control_val {
    enum control_type type;
    int64_t i; /* INT */
    double f;  /* REAL: no NaN, SQLite knows none */
    str s;     /* TEXT, BLOB */
};
#define CV_NULL    ((struct control_val){ .type = CONTROL_NULL })
#define CV_INT(v)  ((struct control_val){ .type = CONTROL_INT, .i = (v) })
#define CV_REAL(v) ((struct control_val){ .type = CONTROL_REAL, .f = (v) })
#define CV_TEXT(v) ((struct control_val){ .type = CONTROL_TEXT, .s = (v) })
#define CV_BLOB(v) ((struct control_val){ .type = CONTROL_BLOB, .s = (v) })

enum err control_begin(struct control *c, struct control_tx **ret, struct err_text *reterr) MUST_CHECK;
/* To look only (control_query); ended by control_commit() or control_rollback(). One at a time. */
enum err control_view(struct control *c, struct control_tx **ret, struct err_text *reterr) MUST_CHECK;
enum err control_commit(struct control_tx *tx, struct err_text *reterr) MUST_CHECK; /* ends tx in any case */
void control_rollback(struct control_tx *tx);                                       /* ends tx */
/* One statement that gives no rows; args are borrowed for the call. */
enum err control_run(struct control_tx *tx, const char *sql, const struct control_val *args, size_t n,
                     struct err_text *reterr) MUST_CHECK;
/* Rows one by one; cols are valid during the call. row returns false to end early. It may not use tx. */
enum err control_query(struct control_tx *tx, const char *sql, const struct control_val *args, size_t n,
                       bool (*row)(void *ctx, const struct control_val *cols, size_t n_cols), void *ctx,
                       struct err_text *reterr) MUST_CHECK;

#endif
