/* libvane's core: life, configuration, small tools. */
#include "../../src/sdk/sdk_conf.h"

#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char told[512];
static int n_told;

static void diag(void *ctx, vane_status status, const char *what)
{
    (void)ctx, (void)status;
    snprintf(told, sizeof told, "%s", what);
    n_told++;
}

static vane_config config(void)
{
    vane_config c = VANE_CONFIG_INIT;
    c.ignore_environment = VANE_ON;
    c.diag = diag;
    return c;
}

static void test_life(void **state)
{
    (void)state;
    assert_int_equal(vane_running(), 0);
    assert_int_equal(vane_stop(0), VANE_E_STATE);
    assert_int_equal(vane_flush(0), VANE_E_STATE);
    assert_int_equal(vane_fork_resume(), VANE_E_STATE);
    vane_config c = config();
    for (int round = 0; round < 3; round++) {
        assert_int_equal(vane_start(&c), VANE_OK);
        assert_int_equal(vane_start(&c), VANE_E_STATE);
        assert_int_equal(vane_running(), 1);
        assert_int_equal(vane_flush(100), VANE_OK);
        assert_int_equal(vane_stop(100), VANE_OK);
        assert_int_equal(vane_running(), 0);
    }
    c.disabled = VANE_ON;
    assert_int_equal(vane_start(&c), VANE_OK);
    assert_int_equal(vane_running(), 0);
    assert_int_equal(vane_stop(0), VANE_OK);
}

static void test_bad_config(void **state)
{
    (void)state;
    vane_config c = config();
    c.size = 3;
    assert_int_equal(vane_start(&c), VANE_E_ARG);
    c = config();
    c.sample_rate = 1.5;
    assert_int_equal(vane_start(&c), VANE_E_ARG);
    assert_non_null(strstr(told, "sample_rate"));
    c = config();
    c.log_format = "xml";
    assert_int_equal(vane_start(&c), VANE_E_ARG);
    assert_non_null(strstr(told, "xml"));
    c = config();
    c.metrics_path = "metrics";
    assert_int_equal(vane_start(&c), VANE_E_ARG);
    c = config();
    c.tracing = (vane_switch)7;
    assert_int_equal(vane_start(&c), VANE_E_ARG);
    assert_int_equal(vane_running(), 0);
    /* A caller built against an older, shorter struct. */
    c = config();
    c.size = offsetof(vane_config, metrics);
    c.sample_rate = 99;
    assert_int_equal(vane_start(&c), VANE_OK);
    assert_true(sdk_cfg.sample_rate == 1);
    assert_int_equal(vane_stop(0), VANE_OK);
}

static void test_environment(void **state)
{
    (void)state;
    setenv("OTEL_SERVICE_NAME", "from-env", 1);
    setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=loses, team = a%2Cb ,nonsense,k=%zz", 1);
    setenv("TRACING_SAMPLE_RATE", "0", 1);
    setenv("METRICS_ENABLED", "No", 1);
    setenv("HEALTH_CHECK_TIMEOUT", "soon", 1);
    setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer abc", 1);
    setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:pw@collector:4318", 1);
    setenv("LOG_LEVEL", "WARN", 1);
    vane_config c = VANE_CONFIG_INIT;
    c.diag = diag;
    c.log_level = "DEBUG";
    n_told = 0;
    assert_int_equal(vane_start(&c), VANE_OK);
    assert_int_equal(n_told, 2); /* the time-out and the attribute list */
    assert_string_equal(sdk_resource_value("service.name"), "from-env");
    assert_string_equal(sdk_resource_value("team"), "a,b");
    assert_null(sdk_resource_value("k"));
    assert_int_equal(strlen(sdk_resource_value("service.instance.id")), 36);
    assert_int_equal(sdk_cfg.sampler, VANE_SAMPLER_PARENT_OFF);
    assert_int_equal(sdk_cfg.metrics, VANE_OFF);
    assert_int_equal(sdk_cfg.health_timeout_s, 30);
    assert_string_equal(sdk_cfg.log_level, "DEBUG"); /* the field wins */
    static char text[16384];
    size_t n = vane_config_print(text, sizeof text);
    assert_int_equal(n, strlen(text));
    assert_non_null(strstr(text, "service_name = from-env  # environment; OTEL_SERVICE_NAME\n"));
    assert_non_null(strstr(text, "otlp_headers = ***"));
    assert_non_null(strstr(text, "http://***@collector:4318"));
    assert_null(strstr(text, "Bearer"));
    assert_int_equal(vane_config_print(NULL, 0), n);
    vane_stop(0);
    static const char *const names[] = { "OTEL_SERVICE_NAME",           "OTEL_RESOURCE_ATTRIBUTES",
                                         "TRACING_SAMPLE_RATE",         "METRICS_ENABLED",
                                         "HEALTH_CHECK_TIMEOUT",        "OTEL_EXPORTER_OTLP_HEADERS",
                                         "OTEL_EXPORTER_OTLP_ENDPOINT", "LOG_LEVEL" };
    for (size_t i = 0; i < SDK_COUNT_OF(names); i++)
        unsetenv(names[i]);
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        double v;
        const char *want;
    } rows[] = {
        { 0, "0" },
        { -0.0, "-0" },
        { 1, "1" },
        { 0.1, "0.1" },
        { -2.5, "-2.5" },
        { 0.005, "0.005" },
        { 1e15, "1000000000000000" },
        { 0.00001, "0.00001" },
        { 1e300, "1e+300" },
        { 5e-324, "4.94065645841247e-324" },
        { (double)NAN, "NaN" },
        { (double)INFINITY, "+Inf" },
        { -(double)INFINITY, "-Inf" },
        { 1.0 / 3, "0.3333333333333333" },
        { 1700000000.123, "1700000000.123" },
    };
    char buf[32];
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < SDK_COUNT_OF(rows); i++) {
            size_t n = sdk_fmt_f64(buf, rows[i].v);
            if (n != strlen(rows[i].want) || memcmp(buf, rows[i].want, n))
                fail_msg("%.*s, not %s", (int)n, buf, rows[i].want);
        }
        for (int i = 0; i < 200000; i++) { /* what is written reads back as the same number */
            uint64_t bits = sdk_random();
            double v = i % 2 ? (double)(bits % 1000000) / (double)(1 + bits / 1000000 % 1000) : 0, back;
            if (!(i % 2))
                memcpy(&v, &bits, 8);
            if (!isfinite(v))
                continue;
            size_t n = sdk_fmt_f64(buf, v);
            assert_true(n <= 31 && sdk_parse_f64(buf, n, &back));
            assert_memory_equal(&v, &back, 8);
        }
        if (!setlocale(LC_NUMERIC, "de_DE.UTF-8") && !setlocale(LC_NUMERIC, "fr_FR.UTF-8"))
            break; /* such a locale is not installed */
    }
    setlocale(LC_NUMERIC, "C");
    assert_int_equal(sdk_fmt_u64(buf, UINT64_MAX), 20);
    assert_memory_equal(buf, "18446744073709551615", 20);
    struct sdk_buf b;
    sdk_buf_init(&b, 1000);
    sdk_put_i64(&b, INT64_MIN);
    sdk_putc(&b, ' ');
    sdk_put_rfc3339(&b, 1709210096123456789u); /* 2024-02-29 */
    sdk_putc(&b, ' ');
    sdk_put_rfc3339(&b, 0);
    assert_int_equal(b.n, 20 + 1 + 27 + 1 + 27);
    assert_memory_equal(b.p, "-9223372036854775808 2024-02-29T12:34:56.123456Z 1970-01-01T00:00:00.000000Z", b.n);
    sdk_buf_free(&b);
}

static void test_text(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        size_t n;
        const char *want;
    } rows[] = {
        { "plain", 5, "plain" },
        { "a\0b", 3,
          "a\xEF\xBF\xBD"
          "b" },
        { "\xC3\xA9", 2, "\xC3\xA9" },
        { "\xC3", 1, "\xEF\xBF\xBD" },
        { "\xC0\xAF", 2, "\xEF\xBF\xBD\xEF\xBF\xBD" },                 /* overlong */
        { "\xED\xA0\x80", 3, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD" }, /* surrogate */
        { "\xF4\x90\x80\x80", 4, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD" },
        { "0123456789\xC3\xA9zz", 14, "0123456789\xC3\xA9" }, /* cut at a character */
        { "01234567890\xC3\xA9", 13, "01234567890" },
    };
    char out[12];
    for (size_t i = 0; i < SDK_COUNT_OF(rows); i++) {
        size_t n = sdk_text(out, sizeof out, rows[i].in, rows[i].n);
        assert_int_equal(n, strlen(rows[i].want));
        assert_memory_equal(out, rows[i].want, n);
    }
    assert_int_equal(sdk_text(out, sizeof out, NULL, SIZE_MAX), 0);
    struct sdk_buf b;
    sdk_buf_init(&b, 100);
    sdk_put_json_str(&b, "a\"\\\n\x01\xFFz", 7);
    assert_memory_equal(b.p, "\"a\\\"\\\\\\n\\u0001\xEF\xBF\xBDz\"", b.n);
    for (int i = 0; i < 20; i++)
        SDK_PUTS(&b, "0123456789");
    assert_true(b.failed && b.n <= 100); /* the limit holds */
    sdk_buf_free(&b);
}

/* Eight bytes are looked at at once: any byte, at any place of texts of any length up to three times that. */
static void test_text_at_once(void **state)
{
    (void)state;
    char text[24], out[200];
    for (size_t n = 1; n <= sizeof text; n++)
        for (size_t at = 0; at < n; at++)
            for (int c = 0; c < 256; c++) {
                memset(text, 'a', sizeof text);
                text[at] = (char)c;
                assert_int_equal(sdk_text_valid(text, n), c > 0 && c < 0x80);
                struct sdk_buf b = { .p = out, .cap = sizeof out, .max = sizeof out };
                sdk_put_json_str(&b, text, n);
                bool plain = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
                assert_int_equal(b.odd, !plain);
                assert_true(out[0] == '"' && out[b.n - 1] == '"' && !memcmp(out + 1, text, at) &&
                            !memcmp(out + b.n - (n - at), text + at + 1, n - at - 1));
                if (plain)
                    assert_true(b.n == n + 2 && out[1 + at] == (char)c);
                else
                    assert_true(b.n > n + 2 && (out[1 + at] == '\\' || c >= 0x80));
            }
    uint8_t bytes[64];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37 + 11);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        struct sdk_buf b = { .p = out, .cap = sizeof out, .max = sizeof out };
        sdk_put_hex(&b, bytes, n);
        assert_int_equal(b.n, 2 * n);
        for (size_t i = 0; i < n; i++) {
            char two[3];
            snprintf(two, sizeof two, "%02x", bytes[i]);
            assert_memory_equal(out + 2 * i, two, 2);
        }
    }
}

static void test_fork(void **state)
{
    (void)state;
    vane_config c = config();
    assert_int_equal(vane_start(&c), VANE_OK);
    char id[37];
    snprintf(id, sizeof id, "%s", sdk_resource_value("service.instance.id"));
    uint64_t r = sdk_random();
    (void)r;
    pid_t pid = fork();
    if (!pid)
        _exit(strcmp(id, sdk_resource_value("service.instance.id")) && sdk_forks == 1 && vane_running() ? 0 : 1);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_string_equal(id, sdk_resource_value("service.instance.id"));
    vane_stop(0);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for (uint64_t k = 1; k < 500; k++) {
        vane_config c = config();
        sdk_alloc_fail_at = k;
        vane_status st = vane_start(&c);
        bool reached = sdk_alloc_fail_at == 0;
        sdk_alloc_fail_at = 0;
        if (!reached) { /* every allocation of a start has failed once */
            assert_int_equal(st, VANE_OK);
            assert_true(k > 10);
            vane_stop(0);
            return;
        }
        assert_true(st == VANE_OK || st == VANE_E_NOMEM);
        if (st == VANE_OK)
            vane_stop(0);
    }
    fail();
}

static void test_self(void **state)
{
    (void)state;
    struct {
        vane_self_stats s;
        uint64_t guard;
    } x = { .s.size = sizeof x.s, .guard = 42 };
    assert_int_equal(vane_self(&x.s), VANE_OK);
    assert_int_equal(x.guard, 42);
    assert_int_equal(vane_self(NULL), VANE_E_ARG);
    x.s.size = 1;
    assert_int_equal(vane_self(&x.s), VANE_E_ARG);
    x.s.size = 24;
    x.s.bad_labels = 7;
    assert_int_equal(vane_self(&x.s), VANE_OK);
    assert_int_equal(x.s.bad_labels, 7); /* past the size: untouched */
    for (int i = 0; i < 12; i++)
        assert_non_null(vane_status_text((vane_status)i));
}

/* The cheap clock goes with the dear one, over its renewals, in several threads and in a child. */
static void *ticks_go_along(void *p)
{
    (void)p;
    uint64_t end = sdk_mono_ns() + 400000000u, last = 0, back = 0, n = 0;
    while (sdk_mono_ns() < end) {
        uint64_t wall, before = sdk_mono_ns(), unix_before = sdk_unix_ns(), now = sdk_tick_ns(&wall),
                       after = sdk_mono_ns(), unix_after = sdk_unix_ns();
        if (now + 50000 < before || now > after + 50000)
            return (void *)1;
        if (wall + 2000000 < unix_before || wall > unix_after + 2000000)
            return (void *)2;
        back += now + 50000 < last;
        last = now;
        n++;
    }
    return !n || back ? (void *)3 : NULL;
}

static void test_ticks(void **state)
{
    (void)state;
    vane_config c = config();
    assert_int_equal(vane_start(&c), VANE_OK);
    pthread_t t[4];
    void *bad;
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, ticks_go_along, NULL);
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], &bad);
        assert_null(bad);
    }
    pid_t pid = fork();
    if (!pid)
        _exit((int)(intptr_t)ticks_go_along(NULL));
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    vane_stop(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life),          cmocka_unit_test(test_bad_config), cmocka_unit_test(test_environment),
        cmocka_unit_test(test_numbers),       cmocka_unit_test(test_text),       cmocka_unit_test(test_fork),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_self),       cmocka_unit_test(test_text_at_once),
        cmocka_unit_test(test_ticks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
