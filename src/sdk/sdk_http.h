/* What the HTTP and the database side of the middleware and the events share (sdk_http.c). */
#pragma once

#include "sdk_int.h"

static inline bool sdk_has_tracing(void)
{
    return sdk_cfg.tracing == VANE_ON;
}

/* Copy s, at most cap - 1 bytes, cut at a character; NUL-terminated. NULL reads as "". */
size_t sdk_copy(char *dst, size_t cap, const char *s);

/* An instrument of the library's own, made at its first use in each life of the library. Making one twice gives the same,
 * so no lock is needed. */
struct sdk_own_metric {
    vane_kind kind;
    const char *name, *unit, *help, *labels;
    const double *bounds; /* explicit ones beside the native buckets */
    size_t n_bounds;
    _Atomic uint64_t id;
    _Atomic uint32_t run; /* of id */
};
vane_metric sdk_own_metric(struct sdk_own_metric *i);

/* Attributes being put together; more than there is room for are left out. */
struct sdk_attrs {
    size_t n;
    vane_attr a[VANE_LOG_FIELDS_MAX];
};
void sdk_attr_add(struct sdk_attrs *l, vane_attr a);
void sdk_attr_str(struct sdk_attrs *l, const char *key, const char *value); /* NULL and "" are left out */
void sdk_attr_int(struct sdk_attrs *l, const char *key, int64_t value);     /* negative values are left out */
void sdk_attr_f64(struct sdk_attrs *l, const char *key, double value);

/* Start a current span with attributes; end one with more, and as an error with error_type. */
void sdk_span_begin(vane_span *s, const char *name, vane_span_kind kind, const vane_context *parent,
                    const struct sdk_attrs *l);
