/* Remote read (manual: remote_read.h). Field numbers: prometheus/prompb/{remote,types}.proto. */
#include "wire/remote_read.h"

#include "base/check.h"
#include "wire/compress.h"
#include "wire/remote_write_int.h"
#include "wire/xor_chunk.h"

enum { FRAME_BYTES_MAX = 1 << 20 };

/* ---- request ---- */

static enum err matcher_read(struct arena *a, struct pb m, struct rr_query *q, struct err_text *reterr)
{
    uint64_t type = 0;
    str name = STR(""), value = STR("");
    while (pb_next(&m))
        switch (m.field) {
        case 1:
            type = pb_varint(&m);
            break;
        case 2:
            name = pb_bytes(&m);
            break;
        case 3:
            value = pb_bytes(&m);
            break;
        default:
            pb_skip(&m);
        }
    if (m.bad)
        return err_fail(reterr, ERR_PARSE, "malformed protobuf in a matcher");
    if (type > MATCH_NRE)
        return err_fail(reterr, ERR_PARSE, "invalid matcher type");
    if (!str_utf8_ok(name) || !str_utf8_ok(value))
        return err_fail(reterr, ERR_PARSE, "a matcher is not UTF-8");
    if (q->n_matchers >= RR_MATCHERS_MAX)
        return err_fail(reterr, ERR_LIMIT, "more than %d matchers", RR_MATCHERS_MAX);
    if (!q->m)
        q->m = arena_zarray(a, struct matcher, RR_MATCHERS_MAX);
    TRY(matcher_init(&q->m[q->n_matchers], (enum match_type)type, name, value, reterr));
    q->n_matchers++;
    return OK;
}

static enum err query_read(struct arena *a, struct pb m, struct rr_query *q, struct err_text *reterr)
{
    while (pb_next(&m))
        switch (m.field) {
        case 1:
            q->from_ms = (int64_t)pb_varint(&m);
            break;
        case 2:
            q->to_ms = (int64_t)pb_varint(&m);
            break;
        case 3: {
            struct pb sub = pb_sub(&m);
            if (!m.bad)
                TRY(matcher_read(a, sub, q, reterr));
            break;
        }
        default: /* 4: hints, of no use here */
            pb_skip(&m);
        }
    return m.bad ? err_fail(reterr, ERR_PARSE, "malformed protobuf in a query") : OK;
}

static void types_read(struct pb *m, bool *any, bool *found, enum rr_type *ret)
{
    struct pb v = pb_packed(m, PB_VARINT);
    while (v.p < v.end) {
        uint64_t t = pb_varint_raw(&v);
        *any = true;
        if (!*found && !v.bad && t <= RR_STREAMED_XOR_CHUNKS) {
            *ret = (enum rr_type)t;
            *found = true;
        }
    }
    pb_join(m, &v);
}

enum err rr_decode_plain(struct arena *a, str plain, struct rr_request *ret, struct err_text *reterr)
{
    struct pb m = pb_init(plain);
    bool any = false, found = false;
    *ret = (struct rr_request){ .queries = arena_zarray(a, struct rr_query, RR_QUERIES_MAX) };
    while (pb_next(&m))
        if (m.field == 1) {
            struct pb sub = pb_sub(&m);
            if (ret->n >= RR_QUERIES_MAX)
                return err_fail(reterr, ERR_LIMIT, "more than %d queries in one request", RR_QUERIES_MAX);
            if (!m.bad)
                TRY(query_read(a, sub, &ret->queries[ret->n++], reterr));
        } else if (m.field == 2) {
            types_read(&m, &any, &found, &ret->type);
        } else {
            pb_skip(&m);
        }
    if (m.bad)
        return err_fail(reterr, ERR_PARSE, "malformed protobuf at byte %zu of the decompressed ReadRequest",
                        (size_t)(m.bad_at - plain.p));
    if (any && !found)
        return err_fail(reterr, ERR_UNSUPPORTED, "none of the accepted response types is known");
    return OK;
}

enum err rr_decode(struct arena *a, str body, size_t bytes_max, struct rr_request *ret, struct err_text *reterr)
{
    str plain;
    *ret = (struct rr_request){ 0 };
    TRY(snappy_unpack(a, body, bytes_max, &plain, reterr));
    return rr_decode_plain(a, plain, ret, reterr);
}

void rr_request_deinit(struct rr_request *r)
{
    for (size_t i = 0; i < r->n; i++)
        for (size_t k = 0; k < r->queries[i].n_matchers; k++)
            matcher_deinit(&r->queries[i].m[k]);
    r->n = 0;
}

/* ---- samples ---- */

static void labels_write(struct buf *b, struct labels ls)
{
    labels_each (l, ls) {
        size_t at = pb_open(b, 1);
        pb_put_bytes(b, 1, l->name);
        pb_put_bytes(b, 2, l->value);
        pb_close(b, at);
    }
}

static inline bool is_hist(const struct rr_points *p, size_t i)
{
    return p->h && p->h[i];
}

size_t rr_result_open(struct buf *b)
{
    return pb_open(b, 1);
}

void rr_result_close(struct buf *b, size_t at)
{
    pb_close(b, at);
}

void rr_series(struct buf *b, struct labels ls, const struct rr_points *p)
{
    size_t at = pb_open(b, 1);
    labels_write(b, ls);
    for (size_t i = 0; i < p->n; i++) {
        if (is_hist(p, i)) {
            struct hist_sample hs = { p->ts[i], p->h[i] };
            rw_hist_write(b, 4, &hs, 0);
            continue;
        }
        size_t in = pb_open(b, 2);
        pb_put_double(b, 1, p->v[i]);
        pb_put_varint(b, 2, (uint64_t)p->ts[i]);
        pb_close(b, in);
    }
    pb_close(b, at);
}

/* ---- frames ---- */

/* The samples that make the next chunk, from i on. */
static size_t chunk_len(const struct rr_points *p, size_t i)
{
    size_t n = 1;
    if (is_hist(p, i))
        return 1;
    while (i + n < p->n && n < XOR_SAMPLES_MAX && !is_hist(p, i + n))
        n++;
    return n;
}

static void chunk_write(struct buf *b, const struct rr_points *p, size_t i, size_t n)
{
    AUTO_BUF struct buf data;
    buf_init(&data, 0);
    bool hist = is_hist(p, i);
    if (hist)
        xor_chunk_histogram(&data, p->ts[i], p->h[i]);
    else
        xor_chunk_floats(&data, p->ts + i, p->v + i, n);
    size_t at = pb_open(b, 2);
    pb_put_varint(b, 1, (uint64_t)p->ts[i]);
    pb_put_varint(b, 2, (uint64_t)p->ts[i + n - 1]);
    pb_put_varint(b, 3, hist ? XOR_FLOAT_HISTOGRAM : XOR_FLOATS);
    pb_put_bytes(b, 4, buf_str(&data));
    pb_close(b, at);
}

static void frame_write(struct buf *b, str message)
{
    uint32_t crc = __builtin_bswap32(crc32c(0, message));
    buf_uvarint(b, message.n);
    buf_u32(b, crc);
    buf_str_add(b, message);
}

void rr_frames(struct buf *b, uint64_t query, struct labels ls, const struct rr_points *p)
{
    AUTO_BUF struct buf m;
    buf_init(&m, 0);
    for (size_t i = 0; i < p->n;) {
        buf_clear(&m);
        size_t at = pb_open(&m, 1);
        labels_write(&m, ls);
        while (i < p->n && m.n < FRAME_BYTES_MAX) {
            size_t n = chunk_len(p, i);
            chunk_write(&m, p, i, n);
            i += n;
        }
        pb_close(&m, at);
        if (query)
            pb_put_varint(&m, 2, query);
        frame_write(b, buf_str(&m));
    }
}
