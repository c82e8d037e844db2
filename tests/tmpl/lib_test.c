/* tmpl/tmpl_lib.h: the tables of Prometheus' and Alertmanager's template functions; time zones and layouts. */
#include "tmpl_test.h"

#include "base/tz.h"
#include "tmpl/tmpl_lib.h"

/* ---- Prometheus ---- */
struct answer {
    const struct jt *rows;
    struct arena *a;
};

static str histogram_text(struct arena *a, const struct jt *h)
{
    return arena_printf(a, "{count:" STR_FMT ", sum:" STR_FMT "}", STR_ARG(jt_get(h, "count")->text),
                        STR_ARG(jt_get(h, "sum")->text));
}

static struct tmpl_prom_sample sample_of(struct arena *a, const struct jt *row)
{
    struct tmpl_prom_sample s = { .value = jt_num(jt_get(row, "value")) };
    struct tmpl_val labels = val_of_json(a, jt_get(row, "labels"));
    if (labels.kind == TMPL_MAP) {
        s.labels = labels.map.p;
        s.n_labels = labels.map.n;
    }
    if (jt_has(row, "native_histogram"))
        s.histogram = histogram_text(a, jt_get(row, "native_histogram"));
    return s;
}

static enum err query(void *ctx, str expr, struct arena *a, struct tmpl_prom_sample **ret, size_t *ret_n,
                      struct err_text *reterr)
{
    const struct answer *w = ctx;
    (void)expr, (void)reterr;
    *ret_n = w->rows->n;
    *ret = arena_zarray(a, struct tmpl_prom_sample, *ret_n + 1);
    for (size_t i = 0; i < *ret_n; i++)
        (*ret)[i] = sample_of(w->a, &w->rows->p[i]);
    return OK;
}

/* A value of the Go type the table names. */
static struct tmpl_val typed(struct arena *a, const struct jt *j, str type)
{
    struct tmpl_val v;
    if (str_has_prefix(type, STR("[]")) && j->tok == JSON_TOK_ARR) {
        v = tmpl_list(a, NULL, j->n);
        for (size_t i = 0; i < j->n; i++)
            v.list.p[i] = typed(a, &j->p[i], str_skip(type, 2));
        return v;
    }
    if (str_eq(type, STR("sample"))) {
        struct tmpl_prom_sample s = sample_of(a, j);
        return tmpl_prom_value(a, &s);
    }
    str text = j->text;
    if (j->tok == JSON_TOK_OBJ && j->n == 1 && j->p[0].key.p[0] == '$')
        text = j->p[0].text;
    double f = 0;
    int64_t i = 0;
    uint64_t u = 0;
    if (str_eq(type, STR("float64"))) {
        num_parse_f64(text, &f);
        return tmpl_float(f);
    }
    if (str_eq(type, STR("int64")) || str_eq(type, STR("int"))) {
        str_to_i64(text, &i);
        return tmpl_int(i);
    }
    if (str_eq(type, STR("uint64")) || str_eq(type, STR("uint"))) {
        str_to_u64(text, &u);
        return (struct tmpl_val){ .kind = TMPL_UINT, .u = u };
    }
    return val_of_json(a, j);
}

static const struct tmpl_func *const prom_tables[] = { tmpl_prom_funcs };
static const struct tmpl_func *const am_tables[] = { tmpl_am_funcs };

static void prometheus(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str text = conformance_file(&a, "go_template/prometheus_functions.json");
    if (!text.p)
        skip();
    struct jt rows = jt_parse(&a, text);
    size_t wrong = 0;
    assert_true(rows.n > 20);
    jt_each(row, &rows)
    {
        AUTO_BUF struct buf out;
        struct err_text why = { 0 };
        struct answer answer = { jt_get(row, "query_result"), &a };
        struct tmpl_prom w = { &answer, 1353755652000, STR("http://testhost:9090/path/prefix"), query };
        struct tmpl_run run = { .a = &a, .ctx = &w };
        struct tmpl_options opt = { prom_tables, &tmpl_prom_n_funcs, 1, TMPL_MISSING_ZERO, jt_true(row, "html") };
        if (jt_has(row, "options") && str_eq(jt_get(row, "options")->p[0].text, STR("missingkey=error")))
            opt.missing = TMPL_MISSING_ERROR;
        struct tmpl_val dot = typed(&a, jt_get(row, "input"), jt_str(row, "input_type"));
        buf_init(&out, 0);
        enum err e = tmpl_once(&opt, NULL, STR("test"), jt_str(row, "template"), &dot, &run, &out, &why);
        bool good = (e == OK) == jt_true(row, "ok") && (e || str_eq(buf_str(&out), jt_str(row, "output")));
        if (good)
            continue;
        wrong++;
        print_error(STR_FMT ": " STR_FMT "\n  got  [" STR_FMT "] %s\n  want [" STR_FMT "] " STR_FMT "\n",
                    STR_ARG(jt_str(row, "id")), STR_ARG(jt_str(row, "template")), STR_ARG(buf_str(&out)), why.msg,
                    STR_ARG(jt_str(row, "output")), STR_ARG(jt_str(row, "go_error")));
    }
    if (wrong)
        fail_msg("%zu rows are wrong", wrong);
}

/* ---- Alertmanager ---- */
static struct tmpl_val kv_of(struct arena *a, const struct jt *j)
{
    struct tmpl_val v = j->tok == JSON_TOK_OBJ ? val_of_json(a, j) : (struct tmpl_val){ .kind = TMPL_NIL };
    v.type = v.kind == TMPL_MAP ? &tmpl_am_kv : NULL;
    return v;
}

static const struct jt *either(const struct jt *o, const char *a, const char *b)
{
    return jt_has(o, a) ? jt_get(o, a) : jt_get(o, b);
}

static struct tmpl_val text_of(const struct jt *j)
{
    return tmpl_str(j->tok == JSON_TOK_STR ? j->text : STR(""));
}

static struct tmpl_val time_of(struct arena *a, str s)
{
    int64_t sec = TMPL_TIME_ZERO_S;
    uint32_t ns = 0;
    if (s.p)
        assert_true(tmpl_time_parse(STR("2006-01-02T15:04:05Z07:00"), s, tz_utc, &sec, &ns));
    return tmpl_time(a, sec, ns, tz_utc);
}

static struct tmpl_val alert_of(struct arena *a, const struct jt *j)
{
    struct tmpl_val v = tmpl_struct(a, &tmpl_am_alert);
    v.list.p[0] = text_of(either(j, "status", "Status"));
    v.list.p[1] = kv_of(a, either(j, "labels", "Labels"));
    v.list.p[2] = kv_of(a, either(j, "annotations", "Annotations"));
    v.list.p[3] = time_of(a, jt_str(j, "startsAt"));
    v.list.p[4] = time_of(a, jt_str(j, "endsAt"));
    v.list.p[5] = text_of(either(j, "generatorURL", "GeneratorURL"));
    v.list.p[6] = text_of(either(j, "fingerprint", "Fingerprint"));
    return v;
}

static struct tmpl_val data_of(struct arena *a, const struct jt *j)
{
    struct tmpl_val v = tmpl_struct(a, &tmpl_am_data);
    const struct jt *alerts = either(j, "alerts", "Alerts");
    v.list.p[0] = text_of(either(j, "receiver", "Receiver"));
    v.list.p[1] = text_of(either(j, "status", "Status"));
    v.list.p[2] = tmpl_list(a, &tmpl_am_alerts, alerts->n);
    for (size_t i = 0; i < alerts->n; i++)
        v.list.p[2].list.p[i] = alert_of(a, &alerts->p[i]);
    v.list.p[3] = kv_of(a, either(j, "groupLabels", "GroupLabels"));
    v.list.p[4] = kv_of(a, either(j, "commonLabels", "CommonLabels"));
    v.list.p[5] = kv_of(a, either(j, "commonAnnotations", "CommonAnnotations"));
    v.list.p[6] = text_of(either(j, "externalURL", "ExternalURL"));
    v.list.p[7] = kv_of(a, either(j, "routeLabels", "RouteLabels"));
    return v;
}

#define NOW_MS INT64_C(1714979289000)

static struct tmpl_val am_dot(struct arena *a, const struct jt *row, const struct jt *sets)
{
    str ref = jt_str(row, "data_ref"), type = jt_str(row, "data_go_type"), when = jt_str(row, "data_time");
    if (ref.p)
        return data_of(a, jt_get(sets, arena_cstr(a, ref)));
    if (when.p)
        return time_of(a, when);
    if (jt_has(row, "data_time_relative")) { /* now-1h */
        int64_t ms;
        assert_true(num_parse_duration(str_skip(jt_str(row, "data_time_relative"), 4), &ms));
        return tmpl_time_ms(a, NOW_MS - ms);
    }
    return str_eq(type, STR("Data")) ? data_of(a, jt_get(row, "data")) : val_of_json(a, jt_get(row, "data"));
}

static void alertmanager(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str text = conformance_file(&a, "alertmanager/templates.json"),
        data = conformance_file(&a, "alertmanager/template_data.json");
    if (!text.p || !data.p)
        skip();
    struct jt rows = jt_parse(&a, text), sets = jt_parse(&a, data);
    size_t wrong = 0;
    assert_true(rows.n > 100);
    jt_each(row, &rows)
    {
        AUTO_BUF struct buf out;
        struct err_text why = { 0 };
        struct tmpl_options opt = { am_tables, &tmpl_am_n_funcs, 1, TMPL_MISSING_ZERO, jt_true(row, "html") };
        struct tmpl_set *set = tmpl_set_new(&opt, NULL);
        assert_int_equal(tmpl_am_defaults(set, &why), OK);
        struct tmpl_val dot = am_dot(&a, row, &sets);
        struct tmpl_am w = { .now_ms = NOW_MS, .set = set, .data = &dot };
        struct tmpl_run run = { .a = &a, .ctx = &w };
        w.run = &run;
        buf_init(&out, 0);
        enum err e = tmpl_once(NULL, set, STR("t"), jt_str(row, "template"), &dot, &run, &out, &why);
        tmpl_set_free(set);
        bool good = (e == OK) == jt_true(row, "ok") && (e || str_eq(buf_str(&out), jt_str(row, "output")));
        if (good)
            continue;
        wrong++;
        print_error(STR_FMT ": " STR_FMT "\n  got  [" STR_FMT "] %s\n  want [" STR_FMT "] " STR_FMT "\n",
                    STR_ARG(jt_str(row, "id")), STR_ARG(jt_str(row, "template")), STR_ARG(buf_str(&out)), why.msg,
                    STR_ARG(jt_str(row, "output")), STR_ARG(jt_str(row, "go_error")));
    }
    if (wrong)
        fail_msg("%zu rows are wrong", wrong);
}

static void default_names(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str text = conformance_file(&a, "alertmanager/default_template_names.json");
    if (!text.p)
        skip();
    struct jt names = jt_parse(&a, text);
    struct tmpl_options opt = { am_tables, &tmpl_am_n_funcs, 1, TMPL_MISSING_ZERO, false };
    struct tmpl_set *set = tmpl_set_new(&opt, NULL);
    assert_int_equal(tmpl_am_defaults(set, NULL), OK);
    assert_true(names.n > 10);
    jt_each(name, &names) if (!tmpl_defined(set, name->text)) fail_msg("no template " STR_FMT, STR_ARG(name->text));
    tmpl_set_free(set);
}

/* ---- time ---- */
static void zones(void **state)
{
    (void)state;
    static const struct {
        const char *zone;
        int64_t at;
        const char *want;
    } rows[] = {
        { "UTC", 0, "1970-01-01 00:00:00 +0000 UTC" },
        { "Europe/Berlin", 1711846799, "2024-03-31 01:59:59 +0100 CET" },
        { "Europe/Berlin", 1711846800, "2024-03-31 03:00:00 +0200 CEST" },
        { "America/New_York", 1730613600, "2024-11-03 01:00:00 -0500 EST" },
        { "Australia/Sydney", 4102444800, "2100-01-01 11:00:00 +1100 AEDT" },
        { "Asia/Kolkata", 1700000000, "2023-11-15 03:43:20 +0530 IST" },
        { "Europe/Berlin", 7258118400, "2200-01-01 01:00:00 +0100 CET" },
        { "Europe/Berlin", 7271596800, "2200-06-06 02:00:00 +0200 CEST" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct tz *tz;
        AUTO_BUF struct buf b;
        buf_init(&b, 0);
        assert_int_equal(tz_load(str_c(rows[i].zone), &tz, NULL), OK);
        tmpl_time_format(&b, rows[i].at, 0, tz, STR("2006-01-02 15:04:05 -0700 MST"));
        assert_str(buf_str(&b), rows[i].want);
        int64_t s;
        uint32_t ns;
        assert_true(tmpl_time_parse(STR("2006-01-02 15:04:05 -0700 MST"), buf_str(&b), tz_utc, &s, &ns));
        assert_int_equal(s, rows[i].at);
    }
    const struct tz *tz;
    static const char *const bad[] = { "Nope/Nowhere", "../../etc/passwd", "/etc/localtime", "Europe", "a b" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_not_equal(tz_load(str_c(bad[i]), &tz, NULL), OK);
}

static void layouts(void **state)
{
    (void)state;
    static const struct {
        const char *layout, *want;
    } rows[] = {
        { "Mon Jan _2 15:04:05 2006", "Thu Feb  4 21:00:57 2010" },
        { "Monday, 02-Jan-06 3:04PM", "Thursday, 04-Feb-10 9:00PM" },
        { "2006-002 03:04:05.000 pm", "2010-035 09:00:57.012 pm" },
        { ".999999999 ,000000", ".0123456 ,012345" },
        { "05.999999999", "57.0123456" },
        { "Z07:00 -07 January", "Z +00 February" },
        { "1/2/06 4 5", "2/4/10 0 57" },
        { "_2006 Month", "_2010 Month" },
    };
    int64_t at = civil_seconds(2010, 2, 4, 21, 0, 57);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_BUF struct buf b;
        buf_init(&b, 0);
        tmpl_time_format(&b, at, 12345600, tz_utc, str_c(rows[i].layout));
        assert_str(buf_str(&b), rows[i].want);
    }
    int64_t s;
    uint32_t ns;
    assert_false(tmpl_time_parse(STR("2006-01-02"), STR("2024-02-30"), tz_utc, &s, &ns));
    assert_false(tmpl_time_parse(STR("2006-01-02"), STR("2024-02-03x"), tz_utc, &s, &ns));
    assert_true(tmpl_time_parse(STR("15:04:05 2006-01-02"), STR("12:00:00.5 2024-02-29"), tz_utc, &s, &ns));
    assert_int_equal(ns, 500000000);
}

static void calendar(void **state)
{
    (void)state;
    for (int64_t day = -800000; day < 800000; day += 37) {
        struct civil c = civil_of(day * 86400 + 3723);
        assert_int_equal(civil_seconds(c.year, c.month, c.day, 1, 2, 3), day * 86400 + 3723);
        assert_int_equal(c.weekday, ((day + 4) % 7 + 7) % 7);
        assert_int_equal(civil_seconds(c.year, 1, c.yearday, 0, 0, 0), day * 86400);
    }
    assert_int_equal(civil_seconds(2024, 14, 1, 0, 0, 0), civil_seconds(2025, 2, 1, 0, 0, 0));
    assert_int_equal(civil_month_days(2024, 2), 29);
    assert_int_equal(civil_month_days(1900, 2), 28);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prometheus), cmocka_unit_test(alertmanager), cmocka_unit_test(default_names),
        cmocka_unit_test(zones),      cmocka_unit_test(layouts),      cmocka_unit_test(calendar),
    };
    return cmocka_run_group_tests_name("tmpl/lib", tests, NULL, NULL);
}
