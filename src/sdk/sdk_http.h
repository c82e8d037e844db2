/* What the HTTP and the database side of the middleware share. */
#pragma once

#include "sdk_int.h"

static inline bool sdk_has_tracing(void)
{
    return sdk_cfg.tracing == VANE_ON;
}

/* Copy s, at most cap - 1 bytes, cut at a character; NUL-terminated. NULL reads as "". */
static inline size_t sdk_copy(char *dst, size_t cap, const char *s)
{
    size_t n = s ? strnlen(s, cap) : 0;
    if (n >= cap)
        for (n = cap - 1; n && ((unsigned char)s[n] & 0xC0) == 0x80;)
            n--;
    if (n)
        memcpy(dst, s, n);
    dst[n] = 0;
    return n;
}
