/* What the HTTP and the database side of the middleware and the events share (sdk_http.c). */
#pragma once

#include "sdk_trace.h"

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

static inline bool sdk_has_metrics(void)
{
    return sdk_cfg.metrics == VANE_ON;
}

/* A series of such an instrument, bound at its first use in each life of the library, and again when it was removed. All
 * zero at first, and always asked with the same values. NULL: looked up in the thread's cache. Any thread. */
struct sdk_bound {
    _Atomic uint64_t id;
    _Atomic uint32_t run; /* of id */
};
uint64_t sdk_bound(struct sdk_bound *b, struct sdk_own_metric *i, vane_labels values);

/* What has been worked out for a text, kept for good in a static table that is never too full to ask, only to add: no
 * memory is allocated, no lock taken, entries never change. An entry is struct sdk_kept, key_max bytes of key, the answer. */
struct sdk_kept {
    _Atomic uint64_t hash;   /* of the key; 0: free, 1: being written */
    _Atomic uint32_t missed; /* of the last key that found it free: only what comes again is kept */
    uint16_t a_n, b_n;
};
struct sdk_kept_table {
    void *entries;
    uint32_t n, entry_size, key_max; /* n: a power of two */
};
/* The entry of the key a, b. NULL: none. *ret_add: it is new, the caller writes the answer and calls sdk_kept_added(). */
void *sdk_kept(const struct sdk_kept_table *t, const void *a, size_t a_n, const void *b, size_t b_n, uint64_t *ret_add);
void sdk_kept_added(void *entry, uint64_t add);

/* Attributes being put together; more than there is room for are left out. */
struct sdk_attrs {
    size_t n;
    vane_attr a[VANE_LOG_FIELDS_MAX];
};
void sdk_attr_add(struct sdk_attrs *l, vane_attr a);
void sdk_attr_str(struct sdk_attrs *l, const char *key, const char *value); /* NULL and "" are left out */
void sdk_attr_int(struct sdk_attrs *l, const char *key, int64_t value);     /* negative values are left out */
void sdk_attr_f64(struct sdk_attrs *l, const char *key, double value);

/* Whether a span's attributes have a say in its sampling. Otherwise they are put together only when it is recorded. */
static inline bool sdk_attrs_first(void)
{
    return atomic_load_explicit(&sdk_sample_attrs, memory_order_relaxed);
}

/* Start a current span with attributes; end one with more, and as an error with error_type. */
void sdk_span_begin(vane_span *s, const char *name, vane_span_kind kind, const vane_context *parent,
                    const struct sdk_attrs *l);
