/* Tracing and logging as the middleware sees them: weak, so that it works (metrics, correlation ids) in a build of the
 * library that has only the files it needs. Nothing here is called without asking SDK_HAS first. */
#pragma once

#include "sdk_int.h"

#ifndef SDK_ONE_FILE /* the amalgamation has them all */
#pragma weak vane_span_start_opts
#pragma weak vane_span_end
#pragma weak vane_span_recording
#pragma weak vane_span_context
#pragma weak vane_span_set_all
#pragma weak vane_span_rename
#pragma weak vane_span_status
#pragma weak vane_context_attach
#pragma weak vane_context_detach
#pragma weak vane_extract
#pragma weak vane_inject
#pragma weak vane_context_release
#pragma weak vane_log
#pragma weak vane_log_scope_begin
#pragma weak vane_log_scope_end
#pragma weak vane_context_valid
#endif

static inline bool sdk_has_tracing(void)
{
    return vane_span_start_opts && vane_span_end && sdk_cfg.tracing == VANE_ON;
}
static inline bool sdk_has_logging(void)
{
    return vane_log && vane_log_scope_begin;
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
