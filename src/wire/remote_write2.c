/* Remote write 2.0 (manual: remote_write.h). Field numbers: io/prometheus/write/v2/types.proto.
 *
 * Strings stand once, in the table of symbols, and are referred to by index; everything else is one walk over the plain
 * protobuf as in 1.0. The table may come after the series that need it (protobuf does not order fields), so it is
 * gathered first: one cheap pass that skips the series. */
#include "base/check.h"
#include "wire/compress.h"
#include "wire/remote_write_int.h"

enum { REQ_SYMBOLS = 4, REQ_SERIES = 5 };
enum { TS_LABELS = 1, TS_SAMPLE = 2, TS_HISTOGRAM = 3, TS_EXEMPLAR = 4, TS_METADATA = 5, TS_CREATED = 6 };
enum { META_TYPE = 1, META_HELP = 3, META_UNIT = 4 };

struct symbols {
    str *p;
    size_t n, cap;
};

struct decoder {
    struct arena *a;
    const struct wire_limits *lim;
    struct batch *out;
    struct wire_rejects *rejects;
    struct symbols symbols;
    RUN(struct label) labels;
    RUN(struct sample) samples;
    RUN(int64_t) sample_starts, hist_starts;
    RUN(struct hist_sample) hists;
    RUN(struct exemplar) exemplars;
    /* of the series being read */
    struct metric_meta meta;
    int64_t created_ms;
    size_t bad_hists;
    bool has_starts, bad_refs;
    struct err_text why;
};

/* ---- references ---- */

static bool symbol_of(const struct symbols *t, uint64_t ref, str *ret)
{
    if (ref >= t->n)
        return false;
    *ret = t->p[ref];
    return true;
}

static void refs_bad(struct decoder *d, const char *what, uint64_t ref)
{
    if (!d->bad_refs)
        IGNORE_ERR(err_fail(&d->why, ERR_INVALID, "%s refers to symbol %llu of %zu", what, (unsigned long long)ref,
                            d->symbols.n));
    d->bad_refs = true;
}

/* Pairs of references, in one packed field or several; *half keeps the name between two pieces. */
struct half {
    str name;
    bool open;
};

static bool pair_next(struct decoder *d, struct pb *v, struct half *half, const char *what, struct label *ret)
{
    uint64_t ref = pb_varint_raw(v);
    str s = STR_NONE;
    if (v->bad)
        return false;
    if (!symbol_of(&d->symbols, ref, &s))
        refs_bad(d, what, ref);
    half->open = !half->open;
    if (half->open) {
        half->name = s;
        return false;
    }
    *ret = (struct label){ half->name, s };
    return true;
}

static void labels_read(struct decoder *d, struct pb *m, struct half *half)
{
    struct pb v = pb_packed(m, PB_VARINT);
    while (v.p < v.end) {
        struct label l;
        if (pair_next(d, &v, half, "a label", &l) && RUN_LEN(&d->labels) <= d->lim->labels_max)
            RUN_PUSH(d->a, &d->labels, l);
    }
    pb_join(m, &v);
}

/* ---- the parts of a series ---- */

static void sample_read(struct decoder *d, struct pb m, struct pb *up)
{
    struct sample s = { 0 };
    int64_t start = 0;
    while (pb_next(&m))
        switch (m.field) {
        case 1:
            s.v = pb_double(&m);
            break;
        case 2:
            s.ts_ms = (int64_t)pb_varint(&m);
            break;
        case 3:
            start = (int64_t)pb_varint(&m);
            break;
        default:
            pb_skip(&m);
        }
    pb_join(up, &m);
    if (RUN_LEN(&d->samples) > d->lim->samples_max)
        return;
    RUN_PUSH(d->a, &d->samples, s);
    RUN_PUSH(d->a, &d->sample_starts, start);
    d->has_starts |= start != 0;
}

static void histogram_read(struct decoder *d, struct pb m, struct pb *up)
{
    struct rw_hist r;
    enum err e = rw_hist_read(d->a, &m, &r, d->bad_hists || d->bad_refs ? NULL : &d->why);
    pb_join(up, &m);
    if (m.bad)
        return;
    if (e != OK) {
        d->bad_hists++;
        return;
    }
    RUN_PUSH(d->a, &d->hists, r.sample);
    RUN_PUSH(d->a, &d->hist_starts, r.start_ms);
    d->has_starts |= r.start_ms != 0;
}

static bool exemplar_labels_ok(struct label *p, size_t *n, const struct wire_limits *lim)
{
    if (*n > lim->labels_max || labels_sort(p, n, NULL) != OK)
        return false;
    for (size_t i = 0; i < *n; i++)
        if (!p[i].name.n || !wire_utf8_ok(p[i].name) || !wire_utf8_ok(p[i].value))
            return false;
    return true;
}

static void exemplar_read(struct decoder *d, struct pb m, struct pb *up)
{
    struct exemplar ex = { 0 };
    struct half half = { 0 };
    struct label l;
    VEC(struct label) v = { 0 };
    bool bad_before = d->bad_refs;
    while (pb_next(&m))
        if (m.field == 1) {
            struct pb refs = pb_packed(&m, PB_VARINT);
            while (refs.p < refs.end)
                if (pair_next(d, &refs, &half, "an exemplar", &l) && v.n <= d->lim->labels_max)
                    avec_push(d->a, &v, l);
            pb_join(&m, &refs);
        } else if (m.field == 2) {
            ex.v = pb_double(&m);
        } else if (m.field == 3) {
            ex.ts_ms = (int64_t)pb_varint(&m);
        } else {
            pb_skip(&m);
        }
    pb_join(up, &m);
    bool fine = d->bad_refs == bad_before && !half.open && RUN_LEN(&d->exemplars) < RW_SERIES_EXEMPLARS_MAX;
    if (!fine || !exemplar_labels_ok(v.p, &v.n, d->lim)) {
        d->bad_refs = bad_before; /* an exemplar does not cost its series */
        d->rejects->exemplars++;
        return;
    }
    ex.labels = (struct labels){ v.p, v.n };
    RUN_PUSH(d->a, &d->exemplars, ex);
}

static void metadata_read(struct decoder *d, struct pb m, struct pb *up)
{
    uint64_t type = 0, help = 0, unit = 0;
    while (pb_next(&m))
        switch (m.field) {
        case META_TYPE:
            type = pb_varint(&m);
            break;
        case META_HELP:
            help = pb_varint(&m);
            break;
        case META_UNIT:
            unit = pb_varint(&m);
            break;
        default:
            pb_skip(&m);
        }
    pb_join(up, &m);
    struct metric_meta meta = { .type = type <= METRIC_STATESET ? (enum metric_type)type : METRIC_UNKNOWN };
    if (m.bad)
        return;
    if (!symbol_of(&d->symbols, help, &meta.help))
        refs_bad(d, "help", help);
    if (!symbol_of(&d->symbols, unit, &meta.unit))
        refs_bad(d, "unit", unit);
    if (!d->bad_refs && wire_utf8_ok(meta.help) && wire_utf8_ok(meta.unit))
        d->meta = meta;
}

/* ---- a series ---- */

static void series_drop(struct decoder *d)
{
    RUN_DROP(&d->labels);
    RUN_DROP(&d->samples);
    RUN_DROP(&d->sample_starts);
    RUN_DROP(&d->hists);
    RUN_DROP(&d->hist_starts);
    RUN_DROP(&d->exemplars);
}

static void series_refuse(struct decoder *d, struct labels ls, const struct err_text *why)
{
    wire_reject(d->rejects, ls, why);
    d->rejects->series++;
    d->rejects->samples += RUN_LEN(&d->samples) + RUN_LEN(&d->hists) + d->bad_hists;
    d->rejects->exemplars += RUN_LEN(&d->exemplars);
    series_drop(d);
}

/* Of samples, then of histograms; NULL when nothing is known. */
static const int64_t *starts_of(struct decoder *d)
{
    size_t n_samples = RUN_LEN(&d->samples), n = n_samples + RUN_LEN(&d->hists);
    if (!d->has_starts && !d->created_ms)
        return NULL;
    int64_t *p = arena_array(d->a, int64_t, n);
    for (size_t i = 0; i < n; i++) {
        p[i] = i < n_samples ? RUN_START(&d->sample_starts)[i] : RUN_START(&d->hist_starts)[i - n_samples];
        if (!p[i])
            p[i] = d->created_ms;
    }
    return p;
}

static void series_keep(struct decoder *d, struct labels ls)
{
    struct batch_series s = {
        .labels = ls,
        .samples = RUN_START(&d->samples),
        .n_samples = RUN_LEN(&d->samples),
        .hists = RUN_START(&d->hists),
        .n_hists = RUN_LEN(&d->hists),
        .exemplars = RUN_START(&d->exemplars),
        .n_exemplars = RUN_LEN(&d->exemplars),
        .start_ms = starts_of(d),
        .meta = d->meta,
    };
    avec_push(d->a, &d->out->series, s);
    d->out->n_samples += s.n_samples + s.n_hists;
    d->out->n_exemplars += s.n_exemplars;
    RUN_CLOSE(&d->labels);
    RUN_CLOSE(&d->samples);
    RUN_DROP(&d->sample_starts);
    RUN_CLOSE(&d->hists);
    RUN_DROP(&d->hist_starts);
    RUN_CLOSE(&d->exemplars);
}

static void series_end(struct decoder *d, bool odd)
{
    size_t n = RUN_LEN(&d->labels);
    struct label *p = RUN_START(&d->labels);
    struct err_text why;
    if (odd && !d->bad_refs) {
        IGNORE_ERR(err_fail(&d->why, ERR_INVALID, "an odd number of label references"));
        d->bad_refs = true;
    }
    if (d->bad_refs) {
        series_refuse(d, LABELS_NONE, &d->why);
        return;
    }
    enum err e = wire_labels_finish(p, &n, d->lim, &why);
    struct labels ls = { p, n };
    if (e == OK && RUN_LEN(&d->samples) + RUN_LEN(&d->hists) + d->bad_hists == 0)
        e = err_fail(&why, ERR_INVALID, "neither a sample nor a histogram");
    if (e != OK) {
        series_refuse(d, ls, &why);
        return;
    }
    if (d->bad_hists) {
        wire_reject(d->rejects, ls, &d->why);
        d->rejects->samples += d->bad_hists;
    }
    if (RUN_LEN(&d->samples) + RUN_LEN(&d->hists)) {
        series_keep(d, ls);
        return;
    }
    d->rejects->exemplars += RUN_LEN(&d->exemplars);
    series_drop(d);
}

static void series_read(struct decoder *d, struct pb m, struct pb *up)
{
    struct half half = { 0 };
    d->meta = (struct metric_meta){ 0 };
    d->created_ms = 0;
    d->bad_hists = 0;
    d->has_starts = d->bad_refs = false;
    while (pb_next(&m))
        switch (m.field) {
        case TS_LABELS:
            labels_read(d, &m, &half);
            break;
        case TS_SAMPLE:
            sample_read(d, pb_sub(&m), &m);
            break;
        case TS_HISTOGRAM:
            if (arena_over(d->a))
                pb_skip(&m);
            else
                histogram_read(d, pb_sub(&m), &m);
            break;
        case TS_EXEMPLAR:
            exemplar_read(d, pb_sub(&m), &m);
            break;
        case TS_METADATA:
            metadata_read(d, pb_sub(&m), &m);
            break;
        case TS_CREATED:
            d->created_ms = (int64_t)pb_varint(&m);
            break;
        default:
            pb_skip(&m);
        }
    pb_join(up, &m);
    if (m.bad)
        series_drop(d);
    else
        series_end(d, half.open);
}

/* ---- the request ---- */

static enum err malformed(const struct pb *m, str plain, struct err_text *reterr)
{
    size_t pos = (size_t)(m->bad_at - plain.p);
    return err_fail_at(reterr, ERR_PARSE, pos, "malformed protobuf at byte %zu of the decompressed Request", pos);
}

static enum err symbols_read(struct decoder *d, str plain, struct err_text *reterr)
{
    VEC(str) v = { 0 };
    struct pb m = pb_init(plain);
    bool series = false;
    while (pb_next(&m)) {
        series |= m.field == REQ_SERIES;
        if (m.field == REQ_SYMBOLS)
            avec_push(d->a, &v, pb_bytes(&m));
        else
            pb_skip(&m);
        if (arena_over(d->a))
            return rw_limit_fail(d->out, d->lim, reterr);
    }
    if (m.bad)
        return malformed(&m, plain, reterr);
    d->symbols = (struct symbols){ v.p, v.n, v.cap };
    if (v.n && v.p[0].n)
        return err_fail(reterr, ERR_INVALID, "the first symbol must be the empty string");
    if (v.n == 0 && series)
        return err_fail(reterr, ERR_INVALID, "series without a table of symbols");
    return OK;
}

enum err rw2_decode_plain(struct arena *a, str plain, const struct wire_limits *lim, struct batch *out,
                          struct wire_rejects *ret_rejects, struct err_text *reterr)
{
    struct decoder d = { .a = a, .lim = lim, .out = out, .rejects = ret_rejects };
    memset(ret_rejects, 0, sizeof(*ret_rejects));
    memset(out, 0, sizeof(*out));
    out->a = a;
    TRY(symbols_read(&d, plain, reterr));
    struct pb m = pb_init(plain);
    while (pb_next(&m)) {
        if (m.field == REQ_SERIES)
            series_read(&d, pb_sub(&m), &m);
        else
            pb_skip(&m);
        if (__builtin_expect(rw_over_limit(out, lim, a), 0))
            return rw_limit_fail(out, lim, reterr);
    }
    return m.bad ? malformed(&m, plain, reterr) : OK;
}

enum err rw2_decode(struct arena *a, str body, size_t bytes_max, const struct wire_limits *lim, struct batch *out,
                    struct wire_rejects *ret_rejects, struct err_text *reterr)
{
    str plain;
    TRY(snappy_unpack(a, body, bytes_max, &plain, reterr));
    return rw2_decode_plain(a, plain, lim, out, ret_rejects, reterr);
}

/* ---- encode ---- */

#define MAP_NAME     symtab
#define MAP_KEY      str
#define MAP_VALUE    uint32_t
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"

struct encoder {
    struct symtab table;
    struct buf symbols; /* field REQ_SYMBOLS, written as they are met */
};

static uint32_t ref_of(struct encoder *e, str s)
{
    bool is_new;
    uint32_t *ref = symtab_put(&e->table, s, &is_new);
    if (is_new) {
        *ref = (uint32_t)e->table.n - 1;
        pb_put_bytes(&e->symbols, REQ_SYMBOLS, s);
    }
    return *ref;
}

static void labels_write(struct encoder *e, struct buf *b, struct labels ls)
{
    AUTO_BUF struct buf refs;
    buf_init(&refs, 0);
    labels_each (l, ls) {
        buf_uvarint(&refs, ref_of(e, l->name));
        buf_uvarint(&refs, ref_of(e, l->value));
    }
    pb_put_bytes(b, TS_LABELS, buf_str(&refs));
}

static void series_write(struct encoder *e, struct buf *b, const struct batch_series *s)
{
    size_t at = pb_open(b, REQ_SERIES);
    labels_write(e, b, s->labels);
    for (size_t i = 0; i < s->n_samples; i++) {
        size_t in = pb_open(b, TS_SAMPLE);
        pb_put_double(b, 1, s->samples[i].v);
        pb_put_varint(b, 2, (uint64_t)s->samples[i].ts_ms);
        if (s->start_ms && s->start_ms[i])
            pb_put_varint(b, 3, (uint64_t)s->start_ms[i]);
        pb_close(b, in);
    }
    for (size_t i = 0; i < s->n_hists; i++)
        rw_hist_write(b, TS_HISTOGRAM, &s->hists[i], s->start_ms ? s->start_ms[s->n_samples + i] : 0);
    for (size_t i = 0; i < s->n_exemplars; i++) {
        const struct exemplar *ex = &s->exemplars[i];
        size_t in = pb_open(b, TS_EXEMPLAR);
        labels_write(e, b, ex->labels);
        pb_put_double(b, 2, ex->v);
        pb_put_varint(b, 3, (uint64_t)ex->ts_ms);
        pb_close(b, in);
    }
    if (s->meta.type || s->meta.help.n || s->meta.unit.n) {
        size_t in = pb_open(b, TS_METADATA);
        pb_put_varint(b, META_TYPE, s->meta.type);
        pb_put_varint(b, META_HELP, ref_of(e, s->meta.help));
        pb_put_varint(b, META_UNIT, ref_of(e, s->meta.unit));
        pb_close(b, in);
    }
    pb_close(b, at);
}

void rw2_encode(struct buf *out, const struct batch *batch)
{
    struct encoder e = { 0 };
    AUTO_BUF struct buf series;
    buf_init(&series, 0);
    buf_init(&e.symbols, 0);
    ref_of(&e, STR(""));
    vec_each (const struct batch_series, s, &batch->series)
        series_write(&e, &series, s);
    buf_str_add(out, buf_str(&e.symbols));
    buf_str_add(out, buf_str(&series));
    buf_deinit(&e.symbols);
    symtab_free(&e.table);
}
