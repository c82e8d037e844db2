/* Errors as values: a short closed enum for code, one text for people.
 * Input, disk and network trouble travel this way; assertions (assert.h here) are for our own mistakes.
 * Functions whose result matters are MUST_CHECK; an ignored result is spelled IGNORE_ERR(f()). */
#ifndef VANE_BASE_ERR_H
#define VANE_BASE_ERR_H

#include <stdarg.h>
#include <stddef.h>

/* One row per code: name, text for people. The API maps each to one HTTP status (src/api). */
#define ERR_LIST(X)                                   \
    X(OK, "ok")                                       \
    X(ERR_PARSE, "malformed input")                   \
    X(ERR_INVALID, "invalid argument")                \
    X(ERR_NOT_FOUND, "not found")                     \
    X(ERR_EXISTS, "exists already")                   \
    X(ERR_TOO_OLD, "outside the accepted time range") \
    X(ERR_LIMIT, "a limit was reached")               \
    X(ERR_BUSY, "overloaded, try again")              \
    X(ERR_TIMEOUT, "timed out")                       \
    X(ERR_CANCELLED, "cancelled")                     \
    X(ERR_EXEC, "execution failed")                   \
    X(ERR_UNSUPPORTED, "not supported")               \
    X(ERR_PERMISSION, "permission denied")            \
    X(ERR_CORRUPT, "corrupt data")                    \
    X(ERR_NO_SPACE, "no space left")                  \
    X(ERR_IO, "input/output error")                   \
    X(ERR_CLOSED, "closed")

enum err {
#define X(name, text) name,
    ERR_LIST(X)
#undef X
};

#define MUST_CHECK             __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* What went wrong, for a person. No newline; pos is the byte of the input at fault (0 if none). */
struct err_text {
    char msg[512];
    size_t pos;
};

#define TRY(expr)               \
    do {                        \
        enum err err_ = (expr); \
        if (err_ != OK)         \
            return err_;        \
    } while (0)

#define IGNORE_ERR(expr)            \
    do {                            \
        enum err ignored_ = (expr); \
        (void)ignored_;             \
    } while (0)

const char *err_name(enum err e);     /* "ERR_PARSE" */
const char *err_describe(enum err e); /* "malformed input" */

/* Format into reterr (may be NULL) and return e: `return err_fail(reterr, ERR_PARSE, "...", ...)`. */
enum err err_fail(struct err_text *reterr, enum err e, const char *fmt, ...) PRINTF_LIKE(3, 4);
enum err err_fail_at(struct err_text *reterr, enum err e, size_t pos, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* Put "prefix: " before the text that is there. */
void err_prefix(struct err_text *reterr, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* errno -> enum err (ENOSPC/EDQUOT -> ERR_NO_SPACE, ENOENT -> ERR_NOT_FOUND, ...). */
enum err err_from_errno(int errno_value);

#endif
