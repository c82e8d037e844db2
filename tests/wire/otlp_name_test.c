/* wire/otlp.h, naming: the conformance rows of otlp_metrics, and our own. */
#include "wire_test.h"

#include "json_doc.h"
#include "wire/otlp.h"

static const char *const kinds[] = { "unknown",          "gauge",     "nonmonotoniccounter",
                                     "monotoniccounter", "histogram", "exponentialhistogram",
                                     "summary" };

static struct jt load(struct arena *a, const char *name)
{
    str text = conformance_file(a, name);
    if (!text.p)
        skip();
    struct jt j = jt_parse(a, text);
    assert_int_not_equal(j.tok, JSON_TOK_ERR);
    return j;
}

static void metric_names(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct jt rows = load(&a, "otlp_metrics/metric_names.json");
    jt_each(row, &rows)
    {
        struct otlp_name_options opt = { jt_true(row, "utf8_allowed"), jt_true(row, "with_suffixes"),
                                         jt_str(row, "namespace") };
        int kind = 0;
        for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
            if (str_eq(jt_str(row, "type"), str_c(kinds[i])))
                kind = (int)i;
        str got = STR_NONE;
        enum err e = otlp_metric_name(&a, jt_str(row, "metric"), jt_str(row, "unit"), (enum otlp_metric_kind)kind, &opt,
                                      &got, NULL);
        if ((e != OK) != jt_true(row, "want_error") || !str_eq(got, jt_str(row, "want_name")))
            fail_msg(STR_FMT ": got " STR_FMT, STR_ARG(jt_str(row, "name")), STR_ARG(got));
        if (e != OK)
            continue;
        got = otlp_unit_name(&a, jt_str(row, "unit"), opt.utf8_allowed);
        if (!str_eq(got, jt_str(row, "want_unit")))
            fail_msg(STR_FMT ": got unit " STR_FMT, STR_ARG(jt_str(row, "name")), STR_ARG(got));
    }
}

static void label_names(void **state)
{
    (void)state;
    static const char *const keys[] = { "sanitized", "sanitized_preserve_multiple_underscores",
                                        "sanitized_underscore_label_sanitization", "both_options" };
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct jt rows = load(&a, "otlp_metrics/label_names.json");
    jt_each(row, &rows) for (unsigned k = 0; k < 4; k++)
    {
        struct otlp_label_options opt = { .preserve_multiple_underscores = k & 1, .underscore_prefix = k & 2 };
        str got = STR_NONE;
        enum err e = otlp_label_name(&a, jt_str(row, "label"), &opt, &got, NULL);
        if ((e != OK) != jt_true(row, "error") || !str_eq(got, jt_str(row, keys[k])))
            fail_msg(STR_FMT ", %s: got " STR_FMT, STR_ARG(jt_str(row, "label")), keys[k], STR_ARG(got));
    }
}

static void own_rows(void **state)
{
    (void)state;
    static const struct {
        const char *name, *unit;
        enum otlp_metric_kind kind;
        const char *escaped, *utf8;
    } rows[] = {
        { "http.server.request.duration", "s", OTLP_KIND_HISTOGRAM, "http_server_request_duration_seconds",
          "http.server.request.duration_seconds" },
        { "http.requests_total", "", OTLP_KIND_SUM_MONOTONIC, "http_requests_total", "http.requests_total" },
        { "x", "{requests}", OTLP_KIND_SUM_MONOTONIC, "x_total", "x_total" },
        { "a..b", "By", OTLP_KIND_GAUGE, "a_b_bytes", "a..b_bytes" },
        { "io.rate", "By/s", OTLP_KIND_GAUGE, "io_rate_bytes_per_second", "io.rate_bytes_per_second" },
        { "load", "1", OTLP_KIND_SUM_NON_MONOTONIC, "load", "load" },
        { "\xc3\xa4", "s", OTLP_KIND_GAUGE, "seconds", "\xc3\xa4_seconds" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        str got;
        assert_ok(otlp_metric_name(&a, str_c(rows[i].name), str_c(rows[i].unit), rows[i].kind,
                                   &(struct otlp_name_options){ false, true, STR_NONE }, &got, NULL));
        assert_str(got, rows[i].escaped);
        assert_ok(otlp_metric_name(&a, str_c(rows[i].name), str_c(rows[i].unit), rows[i].kind,
                                   &(struct otlp_name_options){ true, true, STR_NONE }, &got, NULL));
        assert_str(got, rows[i].utf8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metric_names),
        cmocka_unit_test(label_names),
        cmocka_unit_test(own_rows),
    };
    return cmocka_run_group_tests_name("wire/otlp names", tests, NULL, NULL);
}
