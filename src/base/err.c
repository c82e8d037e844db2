/* Error names and texts; see err.h. */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

static const struct {
    const char *name, *text;
} err_rows[] = {
#define X(name, text) { #name, text },
    ERR_LIST(X)
#undef X
};

const char *err_name(enum err e)
{
    return (size_t)e < ARRAY_LEN(err_rows) ? err_rows[e].name : "ERR_?";
}

const char *err_describe(enum err e)
{
    return (size_t)e < ARRAY_LEN(err_rows) ? err_rows[e].text : "unknown error";
}

enum err err_fail(struct err_text *reterr, enum err e, const char *fmt, ...)
{
    if (reterr) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(reterr->msg, sizeof(reterr->msg), fmt, ap);
        va_end(ap);
        reterr->pos = 0;
    }
    return e;
}

enum err err_fail_at(struct err_text *reterr, enum err e, size_t pos, const char *fmt, ...)
{
    if (reterr) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(reterr->msg, sizeof(reterr->msg), fmt, ap);
        va_end(ap);
        reterr->pos = pos;
    }
    return e;
}

void err_prefix(struct err_text *reterr, const char *fmt, ...)
{
    if (!reterr)
        return;
    char old[sizeof(reterr->msg)];
    memcpy(old, reterr->msg, sizeof(old));
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(reterr->msg, sizeof(reterr->msg), fmt, ap);
    va_end(ap);
    if (n > 0 && (size_t)n < sizeof(reterr->msg))
        snprintf(reterr->msg + n, sizeof(reterr->msg) - (size_t)n, ": %s", old);
}

enum err err_from_errno(int errno_value)
{
    switch (errno_value) {
    case 0:
        return OK;
    case ENOENT:
    case ENOTDIR:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_EXISTS;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return ERR_NO_SPACE;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_PERMISSION;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case EAGAIN:
    case EBUSY:
        return ERR_BUSY;
    case EINVAL:
        return ERR_INVALID;
    default:
        return ERR_IO;
    }
}
