/* Private to room `push`: a group and its file. */
#ifndef VANE_PUSH_PUSH_INT_H
#define VANE_PUSH_PUSH_INT_H

#include "push/push.h"

struct push_group {
    struct arena a; /* everything below; a changed group is a new object */
    struct labels key;
    int64_t pushed_ms, failed_ms; /* 0 = never */
    struct expo_family_text *families;
    size_t n_families;
    size_t bytes;           /* of the families' text */
    struct batch batch;     /* decoded: pushed series, then push_time_seconds and push_failure_time_seconds */
    struct sample *samples; /* what the batch's series point to, one each */
    const struct batch_series **sorted; /* batch.series by labels */
    int64_t last_ms;                    /* of the samples written last */
};
/* A group without batch, with the key copied. */
struct push_group *push_group_new(struct labels key);
void push_group_free(struct push_group *g); /* NULL is fine */
/* Families -> batch. ERR_INVALID: a series twice, labels that are not valid. ERR_LIMIT. */
enum err push_group_decode(struct push_group *g, const struct wire_limits *lim, struct err_text *reterr) MUST_CHECK;
/* All samples get this time. */
void push_group_stamp(struct push_group *g, int64_t now_ms);
/* Staleness markers at now_ms for series of g that are not in next (NULL = none): appended to out (arena out->a). */
void push_group_stale(const struct push_group *g, const struct push_group *next, int64_t now_ms, struct batch *out);

/* push_file.c: the group's file */
hash128 push_file_id(struct labels key);
void push_file_encode(struct buf *out, const struct push_group *g);
/* ERR_CORRUPT and why. */
enum err push_file_decode(str content, struct push_group **ret, struct err_text *reterr) MUST_CHECK;

#endif
