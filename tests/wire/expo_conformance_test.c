/* The exposition folder of the conformance suite: what Prometheus' parsers return entry by entry, what they refuse,
 * and real /metrics bodies. Skipped where the folder is not there. */
#include "wire_test.h"

#include <math.h>

#include "json_doc.h"
#include "wire/expo.h"

#define FOLDER "exposition/"

static struct jt load(struct arena *a, const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), FOLDER "%s", name);
    str text = conformance_file(a, path);
    if (!text.p)
        skip();
    struct jt j = jt_parse(a, text);
    assert_int_not_equal(j.tok, JSON_TOK_ERR);
    return j;
}
static str text_of(struct arena *a, const char *folder, const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), FOLDER "%s%s", folder, name);
    return conformance_file(a, path);
}
static enum expo_format format_of(const struct jt *o)
{
    enum expo_format f;
    assert_ok(expo_format_select(jt_str(o, "content_type"), STR_NONE, &f, NULL, NULL));
    return f;
}
static void same_number(const struct jt *want, double got)
{
    char text[NUM_TEXT_MAX];
    if (want->tok == JSON_TOK_NUM)
        assert_true(jt_num(want) == got);
    else
        assert_true(str_eq(str_n(text, num_format_g(text, got)), want->text));
}
static void same_labels(const struct jt *want, struct labels got)
{
    assert_int_equal(want->n, got.n);
    labels_each (l, got) {
        char key[256];
        snprintf(key, sizeof(key), STR_FMT, STR_ARG(l->name));
        if (!str_eq(l->value, jt_str(want, key)))
            fail_msg("label %s is \"" STR_FMT "\"", key, STR_ARG(l->value));
    }
}
static void same_ms(const struct jt *want, bool has, int64_t got)
{
    assert_int_equal(want->tok == JSON_TOK_NUM, has);
    if (has)
        assert_true(jt_num(want) == (double)got);
}

static void same_sample(struct expo *x, struct arena *a, const struct jt *want)
{
    struct labels ls;
    assert_ok(expo_labels(x, a, &ls, NULL));
    assert_true(str_eq(x->series, jt_str(want, "raw_series")));
    same_labels(jt_get(want, "labels"), ls);
    same_number(jt_get(want, "value"), x->value);
    same_ms(jt_get(want, "timestamp_ms"), x->has_ts, x->ts_ms);
    int64_t start = expo_start_ms(x);
    same_ms(jt_get(want, "start_timestamp_ms"), start != 0, start);
    const struct jt *ex = jt_get(want, "exemplars")->p;
    assert_int_equal(ex != NULL, x->has_exemplar);
    if (!ex)
        return;
    struct exemplar got;
    bool has_ts;
    assert_ok(expo_exemplar(x, a, &got, &has_ts, NULL));
    same_labels(jt_get(ex, "labels"), got.labels);
    same_number(jt_get(ex, "value"), got.v);
    same_ms(jt_get(ex, "timestamp_ms"), has_ts, got.ts_ms);
}

static void same_entry(struct expo *x, struct arena *a, const struct jt *want)
{
    static const char *const kinds[] = { "end", "error", "sample", "help", "type", "unit", "comment" };
    assert_str(jt_str(want, "kind"), kinds[x->entry]);
    switch (x->entry) {
    case EXPO_SAMPLE:
        same_sample(x, a, want);
        break;
    case EXPO_HELP:
        assert_true(str_eq(expo_help(x, a), jt_str(want, "help")));
        break;
    case EXPO_TYPE:
        assert_str(jt_str(want, "type"), metric_type_name(x->type));
        break;
    case EXPO_UNIT:
        assert_true(str_eq(x->text, jt_str(want, "unit")));
        break;
    case EXPO_COMMENT:
        assert_true(str_eq(x->text, jt_str(want, "text")));
        return;
    default:
        fail();
    }
    if (x->entry != EXPO_SAMPLE)
        assert_true(str_eq(x->name, jt_str(want, "metric")));
}

static void parse_entry_by_entry(void **state)
{
    (void)state;
    static const char *const names[] = { "parse/PromParse", "parse/OpenMetricsParse" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        char name[128];
        snprintf(name, sizeof(name), "%s.expected.json", names[i]);
        struct jt want = load(&a, name);
        snprintf(name, sizeof(name), "%s.txt", names[i]);
        struct expo x;
        expo_init(&x, format_of(&want), text_of(&a, "", name));
        jt_each(entry, jt_get(&want, "entries"))
        {
            if (expo_next(&x) == EXPO_ERROR)
                fail_msg("%s", x.error.msg);
            same_entry(&x, &a, entry);
        }
        assert_int_equal(expo_next(&x), EXPO_END);
    }
}

static void errors(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct jt rows = load(&a, "parse/errors.json");
    jt_each(row, &rows)
    {
        str in = jt_str(row, "input"), hex = jt_str(row, "input_hex");
        if (hex.p) {
            char *p = arena_alloc(&a, hex.n / 2);
            for (size_t i = 0; i < hex.n / 2; i++) {
                unsigned v;
                sscanf(hex.p + 2 * i, "%2x", &v);
                p[i] = (char)v;
            }
            in = (str){ p, hex.n / 2 };
        }
        struct expo x;
        expo_init(&x, format_of(row), in);
        while (expo_next(&x) > EXPO_ERROR)
            ;
        if ((x.entry == EXPO_END) != jt_true(row, "valid"))
            fail_msg("row %zu: %s, want " STR_FMT, (size_t)(row - rows.p),
                     x.entry == EXPO_END ? "accepted" : x.error.msg, STR_ARG(jt_str(row, "upstream_error")));
    }
}

#define MAP_NAME     seen
#define MAP_KEY      str
#define MAP_VALUE    bool
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"

/* Samples, distinct series, timestamps and the sum of a captured body, against an independent parser. */
static void capture(struct arena *a, const struct jt *row)
{
    struct expo x;
    struct seen seen = { 0 };
    double sum = 0;
    int64_t samples = 0, with_ts = 0, not_finite = 0;
    expo_init(&x, EXPO_TEXT, text_of(a, "captures/", arena_cstr(a, jt_str(row, "file"))));
    while (expo_next(&x) > EXPO_ERROR) {
        if (x.entry != EXPO_SAMPLE)
            continue;
        struct labels ls;
        assert_ok(expo_labels(&x, a, &ls, NULL));
        struct buf b;
        buf_init(&b, 0);
        labels_print(&b, ls);
        seen_put(&seen, arena_str(a, buf_str(&b)), NULL);
        buf_deinit(&b);
        samples++;
        with_ts += x.has_ts;
        if (isfinite(x.value))
            sum += x.value;
        else
            not_finite++;
    }
    bool bad = jt_has(row, "reference_parser_error");
    if (x.entry == EXPO_ERROR && !bad)
        fail_msg("%s: %s", arena_cstr(a, jt_str(row, "file")), x.error.msg);
    if (!bad) {
        assert_int_equal(samples, jt_int(row, "samples"));
        assert_int_equal(seen.n, jt_int(row, "distinct_series"));
        assert_int_equal(with_ts, jt_int(row, "with_timestamp"));
        assert_int_equal(not_finite, jt_int(row, "non_finite_values"));
        double want = jt_num(jt_get(row, "sum_of_finite_values"));
        assert_true(fabs(sum - want) <= 1e-9 * fmax(fabs(want), 1));
    }
    seen_free(&seen);
}

static void captures(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct jt rows = load(&a, "captures/index.json");
    jt_each(row, &rows) capture(&a, row);
}

/* The specification's verdicts, by the strict checker. */
static void openmetrics_suite(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct jt rows = load(&a, "openmetrics-suite/index.json");
    jt_each(row, &rows)
    {
        struct err_text why;
        char *file = arena_cstr(&a, jt_str(row, "file"));
        enum err e = expo_check_openmetrics(text_of(&a, "openmetrics-suite/", file), &why);
        if ((e == OK) != jt_true(row, "should_parse"))
            fail_msg("%s: %s", file, e == OK ? "accepted" : why.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_entry_by_entry),
        cmocka_unit_test(errors),
        cmocka_unit_test(captures),
        cmocka_unit_test(openmetrics_suite),
    };
    return cmocka_run_group_tests_name("wire/expo conformance", tests, NULL, NULL);
}
