/* base/log.h, base/stats.h */
#include "test.h"

#include <stdio.h>

#include "base/log.h"
#include "base/stats.h"

static char last[4096];
static int lines;

static void keep(void *ctx, enum log_level level, str line)
{
    (void)ctx;
    (void)level;
    lines++;
    snprintf(last, sizeof(last), STR_FMT, STR_ARG(line));
}

static void lines_are_structured_and_limited(void **state)
{
    (void)state;
    log_set_hook(keep, NULL);
    LOG_WARN("disk is slow", "path", "/a b", "n", LOG_I64(7), "s", LOG_STR(STR("x=\"y\"")));
    assert_non_null(strstr(last, "level=warn"));
    assert_non_null(strstr(last, "msg=\"disk is slow\" path=\"/a b\" n=7 s=\"x=\\\"y\\\"\""));
    lines = 0;
    for (int i = 0; i < 1000; i++)
        LOG_WARN("flood");
    assert_true(lines >= 10 && lines <= 20);
    lines = 0;
    LOG_DEBUG("hidden");
    assert_int_equal(lines, 0);
    log_setup(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
    LOG_DEBUG("shown", "k", "v");
    assert_non_null(strstr(last, "\"msg\":\"shown\",\"k\":\"v\""));
    log_set_hook(NULL, NULL);
}

static void counters_render_by_family(void **state)
{
    (void)state;
    static struct stat a = STAT_COUNTER("t_requests_total", "Requests.", "code=\"200\"");
    static struct stat b = STAT_COUNTER("t_requests_total", "Requests.", "code=\"500\"");
    static struct stat g = STAT_GAUGE("t_level", "Level.", "");
    static struct stat_hist h = STAT_HIST("t_seconds", "Durations.", "");
    stat_add(&a, 2);
    stat_add(&b, 1);
    stat_set(&g, -3);
    stat_hist_observe_ns(&h, 2000000);
    AUTO_BUF struct buf out = { 0 };
    stats_render(&out);
    str s = buf_str(&out);
    assert_true(str_contains(s, STR("# HELP t_requests_total Requests.\n# TYPE t_requests_total counter\n"
                                    "t_requests_total{code=\"200\"} 2\nt_requests_total{code=\"500\"} 1\n")));
    assert_true(str_contains(s, STR("# TYPE t_level gauge\nt_level -3\n")));
    assert_true(str_contains(s, STR("t_seconds_bucket{le=\"0.001\"} 0\nt_seconds_bucket{le=\"0.003\"} 1\n")));
    assert_true(str_contains(s, STR("t_seconds_sum 0.002\nt_seconds_count 1\n")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_structured_and_limited),
        cmocka_unit_test(counters_render_by_family),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
