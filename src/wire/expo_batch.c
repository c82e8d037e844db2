/* Whole expositions (manual: expo_batch.h). */
#include "wire/expo_batch.h"

#include "base/check.h"
#include "wire/expo_pb.h"
#include "wire/wire_int.h"

struct batcher {
    struct arena *a;
    const struct expo_batch_options *opt;
    const struct wire_limits *lim;
    struct batch *out;
    struct wire_rejects *rejects;
    struct expo x;
    str last_raw;       /* the series whose run of samples is open; p == NULL: none */
    struct labels last; /* its labels */
    bool last_refused;
    RUN(struct sample) samples;
    RUN(int64_t) starts;
    RUN(struct exemplar) exemplars;
    bool has_starts;
};

/* ---- series ---- */

static void series_close(struct batcher *w)
{
    if (w->last_raw.p && !w->last_refused) {
        struct batch_series s = {
            .labels = w->last,
            .samples = RUN_START(&w->samples),
            .n_samples = RUN_LEN(&w->samples),
            .exemplars = RUN_START(&w->exemplars),
            .n_exemplars = RUN_LEN(&w->exemplars),
            .start_ms = w->has_starts ? RUN_START(&w->starts) : NULL,
        };
        avec_push(w->a, &w->out->series, s);
        w->out->n_samples += s.n_samples;
        w->out->n_exemplars += s.n_exemplars;
    }
    RUN_CLOSE(&w->samples);
    RUN_CLOSE(&w->starts);
    RUN_CLOSE(&w->exemplars);
    w->has_starts = false;
    w->last_raw = STR_NONE;
}

/* The body's labels with the extra ones over them; both are sorted. */
static struct labels labels_join(struct arena *a, struct labels own, struct labels extra)
{
    if (extra.n == 0 || own.n == 0)
        return extra.n ? extra : own;
    struct label *p = arena_array(a, struct label, own.n + extra.n);
    size_t n = 0, i = 0, k = 0;
    while (i < own.n || k < extra.n) {
        int c = i == own.n ? 1 : k == extra.n ? -1 : str_cmp(own.p[i].name, extra.p[k].name);
        p[n++] = c < 0 ? own.p[i] : extra.p[k];
        i += c <= 0;
        k += c >= 0;
    }
    return (struct labels){ p, n };
}

static void series_open(struct batcher *w)
{
    struct labels ls = LABELS_NONE;
    struct err_text why = { .msg = "" };
    enum err e = expo_labels(&w->x, w->a, &ls, &why);
    if (e == OK) {
        ls = labels_join(w->a, ls, w->opt->extra);
        struct label *p = arena_array(w->a, struct label, ls.n);
        if (ls.n)
            memcpy(p, ls.p, ls.n * sizeof(*p));
        size_t n = ls.n;
        e = wire_labels_finish(p, &n, w->lim, &why);
        ls = (struct labels){ p, n };
    }
    w->last_raw = w->x.series;
    w->last = ls;
    w->last_refused = e != OK;
    if (e == OK)
        return;
    wire_reject(w->rejects, ls, &why);
    w->rejects->series++;
}

static void take_sample(struct batcher *w)
{
    if (!w->last_raw.p || !str_eq(w->last_raw, w->x.series)) {
        series_close(w);
        series_open(w);
    }
    if (w->last_refused) {
        w->rejects->samples++;
        return;
    }
    struct sample s = { w->x.has_ts ? w->x.ts_ms : w->opt->now_ms, w->x.value };
    int64_t start = w->opt->format == EXPO_OPENMETRICS ? expo_start_ms(&w->x) : 0;
    RUN_PUSH(w->a, &w->samples, s);
    RUN_PUSH(w->a, &w->starts, start);
    w->has_starts |= start != 0;
    struct exemplar ex;
    bool has_ts;
    if (!w->x.has_exemplar)
        return;
    if (expo_exemplar(&w->x, w->a, &ex, &has_ts, NULL) != OK) {
        w->rejects->exemplars++;
        return;
    }
    if (!has_ts)
        ex.ts_ms = s.ts_ms;
    RUN_PUSH(w->a, &w->exemplars, ex);
}

/* ---- metadata ---- */

static void meta_take(const struct expo *x, struct arena *a, struct metric_meta *m)
{
    if (x->entry == EXPO_TYPE)
        m->type = x->type;
    else if (x->entry == EXPO_HELP)
        m->help = expo_help(x, a);
    else
        m->unit = x->text;
}

static void take_meta(struct batcher *w)
{
    struct batch *b = w->out;
    if (!b->families.n || !str_eq(vec_last(&b->families).name, w->x.name))
        avec_push(w->a, &b->families, ((struct batch_family){ .name = w->x.name }));
    meta_take(&w->x, w->a, &vec_last(&b->families).meta);
}

static enum err over_limit(const struct batcher *w, struct err_text *reterr)
{
    if (w->out->series.n > w->lim->series_max)
        return err_fail(reterr, ERR_LIMIT, "more than %zu series in one request", w->lim->series_max);
    if (w->out->n_samples + RUN_LEN(&w->samples) > w->lim->samples_max)
        return err_fail(reterr, ERR_LIMIT, "more than %zu samples in one request", w->lim->samples_max);
    if (arena_over(w->a))
        return err_fail(reterr, ERR_LIMIT, "the request needs more than %zu bytes of memory to decode",
                        w->a->bytes_max);
    return OK;
}

enum err expo_batch(struct arena *a, str body, const struct expo_batch_options *opt, const struct wire_limits *lim,
                    struct batch *out, struct wire_rejects *ret_rejects, struct err_text *reterr)
{
    struct batcher w = { .a = a, .opt = opt, .lim = lim, .out = out, .rejects = ret_rejects };
    memset(ret_rejects, 0, sizeof(*ret_rejects));
    memset(out, 0, sizeof(*out));
    out->a = a;
    expo_init(&w.x, opt->format, body);
    for (enum expo_entry e; (e = expo_next(&w.x)) > EXPO_ERROR;) {
        if (e == EXPO_SAMPLE)
            take_sample(&w);
        else if (e != EXPO_COMMENT)
            take_meta(&w);
        TRY(over_limit(&w, reterr));
    }
    series_close(&w);
    if (w.x.entry == EXPO_ERROR)
        return err_fail_at(reterr, ERR_PARSE, w.x.error.pos, "%s", w.x.error.msg);
    return over_limit(&w, reterr);
}

/* ---- families as text ---- */

struct family {
    str name;
    struct metric_meta meta;
    struct buf samples;
    size_t n_samples;
};
#define MAP_NAME     family_map
#define MAP_KEY      str
#define MAP_VALUE    size_t
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"

struct families {
    struct arena *a;
    VEC(struct family) v;
    struct family_map by_name;
};

static size_t family_of(struct families *f, str name)
{
    bool is_new;
    size_t *i = family_map_put(&f->by_name, name, &is_new);
    if (is_new) {
        *i = f->v.n;
        vec_push(&f->v, ((struct family){ .name = name }));
        buf_init(&vec_last(&f->v).samples, 0);
    }
    return *i;
}

/* Does a sample called `name` belong to this family? */
static bool belongs(const struct family *f, str name)
{
    static const char *const suffixes[] = { "",      "_bucket",  "_sum",  "_count", "_total",
                                            "_info", "_created", "_gsum", "_gcount" };
    if (!str_has_prefix(name, f->name))
        return false;
    str rest = str_skip(name, f->name.n);
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
        if (str_eq(rest, str_c(suffixes[i])))
            return i == 0 || f->meta.type != METRIC_UNKNOWN;
    return false;
}

static enum err family_sample(struct families *f, const struct expo *x, struct labels ls, size_t *current,
                              struct err_text *reterr)
{
    if (x->has_ts)
        return err_fail(reterr, ERR_INVALID, "line %u: pushed metrics must not have timestamps", x->line);
    str name = labels_name(ls);
    if (!name.n)
        return err_fail(reterr, ERR_INVALID, "line %u: a series without a metric name", x->line);
    if (*current == SIZE_MAX || !belongs(&f->v.p[*current], name))
        *current = family_of(f, name);
    struct family *fam = &f->v.p[*current];
    struct expo_out o = { &fam->samples, EXPO_TEXT };
    expo_out_sample(&o, ls, x->value, NULL, NULL);
    fam->n_samples++;
    return OK;
}

static enum err families_over(const struct families *f, struct err_text *reterr)
{
    if (!arena_over(f->a))
        return OK;
    return err_fail(reterr, ERR_LIMIT, "the request needs more than %zu bytes of memory to decode", f->a->bytes_max);
}

static enum err families_read(struct families *f, str body, enum expo_format format, struct err_text *reterr)
{
    struct expo x;
    struct labels ls;
    size_t current = SIZE_MAX;
    expo_init(&x, format, body);
    for (enum expo_entry e; (e = expo_next(&x)) > EXPO_ERROR;) {
        if (e == EXPO_SAMPLE) {
            enum err bad = expo_labels(&x, f->a, &ls, reterr);
            if (bad != OK) {
                err_prefix(reterr, "line %u: ", x.line);
                return bad;
            }
            TRY(family_sample(f, &x, ls, &current, reterr));
        } else if (e != EXPO_COMMENT) {
            current = family_of(f, x.name);
            meta_take(&x, f->a, &f->v.p[current].meta);
        }
        TRY(families_over(f, reterr));
    }
    if (x.entry == EXPO_ERROR)
        return err_fail_at(reterr, ERR_PARSE, x.error.pos, "%s", x.error.msg);
    return OK;
}

/* Protobuf: classic samples only, text has no place for native histograms. Help is not escaped there. */
static enum err families_read_entries(struct families *f, struct expo_pb *x, struct err_text *reterr)
{
    struct labels ls;
    size_t current = SIZE_MAX;
    for (enum expo_entry e; (e = expo_pb_next(x)) > EXPO_ERROR;) {
        if (e == EXPO_SAMPLE) {
            TRY(expo_pb_labels(x, f->a, &ls, reterr));
            TRY(family_sample(f, &x->e, ls, &current, reterr));
        } else if (e != EXPO_COMMENT) {
            current = family_of(f, x->e.name);
            if (e == EXPO_HELP)
                f->v.p[current].meta.help = x->e.text;
            else if (e == EXPO_TYPE)
                f->v.p[current].meta.type = x->e.type;
        }
        TRY(families_over(f, reterr));
    }
    if (x->e.entry == EXPO_ERROR)
        return err_fail_at(reterr, ERR_PARSE, x->e.error.pos, "%s", x->e.error.msg);
    return OK;
}

static enum err families_read_protobuf(struct families *f, str body, struct err_text *reterr)
{
    struct expo_pb x;
    expo_pb_init(&x, body, (struct expo_pb_options){ .native = false }, f->a);
    enum err e = families_read_entries(f, &x, reterr);
    expo_pb_deinit(&x);
    return e;
}

static struct expo_family_text family_text(struct arena *a, const struct family *f)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    struct expo_out o = { &b, EXPO_TEXT };
    if (f->meta.type != METRIC_UNKNOWN || f->meta.help.n)
        expo_out_family(&o, f->name, &f->meta);
    buf_str_add(&b, buf_str(&f->samples));
    return (struct expo_family_text){ f->name, arena_str(a, buf_str(&b)), f->n_samples };
}

enum err expo_families(struct arena *a, str body, enum expo_format format, struct expo_family_text **ret, size_t *ret_n,
                       struct err_text *reterr)
{
    struct families f = { .a = a };
    enum err e =
        format == EXPO_PROTOBUF ? families_read_protobuf(&f, body, reterr) : families_read(&f, body, format, reterr);
    if (e == OK) {
        *ret = arena_array(a, struct expo_family_text, f.v.n);
        *ret_n = 0;
        vec_each (const struct family, x, &f.v)
            if (x->n_samples)
                (*ret)[(*ret_n)++] = family_text(a, x);
    }
    vec_each (struct family, x, &f.v)
        buf_deinit(&x->samples);
    vec_free(&f.v);
    family_map_free(&f.by_name);
    return e;
}
