#include "rules/rules_unit.h"

#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/num.h"
#include "model/histogram_math.h"
#include "promql/promql_series_desc.h"
#include "rules/rules_memory.h"
#include "rules/rules_verdict.h"

#define EVALUATIONS_MAX 10000000 /* of one test */

/* ---- the file ---- */
struct texts {
    str *keys, *p;
    size_t n;
};
struct input_series {
    str series, values;
};
struct exp_alert {
    struct texts labels, annotations;
};
struct alert_test {
    int64_t eval_time_ms;
    str alertname;
    CONF_LIST_OF(struct exp_alert) alerts;
};
struct exp_sample {
    str labels, histogram;
    double value;
};
struct expr_test {
    str expr;
    int64_t eval_time_ms;
    CONF_LIST_OF(struct exp_sample) samples;
};
struct unit_test {
    str name;
    int64_t interval_ms;
    str start;
    CONF_LIST_OF(struct input_series) series;
    CONF_LIST_OF(struct alert_test) alerts;
    CONF_LIST_OF(struct expr_test) exprs;
    struct texts external_labels;
    str external_url;
};
struct unit_file {
    CONF_LIST_OF(str) rule_files, order;
    int64_t interval_ms;
    bool fuzzy;
    CONF_LIST_OF(struct unit_test) tests;
};

/* Numbers as Go's yaml reads them into a float64: also .nan, .inf. */
static enum err read_number(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    str s;
    double v = 0;
    TRY(conf_read_str(cx, n, &s));
    str t = s.n && s.p[0] == '.' && s.n > 1 && (s.p[1] | 32) >= 'a' ? str_skip(s, 1) : s;
    bool minus = str_has_prefix(s, STR("-.")) && s.n > 2 && (s.p[2] | 32) >= 'a';
    if (minus)
        t = str_skip(s, 2);
    if (!num_parse_f64(t, &v))
        return conf_error(cx, n, STR_FMT " is not a number", STR_ARG(s));
    *(double *)field = minus ? -v : v;
    return OK;
}

static void print_number(struct conf_out *out, const void *field)
{
    (void)field;
    conf_out_scalar(out, STR(""));
}

#define ROWS(var, T, name, ...)                                                                             \
    static const struct conf_field var##_fields[] = { __VA_ARGS__ };                                        \
    static const struct conf_schema var = {                                                                 \
        .type_name = (name), .size = sizeof(T), .fields = var##_fields, .n_fields = ARRAY_LEN(var##_fields) \
    }
ROWS(series_schema, struct input_series, "main.series", CF(struct input_series, series, "series", CONF_STR),
     CF(struct input_series, values, "values", CONF_STR));
ROWS(exp_alert_schema, struct exp_alert, "main.alert",
     CF(struct exp_alert, labels, "exp_labels", CONF_DICT, .of = CONF_STR),
     CF(struct exp_alert, annotations, "exp_annotations", CONF_DICT, .of = CONF_STR));
ROWS(alert_schema, struct alert_test, "main.alertTestCase",
     CF(struct alert_test, eval_time_ms, "eval_time", CONF_DURATION),
     CF(struct alert_test, alertname, "alertname", CONF_STR),
     CF(struct alert_test, alerts, "exp_alerts", CONF_LIST, .of = CONF_STRUCT, .schema = &exp_alert_schema));
ROWS(sample_schema, struct exp_sample, "main.sample", CF(struct exp_sample, labels, "labels", CONF_STR),
     CF(struct exp_sample, value, "value", CONF_CUSTOM, .read = read_number, .print = print_number),
     CF(struct exp_sample, histogram, "histogram", CONF_STR));
ROWS(expr_schema, struct expr_test, "main.promqlTestCase", CF(struct expr_test, expr, "expr", CONF_STR),
     CF(struct expr_test, eval_time_ms, "eval_time", CONF_DURATION),
     CF(struct expr_test, samples, "exp_samples", CONF_LIST, .of = CONF_STRUCT, .schema = &sample_schema));
ROWS(test_schema, struct unit_test, "main.testGroup", CF(struct unit_test, name, "name", CONF_STR),
     CF(struct unit_test, interval_ms, "interval", CONF_DURATION),
     CF(struct unit_test, start, "start_timestamp", CONF_STR),
     CF(struct unit_test, series, "input_series", CONF_LIST, .of = CONF_STRUCT, .schema = &series_schema),
     CF(struct unit_test, alerts, "alert_rule_test", CONF_LIST, .of = CONF_STRUCT, .schema = &alert_schema),
     CF(struct unit_test, exprs, "promql_expr_test", CONF_LIST, .of = CONF_STRUCT, .schema = &expr_schema),
     CF(struct unit_test, external_labels, "external_labels", CONF_DICT, .of = CONF_STR),
     CF(struct unit_test, external_url, "external_url", CONF_STR));
ROWS(file_schema, struct unit_file, "main.unitTestFile",
     CF(struct unit_file, rule_files, "rule_files", CONF_LIST, .of = CONF_STR),
     CF(struct unit_file, interval_ms, "evaluation_interval", CONF_DURATION),
     CF(struct unit_file, order, "group_eval_order", CONF_LIST, .of = CONF_STR),
     CF(struct unit_file, fuzzy, "fuzzy_compare", CONF_BOOL),
     CF(struct unit_file, tests, "tests", CONF_LIST, .of = CONF_STRUCT, .schema = &test_schema));

/* ---- one test ---- */
struct run {
    const struct rules_unit_options *opt;
    const struct unit_file *file;
    const struct unit_test *test;
    struct arena *a; /* of this test */
    VEC(struct rule_file *) rule_files;
    VEC(const struct rule_group *) groups;
    VEC(struct rules_group *) running;
    struct rules_memory *memory;
    struct rules_env env;
    int64_t start_ms;
    struct buf *report;
    size_t failed;
};

static void title(struct run *r)
{
    if (!r->failed++ && r->test->name.n)
        buf_printf(r->report, "    name: " STR_FMT ",\n", STR_ARG(r->test->name));
}

static bool load_series(struct run *r)
{
    for (size_t i = 0; i < r->test->series.n; i++) {
        const struct input_series *in = &r->test->series.p[i];
        struct series_desc d;
        struct err_text why = { 0 };
        str line = arena_printf(r->a, STR_FMT " " STR_FMT, STR_ARG(in->series), STR_ARG(in->values));
        if (series_desc_parse(r->a, line, &d, &why) != OK) {
            title(r);
            buf_printf(r->report, "    series '" STR_FMT "': %s\n", STR_ARG(in->series), why.msg);
            return false;
        }
        int64_t step = r->test->interval_ms ? r->test->interval_ms : r->file->interval_ms;
        for (size_t k = 0; k < d.values.n; k++)
            if (!d.values.p[k].omitted)
                rules_memory_add(r->memory, d.labels, r->start_ms + (int64_t)k * step, d.values.p[k].v, d.values.p[k].h,
                                 0);
    }
    return true;
}

static int64_t last_time(const struct unit_test *t)
{
    int64_t m = 0;
    for (size_t i = 0; i < t->alerts.n; i++)
        m = MAX(m, t->alerts.p[i].eval_time_ms);
    for (size_t i = 0; i < t->exprs.n; i++)
        m = MAX(m, t->exprs.p[i].eval_time_ms);
    return m;
}

/* ---- alerts ---- */
/* Labels and annotations as text: equal texts are equal alerts. */
static int cmp_line(const void *a, const void *b)
{
    return str_cmp(*(const str *)a, *(const str *)b);
}

static str alert_line(struct arena *a, struct labels labels, struct labels annotations)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_lit(&b, "Labels:");
    labels_print(&b, labels);
    buf_lit(&b, " Annotations:");
    labels_print(&b, annotations);
    return arena_str(a, buf_str(&b));
}

static struct labels labels_of(struct arena *a, const struct texts *t, str name, str value)
{
    struct label_builder b;
    lb_init(&b, a);
    lb_reset(&b, LABELS_NONE);
    for (size_t i = 0; i < t->n; i++)
        lb_set(&b, t->keys[i], t->p[i]);
    if (name.n)
        lb_set(&b, name, value);
    return lb_labels(&b);
}

static void print_lines(struct run *r, const char *what, const str *v, size_t n)
{
    buf_printf(r->report, "        %s:[", what);
    for (size_t i = 0; i < n; i++)
        buf_printf(r->report, "\n            %zu:\n              " STR_FMT "\n            ", i, STR_ARG(v[i]));
    buf_lit(r->report, "]");
}

static void check_alerts(struct run *r, const struct alert_test *t)
{
    VEC(str) got = { 0 }, want = { 0 };
    for (size_t g = 0; g < r->running.n; g++)
        for (size_t i = 0; i < rules_group_n_rules(r->running.p[g]); i++) {
            struct rule_facts f = rules_group_rule(r->running.p[g], i);
            if (!f.rule->alerting || !str_eq(f.rule->name, t->alertname))
                continue;
            for (size_t k = 0; k < f.n_alerts; k++)
                if (f.alerts[k]->state == ALERT_FIRING)
                    avec_push(r->a, &got, alert_line(r->a, f.alerts[k]->labels, f.alerts[k]->annotations));
        }
    for (size_t i = 0; i < t->alerts.n; i++)
        avec_push(r->a, &want,
                  alert_line(r->a, labels_of(r->a, &t->alerts.p[i].labels, STR("alertname"), t->alertname),
                             labels_of(r->a, &t->alerts.p[i].annotations, STR_NONE, STR_NONE)));
    if (got.n)
        qsort(got.p, got.n, sizeof(*got.p), cmp_line);
    if (want.n)
        qsort(want.p, want.n, sizeof(*want.p), cmp_line);
    bool same = got.n == want.n;
    for (size_t i = 0; same && i < got.n; i++)
        same = str_eq(got.p[i], want.p[i]);
    if (same)
        return;
    title(r);
    buf_printf(r->report, "    alertname: " STR_FMT ", time: ", STR_ARG(t->alertname));
    buf_duration(r->report, t->eval_time_ms);
    buf_lit(r->report, ", \n");
    print_lines(r, "exp", want.p, want.n);
    buf_lit(r->report, ", \n");
    print_lines(r, "got", got.p, got.n);
    buf_lit(r->report, "\n");
}

/* ---- samples ---- */
struct value {
    struct labels labels;
    double v;
    str histogram; /* .p set: one, as text */
};
static int cmp_value(const void *a, const void *b)
{
    return labels_cmp(((const struct value *)a)->labels, ((const struct value *)b)->labels);
}

static str histogram_text(struct arena *a, const struct histogram *h)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    histogram_print_test(&b, h);
    return arena_str(a, buf_str(&b));
}

static bool same_float(const struct run *r, double a, double b)
{
    if ((isnan(a) && isnan(b)) || a == b)
        return true;
    return r->file->fuzzy && (nextafter(a, -(double)INFINITY) == b || nextafter(a, (double)INFINITY) == b);
}

static void print_values(struct run *r, const char *what, const struct value *v, size_t n)
{
    buf_printf(r->report, "        %s:", what);
    if (!n)
        buf_lit(r->report, "nil");
    for (size_t i = 0; i < n; i++) {
        buf_lit(r->report, "\n            ");
        labels_print(r->report, v[i].labels);
        buf_u8(r->report, ' ');
        if (v[i].histogram.p)
            buf_str_add(r->report, v[i].histogram);
        else
            buf_f64_g(r->report, v[i].v);
    }
    buf_u8(r->report, '\n');
}

static void expr_failed(struct run *r, const struct expr_test *t, const char *why)
{
    title(r);
    buf_printf(r->report, "    expr: \"" STR_FMT "\", time: ", STR_ARG(t->expr));
    buf_duration(r->report, t->eval_time_ms);
    buf_printf(r->report, ",%s%s\n", why ? " err: " : "", why ? why : "");
}

static bool expected(struct run *r, const struct expr_test *t, struct value *ret)
{
    for (size_t i = 0; i < t->samples.n; i++) {
        const struct exp_sample *s = &t->samples.p[i];
        struct series_desc d;
        struct err_text why = { 0 };
        str name = s->labels.n ? s->labels : STR("{}");
        str line =
            arena_printf(r->a, STR_FMT " " STR_FMT, STR_ARG(name), STR_ARG(s->histogram.n ? s->histogram : STR("0")));
        enum err e = series_desc_parse(r->a, line, &d, &why);
        if (!e && (d.values.n != 1 || (s->histogram.n && !d.values.p[0].h)))
            e = err_fail(&why, ERR_PARSE, "labels and one histogram are expected");
        if (e) {
            expr_failed(r, t, why.msg);
            return false;
        }
        ret[i] = (struct value){ .labels = d.labels, .v = s->value };
        if (s->histogram.n)
            ret[i].histogram = histogram_text(r->a, d.values.p[0].h);
    }
    if (t->samples.n)
        qsort(ret, t->samples.n, sizeof(*ret), cmp_value);
    return true;
}

static void check_expr(struct run *r, const struct expr_test *t)
{
    struct promql_result res;
    struct err_text why = { 0 };
    int64_t at = r->start_ms + t->eval_time_ms;
    struct promql_query q = { .text = t->expr, .instant = true, .from_ms = at, .to_ms = at };
    if (promql_exec(r->env.engine, rules_memory_source(r->memory), &q, r->a, &res, &why) != OK) {
        expr_failed(r, t, why.msg);
        return;
    }
    if (res.type != PROMQL_VECTOR && res.type != PROMQL_SCALAR) {
        expr_failed(r, t, "rule result is not a vector or scalar");
        return;
    }
    size_t n = res.type == PROMQL_SCALAR ? 1 : res.n_series;
    struct value *got = arena_zarray(r->a, struct value, n + 1),
                 *want = arena_zarray(r->a, struct value, t->samples.n + 1);
    for (size_t i = 0; i < n; i++) {
        const struct promql_point *p = res.type == PROMQL_SCALAR ? &res.scalar : res.series[i].points;
        got[i] = (struct value){ .labels = res.type == PROMQL_SCALAR ? LABELS_NONE : res.series[i].labels, .v = p->v };
        if (p->h)
            got[i].histogram = histogram_text(r->a, p->h);
    }
    if (n)
        qsort(got, n, sizeof(*got), cmp_value);
    if (!expected(r, t, want))
        return;
    bool same = n == t->samples.n;
    for (size_t i = 0; same && i < n; i++)
        same = labels_eq(got[i].labels, want[i].labels) &&
               (got[i].histogram.p != NULL) == (want[i].histogram.p != NULL) &&
               (got[i].histogram.p ? str_eq(got[i].histogram, want[i].histogram) : same_float(r, want[i].v, got[i].v));
    if (same)
        return;
    expr_failed(r, t, NULL);
    print_values(r, "exp", want, t->samples.n);
    print_values(r, "got", got, n);
}

/* ---- running ---- */
/* false: a rule could not be evaluated; the test ends. */
static bool eval_all(struct run *r, int64_t ts_ms)
{
    bool good = true;
    for (size_t g = 0; g < r->running.n; g++) {
        IGNORE_ERR(rules_group_eval(r->running.p[g], ts_ms, NULL));
        for (size_t i = 0; i < rules_group_n_rules(r->running.p[g]); i++) {
            struct rule_facts f = rules_group_rule(r->running.p[g], i);
            if (!f.last_error[0])
                continue;
            title(r);
            buf_printf(r->report, "    rule: " STR_FMT ", time: ", STR_ARG(f.rule->name));
            buf_duration(r->report, ts_ms - r->start_ms);
            buf_printf(r->report, ", err: %s\n", f.last_error);
            good = false;
        }
    }
    return good;
}

static void run_steps(struct run *r)
{
    int64_t end = last_time(r->test), step = r->file->interval_ms;
    if (end / step > EVALUATIONS_MAX) {
        title(r);
        buf_printf(r->report, "    more than %d evaluations\n", EVALUATIONS_MAX);
        return;
    }
    for (int64_t t = 0; t <= end; t += step) {
        if (!eval_all(r, r->start_ms + t))
            return;
        for (size_t i = 0; i < r->test->alerts.n; i++)
            if (r->test->alerts.p[i].eval_time_ms >= t && r->test->alerts.p[i].eval_time_ms < t + step)
                check_alerts(r, &r->test->alerts.p[i]);
    }
    for (size_t i = 0; i < r->test->exprs.n; i++)
        check_expr(r, &r->test->exprs.p[i]);
}

static bool prepare(struct run *r, struct promql_engine *engine)
{
    if (r->test->start.n && !num_parse_time(r->test->start, &r->start_ms)) {
        title(r);
        buf_printf(r->report, "    start_timestamp: " STR_FMT " is neither RFC 3339 nor Unix seconds\n",
                   STR_ARG(r->test->start));
        return false;
    }
    r->memory = rules_memory_new();
    r->env = (struct rules_env){ .engine = engine,
                                 .source = rules_memory_source(r->memory),
                                 .external_labels = labels_of(r->a, &r->test->external_labels, STR_NONE, STR_NONE),
                                 .external_url = r->test->external_url,
                                 .default_interval_ms = r->file->interval_ms,
                                 .ctx = r->memory,
                                 .append = rules_memory_append };
    for (size_t i = 0; i < r->groups.n; i++)
        vec_push(&r->running, rules_group_new(r->groups.p[i], &r->env));
    return load_series(r);
}

static void run_test(struct run *r)
{
    struct promql_engine_config cfg;
    promql_engine_config_defaults(&cfg);
    cfg.features = r->opt->features;
    cfg.default_step_ms = r->file->interval_ms;
    struct promql_engine *engine = promql_engine_new(&cfg);
    if (prepare(r, engine))
        run_steps(r);
    for (size_t i = 0; i < r->running.n; i++)
        rules_group_free(r->running.p[i]);
    vec_free(&r->running);
    rules_memory_free(r->memory);
    promql_engine_free(engine);
}

/* ---- rule files ---- */
static size_t place(const struct unit_file *f, str group)
{
    for (size_t i = 0; i < f->order.n; i++)
        if (str_eq(f->order.p[i], group))
            return i + 1;
    return 0;
}

static bool load_rules(struct conf_ctx *cx, const char *path, const struct rules_unit_options *opt,
                       const struct unit_file *f, struct run *r)
{
    str dir = str_c(path);
    while (dir.n && dir.p[dir.n - 1] != '/')
        dir.n--;
    const struct rules_options ro = { .features = opt->features,
                                      .ignore_unknown_fields = opt->ignore_unknown_fields,
                                      .strict_prometheus = opt->strict_prometheus };
    bool good = true;
    for (size_t i = 0; i < f->rule_files.n; i++) {
        str name = f->rule_files.p[i];
        const char *pattern = name.n && name.p[0] == '/'
                                  ? arena_cstr(cx->a, name)
                                  : arena_printf(cx->a, STR_FMT STR_FMT, STR_ARG(dir), STR_ARG(name)).p;
        glob_t found = { 0 };
        if (glob(pattern, 0, NULL, &found) != 0)
            conf_warn(cx, NULL, "no file matches pattern %s", pattern);
        for (size_t k = 0; k < found.gl_pathc; k++) {
            struct rule_file *file = arena_new(cx->a, struct rule_file);
            if (rules_file_load(cx, arena_cstr(cx->a, str_c(found.gl_pathv[k])), &ro, file) != OK)
                good = false;
            avec_push(cx->a, &r->rule_files, file);
            for (size_t g = 0; good && g < file->n_groups; g++)
                avec_push(cx->a, &r->groups, &file->groups[g]);
        }
        globfree(&found);
    }
    struct rule_file *verdicts = arena_new(cx->a, struct rule_file);
    struct err_text why;
    if (good && rules_verdicts_file(cx->a, r->rule_files.p, r->rule_files.n, opt->features, verdicts, &why) != OK)
        good = conf_error(cx, NULL, "on_absent, on_error: %s", why.msg) == OK;
    if (verdicts->n_groups) {
        avec_push(cx->a, &r->rule_files, verdicts);
        avec_push(cx->a, &r->groups, verdicts->groups);
    }
    for (size_t i = 1; i < r->groups.n; i++) { /* stable: equal places keep their order */
        const struct rule_group *g = r->groups.p[i];
        size_t k = i;
        for (; k > 0 && place(f, r->groups.p[k - 1]->name) > place(f, g->name); k--)
            r->groups.p[k] = r->groups.p[k - 1];
        r->groups.p[k] = g;
    }
    return good;
}

static enum err run_file(struct conf_ctx *cx, const char *path, const struct rules_unit_options *opt,
                         struct buf *report, size_t *ret_n)
{
    struct unit_file *f;
    struct run base = { .opt = opt, .report = report };
    TRY(conf_load(cx, path, &file_schema, 0, (void **)&f));
    if (!f->interval_ms)
        f->interval_ms = 60000;
    base.file = f;
    bool loaded = load_rules(cx, path, opt, f, &base);
    size_t failed = 0;
    for (size_t i = 0; loaded && i < f->tests.n; i++) {
        AUTO_ARENA struct arena a;
        str whole;
        arena_init(&a, 0);
        if (opt->only && !rx_find(opt->only, f->tests.p[i].name.p ? f->tests.p[i].name : STR(""), 0, &whole, 1))
            continue;
        struct run r = base;
        r.a = &a;
        r.test = &f->tests.p[i];
        run_test(&r);
        failed += r.failed != 0;
        (*ret_n)++;
    }
    for (size_t i = 0; i < base.rule_files.n; i++)
        rules_file_release(base.rule_files.p[i]);
    return !loaded ? ERR_INVALID : failed ? ERR_EXEC : OK;
}

enum err rules_unit_run(const char *path, const struct rules_unit_options *opt, struct buf *report, size_t *ret_n_tests)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct conf_ctx cx = conf_ctx_init(&a, fs_os());
    *ret_n_tests = 0;
    enum err e = run_file(&cx, path, opt, report, ret_n_tests);
    if (e && e != ERR_EXEC)
        conf_diags_print(report, &cx);
    conf_ctx_release(&cx);
    return e;
}
