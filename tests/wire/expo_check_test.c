/* wire/expo.h, expo_check_openmetrics: one row per rule. */
#include "wire_test.h"

#include "wire/expo.h"

static void rules(void **state)
{
    (void)state;
    static const struct {
        const char *in; /* "# EOF" is added */
        const char *want;
    } rows[] = {
        { "", "" },
        { "# TYPE a counter\n# HELP a h\n# UNIT a \na_total 1\na_created 2\n", "" },
        { "a 1\nb 2\n", "" },
        { "# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 2\na_count 2\na_sum 3\n", "" },
        { "# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 2\n", "" },
        { "# TYPE a counter\n# TYPE a counter\n", "line 2: the same kind of metadata twice" },
        { "# TYPE a counter\na_total 1\n# HELP a h\n", "line 3: metadata after samples of its family" },
        { "# TYPE a counter\na_total 1\nb 1\na_total 2\n", "line 4: the name a_total clashes with an earlier family" },
        { "# TYPE a_created gauge\n# TYPE a counter\n", "line 3: the name a_created clashes with an earlier family" },
        { "# TYPE a counter\na_total -1\n", "line 2: a counter's value cannot be negative" },
        { "# TYPE a counter\na_total NaN\n", "line 2: a counter's value cannot be NaN" },
        { "# TYPE a info\na_info{b=\"c\"} 2\n", "line 2: an info's value must be 1" },
        { "# TYPE a stateset\na{a=\"x\"} 2\n", "line 2: a stateset's value must be 0 or 1" },
        { "# TYPE a stateset\na 1\n", "line 2: a stateset's sample lacks the label a" },
        { "# TYPE a_s info\n# UNIT a_s s\n", "line 3: family a_s: this type cannot have a unit" },
        { "# TYPE a summary\na{quantile=\"1.5\"} 1\n", "line 2: invalid quantile label" },
        { "# TYPE a summary\na{quantile=\"1\"} -1\n", "line 2: a quantile's value cannot be negative" },
        { "# TYPE a histogram\na_bucket 1\n", "line 2: invalid le label" },
        { "# TYPE a histogram\na_bucket{le=\"+INF\"} 1\n", "line 2: invalid le label" },
        { "# TYPE a histogram\na_bucket{le=\"1\"} 1\n", "line 3: the histogram before this has no +Inf bucket" },
        { "# TYPE a histogram\na_bucket{le=\"2\"} 1\na_bucket{le=\"1\"} 1\n", "line 3: buckets out of order" },
        { "# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\n", "line 3: bucket values go down" },
        { "# TYPE a histogram\na_bucket{le=\"1\"} 0.5\n", "line 2: buckets and counts must be whole numbers" },
        { "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 2\na_sum 1\n",
          "line 5: the histogram's count does not match its +Inf bucket" },
        { "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\n", "line 4: the histogram has a sum but no count" },
        { "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 1\n", "line 4: the histogram has a count but no sum" },
        { "# TYPE a gauge\na 1 2\na 1 1\n", "line 3: timestamps go back within a group" },
        { "# TYPE a gauge\na 1 2\na 1\n", "line 3: some samples of the group have timestamps and some have none" },
        { "# TYPE a counter\na_total{b=\"1\"} 1\na_total{b=\"2\"} 1\na_created{b=\"1\"} 1\n",
          "line 4: the samples of a group are not together" },
        { "# TYPE a gauge\na 1 # {b=\"c\"} 1\n", "line 2: only buckets and counters can have exemplars" },
        { "# TYPE a counter\na_total 1 # {b=\"c\"} 1\n", "" },
        { "# TYPE a counter\na_total{b=\"c\",} 1\n", "line 2: a comma before '}'" },
        { "a{b=\"1\",b=\"2\"} 1\n", "line 1: label name \"b\" is not unique" },
        { "a 1\n\n", "line 2: expected a metric name, got '\\n'" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct err_text why = { 0 };
        enum err e = expo_check_openmetrics(arena_printf(&a, "%s# EOF\n", rows[i].in), &why);
        if ((e == OK) != !rows[i].want[0] || !str_eq(str_c(why.msg), str_c(rows[i].want)))
            fail_msg("row %zu: got \"%s\", want \"%s\"", i, why.msg, rows[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(rules) };
    return cmocka_run_group_tests_name("wire/expo_check", tests, NULL, NULL);
}
