/* See promqltest.h. Grammar and rules of comparison follow Prometheus' promql/promqltest.
 *
 * Every instant query runs several times: as written; with "@ TIME" on each selector at other evaluation times; and
 * each of these as the middle of a range query. An eval block passes when all agree with the expectation. */
#include "promqltest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fs.h"
#include "base/num.h"
#include "promql/promql_lex.h"
#include "promql/promql_parse_int.h"
#include "promql/promql_series_desc.h"
#include "series_store.h"

#define RELATIVE 1e-6

enum expect_kind {
    EXPECT_ORDERED,
    EXPECT_FAIL,
    EXPECT_WARN,
    EXPECT_NO_WARN,
    EXPECT_INFO,
    EXPECT_NO_INFO,
    EXPECT_KINDS
};
static const char *const expect_names[] = { "ordered", "fail", "warn", "no_warn", "info", "no_info" };

struct expect_text { /* neither: anything */
    str msg;
    struct rx *rx;
};
struct expect_series {
    struct series_desc d;
    size_t pos;
};
struct eval_cmd {
    size_t line;
    str expr;
    bool range, range_vector;
    int64_t start_ms, end_ms, step_ms, at_ms;
    bool has[EXPECT_KINDS];
    VEC(struct expect_text) texts[EXPECT_KINDS];
    bool scalar, string;
    double scalar_value;
    str string_value;
    VEC(struct expect_series) series;
};

struct script {
    const struct promqltest_options *o;
    struct promqltest_counts *counts;
    const char *name;
    const str *lines; /* trimmed, comments empty */
    size_t n_lines, at;
    struct series_store *source;
    struct promql_engine *engine;
    struct arena *a; /* of the whole script */
};

void promqltest_options_defaults(struct promqltest_options *o)
{
    /* As upstream's own run: everything but the labels of type and unit. */
    *o = (struct promqltest_options){ .features = PROMQL_ALL & ~(unsigned)PROMQL_TYPE_AND_UNIT, .samples_max = 10000 };
}

/* ---- failures ---- */
struct report {
    struct buf why;
};

static bool complain(struct report *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
static bool complain(struct report *r, const char *fmt, ...)
{
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    buf_clear(&r->why);
    buf_str_add(&r->why, str_c(text));
    return false;
}

static void show_labels(struct buf *b, struct labels ls)
{
    labels_print(b, ls);
    if (ls.n == 0)
        buf_lit(b, "{}");
}

static const char *text_of(struct buf *b)
{
    buf_u8(b, 0);
    return b->p ? b->p : "";
}

static void show_value(struct buf *b, double v, const struct histogram *h)
{
    if (h)
        histogram_print_test(b, h);
    else if (is_stale(v))
        buf_lit(b, "stale");
    else
        buf_f64_g(b, v);
}

/* ---- lines ---- */
static str word(str *rest)
{
    *rest = str_trim(*rest);
    size_t n = 0;
    while (n < rest->n && rest->p[n] != ' ' && rest->p[n] != '\t')
        n++;
    str w = str_take(*rest, n);
    *rest = str_trim(str_skip(*rest, n));
    return w;
}

static bool parse_duration(str s, int64_t *ret_ms)
{
    AUTO_BUF struct buf why;
    buf_init(&why, 0);
    bool negative = s.n && s.p[0] == '-';
    int64_t ns;
    if (!pq_duration(negative ? str_skip(s, 1) : s, &ns, &why))
        return false;
    *ret_ms = ns / 1000000 * (negative ? -1 : 1);
    return true;
}

/* ---- load ---- */
struct nhcb_bucket {
    double le, count;
};
struct nhcb_point { /* a classic histogram at one time */
    int64_t ts_ms;
    bool has_count;
    double count, sum;
    VEC(struct nhcb_bucket) buckets;
};
struct nhcb {
    struct labels base;
    VEC(struct nhcb_point) points; /* ascending */
};
struct load {
    struct arena a;
    int64_t step_ms;
    VEC(struct nhcb) nhcbs;
};

static struct nhcb_point *nhcb_point_at(struct load *l, struct labels base, int64_t ts_ms)
{
    struct nhcb *n = NULL;
    for (size_t i = 0; i < l->nhcbs.n && !n; i++)
        if (labels_eq(l->nhcbs.p[i].base, base))
            n = &l->nhcbs.p[i];
    if (!n) {
        avec_push(&l->a, &l->nhcbs, (struct nhcb){ .base = base });
        n = &l->nhcbs.p[l->nhcbs.n - 1];
    }
    size_t i = 0;
    while (i < n->points.n && n->points.p[i].ts_ms < ts_ms)
        i++;
    if (i < n->points.n && n->points.p[i].ts_ms == ts_ms)
        return &n->points.p[i];
    avec_push(&l->a, &n->points, (struct nhcb_point){ 0 });
    memmove(n->points.p + i + 1, n->points.p + i, (n->points.n - 1 - i) * sizeof(*n->points.p));
    n->points.p[i] = (struct nhcb_point){ .ts_ms = ts_ms };
    return &n->points.p[i];
}

static void nhcb_set_bucket(struct load *l, struct nhcb_point *p, double le, double count)
{
    size_t i = 0;
    while (i < p->buckets.n && p->buckets.p[i].le < le)
        i++;
    if (i < p->buckets.n && p->buckets.p[i].le == le)
        return;
    avec_push(&l->a, &p->buckets, (struct nhcb_bucket){ 0 });
    memmove(p->buckets.p + i + 1, p->buckets.p + i, (p->buckets.n - 1 - i) * sizeof(*p->buckets.p));
    p->buckets.p[i] = (struct nhcb_bucket){ le, count };
}

/* name_bucket{le}, name_sum, name_count -> the base series' point. */
static void nhcb_collect(struct load *l, struct labels ls, const struct store_sample *samples, size_t n)
{
    static const str suffixes[] = { STR_INIT("_bucket"), STR_INIT("_sum"), STR_INIT("_count") };
    str name = labels_name(ls);
    size_t kind = 0;
    double le = 0;
    while (kind < 3 && !str_has_suffix(name, suffixes[kind]))
        kind++;
    if (kind == 3 || (kind == 0 && (!num_parse_f64(labels_get(ls, LABEL_BUCKET), &le) || isnan(le))))
        return;
    struct label_builder b;
    lb_init(&b, &l->a);
    lb_reset(&b, ls);
    lb_del(&b, LABEL_BUCKET);
    lb_set(&b, LABEL_NAME, str_take(name, name.n - suffixes[kind].n));
    struct labels base = lb_labels(&b);
    for (size_t i = 0; i < n; i++) {
        if (samples[i].h)
            continue;
        struct nhcb_point *p = nhcb_point_at(l, base, samples[i].ts_ms);
        if (kind == 0) {
            nhcb_set_bucket(l, p, le, samples[i].v);
        } else if (kind == 1) {
            p->sum = samples[i].v;
        } else {
            p->count = samples[i].v;
            p->has_count = true;
        }
    }
}

static struct histogram *nhcb_convert(struct load *l, struct nhcb_point *p)
{
    if (!p->has_count && p->buckets.n)
        p->count = vec_last(&p->buckets).count;
    if (p->buckets.n == 0 || !isinf(vec_last(&p->buckets).le))
        avec_push(&l->a, &p->buckets, ((struct nhcb_bucket){ (double)INFINITY, p->count }));
    size_t n = p->buckets.n;
    struct histogram *h = arena_new(&l->a, struct histogram);
    struct hist_span *span = arena_new(&l->a, struct hist_span);
    double *counts = arena_array(&l->a, double, n), *bounds = arena_array(&l->a, double, n), before = 0;
    for (size_t i = 0; i < n; i++) {
        bounds[i] = p->buckets.p[i].le;
        counts[i] = p->buckets.p[i].count - before;
        before = p->buckets.p[i].count;
    }
    *span = (struct hist_span){ 0, (uint32_t)n };
    *h = (struct histogram){
        .schema = HIST_SCHEMA_CUSTOM, .count = p->count, .sum = p->sum, .custom = bounds, .n_custom = n - 1
    };
    h->pos = (struct hist_side){ span, 1, counts, n };
    return histogram_compact(&l->a, h);
}

static void nhcb_store(struct script *s, struct load *l)
{
    for (size_t i = 0; i < l->nhcbs.n; i++) {
        struct nhcb *n = &l->nhcbs.p[i];
        for (size_t k = 0; k < n->points.n; k++) {
            struct store_sample x = { .ts_ms = n->points.p[k].ts_ms, .h = nhcb_convert(l, &n->points.p[k]) };
            series_store_add(s->source, n->base, &x, 1);
        }
    }
}

static void load_series(struct script *s, struct load *l, const struct series_desc *d, const struct series_desc *start,
                        bool nhcb)
{
    VEC(struct store_sample) v = { 0 };
    for (size_t i = 0; i < d->values.n; i++) {
        const struct series_value *x = &d->values.p[i];
        if (x->omitted)
            continue;
        struct store_sample m = { .ts_ms = (int64_t)i * l->step_ms, .v = x->v, .h = x->h };
        if (start && i < start->values.n && !start->values.p[i].omitted)
            m.start_ms = m.ts_ms + (int64_t)start->values.p[i].v;
        avec_push(&l->a, &v, m);
    }
    series_store_add(s->source, d->labels, v.p, v.n);
    if (nhcb)
        nhcb_collect(l, d->labels, v.p, v.n);
}

static bool run_load_lines(struct script *s, struct load *l, bool nhcb)
{
    struct series_desc start = { 0 };
    bool has_start = false;
    for (; s->at < s->n_lines && s->lines[s->at].n; s->at++) {
        struct series_desc d;
        struct err_text e = { 0 };
        if (series_desc_parse(&l->a, s->lines[s->at], &d, &e) != OK) {
            printf("%s:%zu: %s\n", s->name, s->at + 1, e.msg);
            return false;
        }
        if (d.is_start) {
            start = d;
            has_start = true;
            continue;
        }
        load_series(s, l, &d, has_start && labels_eq(start.labels, d.labels) ? &start : NULL, nhcb);
        has_start = false;
    }
    if (nhcb)
        nhcb_store(s, l);
    return true;
}

static bool run_load(struct script *s)
{
    str rest = s->lines[s->at], cmd = word(&rest);
    struct load l = { 0 };
    arena_init(&l.a, 0);
    size_t line = s->at++;
    bool ok = parse_duration(rest, &l.step_ms);
    if (!ok)
        printf("%s:%zu: invalid load command\n", s->name, line + 1);
    ok = ok && run_load_lines(s, &l, str_ieq(cmd, STR("load_with_nhcb")));
    while (s->at < s->n_lines && s->lines[s->at].n)
        s->at++;
    arena_deinit(&l.a);
    return ok;
}

/* ---- eval: reading ---- */
static bool read_time(str w, int64_t *ret, struct report *r)
{
    return parse_duration(w, ret) || complain(r, "invalid time \"" STR_FMT "\"", STR_ARG(w));
}

static bool read_range_times(str *rest, int64_t *from, int64_t *to, int64_t *step, struct report *r)
{
    str from_word = word(rest), a = word(rest), to_word = word(rest), b = word(rest), step_word = word(rest),
        c = word(rest);
    if (!str_eq(from_word, STR("from")) || !str_eq(to_word, STR("to")) || !str_eq(step_word, STR("step")))
        return complain(r, "invalid range, want: from A to B step S");
    return read_time(a, from, r) && read_time(b, to, r) && read_time(c, step, r);
}

/* expect KIND[ msg: TEXT| regex: RE] */
static bool read_expect(struct script *s, struct eval_cmd *c, str rest, struct report *r)
{
    str kind = word(&rest);
    size_t k = 0;
    while (k < EXPECT_KINDS && !str_eq(kind, str_c(expect_names[k])))
        k++;
    if (k == EXPECT_KINDS)
        return complain(r, "invalid expectation \"" STR_FMT "\"", STR_ARG(kind));
    struct expect_text t = { 0 };
    struct err_text e = { 0 };
    if (str_has_prefix(rest, STR("msg:")))
        t.msg = str_trim(str_skip(rest, 4));
    else if (str_has_prefix(rest, STR("regex:")) && rx_compile(str_trim(str_skip(rest, 6)), false, &t.rx, &e) != OK)
        return complain(r, "invalid regex: %s", e.msg);
    c->has[k] = true;
    avec_push(s->a, &c->texts[k], t);
    return true;
}

static bool read_number(str s, double *ret)
{
    bool negative = s.n && s.p[0] == '-';
    if (s.n && (s.p[0] == '-' || s.p[0] == '+'))
        s = str_skip(s, 1);
    if (s.n == 0 || !pq_number(s, ret))
        return false;
    if (negative)
        *ret = -*ret;
    return true;
}

static bool read_old_failure(struct script *s, struct eval_cmd *c, str line, struct report *r)
{
    struct expect_text t = { 0 };
    struct err_text e = { 0 };
    str rest = line;
    bool regex = str_eq(word(&rest), STR("expected_fail_regexp"));
    if (!regex)
        t.msg = rest;
    else if (rx_compile(rest, false, &t.rx, &e) != OK)
        return complain(r, "invalid regex: %s", e.msg);
    avec_push(s->a, &c->texts[EXPECT_FAIL], t);
    return true;
}

/* One expectation line; *done when nothing can follow. */
static bool read_expectation(struct script *s, struct eval_cmd *c, str line, bool *done, struct report *r)
{
    str rest = line, first = word(&rest);
    if (c->has[EXPECT_FAIL] &&
        (str_eq(first, STR("expected_fail_message")) || str_eq(first, STR("expected_fail_regexp")))) {
        *done = true;
        return read_old_failure(s, c, line, r);
    }
    if (str_has_prefix(line, STR("expect range vector"))) {
        str times = str_skip(line, strlen("expect range vector"));
        c->range_vector = true;
        if (!read_range_times(&times, &c->start_ms, &c->end_ms, &c->step_ms, r))
            return false;
        c->at_ms = c->end_ms;
        return true;
    }
    if (str_has_prefix(line, STR("expect string"))) {
        str quoted = str_trim(str_skip(line, strlen("expect string")));
        if (quoted.n < 2)
            return complain(r, "expected string literal not valid");
        c->string = true;
        c->string_value = pq_unquote(s->a, quoted);
        return true;
    }
    if (str_eq(first, STR("expect")))
        return read_expect(s, c, rest, r);
    if (read_number(line, &c->scalar_value)) {
        c->scalar = *done = true;
        return true;
    }
    struct expect_series x = { .pos = c->series.n };
    struct err_text e = { 0 };
    if (series_desc_parse(s->a, line, &x.d, &e) != OK)
        return complain(r, "%s", e.msg);
    if (!c->range && !c->range_vector && x.d.values.n > 1)
        return complain(r, "several values for an instant query");
    avec_push(s->a, &c->series, x);
    return true;
}

static bool read_eval(struct script *s, struct eval_cmd *c, struct report *r)
{
    str rest = s->lines[s->at], cmd = word(&rest), mode = word(&rest);
    c->line = ++s->at;
    if (str_eq(mode, STR("instant"))) {
        str save = rest;
        if (str_eq(word(&rest), STR("at"))) {
            if (!read_time(word(&rest), &c->at_ms, r))
                return false;
        } else {
            rest = save;
        }
        c->start_ms = c->end_ms = c->at_ms;
    } else if (str_eq(mode, STR("range"))) {
        c->range = true;
        if (!read_range_times(&rest, &c->start_ms, &c->end_ms, &c->step_ms, r))
            return false;
    } else {
        return complain(r, "invalid evaluation command");
    }
    c->expr = rest;
    static const struct {
        const char *cmd;
        enum expect_kind kind;
    } old[] = { { "eval_fail", EXPECT_FAIL },
                { "eval_warn", EXPECT_WARN },
                { "eval_info", EXPECT_INFO },
                { "eval_ordered", EXPECT_ORDERED } };
    for (size_t i = 0; i < ARRAY_LEN(old); i++)
        if (str_ieq(cmd, str_c(old[i].cmd)))
            c->has[old[i].kind] = true;
    bool done = false;
    for (; s->at < s->n_lines && s->lines[s->at].n; s->at++)
        if (!done && !read_expectation(s, c, s->lines[s->at], &done, r))
            return false;
    return true;
}

/* ---- eval: comparing ---- */
static bool text_matches(const struct expect_text *t, str got)
{
    if (t->rx)
        return rx_match(t->rx, got);
    return !t->msg.p || str_eq(t->msg, got);
}

static const struct expect_series *find_expected(const struct eval_cmd *c, struct labels ls)
{
    for (size_t i = c->series.n; i-- > 0;)
        if (labels_eq(c->series.p[i].d.labels, ls))
            return &c->series.p[i];
    return NULL;
}

static bool value_matches(const struct series_value *want, double v, const struct histogram *h)
{
    if (!want->h != !h)
        return false;
    if (!h)
        return f64_almost_eq(want->v, v, RELATIVE);
    return histogram_almost_eq(want->h, h, RELATIVE) && (!want->hint_set || want->h->reset == h->reset);
}

static bool complain_value(struct report *r, struct labels ls, const struct series_value *want, double v,
                           const struct histogram *h, int64_t ts_ms)
{
    AUTO_BUF struct buf l, w, g;
    buf_init(&l, 0);
    buf_init(&w, 0);
    buf_init(&g, 0);
    show_labels(&l, ls);
    show_value(&w, want->v, want->h);
    show_value(&g, v, h);
    return complain(r, "%s at %lldms: expected %s, got %s", text_of(&l), (long long)ts_ms, text_of(&w), text_of(&g));
}

static bool complain_series(struct report *r, const char *what, struct labels ls)
{
    AUTO_BUF struct buf l;
    buf_init(&l, 0);
    show_labels(&l, ls);
    return complain(r, "%s %s", what, text_of(&l));
}

static bool compare_points(const struct eval_cmd *c, const struct expect_series *want,
                           const struct promql_result_series *got, struct report *r)
{
    size_t k = 0;
    for (size_t i = 0; i < want->d.values.n; i++) {
        const struct series_value *v = &want->d.values.p[i];
        int64_t ts = c->start_ms + (int64_t)i * c->step_ms;
        if (ts > c->end_ms && !v->omitted)
            return complain_series(r, "more points expected than the time range has:", got->labels);
        if (v->omitted)
            continue;
        if (k == got->n_points || got->points[k].ts_ms != ts) {
            AUTO_BUF struct buf l;
            buf_init(&l, 0);
            show_labels(&l, got->labels);
            return complain(r, "%s: expected a point at %lldms, next is %lld", text_of(&l), (long long)ts,
                            k < got->n_points ? (long long)got->points[k].ts_ms : -1);
        }
        if (!value_matches(v, got->points[k].v, got->points[k].h))
            return complain_value(r, got->labels, v, got->points[k].v, got->points[k].h, ts);
        k++;
    }
    if (k < got->n_points)
        return complain_value(r, got->labels, &(struct series_value){ .v = f64_from_bits(STALE_NAN_BITS) },
                              got->points[k].v, got->points[k].h, got->points[k].ts_ms);
    return true;
}

static bool all_found(const struct eval_cmd *c, const struct promql_result *res, struct report *r)
{
    for (size_t i = 0; i < c->series.n; i++) {
        bool found = false;
        for (size_t k = 0; k < res->n_series && !found; k++)
            found = labels_eq(c->series.p[i].d.labels, res->series[k].labels);
        if (!found)
            return complain_series(r, "expected series not found:", c->series.p[i].d.labels);
    }
    return true;
}

static bool matrix_is_sorted(const struct promql_result *res, struct report *r)
{
    for (size_t i = 1; i < res->n_series; i++)
        if (labels_cmp(res->series[i - 1].labels, res->series[i].labels) > 0)
            return complain_series(r, "matrix is not sorted at", res->series[i].labels);
    return true;
}

static bool compare_matrix(const struct eval_cmd *c, const struct promql_result *res, struct report *r)
{
    if (c->scalar || c->string)
        return complain(r, "expected a scalar or string, got a matrix");
    if (!matrix_is_sorted(res, r))
        return false;
    for (size_t i = 0; i < res->n_series; i++) {
        const struct expect_series *want = find_expected(c, res->series[i].labels);
        if (!want)
            return complain_series(r, "unexpected series", res->series[i].labels);
        if (!compare_points(c, want, &res->series[i], r))
            return false;
    }
    return all_found(c, res, r);
}

static bool compare_vector(const struct eval_cmd *c, const struct promql_result *res, struct report *r)
{
    if (c->scalar || c->string)
        return complain(r, "expected a scalar or string, got a vector of %zu", res->n_series);
    for (size_t i = 0; i < res->n_series; i++) {
        const struct promql_result_series *got = &res->series[i];
        const struct expect_series *want = find_expected(c, got->labels);
        if (!want) {
            AUTO_BUF struct buf l;
            buf_init(&l, 0);
            show_labels(&l, got->labels);
            buf_u8(&l, ' ');
            show_value(&l, got->points[0].v, got->points[0].h);
            return complain(r, "unexpected series %s", text_of(&l));
        }
        if (c->has[EXPECT_ORDERED] && want->pos != i)
            return complain_series(r, "wrong position:", got->labels);
        const struct series_value none = { .v = f64_from_bits(STALE_NAN_BITS) };
        const struct series_value *v = want->d.values.n ? &want->d.values.p[0] : &none;
        if (!value_matches(v, got->points[0].v, got->points[0].h))
            return complain_value(r, got->labels, v, got->points[0].v, got->points[0].h, got->points[0].ts_ms);
    }
    return all_found(c, res, r);
}

static bool compare_scalar(const struct eval_cmd *c, double got, struct report *r)
{
    if (!c->scalar)
        return complain(r, "expected a vector or matrix, got the scalar %g", got);
    return f64_almost_eq(c->scalar_value, got, RELATIVE) || complain(r, "expected %g, got %g", c->scalar_value, got);
}

static bool compare_result(const struct eval_cmd *c, const struct promql_result *res, struct report *r)
{
    switch (res->type) {
    case PROMQL_SCALAR:
        return compare_scalar(c, res->scalar.v, r);
    case PROMQL_STRING:
        return (c->string && str_eq(c->string_value, res->string)) ||
               complain(r, "expected \"" STR_FMT "\", got \"" STR_FMT "\"", STR_ARG(c->string_value),
                        STR_ARG(res->string));
    case PROMQL_VECTOR:
        return compare_vector(c, res, r);
    case PROMQL_MATRIX:
        return compare_matrix(c, res, r);
    case PROMQL_NONE:
        break;
    }
    return complain(r, "result without a type");
}

/* The notes of one kind against the expectations of that kind. */
static bool compare_notes_of(const struct eval_cmd *c, const struct promql_result *res, bool info, struct report *r)
{
    enum expect_kind want = info ? EXPECT_INFO : EXPECT_WARN, none = info ? EXPECT_NO_INFO : EXPECT_NO_WARN;
    const char *name = info ? "info" : "warning";
    size_t n = 0;
    for (size_t i = 0; i < res->n_notes; i++) {
        if (res->notes[i].info != info)
            continue;
        n++;
        if (c->has[none])
            return complain(r, "unexpected %s: " STR_FMT, name, STR_ARG(res->notes[i].text));
        bool found = c->texts[want].n == 0;
        for (size_t k = 0; k < c->texts[want].n && !found; k++)
            found = text_matches(&c->texts[want].p[k], res->notes[i].text);
        if (!found)
            return complain(r, "unexpected %s: " STR_FMT, name, STR_ARG(res->notes[i].text));
    }
    if (c->has[want] && n == 0)
        return complain(r, "expected an %s annotation, got none", name);
    for (size_t k = 0; k < c->texts[want].n; k++) {
        const struct expect_text *t = &c->texts[want].p[k];
        bool found = false;
        for (size_t i = 0; i < res->n_notes && !found; i++)
            found = res->notes[i].info == info && text_matches(t, res->notes[i].text);
        if (!found)
            return complain(r, "expected %s \"" STR_FMT "\" is missing", name, STR_ARG(t->msg));
    }
    return true;
}

static bool compare_failure(const struct eval_cmd *c, const char *got, struct report *r)
{
    for (size_t k = 0; k < c->texts[EXPECT_FAIL].n; k++)
        if (!text_matches(&c->texts[EXPECT_FAIL].p[k], str_c(got)))
            return complain(r, "expected the error \"" STR_FMT "\", got \"%s\"",
                            STR_ARG(c->texts[EXPECT_FAIL].p[k].msg), got);
    return true;
}

/* ---- eval: running ---- */
struct variant {
    str expr;
    int64_t at_ms;
    bool as_written; /* annotations carry positions of the text as written */
};

static bool exec_query(struct script *s, struct arena *a, const struct promql_query *q, const struct eval_cmd *c,
                       struct promql_result *res, bool *ret_failed_as_expected, struct report *r)
{
    struct err_text e = { 0 };
    *ret_failed_as_expected = false;
    enum err err = promql_exec(s->engine, series_store_source(s->source), q, a, res, &e);
    if (err != OK) {
        if (!c->has[EXPECT_FAIL])
            return complain(r, "%s: %s", err_name(err), e.msg);
        *ret_failed_as_expected = true;
        return compare_failure(c, e.msg, r);
    }
    if (c->has[EXPECT_FAIL])
        return complain(r, "expected an error, got none");
    return true;
}

static bool run_range(struct script *s, const struct eval_cmd *c, struct report *r)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct promql_query q = { .text = c->expr, .from_ms = c->start_ms, .to_ms = c->end_ms, .step_ms = c->step_ms };
    struct promql_result res = { 0 };
    bool failed;
    if (!exec_query(s, &a, &q, c, &res, &failed, r) || failed)
        return failed && r->why.n == 0;
    return compare_notes_of(c, &res, false, r) && compare_notes_of(c, &res, true, r) && compare_result(c, &res, r);
}

/* start(), end(), step(), range() differ between an instant and a range query. */
static bool uses_query_bounds(str expr)
{
    return str_contains(expr, STR("start()")) || str_contains(expr, STR("end()")) ||
           str_contains(expr, STR("step()")) || str_contains(expr, STR("range()"));
}

/* The query as the middle of three steps; res is what the instant query gave. */
static bool run_middle_of_range(struct script *s, const struct eval_cmd *c, const struct variant *v,
                                enum promql_type type, struct report *r)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct promql_query q = {
        .text = v->expr, .from_ms = v->at_ms - 60000, .to_ms = v->at_ms + 60000, .step_ms = 60000
    };
    struct promql_result res = { 0 };
    struct err_text e = { 0 };
    enum err err = promql_exec(s->engine, series_store_source(s->source), &q, &a, &res, &e);
    if (err != OK)
        return complain(r, "as a range query: %s: %s", err_name(err), e.msg);
    if (c->has[EXPECT_ORDERED])
        return true;
    if (!matrix_is_sorted(&res, r))
        return false;
    size_t n = 0;
    for (size_t i = 0; i < res.n_series; i++) {
        struct promql_result_series *in = &res.series[i];
        for (size_t k = 0; k < in->n_points; k++) {
            if (in->points[k].ts_ms == v->at_ms) {
                res.series[n++] = (struct promql_result_series){ in->labels, &in->points[k], 1 };
                break;
            }
        }
    }
    res.n_series = n;
    if (type == PROMQL_SCALAR)
        return n == 1 ? compare_scalar(c, res.series[0].points[0].v, r) : complain(r, "no scalar in range mode");
    return compare_vector(c, &res, r);
}

static bool run_instant(struct script *s, const struct eval_cmd *c, const struct variant *v, struct report *r)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct promql_query q = { .text = v->expr, .instant = true, .from_ms = v->at_ms, .to_ms = v->at_ms };
    struct promql_result res = { 0 };
    bool failed;
    if (!exec_query(s, &a, &q, c, &res, &failed, r) || failed)
        return failed && r->why.n == 0;
    if (v->as_written && !(compare_notes_of(c, &res, false, r) && compare_notes_of(c, &res, true, r)))
        return false;
    if (!compare_result(c, &res, r))
        return false;
    if (s->o->no_variants || c->range_vector || res.type == PROMQL_STRING || uses_query_bounds(c->expr))
        return true;
    return run_middle_of_range(s, c, v, res.type, r);
}

/* ---- the @ variants ---- */
static bool at_unsafe(enum promql_fn fn)
{
    return promql_fn_depends_on_time(fn) || fn == PQ_FN_start || fn == PQ_FN_end || fn == PQ_FN_step ||
           fn == PQ_FN_range;
}

static void pin(struct promql_when *w, int64_t at_ms)
{
    if (w->at == PQ_AT_TS)
        return;
    w->at = PQ_AT_TS;
    w->at_ms = at_ms;
}

/* Put "@ at_ms" on every selector that has none; false if the result would depend on the evaluation time anyway. */
static bool pin_selectors(struct promql_expr *e, int64_t at_ms)
{
    if (e->kind == PQ_VECTOR) {
        pin(&e->vector.when, at_ms);
        return true;
    }
    if (e->kind == PQ_SUBQUERY)
        pin(&e->subquery.when, at_ms);
    if (e->kind == PQ_CALL && at_unsafe(e->call.fn))
        return false;
    bool ok = true;
    if (e->kind == PQ_CALL) {
        for (size_t i = 0; i < e->call.n_args; i++)
            if (!(e->call.fn == PQ_FN_info && i == 1))
                ok &= pin_selectors(pq_mutable(e->call.args[i]), at_ms);
        return ok;
    }
    const struct promql_expr *kids[2];
    size_t n = promql_children(e, kids, 2);
    for (size_t i = 0; i < n; i++) {
        /* What a pinned subquery reads is pinned with it; only unsafe functions matter below. */
        if (e->kind == PQ_SUBQUERY)
            ok &= true;
        else
            ok &= pin_selectors(pq_mutable(kids[i]), at_ms);
    }
    return ok;
}

static bool run_at_variants(struct script *s, const struct eval_cmd *c, struct report *r)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    AUTO_BUF struct buf text;
    buf_init(&text, 0);
    const struct promql_expr *e = NULL;
    struct err_text err = { 0 };
    if (promql_parse_text(&a, c->expr, s->o->features, &e, &err) != OK)
        return true;
    bool ok = true;
    int64_t ts = c->at_ms;
    if (pin_selectors(pq_mutable(e), ts)) {
        promql_print(&text, e);
        int64_t usual[] = { -10 * ts, 0, ts / 5, ts, 10 * ts }, zero[] = { -1000, 1000 };
        const int64_t *times = ts ? usual : zero;
        size_t n = ts ? ARRAY_LEN(usual) : ARRAY_LEN(zero);
        for (size_t i = 0; i < n && ok; i++) {
            ok = run_instant(s, c, &(struct variant){ buf_str(&text), times[i], false }, r);
            if (!ok) {
                buf_printf(&r->why, " [as " STR_FMT " at %lldms]", STR_ARG(buf_str(&text)), (long long)times[i]);
            }
        }
    }
    promql_expr_deinit(e);
    return ok;
}

static void free_texts(struct eval_cmd *c)
{
    for (size_t k = 0; k < EXPECT_KINDS; k++)
        for (size_t i = 0; i < c->texts[k].n; i++)
            if (c->texts[k].p[i].rx)
                rx_free(c->texts[k].p[i].rx);
}

static bool run_eval(struct script *s)
{
    struct eval_cmd c = { 0 };
    struct report r = { 0 };
    buf_init(&r.why, 0);
    bool ok = read_eval(s, &c, &r);
    while (s->at < s->n_lines && s->lines[s->at].n)
        s->at++;
    if (ok && c.range)
        ok = run_range(s, &c, &r);
    else if (ok)
        ok = run_instant(s, &c, &(struct variant){ c.expr, c.at_ms, true }, &r) &&
             (s->o->no_variants || uses_query_bounds(c.expr) || run_at_variants(s, &c, &r));
    if (!ok && !s->o->quiet)
        printf("%s:%zu: FAIL " STR_FMT "\n    " STR_FMT "\n", s->name, c.line, STR_ARG(c.expr),
               STR_ARG(buf_str(&r.why)));
    if (ok && s->o->verbose)
        printf("%s:%zu: ok " STR_FMT "\n", s->name, c.line, STR_ARG(c.expr));
    free_texts(&c);
    buf_deinit(&r.why);
    return ok;
}

/* ---- script ---- */
static void split_lines(struct arena *a, str text, struct script *s)
{
    VEC(str) v = { 0 };
    str head;
    while (str_cut(&text, '\n', &head)) {
        str line = str_trim(head);
        avec_push(a, &v, str_has_prefix(line, STR("#")) ? STR("") : line);
    }
    s->lines = v.p;
    s->n_lines = v.n;
}

static void run_command(struct script *s)
{
    str rest = s->lines[s->at], cmd = word(&rest);
    if (cmd.n == 0) {
        s->at++;
    } else if (str_ieq(cmd, STR("clear"))) {
        series_store_clear(s->source);
        s->at++;
    } else if (str_has_prefix(cmd, STR("load"))) {
        s->counts->failed += !run_load(s);
    } else if (str_has_prefix(cmd, STR("eval"))) {
        bool ok = run_eval(s);
        s->counts->passed += ok;
        s->counts->failed += !ok;
    } else {
        printf("%s:%zu: invalid command\n", s->name, s->at + 1);
        s->counts->failed++;
        s->at++;
    }
}

void promqltest_run_text(str text, const char *name, const struct promqltest_options *o,
                         struct promqltest_counts *counts)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct promql_engine_config cfg;
    promql_engine_config_defaults(&cfg);
    cfg.features = o->features;
    cfg.samples_max = o->samples_max;
    cfg.pool = o->pool;
    struct script s = { .o = o, .counts = counts, .name = name, .a = &a };
    s.source = series_store_new();
    s.engine = promql_engine_new(&cfg);
    split_lines(&a, text, &s);
    while (s.at < s.n_lines)
        run_command(&s);
    promql_engine_free(s.engine);
    series_store_free(s.source);
}

enum err promqltest_run_file(const char *path, const struct promqltest_options *o, struct promqltest_counts *counts)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str text;
    struct err_text e = { 0 };
    enum err err = fs_read_file(fs_os(), path, 16u << 20, &a, &text, &e);
    if (err != OK)
        return err;
    promqltest_run_text(text, path, o, counts);
    return OK;
}
