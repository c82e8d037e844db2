/* Private to scrape_cache.c and scrape_nhcb.c: the work on one exposition of one target. */
#ifndef VANE_SCRAPE_SCRAPE_WORK_H
#define VANE_SCRAPE_SCRAPE_WORK_H

#include "scrape/scrape_int.h"

struct pending { /* a sample on its way into the batch */
    uint32_t series;
    struct sample s;
    const struct histogram *h; /* instead of s.v */
    int64_t start_ms;          /* 0: unknown */
    struct exemplar *exemplars;
    size_t n_exemplars;
};
struct taken { /* what is to be taken */
    bool has_ts;
    int64_t ts_ms;
    double value;
    const struct histogram *h; /* NULL: value */
};
struct nhcb_work { /* the classic histogram whose lines are being read */
    struct nhcb h;
    bool open;
    uint32_t group;
    bool has_ts;
    int64_t ts_ms, start_ms;
    VEC(struct exemplar) exemplars;
};
struct work {
    struct target *t;
    struct cache *c;
    struct arena *a; /* scratch of this scrape */
    struct expo *x;  /* the current entry: text, or pb->e */
    struct expo text;
    struct expo_pb *pb; /* NULL: the body is text */
    bool converts;      /* text whose classic histograms become native ones */
    struct nhcb_work nhcb;
    VEC(struct pending) out; /* in the arena */
    VEC(struct sample) markers;
    VEC(struct batch_family) families;
    size_t pos;    /* expected place in c->order */
    size_t n_kept; /* series of the last scrape that came again */
    size_t n_tracked, n_seen_lines;
    struct scrape_outcome *o;
};
enum err work_fail(struct work *w, enum err e, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Remember a line (raw: text or key) with the exposition's own labels. */
enum err work_line_add(struct work *w, str raw, struct labels own, uint32_t *ret) MUST_CHECK;
/* Remember a line that is not stored. */
void work_line_ignored(struct work *w, str raw, uint32_t *ret);
/* It came in this scrape. */
void work_see_line(struct work *w, uint32_t id);
/* Into the batch, unless it is dropped, a duplicate or over the sample limit (false). *ret is valid until the next one. */
bool work_take(struct work *w, uint32_t id, const struct taken *s, struct pending **ret);
/* Of the current entry. */
size_t work_exemplars(struct work *w, int64_t ts_ms, struct exemplar **ret);
int64_t work_start_ms(struct work *w);
/* native_histogram_min_bucket_factor, then native_histogram_bucket_limit: merged to a lower resolution as long as that
 * helps; ERR_LIMIT when it does not. */
enum err work_limit_histogram(struct work *w, const struct histogram **h) MUST_CHECK;

/* ---- scrape_nhcb.c: classic histograms of text formats as native ones with custom buckets ----
 * A classic histogram's lines follow each other. Each remembers its part and the line that stands for the whole: a
 * cache line with a key (nhcb_is_key) instead of a text. When a line of another histogram or of none comes, the whole is
 * taken. With always_scrape_classic_histograms the lines themselves are stored as well. */
bool nhcb_is_key(str raw);
/* A new line of any kind; what is no part of a classic histogram becomes an ordinary line. */
enum err nhcb_line_new(struct work *w, struct labels own, uint32_t *ret) MUST_CHECK;
/* Before an ordinary sample is taken; done: the line was a part and is not stored itself. */
enum err nhcb_take(struct work *w, uint32_t id, bool *ret_done) MUST_CHECK;
/* The end of the body. */
enum err nhcb_flush(struct work *w) MUST_CHECK;

#endif
