/* libvane's logging: lines, scopes, redaction, sinks, rotation, audit, full rings, fork, threads. */
#include "../../src/sdk/sdk_log.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[64], told[512];

static void diag(void *ctx, vane_status status, const char *what)
{
    (void)ctx, (void)status;
    snprintf(told, sizeof told, "%s", what);
}

static vane_config config(const char *sinks)
{
    vane_config c = VANE_CONFIG_INIT;
    c.ignore_environment = VANE_ON;
    c.service_name = "shop";
    c.log_sinks = sinks;
    c.log_level = "DEBUG";
    c.diag = diag;
    return c;
}

/* What a host's sink has seen. */
static pthread_mutex_t seen_mu = PTHREAD_MUTEX_INITIALIZER;
static char seen[1 << 20], last[1 << 19];
static size_t seen_n, n_lines;
static _Atomic bool hold;

static void capture(void *ctx, vane_log_level level, const char *line, size_t n)
{
    (void)ctx, (void)level;
    while (atomic_load(&hold))
        usleep(1000);
    pthread_mutex_lock(&seen_mu);
    assert_int_equal(line[n - 1], '\n');
    if (seen_n + n < sizeof seen) {
        memcpy(seen + seen_n, line, n);
        seen_n += n;
    }
    memcpy(last, line, n < sizeof last ? n : sizeof last - 1);
    last[n < sizeof last ? n : sizeof last - 1] = 0;
    n_lines++;
    pthread_mutex_unlock(&seen_mu);
}

static void begin_cfg(const vane_config *c)
{
    seen_n = n_lines = 0;
    last[0] = told[0] = 0;
    assert_int_equal(vane_start(c), VANE_OK);
    assert_int_equal(vane_log_add_sink(capture, NULL), VANE_OK);
}

static void begin(void)
{
    vane_config c = config("none");
    begin_cfg(&c);
}

static void end(void)
{
    assert_int_equal(vane_stop(5000), VANE_OK);
}

static const char *line(void)
{
    assert_int_equal(vane_flush(5000), VANE_OK);
    return last;
}

static uint64_t counter(enum sdk_counter c)
{
    return atomic_load(&sdk_counters[c]);
}

static void has(int where, const char *text, const char *part, bool wanted)
{
    if ((strstr(text, part) != NULL) != wanted)
        fail_msg("line %d: %s \"%s\" in: %s", where, wanted ? "no" : "a", part, text);
}
#define HAS(text, part)     has(__LINE__, text, part, true)
#define HAS_NOT(text, part) has(__LINE__, text, part, false)

static void test_line(void **state)
{
    (void)state;
    begin();
    uint8_t bytes[] = { 0, 1, 255, 7 };
    VANE_INFO("paid", vane_f64("amount", 12.5), vane_str("currency", "EUR"), vane_int("n", -3), vane_bool("ok", 1),
              vane_bytes("raw", bytes, 4), vane_bytes("raw2", bytes, 2), vane_f64("nan", 0.0 / 0.0));
    const char *l = line();
    assert_memory_equal(l, "{\"timestamp\":\"20", 16);
    HAS(l,
        "\",\"level\":\"INFO\",\"service\":\"shop\",\"message\":\"paid\",\"metadata\":{\"amount\":12.5,\"currency\":"
        "\"EUR\",\"n\":-3,\"ok\":true,\"raw\":\"AAH/Bw==\",\"raw2\":\"AAE=\",\"nan\":\"NaN\"},\"code.file.path\":\"");
    HAS(l, "log_test.c\",\"code.line.number\":");
    vane_log(VANE_LOG_ERROR, NULL, "no site", NULL, 0);
    HAS(line(), "\"level\":\"ERROR\",\"service\":\"shop\",\"message\":\"no site\"}\n");
    vane_logf(VANE_LOG_WARN, "retry %d of %s", 2, "five");
    HAS(line(), "\"WARN\",\"service\":\"shop\",\"message\":\"retry 2 of five\"");
    VANE_LOG(VANE_LOG_INFO, "q\"\\\t\x01");
    HAS(line(), "\"message\":\"q\\\"\\\\\\t\\u0001\"");
    /* Ids of the current span by themselves. */
    memset(sdk_tls.context.trace_id, 0xAB, 16);
    memset(sdk_tls.context.span_id, 0x12, 8);
    VANE_CRITICAL("in span");
    HAS(line(), "\"trace_id\":\"abababababababababababababababab\",\"span_id\":\"1212121212121212\"");
    memset(&sdk_tls.context, 0, sizeof sdk_tls.context);
    errno = 77;
    VANE_INFO("keeps errno");
    vane_logf(VANE_LOG_INFO, "keeps %s", "errno");
    assert_int_equal(errno, 77);
    end();
    vane_config c = config("none");
    c.log_format = "text";
    begin_cfg(&c);
    VANE_WARN("two words", vane_str("a", "plain"), vane_str("b", "with space"), vane_str("c", ""), vane_int("d", 4));
    HAS(line(), "Z WARN     shop two words a=plain b=\"with space\" c=\"\" d=4 at=");
    VANE_INFO("a\nb");
    HAS(line(), "INFO     shop \"a\\nb\" at=");
    end();
}

static void test_levels(void **state)
{
    (void)state;
    vane_log_level l;
    assert_int_equal(vane_log_level_parse("WARNING", &l), VANE_OK);
    assert_int_equal(l, VANE_LOG_WARN);
    assert_int_equal(vane_log_level_parse("Fatal", &l), VANE_OK);
    assert_int_equal(l, VANE_LOG_CRITICAL);
    assert_int_equal(vane_log_level_parse("loud", &l), VANE_E_ARG);
    assert_int_equal(vane_log_level_parse(NULL, &l), VANE_E_ARG);
    assert_int_equal(vane_log_level_parse("info", NULL), VANE_E_ARG);
    vane_config c = config("none");
    c.log_level = "loud";
    assert_int_equal(vane_start(&c), VANE_E_ARG);
    HAS(told, "loud");
    c.log_level = "WARN";
    assert_int_equal(vane_log_on(VANE_LOG_CRITICAL), 0);
    begin_cfg(&c);
    VANE_INFO("no");
    vane_log(VANE_LOG_INFO, NULL, "no", NULL, 0);
    assert_string_equal(line(), "");
    VANE_WARN("yes");
    HAS(line(), "yes");
    vane_log_set_level(VANE_LOG_CRITICAL);
    VANE_ERROR("no");
    vane_log_set_level(VANE_LOG_DEBUG);
    VANE_DEBUG("debug");
    HAS(line(), "\"DEBUG\"");
    assert_int_equal(n_lines, 2);
    end();
    VANE_CRITICAL("after stop");
    vane_log(VANE_LOG_CRITICAL, NULL, "after stop", NULL, 0);
    vane_log_set_level(VANE_LOG_DEBUG);
    assert_int_equal(vane_log_on(VANE_LOG_CRITICAL), 0);
    assert_int_equal(vane_log_add_sink(capture, NULL), VANE_E_STATE);
    assert_int_equal(vane_log_redact("x"), VANE_E_STATE);
    vane_log_reopen();
}

static void *other_thread(void *saved)
{
    vane_log_scope s = vane_log_context_begin(saved);
    VANE_INFO("elsewhere");
    vane_log_scope_end(&s);
    VANE_INFO("bare");
    return NULL;
}

static void test_scopes(void **state)
{
    (void)state;
    vane_log_scope early = vane_log_scope_begin(NULL, 0);
    vane_log_scope_end(&early);
    assert_null(vane_log_context_save());
    begin();
    {
        VANE_LOG_SCOPE(vane_str("correlation_id", "c1"), vane_str("user_id", "u1"), vane_str("tier", "gold"));
        VANE_INFO("outer");
        HAS(line(),
            "\"message\":\"outer\",\"correlation_id\":\"c1\",\"user_id\":\"u1\",\"metadata\":{\"tier\":\"gold\"}");
        {
            VANE_LOG_SCOPE(vane_str("endpoint", "/pay"), vane_str("tier", "silver"));
            VANE_INFO("inner", vane_str("user_id", "u2"));
            HAS(line(), "\"correlation_id\":\"c1\",\"user_id\":\"u2\",\"endpoint\":\"/pay\",\"metadata\":{\"tier\":"
                        "\"silver\"}");
            char text[8];
            assert_true(sdk_log_scope_get("tier", text, sizeof text));
            assert_string_equal(text, "silver");
            assert_true(sdk_log_scope_get("endpoint", text, 3));
            assert_string_equal(text, "/p");
            assert_false(sdk_log_scope_get("none", text, sizeof text));
        }
        VANE_INFO("outer again");
        HAS_NOT(line(), "/pay");
        HAS(last, "gold");
        vane_log_saved *saved = vane_log_context_save();
        assert_non_null(saved);
        pthread_t t;
        pthread_create(&t, NULL, other_thread, saved);
        pthread_join(t, NULL);
        vane_flush(5000);
        assert_non_null(memmem(seen, seen_n, "\"elsewhere\",\"correlation_id\":\"c1\"", 33));
        HAS(line(), "\"message\":\"bare\",\"code");
        vane_log_context_free(saved);
    }
    VANE_INFO("outside");
    HAS_NOT(line(), "c1");
    /* Baggage stands in for scopes. */
    vane_context carried =
        vane_baggage_with((vane_context){ .trace_id = { 1 }, .span_id = { 2 } }, "user_id", "u7", NULL);
    carried = vane_baggage_with(carried, "correlation_id", "c7", NULL);
    assert_true(carried.extra != 0);
    vane_context before = vane_context_attach(&carried);
    VANE_INFO("carried", vane_int("own", 1));
    HAS(line(), "\"correlation_id\":\"c7\",\"user_id\":\"u7\"");
    HAS(last, "\"metadata\":{\"own\":1}");
    {
        VANE_LOG_SCOPE(vane_str("correlation_id", "c8"));
        VANE_INFO("carried", vane_str("user_id", "u8"));
        HAS(line(), "\"correlation_id\":\"c8\",\"user_id\":\"u8\"");
    }
    vane_context_detach(before);
    vane_context_release(carried);
    /* Out of order and twice. */
    vane_log_scope a = vane_log_scope_begin((vane_attr[]){ vane_str("k", "a") }, 1);
    vane_log_scope b = vane_log_scope_begin((vane_attr[]){ vane_str("k", "b") }, 1);
    vane_log_scope copy = b;
    vane_log_scope_end(&a);
    vane_log_scope c = vane_log_scope_begin((vane_attr[]){ vane_str("k", "c") }, 1);
    vane_log_scope_end(&b);
    vane_log_scope_end(&copy);
    VANE_INFO("x");
    HAS(line(), "\"k\":\"c\"");
    vane_log_scope_end(&c);
    vane_log_scope_end(&c);
    vane_log_scope_end(NULL);
    /* Too deep, too big. */
    vane_log_scope deep[20];
    for (int i = 0; i < 20; i++)
        deep[i] = vane_log_scope_begin((vane_attr[]){ vane_int("depth", i) }, 1);
    HAS(told, "nested");
    VANE_INFO("deep");
    HAS(line(), "\"depth\":15");
    for (int i = 20; i-- > 0;)
        vane_log_scope_end(&deep[i]);
    char *big = malloc(5001);
    memset(big, 'y', 5000);
    big[5000] = 0;
    vane_log_scope s = vane_log_scope_begin((vane_attr[]){ vane_str("big", big), vane_str("after", "z") }, 2);
    VANE_INFO("big");
    HAS(line(), "\"big\":\"yyyy");
    assert_true(strlen(last) < 1400);
    vane_log_scope_end(&s);
    free(big);
    /* A scope of an earlier start. */
    s = vane_log_scope_begin((vane_attr[]){ vane_str("k", "old") }, 1);
    end();
    begin();
    VANE_INFO("new life");
    HAS_NOT(line(), "old");
    vane_log_scope_end(&s);
    end();
}

static void test_redaction(void **state)
{
    (void)state;
    vane_config c = config("none");
    c.log_redact = " pin , card.number";
    begin_cfg(&c);
    VANE_INFO("m", vane_str("password", "p1"), vane_str("db.Password", "p2"), vane_str("PIN", "p3"),
              vane_int("user.pin", 1234), vane_str("x.card.number", "p4"), vane_str("set-cookie", "p5"),
              vane_str("http.request.header.authorization", "p6"), vane_str("spin", "seen1"),
              vane_str("number", "seen2"));
    const char *l = line();
    for (int i = 1; i <= 6; i++) {
        char text[8];
        snprintf(text, sizeof text, "\"p%d\"", i);
        HAS_NOT(l, text);
    }
    HAS_NOT(l, "1234");
    HAS(l, "\"user.pin\":\"[redacted]\"");
    HAS(l, "seen1");
    HAS(l, "seen2");
    assert_int_equal(vane_log_redact("iban,k"), VANE_OK);
    assert_int_equal(vane_log_redact(""), VANE_E_ARG);
    assert_int_equal(vane_log_redact(NULL), VANE_E_ARG);
    VANE_LOG_SCOPE(vane_str("iban", "DE00"));
    VANE_INFO("m", vane_str("k", "q1"), vane_str("a.k", "q2"), vane_str("ok", "q3"));
    HAS_NOT(line(), "DE00");
    HAS_NOT(last, "q1");
    HAS_NOT(last, "q2");
    HAS(last, "q3");
    /* No secret in the ring itself. */
    for (uint32_t i = 0; i < atomic_load(&sdk_log_rings_n); i++)
        if (sdk_log_rings[i].data)
            assert_null(memmem(sdk_log_rings[i].data, sdk_log_rings[i].size, "DE00", 4));
    static char many[8192];
    for (int i = 0; i < 300; i++)
        sprintf(many + strlen(many), "key%d,", i);
    assert_int_equal(vane_log_redact(many), VANE_E_LIMIT);
    memset(many, 'a', 100);
    many[100] = 0;
    assert_int_equal(vane_log_redact(many), VANE_E_ARG);
    end();
}

static void test_bad_input(void **state)
{
    (void)state;
    begin();
    vane_log(VANE_LOG_INFO, NULL, NULL, NULL, 5);
    HAS(line(), "\"message\":\"\"}");
    VANE_INFO("m", vane_str(NULL, "v"), vane_str("", "v"), vane_str("null", NULL), vane_strn("short", NULL, 9),
              vane_bytes("b", NULL, 9));
    HAS(line(), "\"metadata\":{\"null\":\"\",\"short\":\"\",\"b\":\"\"}");
    HAS(last, "\"log.dropped_fields\":2");
    vane_attr none = { .key = "k", .type = (vane_type)77 };
    vane_log((vane_log_level)9999, NULL, "level", &none, 1);
    HAS(line(), "\"CRITICAL\"");
    uint64_t replaced = counter(SDK_REPLACED_STRINGS);
    VANE_INFO("bad \xFF\xC3 utf-8", vane_strn("k\x80", "a\0b\xF0\x9F", 5));
    HAS(line(), "\"bad \xEF\xBF\xBD\xEF\xBF\xBD utf-8\"");
    HAS(last, "\"k\xEF\xBF\xBD\":\"a\xEF\xBF\xBD"
              "b\xEF\xBF\xBD\xEF\xBF\xBD\"");
    assert_int_equal(counter(SDK_REPLACED_STRINGS), replaced + 3);
    size_t n = 300000;
    char *huge = malloc(n + 1);
    for (size_t i = 0; i < n; i += 3)
        memcpy(huge + i, "\xE2\x82\xAC", 3);
    huge[n] = 0;
    uint64_t cut = counter(SDK_CUT_STRINGS);
    VANE_INFO(huge, vane_str("v", huge), vane_str(huge, "v"), vane_strn("n", huge, n), vane_bytes("b", huge, n));
    assert_int_equal(counter(SDK_CUT_STRINGS), cut + 5);
    assert_true(strlen(line()) > 15000);
    HAS_NOT(last, "\xEF\xBF\xBD");
    vane_logf(VANE_LOG_INFO, "%s", huge);
    assert_true(strlen(line()) > 5000);
    HAS_NOT(last, "\xEF\xBF\xBD");
    vane_attr lots[100];
    char names[100][8];
    for (int i = 0; i < 100; i++) {
        snprintf(names[i], sizeof names[i], "k%d", i);
        lots[i] = vane_str(names[i], huge);
    }
    vane_log(VANE_LOG_INFO, NULL, "lots", lots, 100); /* 64 x 4096 bytes are over half of the ring */
    HAS(line(), "\"k3\"");
    HAS(last, "log.dropped_fields");
    for (int i = 0; i < 100; i++)
        lots[i] = vane_int(names[i], i);
    vane_log(VANE_LOG_INFO, NULL, "lots", lots, 100);
    HAS(line(), "\"k63\":63}");
    HAS(last, "\"log.dropped_fields\":36");
    free(huge);
    vane_logf_(VANE_LOG_INFO, NULL, NULL);
    HAS(line(), "\"message\":\"\"}");
    assert_int_equal(vane_log_add_sink(NULL, NULL), VANE_E_ARG);
    for (int i = 1; i < 8; i++)
        assert_int_equal(vane_log_add_sink(capture, NULL), VANE_OK);
    assert_int_equal(vane_log_add_sink(capture, NULL), VANE_E_LIMIT);
    end();
    const char *bad[] = { "teletype", "file:", "file:/nonexistent/dir/x", "syslog:/nonexistent/socket" };
    for (size_t i = 0; i < SDK_COUNT_OF(bad); i++) {
        vane_config c = config(bad[i]);
        assert_int_equal(vane_start(&c), i < 2 ? VANE_E_ARG : VANE_E_IO);
        HAS(told, bad[i]);
    }
}

static double now(void)
{
    return (double)sdk_mono_ns() / 1e9;
}

static void test_full_ring(void **state)
{
    (void)state;
    vane_config c = config("none");
    c.log_ring_bytes = 8192;
    begin_cfg(&c);
    atomic_store(&hold, true);
    double t = now();
    for (int i = 0; i < 10000; i++)
        VANE_INFO("line", vane_int("i", i));
    assert_true(now() - t < 5);
    assert_true(counter(SDK_LOGS_DROPPED) > 9000);
    t = now();
    assert_int_equal(vane_audit("a", "b", "c", "success", NULL, 0), VANE_E_LIMIT);
    assert_true(now() - t >= 0.05);
    assert_int_equal(counter(SDK_EVENTS_DROPPED), 1);
    assert_int_equal(vane_flush(50), VANE_E_TIMEOUT);
    atomic_store(&hold, false);
    assert_int_equal(vane_flush(5000), VANE_OK);
    assert_int_equal(n_lines + counter(SDK_LOGS_DROPPED), 10000);
    HAS(told, "dropped");
    VANE_INFO("works again");
    HAS(line(), "works again");
    end();
}

static void logs_from_sink(void *ctx, vane_log_level level, const char *text, size_t n)
{
    (void)ctx, (void)level, (void)text, (void)n;
    VANE_INFO("loop");
}

static void test_sink_that_logs(void **state)
{
    (void)state;
    begin();
    assert_int_equal(vane_log_add_sink(logs_from_sink, NULL), VANE_OK);
    VANE_INFO("once");
    assert_int_equal(vane_flush(5000), VANE_OK);
    assert_int_equal(n_lines, 1);
    assert_int_equal(counter(SDK_LOGS_DROPPED), 1);
    end();
}

static void test_rates(void **state)
{
    (void)state;
    begin();
    uint64_t sec;
    do /* away from the end of a second */
        sec = sdk_mono_ns() % 1000000000u;
    while (sec > 500000000u);
    for (int i = 0; i < 100; i++)
        VANE_LOG_RATE(5, VANE_LOG_INFO, "rated", vane_int("i", i));
    vane_flush(5000);
    assert_int_equal(n_lines, 5);
    assert_int_equal(counter(SDK_LOGS_SUPPRESSED), 95);
    for (int i = 0; i < 100; i++)
        VANE_LOG_ONE_IN(10, VANE_LOG_INFO, "sampled", vane_int("i", i));
    vane_flush(5000);
    assert_int_equal(n_lines, 15);
    HAS(last, "\"log.suppressed\":9}");
    vane_log_set_level(VANE_LOG_ERROR);
    for (int i = 0; i < 100; i++)
        VANE_LOG_ONE_IN(10, VANE_LOG_INFO, "off");
    vane_flush(5000);
    assert_int_equal(n_lines, 15);
    assert_int_equal(vane_log_allow_rate_(NULL, 1), 0);
    assert_int_equal(vane_log_allow_one_in_(NULL, 1), 0);
    end();
}

static void test_audit(void **state)
{
    (void)state;
    assert_int_equal(vane_audit("a", "b", "c", "success", NULL, 0), VANE_E_STATE);
    begin();
    vane_log_set_level(VANE_LOG_CRITICAL);
    VANE_LOG_SCOPE(vane_str("correlation_id", "c9"));
    assert_int_equal(vane_audit("alice", "order.delete", "order/7", "denied",
                                (vane_attr[]){ vane_str("ip", "10.0.0.1"), vane_str("token", "t") }, 2),
                     VANE_OK);
    HAS(line(),
        "\"level\":\"WARN\",\"service\":\"shop\",\"log.kind\":\"audit\",\"message\":\"alice order.delete order/7: "
        "denied\",\"correlation_id\":\"c9\",\"actor\":\"alice\",\"action\":\"order.delete\",\"object\":\"order/7\","
        "\"outcome\":\"denied\",\"metadata\":{\"ip\":\"10.0.0.1\",\"token\":\"[redacted]\"}}");
    assert_int_equal(vane_audit(NULL, "b", "c", "success", NULL, 0), VANE_E_ARG);
    assert_int_equal(vane_audit("a", "", "c", "success", NULL, 0), VANE_E_ARG);
    assert_int_equal(vane_audit("a", "b", NULL, "success", NULL, 0), VANE_E_ARG);
    assert_int_equal(vane_audit("a", "b", "c", "maybe", NULL, 0), VANE_E_ARG);
    assert_int_equal(vane_audit("a", "b", "c", NULL, NULL, 0), VANE_E_ARG);
    end();
}

static char *read_all(const char *path, size_t *ret_n)
{
    static char text[1 << 22];
    int fd = open(path, O_RDONLY);
    *ret_n = 0;
    if (fd < 0)
        return NULL;
    for (ssize_t n; (n = read(fd, text + *ret_n, sizeof text - 1 - *ret_n)) > 0;)
        *ret_n += (size_t)n;
    close(fd);
    text[*ret_n] = 0;
    return text;
}

static void path_of(char out[600], const char *name, int number)
{
    snprintf(out, 600, number ? "%s/%s.%d" : "%s/%s", dir, name, number);
}

static void *writes_lines(void *p)
{
    for (int i = 0; i < 1500; i++) {
        VANE_INFO("rotated line", vane_int("writer", (int)(intptr_t)p), vane_int("i", i));
        if (i % 40 == 0)
            usleep(1000);
    }
    return NULL;
}

/* Two processes with two threads each write to one file that is rotated often: every line is there once, whole. */
static void test_rotation(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* it knows no threads after fork */
#endif
    char sinks[700], path[600];
    snprintf(sinks, sizeof sinks, "file:%s/rot.log", dir);
    pid_t child = fork();
    int id = child ? 0 : 2;
    vane_config c = config(sinks);
    c.log_file_max_bytes = 65536;
    c.log_file_keep = 60;
    c.log_ring_bytes = 1 << 20;
    assert_int_equal(vane_start(&c), VANE_OK);
    pthread_t t[2];
    for (int i = 0; i < 2; i++)
        pthread_create(&t[i], NULL, writes_lines, (void *)(intptr_t)(id + i));
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(counter(SDK_LOGS_DROPPED), 0);
    assert_int_equal(vane_stop(10000), VANE_OK);
    if (!child)
        _exit(0);
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    static uint8_t have[4][1500];
    int files = 0, lines = 0;
    for (int f = 0; f < 61; f++) {
        path_of(path, "rot.log", f);
        size_t n;
        char *text = read_all(path, &n);
        if (!text)
            continue;
        files++;
        assert_true(n <= 4 * 65536); /* a batch more when the other process is slow to rotate */
        for (char *at = text, *nl; *at; at = nl + 1) {
            nl = strchr(at, '\n');
            assert_non_null(nl);
            *nl = 0;
            int w, i;
            assert_int_equal(*at, '{');
            char *m = strstr(at, "\"metadata\":{\"writer\":");
            assert_non_null(m);
            assert_int_equal(sscanf(m, "\"metadata\":{\"writer\":%d,\"i\":%d}", &w, &i), 2);
            assert_int_equal(have[w][i]++, 0);
            lines++;
        }
        unlink(path);
    }
    assert_int_equal(lines, 6000);
    assert_true(files > 5);
}

static void test_file(void **state)
{
    (void)state;
    char sinks[700], path[600], moved[600];
    path_of(path, "a.log", 0);
    path_of(moved, "a.moved", 0);
    snprintf(sinks, sizeof sinks, " file:%s , none", path);
    vane_config c = config(sinks);
    c.log_file_max_bytes = 4096;
    c.log_file_keep = 0;
    begin_cfg(&c);
    VANE_INFO("first");
    vane_flush(5000);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777 & ~0640u, 0);
    assert_int_equal(rename(path, moved), 0);
    vane_log_reopen();
    VANE_INFO("second");
    vane_flush(5000);
    size_t n;
    HAS(read_all(moved, &n), "first");
    HAS_NOT(read_all(path, &n), "first");
    HAS(read_all(path, &n), "second");
    /* Moved without telling: found out. */
    assert_int_equal(rename(path, moved), 0);
    VANE_INFO("third");
    vane_flush(5000);
    HAS(read_all(path, &n), "third");
    /* keep 0: emptied when full. */
    for (int i = 0; i < 100; i++)
        VANE_INFO("filler filler filler filler", vane_int("i", i));
    vane_flush(5000);
    char *text = read_all(path, &n);
    assert_true(n <= 4096 && n > 100);
    HAS(text, "\"i\":99");
    /* The folder goes away and comes back. */
    unlink(path);
    char other[80];
    snprintf(other, sizeof other, "%s.away", dir);
    assert_int_equal(rename(dir, other), 0);
    VANE_INFO("lost");
    vane_flush(5000);
    assert_int_equal(counter(SDK_LOGS_DROPPED), 1);
    assert_int_equal(rename(other, dir), 0);
    VANE_INFO("found");
    vane_flush(5000);
    HAS(read_all(path, &n), "found");
    end();
    unlink(path);
    unlink(moved);
    c = config("file:/dev/full");
    begin_cfg(&c);
    VANE_INFO("nowhere");
    vane_flush(5000);
    assert_int_equal(counter(SDK_LOGS_DROPPED), 1);
    HAS(last, "nowhere"); /* the other sink has it */
    end();
}

/* Standard error is a pipe nobody reads: the host goes on, lines are counted, a stop comes back. */
static void test_blocked_stderr(void **state)
{
    (void)state;
    int p[2], keep = dup(STDERR_FILENO);
    assert_int_equal(pipe(p), 0);
    vane_config c = config("stderr");
    assert_int_equal(vane_start(&c), VANE_OK);
    dup2(p[1], STDERR_FILENO); /* a failing assertion would be stuck in it */
    double t = now();
    for (int i = 0; i < 20000; i++)
        VANE_INFO("into the void", vane_int("i", i));
    double took = now() - t;
    uint64_t dropped = counter(SDK_LOGS_DROPPED);
    t = now();
    vane_status st = vane_stop(100);
    double stop_took = now() - t;
    uint64_t at_last = counter(SDK_LOGS_DROPPED);
    dup2(keep, STDERR_FILENO);
    close(keep);
    close(p[0]);
    close(p[1]);
    assert_true(took < 5);
    assert_true(dropped > 1000 && at_last > dropped);
    assert_int_equal(st, VANE_E_TIMEOUT);
    assert_true(stop_took < 3);
}

static void test_fork(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* it knows no threads after fork */
#endif
    char sinks[700], path[600];
    path_of(path, "fork.log", 0);
    snprintf(sinks, sizeof sinks, "file:%s", path);
    for (int off = 0; off < 2; off++) {
        vane_config c = config(sinks);
        c.fork_threads = off ? VANE_OFF : VANE_UNSET;
        begin_cfg(&c);
        VANE_LOG_SCOPE(vane_str("correlation_id", "cf"));
        atomic_store(&hold, true); /* the writer stands in the sink: the lines are in the ring at the fork */
        VANE_INFO("before");
        VANE_INFO("before too");
        pid_t child = fork();
        if (!child) {
            atomic_store(&hold, false);
            VANE_INFO("in child");
            if (off && vane_fork_resume() != VANE_OK)
                _exit(2);
            if (vane_flush(5000) != VANE_OK)
                _exit(3);
            _exit(vane_stop(5000) == VANE_OK ? 0 : 4);
        }
        atomic_store(&hold, false);
        int status;
        waitpid(child, &status, 0);
        assert_int_equal(status, 0);
        VANE_INFO("after");
        end();
        size_t n;
        char *text = read_all(path, &n);
        int count = 0;
        for (char *at = text; (at = strchr(at, '\n')); at++)
            count++;
        assert_int_equal(count, 4);
        HAS(text, "\"before\"");
        HAS(text, "\"before too\"");
        HAS(text, "\"in child\",\"correlation_id\":\"cf\"");
        HAS(text, "\"after\"");
        unlink(path);
    }
}

static int socket_at(const char *path)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    struct timeval tv = { 5, 0 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    return fd;
}

static void test_syslog(void **state)
{
    (void)state;
    char path[600], sinks[700];
    static char got[65536];
    path_of(path, "sock", 0);
    int fd = socket_at(path);
    snprintf(sinks, sizeof sinks, "syslog:%s", path);
    vane_config c = config(sinks);
    c.log_format = "text";
    c.service_name = "shop one";
    begin_cfg(&c);
    VANE_ERROR("hello", vane_int("n", 1));
    vane_flush(5000);
    ssize_t n = recv(fd, got, sizeof got - 1, 0);
    assert_true(n > 0);
    got[n] = 0;
    assert_memory_equal(got, "<11>shop_one[", 13);
    HAS(got, "]: 20");
    HAS(got, " hello n=1 at=");
    assert_int_equal(vane_audit("a", "b", "c", "success", NULL, 0), VANE_OK);
    vane_flush(5000);
    n = recv(fd, got, sizeof got - 1, 0);
    assert_memory_equal(got, "<86>", 4);
    /* The daemon is restarted. */
    usleep(1100000); /* diagnostics are told 10 times a second */
    close(fd);
    VANE_INFO("lost");
    vane_flush(5000);
    assert_int_equal(counter(SDK_LOGS_DROPPED), 1);
    HAS(told, "sock");
    unlink(path);
    fd = socket_at(path);
    VANE_INFO("back");
    vane_flush(5000);
    n = recv(fd, got, sizeof got - 1, 0);
    assert_true(n > 0);
    got[n] = 0;
    HAS(got, "back");
    end();
    /* journald: a field with a newline, and a datagram over the limit. */
    snprintf(sinks, sizeof sinks, "journald:%s", path);
    c = config(sinks);
    begin_cfg(&c);
    VANE_WARN("two\nlines", vane_str("9 order.id", "x"), vane_f64("sum", 1.5));
    vane_flush(5000);
    n = recv(fd, got, sizeof got - 1, 0);
    assert_true(n > 0);
    assert_memory_equal(got, "MESSAGE\n\x09\0\0\0\0\0\0\0two\nlines\nPRIORITY=4\nSYSLOG_IDENTIFIER=shop\n", 60);
    got[n] = 0;
    assert_non_null(memmem(got, (size_t)n, "\nF9_ORDER_ID=x\nSUM=1.5\n", 23));
    assert_non_null(memmem(got, (size_t)n, "\nCODE_LINE=", 11));
    end();
    close(fd);
    unlink(path);
}

static vane_log_level otlp_level;
static size_t otlp_fields;
static bool otlp(const struct sdk_log_line *l)
{
    otlp_level = l->level;
    otlp_fields = l->n_fields;
    return l->level != VANE_LOG_DEBUG;
}

static void test_otlp_hook(void **state)
{
    (void)state;
    vane_config c = config("otlp");
    c.otlp_logs_endpoint = "http://127.0.0.1:1/"; /* nobody there */
    begin_cfg(&c);
    atomic_store(&sdk_log_otlp_hook, NULL);
    VANE_INFO("no exporter");
    vane_flush(5000);
    assert_int_equal(counter(SDK_LOGS_DROPPED), 1);
    atomic_store(&sdk_log_otlp_hook, otlp);
    VANE_ERROR("m", vane_int("a", 1), vane_int("b", 1));
    vane_flush(5000);
    assert_int_equal(otlp_level, VANE_LOG_ERROR);
    assert_int_equal(otlp_fields, 2);
    VANE_DEBUG("refused");
    vane_flush(5000);
    assert_int_equal(counter(SDK_LOGS_DROPPED), 2);
    atomic_store(&sdk_log_otlp_hook, NULL);
    end();
}

enum { THREADS = 16, ROUNDS = 3000 };
static _Atomic int order_bad;
static int next_of[THREADS * 4];
static size_t stress_lines;

static void check_order(void *ctx, vane_log_level level, const char *text, size_t n)
{
    (void)ctx, (void)level, (void)n;
    int w, i;
    const char *m = strstr(text, "\"writer\":");
    if (!m || sscanf(m, "\"writer\":%d,\"i\":%d", &w, &i) != 2 || w < 0 || w >= THREADS * 4 || i < next_of[w]) {
        atomic_fetch_add(&order_bad, 1);
        return;
    }
    next_of[w] = i + 1;
    stress_lines++;
}

static void *stress(void *p)
{
    int id = (int)(intptr_t)p;
    for (int i = 0; i < ROUNDS; i++) {
        VANE_LOG_SCOPE(vane_str("correlation_id", "c"), vane_int("round", i));
        VANE_INFO("stress", vane_int("writer", id), vane_int("i", i));
        if (i % 64 == 0)
            VANE_LOG_RATE(1000, VANE_LOG_DEBUG, "debug is off");
        if (i % 500 == 0)
            vane_log_redact("extra");
        if (i % 100 == 0)
            usleep(200);
    }
    return NULL;
}

/* Threads come and go, the level changes, files are reopened: no line is torn, lost uncounted, or out of its order. */
static void test_stress(void **state)
{
    (void)state;
    memset(next_of, 0, sizeof next_of);
    stress_lines = 0;
    vane_config c = config("none");
    c.log_level = "INFO";
    assert_int_equal(vane_start(&c), VANE_OK);
    assert_int_equal(vane_log_add_sink(check_order, NULL), VANE_OK);
    for (int wave = 0; wave < 4; wave++) {
        pthread_t t[THREADS];
        for (int i = 0; i < THREADS; i++)
            pthread_create(&t[i], NULL, stress, (void *)(intptr_t)(wave * THREADS + i));
        for (int i = 0; i < 20; i++) {
            vane_log_set_level(VANE_LOG_INFO);
            vane_log_reopen();
            vane_flush(20);
        }
        for (int i = 0; i < THREADS; i++)
            pthread_join(t[i], NULL);
    }
    assert_int_equal(vane_flush(20000), VANE_OK);
    assert_int_equal(atomic_load(&order_bad), 0);
    assert_int_equal(stress_lines + counter(SDK_LOGS_DROPPED), (uint64_t)THREADS * 4 * ROUNDS);
    assert_true(atomic_load(&sdk_log_rings_n) <= THREADS + 2); /* rings of ended threads are used again */
    end();
}

static pthread_barrier_t all_here;
static void *one_of_many(void *p)
{
    pthread_barrier_wait(&all_here);
    for (int i = 0; i < 3; i++)
        VANE_INFO("many", vane_int("writer", (int)(intptr_t)p));
    pthread_barrier_wait(&all_here);
    return NULL;
}

/* More threads than rings: they share one. */
static void test_many_threads(void **state)
{
    (void)state;
    enum { N = 300 };
    begin();
    static pthread_t t[N];
    pthread_attr_t a;
    pthread_attr_init(&a);
    pthread_attr_setstacksize(&a, 131072);
    pthread_barrier_init(&all_here, NULL, N);
    for (int i = 0; i < N; i++)
        assert_int_equal(pthread_create(&t[i], &a, one_of_many, (void *)(intptr_t)i), 0);
    for (int i = 0; i < N; i++)
        pthread_join(t[i], NULL);
    vane_flush(5000);
    assert_int_equal(n_lines + counter(SDK_LOGS_DROPPED), N * 3);
    assert_true(n_lines >= 256 * 3);
    assert_true(counter(SDK_THREADS_SHARED) > 0);
    end();
}

static void test_no_memory(void **state)
{
    (void)state;
    vane_config c = config("none");
    for (uint64_t k = 1; k < 60; k++) {
        atomic_store(&sdk_alloc_fail_at, k);
        vane_status st = vane_start(&c);
        atomic_store(&sdk_alloc_fail_at, 0);
        if (st == VANE_OK) {
            atomic_store(&sdk_alloc_fail_at, 1);
            VANE_INFO("a thread without memory");
            vane_log_scope s = vane_log_scope_begin(NULL, 0);
            vane_log_scope_end(&s);
            atomic_store(&sdk_alloc_fail_at, 0);
            assert_int_equal(vane_stop(5000), VANE_OK);
        }
    }
}

static void test_read_garbage(void **state)
{
    (void)state;
    struct sdk_log_line *l = malloc(sizeof *l);
    char rec[400];
    for (int i = 0; i < 200000; i++) {
        uint64_t r = sdk_random();
        for (size_t k = 0; k < sizeof rec; k += 8) {
            uint64_t v = r % 3 == 0 ? sdk_random() % 64 : sdk_random();
            memcpy(rec + k, &v, 8);
        }
        struct sdk_log_rec h;
        memcpy(&h, rec, sizeof h);
        h.size = (uint32_t)sizeof rec;
        h.kind = 1;
        h.scope_n = 0;
        h.fields_n %= 300;
        h.message_n %= 40;
        h.file_n %= 10;
        memcpy(rec, &h, sizeof h);
        size_t n = (size_t)(r >> 32) % (sizeof rec + 1);
        char *exact = malloc(n ? n : 1);
        memcpy(exact, rec, n);
        if (sdk_log_read(exact, n, l)) {
            struct sdk_buf b;
            sdk_buf_init(&b, 100000);
            sdk_log_json(&b, l, "s");
            sdk_log_text(&b, l, "s");
            assert_false(b.failed);
            sdk_buf_free(&b);
        }
        free(exact);
    }
    free(l);
}

int main(void)
{
    snprintf(dir, sizeof dir, "/tmp/vane-log-XXXXXX");
    if (!mkdtemp(dir))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line),           cmocka_unit_test(test_levels),
        cmocka_unit_test(test_scopes),         cmocka_unit_test(test_redaction),
        cmocka_unit_test(test_bad_input),      cmocka_unit_test(test_full_ring),
        cmocka_unit_test(test_sink_that_logs), cmocka_unit_test(test_rates),
        cmocka_unit_test(test_audit),          cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_file),           cmocka_unit_test(test_blocked_stderr),
        cmocka_unit_test(test_fork),           cmocka_unit_test(test_syslog),
        cmocka_unit_test(test_otlp_hook),      cmocka_unit_test(test_stress),
        cmocka_unit_test(test_many_threads),   cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_read_garbage),
    };
    int bad = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(dir);
    return bad;
}
