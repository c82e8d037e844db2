/* Samples into windows, windows into columns and back (docs/format/tsdb.md, rollups). */
#include <math.h>

#include "model/histogram_math.h"
#include "tsdb/tsdb_int.h"

/* ---- samples into windows ---- */
static int64_t window_end(int64_t ts, int64_t res)
{
    int64_t down = (ts >= 0 ? ts / res : (ts - res + 1) / res) * res;
    return down == ts ? ts : down + res;
}

/* As sum_over_time: compensated while it is finite. */
static void add_sum(double x, double *sum, double *c)
{
    double t = *sum + x;
    if (isinf(t))
        *c = 0;
    else if (fabs(*sum) >= fabs(x))
        *c += (*sum - t) + x;
    else
        *c += (x - t) + *sum;
    *sum = t;
}

static void add_float(struct rollup *w, int64_t ts, double v, double *c)
{
    if (!w->count) {
        w->first_ms = ts;
        w->first = w->min = w->max = v;
        *c = 0;
    } else {
        if (v < w->last) {
            w->hidden += w->last;
            w->resets++;
        }
        if (v <= w->min || isnan(w->min))
            w->min = v;
        if (v >= w->max || isnan(w->max))
            w->max = v;
    }
    add_sum(v, &w->sum, c);
    w->count++;
    w->last = v;
    w->last_ms = ts;
}

static void add_hist(struct rollup *w, int64_t ts, const struct histogram *h)
{
    if (!w->count)
        w->first_ms = ts;
    w->count++;
    w->h = h;
    w->last_ms = ts;
}

void rollup_windows(const struct tsdb_points *p, int64_t from_ms, int64_t to_ms, int64_t res_ms, struct arena *a,
                    struct rollup_vec *out)
{
    const struct histogram *prev = NULL, *prev_last = NULL; /* newest before; of the window before */
    size_t i = 0;
    vec_clear(out);
    for (; i < p->n && p->ts[i] <= from_ms; i++)
        if (p->h && p->h[i] && !is_stale(p->h[i]->sum))
            prev = p->h[i];
    while (i < p->n && p->ts[i] <= to_ms) {
        int64_t end = window_end(p->ts[i], res_ms);
        struct rollup f = { .end_ms = end, .res_ms = res_ms }, h = f;
        double c = 0;
        int64_t marker_first = 0, marker_last = 0;
        bool stale = false, any_marker = false, reset = false;
        for (; i < p->n && p->ts[i] <= end; i++) {
            const struct histogram *x = p->h ? p->h[i] : NULL;
            stale = is_stale(x ? x->sum : p->v[i]);
            if (stale) {
                marker_first = any_marker ? marker_first : p->ts[i];
                marker_last = p->ts[i];
                any_marker = true;
            } else if (x) {
                if (prev && histogram_reset_between(prev, x)) {
                    h.resets++;
                    reset = true;
                }
                prev = x;
                add_hist(&h, p->ts[i], x);
            } else {
                add_float(&f, p->ts[i], p->v[i], &c);
            }
        }
        if (f.count || (any_marker && !h.count)) {
            if (!f.count) {
                f.first_ms = marker_first;
                f.last_ms = marker_last;
            }
            if (!isinf(f.sum))
                f.sum += c;
            f.stale = stale;
            vec_push(out, f);
        }
        if (h.count) {
            h.stale = stale;
            if (h.h->reset != HIST_RESET_GAUGE) {
                struct histogram *copy = arena_new(a, struct histogram);
                *copy = *h.h;
                copy->reset = reset                                                   ? HIST_RESET_YES
                              : prev_last && !histogram_reset_between(prev_last, h.h) ? HIST_RESET_NO
                                                                                      : HIST_RESET_UNKNOWN;
                h.h = copy;
            }
            prev_last = h.h;
            vec_push(out, h);
        }
    }
}

/* ---- columns ---- */
enum {
    COL_MIN_FIRST = 1, /* min is first, in every window */
    COL_MIN_LAST = 2,
    COL_MAX_LAST = 4,
    COL_MAX_FIRST = 8,
    COL_LAST_FIRST = 16,
    COL_SUM_PRODUCT = 32, /* sum is count x first */
    COL_HIDDEN = 64,      /* hidden and resets are there, else 0 */
    COL_STALE = 128,
    COL_ALL = 255,
};

static void put_f64(struct buf *out, const struct rollup *r, size_t n, size_t field, double *tmp)
{
    for (size_t i = 0; i < n; i++)
        memcpy(&tmp[i], (const char *)&r[i] + field, sizeof(double));
    codec_f64_encode(out, tmp, n);
}
#define PUT(field) put_f64(out, r, n, offsetof(struct rollup, field), tmp)

static unsigned columns_of(const struct rollup *r, size_t n)
{
    unsigned flags = COL_ALL & ~(unsigned)(COL_HIDDEN | COL_STALE);
    for (size_t i = 0; i < n; i++) {
        const struct rollup *x = &r[i];
        unsigned not_so = 0;
        not_so |= f64_bits(x->min) != f64_bits(x->first) ? COL_MIN_FIRST : 0;
        not_so |= f64_bits(x->min) != f64_bits(x->last) ? COL_MIN_LAST : 0;
        not_so |= f64_bits(x->max) != f64_bits(x->last) ? COL_MAX_LAST : 0;
        not_so |= f64_bits(x->max) != f64_bits(x->first) ? COL_MAX_FIRST : 0;
        not_so |= f64_bits(x->last) != f64_bits(x->first) ? COL_LAST_FIRST : 0;
        not_so |= f64_bits(x->sum) != f64_bits((double)x->count * x->first) ? COL_SUM_PRODUCT : 0;
        flags &= ~not_so;
        flags |= x->resets || f64_bits(x->hidden) ? COL_HIDDEN : 0;
        flags |= x->stale ? COL_STALE : 0;
    }
    return flags;
}

static void put_i64(struct buf *out, const struct rollup *r, size_t n, bool stale)
{
    int64_t *v = mem_alloc((n + 1) * sizeof(*v));
    for (size_t i = 0; i < n; i++)
        v[i] = stale ? r[i].stale : (int64_t)r[i].resets;
    codec_i64_encode(out, v, n);
    mem_free(v);
}

void rollup_floats_encode(struct buf *out, const struct rollup *r, size_t n)
{
    double *tmp = mem_alloc((n + 1) * sizeof(*tmp));
    unsigned flags = columns_of(r, n);
    buf_u8(out, (uint8_t)flags);
    PUT(first);
    if (!(flags & COL_LAST_FIRST))
        PUT(last);
    if (!(flags & (COL_MIN_FIRST | COL_MIN_LAST)))
        PUT(min);
    if (!(flags & (COL_MAX_LAST | COL_MAX_FIRST)))
        PUT(max);
    if (!(flags & COL_SUM_PRODUCT))
        PUT(sum);
    if (flags & COL_HIDDEN) {
        PUT(hidden);
        put_i64(out, r, n, false);
    }
    if (flags & COL_STALE)
        put_i64(out, r, n, true);
    mem_free(tmp);
}

bool rollup_times(const struct rollup_span *span, const int64_t *const tl[4], size_t at, struct rollup *ret)
{
    int64_t before = at ? tl[3][at - 1] : 0;
    *ret = (struct rollup){ .end_ms = tl[0][at], .res_ms = span->res_ms, .first_ms = tl[1][at], .last_ms = tl[2][at] };
    if (before < 0 || tl[3][at] <= before || ret->end_ms <= span->from_ms || ret->end_ms > span->to_ms ||
        ret->first_ms > ret->last_ms || ret->last_ms > ret->end_ms || ret->first_ms <= ret->end_ms - span->res_ms)
        return false;
    ret->count = (uint64_t)(tl[3][at] - before - 1);
    return true;
}

struct columns {
    str in;
    size_t n;
    double *tmp;
    int64_t *itmp;
    enum err e;
};

static void get_f64(struct columns *c, struct rollup *r, size_t field)
{
    size_t used;
    if (!c->e)
        c->e = codec_f64_decode(c->in, c->n, c->tmp, &used);
    if (c->e)
        return;
    c->in = str_skip(c->in, used);
    for (size_t i = 0; i < c->n; i++)
        memcpy((char *)&r[i] + field, &c->tmp[i], sizeof(double));
}
#define GET(field) get_f64(&c, r, offsetof(struct rollup, field))

static void get_i64(struct columns *c)
{
    size_t used;
    if (!c->e)
        c->e = codec_i64_decode(c->in, c->n, c->itmp, &used);
    if (!c->e)
        c->in = str_skip(c->in, used);
}

enum err rollup_floats_decode(str in, size_t n, struct rollup *r)
{
    if (!in.n)
        return ERR_CORRUPT;
    unsigned flags = (uint8_t)in.p[0];
    struct columns c = { str_skip(in, 1), n, mem_alloc((n + 1) * sizeof(double)), mem_alloc((n + 1) * sizeof(int64_t)),
                         OK };
    GET(first);
    if (!(flags & COL_LAST_FIRST))
        GET(last);
    if (!(flags & (COL_MIN_FIRST | COL_MIN_LAST)))
        GET(min);
    if (!(flags & (COL_MAX_LAST | COL_MAX_FIRST)))
        GET(max);
    if (!(flags & COL_SUM_PRODUCT))
        GET(sum);
    for (size_t i = 0; i < n && !c.e; i++) {
        struct rollup *x = &r[i];
        x->last = flags & COL_LAST_FIRST ? x->first : x->last;
        x->min = flags & COL_MIN_FIRST ? x->first : flags & COL_MIN_LAST ? x->last : x->min;
        x->max = flags & COL_MAX_LAST ? x->last : flags & COL_MAX_FIRST ? x->first : x->max;
        x->sum = flags & COL_SUM_PRODUCT ? (double)x->count * x->first : x->sum;
    }
    if (flags & COL_HIDDEN) {
        GET(hidden);
        get_i64(&c);
        for (size_t i = 0; i < n && !c.e; i++) {
            if (c.itmp[i] < 0 || (uint64_t)c.itmp[i] > r[i].count)
                c.e = ERR_CORRUPT;
            r[i].resets = (uint64_t)c.itmp[i];
        }
    }
    if (flags & COL_STALE) {
        get_i64(&c);
        for (size_t i = 0; i < n && !c.e; i++)
            r[i].stale = c.itmp[i] != 0;
    }
    mem_free(c.tmp);
    mem_free(c.itmp);
    return c.e;
}

/* Histograms of one layout, then resets and markers. */
void rollup_hists_encode(struct buf *out, const struct rollup *r, size_t n)
{
    const struct histogram **h = mem_alloc((n + 1) * sizeof(*h));
    for (size_t i = 0; i < n; i++)
        h[i] = r[i].h;
    hist_chunk_encode(out, h, n);
    mem_free(h);
    put_i64(out, r, n, false);
    put_i64(out, r, n, true);
}

enum err rollup_hists_decode(str in, size_t n, struct arena *a, struct rollup *r)
{
    struct rd rd = rd_init(in);
    struct histogram *h;
    TRY(hist_chunk_decode(&rd, n, a, &h));
    struct columns c = { str_n(rd.p, rd_left(&rd)), n, NULL, arena_array(a, int64_t, n + 1), OK };
    get_i64(&c);
    for (size_t i = 0; i < n && !c.e; i++) {
        r[i].h = &h[i];
        r[i].resets = (uint64_t)c.itmp[i];
    }
    get_i64(&c);
    for (size_t i = 0; i < n && !c.e; i++)
        r[i].stale = c.itmp[i] != 0;
    return c.e;
}
