/* What the sampler (sdk_profile.c) hands to the writer of pprof (sdk_pprof.c). */
#pragma once

#include "sdk_int.h"

#pragma GCC visibility push(hidden)

#define SDK_PROF_FRAMES 64

struct sdk_prof_label {
    int tid;
    uint32_t endpoint;   /* number of its text plus one; 0: none */
    uint64_t profile_id; /* of the request; 0: not of a captured request */
    bool waiting;        /* the thread waited: no CPU time */
    uint8_t trace_id[16], span_id[8];
};

enum { SDK_PROF_FREE, SDK_PROF_FILLING, SDK_PROF_FULL };
struct sdk_prof_stack {
    _Atomic uint32_t state;
    uint32_t n;
    uint64_t hash;
    _Atomic uint64_t count;
    struct sdk_prof_label label;
    uintptr_t pc[SDK_PROF_FRAMES]; /* innermost first; behind the first: return addresses */
};
struct sdk_prof_table {
    uint32_t n; /* a power of two */
    struct sdk_prof_stack stacks[];
};

/* The table as gzipped pprof, from malloc(). Nobody writes to it meanwhile. */
vane_status sdk_pprof(const struct sdk_prof_table *t, char (*endpoints)[96], unsigned n_endpoints, uint64_t unix_ns,
                      uint64_t duration_ns, uint64_t period_ns, char **ret, size_t *ret_n);
/* Write beside and rename, mode 0640. */
vane_status sdk_pprof_write(const char *path, const char *p, size_t n);
/* POST to http://host[:port]/path; at most ten seconds a step. VANE_E_UNAVAILABLE for other schemes. */
vane_status sdk_pprof_post(const char *url, const char *p, size_t n);

#pragma GCC visibility pop
