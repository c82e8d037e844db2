/* Remote write 1.0 (manual: remote_write.h). Field numbers: prometheus/prompb/{remote,types}.proto.
 *
 * Hot path: one walk over the plain protobuf. Labels and samples go to runs cut from arena blocks (wire_int.h), label
 * strings stay where they are. Senders keep labels sorted, so the check for order is all that usually remains. */
#include "wire/remote_write.h"

#include "base/check.h"
#include "wire/compress.h"
#include "wire/pb.h"
#include "wire/remote_write_int.h"

enum { REQ_SERIES = 1, REQ_METADATA = 3 };
enum { TS_LABEL = 1, TS_SAMPLE = 2, TS_EXEMPLAR = 3, TS_HISTOGRAM = 4 };

/* ---- which version ---- */

static bool param_value(str content_type, str key, str *ret)
{
    str param, name;
    str_cut(&content_type, ';', &param);
    while (str_cut(&content_type, ';', &param)) {
        param = str_trim(param);
        if (str_cut(&param, '=', &name) && str_ieq(str_trim(name), key)) {
            *ret = str_trim(param);
            return true;
        }
    }
    return false;
}

enum err rw_version_of(str content_type, str content_encoding, enum rw_version *ret, struct err_text *reterr)
{
    str rest = content_type, type = STR_NONE, proto = STR_NONE;
    str_cut(&rest, ';', &type);
    type = str_trim(type);
    if (type.n && !str_ieq(type, STR("application/x-protobuf")))
        return err_fail(reterr, ERR_UNSUPPORTED, "Content-Type \"" STR_FMT "\" is not application/x-protobuf",
                        STR_ARG(str_take(content_type, 100)));
    content_encoding = str_trim(content_encoding);
    if (content_encoding.n && !str_ieq(content_encoding, STR("snappy")))
        return err_fail(reterr, ERR_UNSUPPORTED, "Content-Encoding \"" STR_FMT "\" is not snappy",
                        STR_ARG(str_take(content_encoding, 100)));
    if (!param_value(content_type, STR("proto"), &proto) || str_eq(proto, STR("prometheus.WriteRequest"))) {
        *ret = RW_V1;
        return OK;
    }
    if (str_eq(proto, STR("io.prometheus.write.v2.Request"))) {
        *ret = RW_V2;
        return OK;
    }
    return err_fail(reterr, ERR_UNSUPPORTED, "unknown remote write message \"" STR_FMT "\"",
                    STR_ARG(str_take(proto, 100)));
}

/* ---- decode ---- */

struct decoder {
    struct arena *a;
    const struct wire_limits *lim;
    struct batch *out;
    struct wire_rejects *rejects;
    RUN(struct label) labels;
    RUN(struct sample) samples;
    RUN(struct hist_sample) hists;
    RUN(struct exemplar) exemplars;
    uint64_t salt; /* of keys: the encoding and the limits that labels were checked against */
    str raw;       /* labels of the series being read, as sent; empty = not in one piece */
    hash128 key;
    uint64_t ref;
    uint32_t hint; /* of who knows series: where it found the last one */
    size_t bad_hists;
    struct err_text why; /* of the first bad histogram of the series */
};

static inline struct sample sample_read(struct pb m, struct pb *up)
{
    struct sample s = { 0 };
    /* what every sender writes: value, then time */
    if (m.end - m.p >= 11 && m.p[0] == 0x09 && m.p[9] == 0x10) {
        memcpy(&s.v, m.p + 1, 8);
        uint64_t ts = 0;
        unsigned shift = 0;
        for (const char *p = m.p + 10; p < m.end && shift < 63; shift += 7) {
            uint8_t b = (uint8_t)*p++;
            ts |= (uint64_t)(b & 0x7f) << shift;
            if (!(b & 0x80) && p == m.end) {
                s.ts_ms = (int64_t)ts;
                return s;
            }
            if (!(b & 0x80))
                break;
        }
        s.v = 0;
    }
    while (pb_next(&m))
        switch (m.field) {
        case 1:
            s.v = pb_double(&m);
            break;
        case 2:
            s.ts_ms = (int64_t)pb_varint(&m);
            break;
        default:
            pb_skip(&m);
        }
    pb_join(up, &m);
    return s;
}

static void exemplar_read(struct decoder *d, struct pb m, struct pb *up)
{
    struct exemplar ex = { 0 };
    VEC(struct label) v = { 0 };
    while (pb_next(&m))
        switch (m.field) {
        case 1: {
            struct label l = wire_label_read(pb_sub(&m), &m);
            if (v.n <= d->lim->labels_max)
                avec_push(d->a, &v, l);
            break;
        }
        case 2:
            ex.v = pb_double(&m);
            break;
        case 3:
            ex.ts_ms = (int64_t)pb_varint(&m);
            break;
        default:
            pb_skip(&m);
        }
    pb_join(up, &m);
    bool fine = RUN_LEN(&d->exemplars) < RW_SERIES_EXEMPLARS_MAX && v.n <= d->lim->labels_max &&
                labels_sort(v.p, &v.n, NULL) == OK;
    for (size_t i = 0; i < v.n && fine; i++)
        fine = wire_utf8_ok(v.p[i].name) && wire_utf8_ok(v.p[i].value) && v.p[i].name.n;
    if (!fine) {
        d->rejects->exemplars++;
        return;
    }
    ex.labels = (struct labels){ v.p, v.n };
    RUN_PUSH(d->a, &d->exemplars, ex);
}

/* ---- native histograms (remote_write_hist.c) ---- */

static void histogram_read(struct decoder *d, struct pb m, struct pb *up)
{
    struct rw_hist r;
    enum err e = rw_hist_read(d->a, &m, &r, d->bad_hists ? NULL : &d->why);
    pb_join(up, &m);
    if (m.bad)
        return;
    if (e != OK)
        d->bad_hists++;
    else
        RUN_PUSH(d->a, &d->hists, r.sample);
}

/* ---- series, metadata, request ---- */

static void series_drop(struct decoder *d)
{
    RUN_DROP(&d->labels);
    RUN_DROP(&d->samples);
    RUN_DROP(&d->hists);
    RUN_DROP(&d->exemplars);
}

static void series_keep(struct decoder *d, struct labels ls)
{
    struct batch *out = d->out;
    avec_reserve(d->a, &out->series, out->series.n + 1);
    struct batch_series *s = &out->series.p[out->series.n++]; /* field by field: a copy would wait for its own stores */
    s->labels = ls;
    s->ref = NULL;
    s->key = NULL;
    if (d->raw.n) {
        struct batch_key *k = arena_array(d->a, struct batch_key, 1);
        k->hash = d->key;
        k->bytes = d->raw;
        k->ref = d->ref;
        s->key = k;
        s->ref = &k->ref;
    }
    s->samples = RUN_START(&d->samples);
    s->n_samples = RUN_LEN(&d->samples);
    s->hists = RUN_START(&d->hists);
    s->n_hists = RUN_LEN(&d->hists);
    s->exemplars = RUN_START(&d->exemplars);
    s->n_exemplars = RUN_LEN(&d->exemplars);
    s->start_ms = NULL;
    s->meta = (struct metric_meta){ 0 };
    s->temporality = 0;
    s->resource = NULL;
    out->n_samples += s->n_samples + s->n_hists;
    out->n_exemplars += s->n_exemplars;
    RUN_CLOSE(&d->labels);
    RUN_CLOSE(&d->samples);
    RUN_CLOSE(&d->hists);
    RUN_CLOSE(&d->exemplars);
}

/* The label fields a series begins with. */
static inline str labels_skim(struct pb m)
{
    const char *p = m.p;
    while (m.end - p >= 3 && p[0] == 0x0a) {
        size_t n = (uint8_t)p[1], head = 2;
        if (n & 0x80) {
            n = (n & 0x7f) | (size_t)(uint8_t)p[2] << 7;
            head = 3;
        }
        if (n >= (1u << 14) || n + head > (size_t)(m.end - p))
            break;
        p += head + n;
    }
    return str_n(m.p, (size_t)(p - m.p));
}

/* A field other than a label. */
static inline void part_read(struct decoder *d, struct pb *m)
{
    switch (m->field) {
    case TS_SAMPLE: {
        struct sample s = sample_read(pb_sub(m), m);
        if (RUN_LEN(&d->samples) <= d->lim->samples_max)
            RUN_PUSH(d->a, &d->samples, s);
        break;
    }
    case TS_EXEMPLAR:
        exemplar_read(d, pb_sub(m), m);
        break;
    case TS_HISTOGRAM:
        if (arena_over(d->a))
            pb_skip(m);
        else
            histogram_read(d, pb_sub(m), m);
        break;
    default:
        pb_skip(m);
    }
}

static bool has_parts(const struct decoder *d)
{
    return RUN_LEN(&d->samples) || RUN_LEN(&d->hists) || RUN_LEN(&d->exemplars);
}

/* A series whose label bytes are known: the rest of it. False: read it from the start, labels and all. */
static bool known_read(struct decoder *d, struct pb m, struct pb *up)
{
    size_t exemplars = d->rejects->exemplars;
    m.p = d->raw.p + d->raw.n;
    while (pb_next(&m) && m.field != TS_LABEL)
        part_read(d, &m);
    if (!m.bad && (m.p != m.end || m.field == TS_LABEL || d->bad_hists)) {
        series_drop(d);
        d->rejects->exemplars = exemplars;
        d->bad_hists = 0;
        return false;
    }
    pb_join(up, &m);
    if (!m.bad && has_parts(d))
        series_keep(d, LABELS_NONE);
    else
        series_drop(d);
    return true;
}

static void series_read(struct decoder *d, struct pb m, struct pb *up)
{
    const struct wire_known *known = d->lim->known;
    d->bad_hists = 0;
    d->ref = 0;
    d->raw = known ? labels_skim(m) : STR_NONE;
    if (d->raw.n)
        d->ref = known->find(known->ctx, d->raw, d->salt, &d->hint, &d->key);
    if (d->ref && known_read(d, m, up))
        return;
    d->ref = 0;
    while (pb_next(&m)) {
        if (m.field != TS_LABEL) {
            part_read(d, &m);
            continue;
        }
        struct label l = wire_label_read(pb_sub(&m), &m);
        if (RUN_LEN(&d->labels) <= d->lim->labels_max) /* one too many is kept, to be refused */
            RUN_PUSH(d->a, &d->labels, l);
        if (d->raw.n && m.p > str_end(d->raw)) /* labels elsewhere, too */
            d->raw = STR_NONE;
    }
    pb_join(up, &m);
    if (m.bad) {
        series_drop(d);
        return;
    }
    size_t n = RUN_LEN(&d->labels);
    struct label *p = RUN_START(&d->labels);
    struct err_text why;
    enum err e = wire_labels_finish(p, &n, d->lim, &why);
    struct labels ls = { p, n };
    if (e != OK) {
        wire_reject(d->rejects, ls, &why);
        d->rejects->series++;
        d->rejects->samples += RUN_LEN(&d->samples) + RUN_LEN(&d->hists) + d->bad_hists;
        d->rejects->exemplars += RUN_LEN(&d->exemplars);
        series_drop(d);
        return;
    }
    if (d->bad_hists) {
        wire_reject(d->rejects, ls, &d->why);
        d->rejects->samples += d->bad_hists;
    }
    if (has_parts(d))
        series_keep(d, ls);
    else
        series_drop(d);
}

/* Labels that were accepted once. */
struct labels rw1_labels_of(struct arena *a, str bytes)
{
    VEC(struct label) v = { 0 };
    struct pb m = pb_init(bytes);
    while (pb_next(&m))
        if (m.field == TS_LABEL)
            avec_push(a, &v, wire_label_read(pb_sub(&m), &m));
        else
            pb_skip(&m);
    return m.bad || labels_sort(v.p, &v.n, NULL) ? LABELS_NONE : (struct labels){ v.p, v.n };
}

static uint64_t limits_salt(const struct wire_limits *lim)
{
    return hash_u64(hash_u64(hash_u64(lim->labels_max + 1) + lim->label_name_bytes_max) + lim->label_value_bytes_max);
}

static void family_read(struct decoder *d, struct pb m, struct pb *up)
{
    struct batch_family f = { 0 };
    while (pb_next(&m))
        switch (m.field) {
        case 1: {
            uint64_t t = pb_varint(&m);
            f.meta.type = t <= METRIC_STATESET ? (enum metric_type)t : METRIC_UNKNOWN;
            break;
        }
        case 2:
            f.name = pb_bytes(&m);
            break;
        case 4:
            f.meta.help = pb_bytes(&m);
            break;
        case 5:
            f.meta.unit = pb_bytes(&m);
            break;
        default:
            pb_skip(&m);
        }
    pb_join(up, &m);
    if (!m.bad && f.name.n && wire_utf8_ok(f.name) && wire_utf8_ok(f.meta.help) && wire_utf8_ok(f.meta.unit))
        avec_push(d->a, &d->out->families, f);
}

enum err rw_limit_fail(const struct batch *b, const struct wire_limits *lim, struct err_text *reterr)
{
    if (b->series.n > lim->series_max)
        return err_fail(reterr, ERR_LIMIT, "more than %zu series in one request", lim->series_max);
    if (b->n_samples > lim->samples_max)
        return err_fail(reterr, ERR_LIMIT, "more than %zu samples in one request", lim->samples_max);
    return err_fail(reterr, ERR_LIMIT, "the request needs more than %zu bytes of memory to decode", b->a->bytes_max);
}

enum err rw1_decode_plain(struct arena *a, str plain, const struct wire_limits *lim, struct batch *out,
                          struct wire_rejects *ret_rejects, struct err_text *reterr)
{
    struct decoder d = { .a = a, .lim = lim, .out = out, .rejects = ret_rejects, .salt = limits_salt(lim) };
    memset(ret_rejects, 0, sizeof(*ret_rejects));
    memset(out, 0, sizeof(*out));
    out->a = a;
    out->labels_of = rw1_labels_of;
    struct pb m = pb_init(plain);
    while (pb_next(&m)) {
        if (m.field == REQ_SERIES) {
            struct pb s = pb_sub(&m);
            if (!out->series.cap && s.end > s.p) /* the others will be much the same */
                avec_reserve(a, &out->series,
                             MIN((size_t)(m.end - m.p) / (size_t)(s.end - s.p) + 16, lim->series_max / 8 + 16));
            series_read(&d, s, &m);
        } else if (m.field == REQ_METADATA)
            family_read(&d, pb_sub(&m), &m);
        else
            pb_skip(&m);
        if (__builtin_expect(rw_over_limit(out, lim, a), 0))
            return rw_limit_fail(out, lim, reterr);
    }
    if (m.bad) {
        size_t pos = (size_t)(m.bad_at - plain.p);
        return err_fail_at(reterr, ERR_PARSE, pos, "malformed protobuf at byte %zu of the decompressed WriteRequest",
                           pos);
    }
    return OK;
}

enum err rw1_decode(struct arena *a, str body, size_t bytes_max, const struct wire_limits *lim, struct batch *out,
                    struct wire_rejects *ret_rejects, struct err_text *reterr)
{
    str plain;
    TRY(snappy_unpack(a, body, bytes_max, &plain, reterr));
    return rw1_decode_plain(a, plain, lim, out, ret_rejects, reterr);
}

/* ---- encode ---- */

static void labels_write(struct buf *b, uint32_t field, struct labels ls)
{
    labels_each (l, ls) {
        size_t at = pb_open(b, field);
        pb_put_bytes(b, 1, l->name);
        pb_put_bytes(b, 2, l->value);
        pb_close(b, at);
    }
}

static void exemplar_write(struct buf *b, const struct exemplar *ex)
{
    size_t at = pb_open(b, TS_EXEMPLAR);
    labels_write(b, 1, ex->labels);
    pb_put_double(b, 2, ex->v);
    pb_put_varint(b, 3, (uint64_t)ex->ts_ms);
    pb_close(b, at);
}

void rw1_labels_encode(struct buf *out, struct labels ls)
{
    labels_write(out, TS_LABEL, ls);
}

void rw1_encode(struct buf *out, const struct batch *batch)
{
    vec_each (const struct batch_series, s, &batch->series) {
        size_t at = pb_open(out, REQ_SERIES);
        if (s->key && batch->labels_of == rw1_labels_of)
            buf_str_add(out, s->key->bytes);
        else
            labels_write(out, TS_LABEL, s->labels);
        for (size_t i = 0; i < s->n_samples; i++) {
            size_t in = pb_open(out, TS_SAMPLE);
            pb_put_double(out, 1, s->samples[i].v);
            pb_put_varint(out, 2, (uint64_t)s->samples[i].ts_ms);
            pb_close(out, in);
        }
        for (size_t i = 0; i < s->n_exemplars; i++)
            exemplar_write(out, &s->exemplars[i]);
        for (size_t i = 0; i < s->n_hists; i++)
            rw_hist_write(out, TS_HISTOGRAM, &s->hists[i], 0);
        pb_close(out, at);
    }
    vec_each (const struct batch_family, f, &batch->families) {
        size_t at = pb_open(out, REQ_METADATA);
        pb_put_varint(out, 1, f->meta.type);
        pb_put_bytes(out, 2, f->name);
        pb_put_bytes(out, 4, f->meta.help);
        pb_put_bytes(out, 5, f->meta.unit);
        pb_close(out, at);
    }
}
