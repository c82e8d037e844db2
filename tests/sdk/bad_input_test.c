/* Every public function with nothing, with nonsense and with too much of it: before the start, while running, and after the
 * stop. The host goes on, every exposition and every line stays valid, and what was refused is counted. src/sdk/EXPORTS is
 * the list that this file must have called. */
#include "sdk/sdk_trace.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- which functions have been called ---- */

static char called[16384];

static void note(const char *name)
{
    char line[80];
    snprintf(line, sizeof line, " %s ", name);
    if (!strstr(called, line))
        strcat(called, line);
}
#define CALL(name, ...) (note(#name), name(__VA_ARGS__))

/* ---- bad texts ---- */

static char huge[100001], broken[70001];
static const char *const texts[] = {
    NULL,
    "",
    " ",
    ",",
    "=",
    "a=b,,=c,d",
    "\xFF\xFE\x80",
    "\xED\xA0\x80",
    "a b\n\x01\x7F\"\\",
    "%s%n%999999d",
    "__name__",
    "\xF4\x90\x80\x80",
    "0",
    huge,
    broken,
};
#define EACH_TEXT(t) for (size_t t##_i = 0; t##_i < SDK_COUNT_OF(texts); t##_i++)
#define T(t)         texts[t##_i]

static void texts_make(void)
{
    memset(huge, 'a', sizeof huge - 1);
    memset(broken, 0xC3, sizeof broken - 1);
}

static const double numbers[] = { 0, -0.0, -1, 1e308, -1e308, 5e-324, NAN, INFINITY, -INFINITY };

static const char *header_get(void *carrier, const char *name, size_t index, size_t *ret_n)
{
    (void)name;
    *ret_n = SIZE_MAX;
    return index < 40 ? carrier : NULL;
}

static void header_set(void *carrier, const char *name, const char *value)
{
    (void)carrier;
    assert_true(*name && sdk_text_valid(value, strlen(value)) && !strpbrk(value, "\r\n"));
}

static int baggage_see(void *ctx, const char *key, const char *value)
{
    (void)ctx;
    return !*key || !sdk_text_valid(value, strlen(value));
}

static int write_none(void *ctx, const char *p, size_t n)
{
    (void)p;
    *(size_t *)ctx += n;
    return 0;
}

static vane_health check(void *ctx, char *message, size_t n)
{
    memset(message, 0xFF, n); /* no NUL, no text */
    return *(const vane_health *)ctx;
}

static void observed(void *ctx, vane_observer *o)
{
    (void)ctx;
    for (size_t i = 0; i < SDK_COUNT_OF(numbers); i++)
        CALL(vane_observe, o, numbers[i], VANE_LABELS("a", "too many"));
    EACH_TEXT(t) CALL(vane_observe, o, 1, VANE_LABELS(T(t)));
    CALL(vane_observe_u64, o, 7, VANE_NO_LABELS);
}

/* ---- the sweep ---- */

static void metrics(const char *t, const char *u)
{
    vane_metric m[] = { CALL(vane_counter_new, t, u, t),
                        CALL(vane_fcounter_new, t, t, u),
                        CALL(vane_updown_new, u, t, "k"),
                        CALL(vane_gauge_new, t, u, "k"),
                        CALL(vane_histogram_new, t, u, "k,k"),
                        CALL(vane_stateset_new, t, u, "k", u),
                        { 0 },
                        { UINT64_MAX },
                        { 0x123456789ABCDEF },
                        CALL(vane_counter_new, "good_total", t, "k") };
    vane_metric_opts o = VANE_METRIC_OPTS_INIT;
    vane_status st;
    CALL(vane_metric_new, NULL, NULL);
    CALL(vane_metric_new, &o, &st);
    o.kind = (vane_kind)99, o.name = t, o.unit = u, o.labels = t, o.states = t, o.help = u;
    CALL(vane_metric_new, &o, NULL);
    o.kind = VANE_HISTOGRAM, o.name = "h", o.labels = NULL, o.bounds = numbers, o.n_bounds = SDK_COUNT_OF(numbers);
    assert_int_equal(CALL(vane_metric_new, &o, NULL).id, 0);
    o.n_bounds = SIZE_MAX;
    assert_int_equal(CALL(vane_metric_new, &o, NULL).id, 0);
    o.bounds = NULL, o.n_bounds = 0, o.buckets_per_octave = 7, o.unit = NULL;
    assert_int_equal(CALL(vane_metric_new, &o, NULL).id, 0);
    o.size = 3;
    assert_int_equal(CALL(vane_metric_new, &o, &st).id, 0);
    vane_metric_opts seen = VANE_METRIC_OPTS_INIT;
    seen.kind = VANE_GAUGE, seen.name = "observed", seen.labels = "k", seen.observe = observed;
    CALL(vane_metric_new, &seen, NULL);
    vane_labels sets[] = {
        VANE_NO_LABELS, VANE_LABELS(t), VANE_LABELS(t, u), { NULL, NULL, 1 }, { NULL, NULL, SIZE_MAX }
    };
    const char *const values[] = { "a\0b" };
    const size_t lengths[] = { 3 };
    vane_labels with_nul = { values, lengths, 1 };
    for (size_t i = 0; i < SDK_COUNT_OF(m); i++) {
        CALL(vane_counter_add_to, m[i], 1, with_nul);
        for (size_t k = 0; k < SDK_COUNT_OF(sets); k++) {
            vane_counter c = CALL(vane_counter_bind, m[i], sets[k]);
            vane_fcounter f = CALL(vane_fcounter_bind, m[i], sets[k]);
            vane_updown ud = CALL(vane_updown_bind, m[i], sets[k]);
            vane_gauge g = CALL(vane_gauge_bind, m[i], sets[k]);
            vane_histogram h = CALL(vane_histogram_bind, m[i], sets[k]);
            vane_stateset s = CALL(vane_stateset_bind, m[i], sets[k]);
            uint64_t n;
            int64_t d;
            double v;
            CALL(vane_counter_add, c, UINT64_MAX);
            CALL(vane_updown_add, ud, INT64_MIN);
            CALL(vane_stateset_set, s, UINT32_MAX);
            for (size_t x = 0; x < SDK_COUNT_OF(numbers); x++) {
                CALL(vane_fcounter_add, f, numbers[x]);
                CALL(vane_gauge_set, g, numbers[x]);
                CALL(vane_gauge_add, g, numbers[x]);
                CALL(vane_gauge_max, g, numbers[x]);
                CALL(vane_gauge_min, g, numbers[x]);
                CALL(vane_histogram_observe, h, numbers[x]);
                CALL(vane_histogram_quantile, h, numbers[x]);
                CALL(vane_fcounter_add_to, m[i], numbers[x], sets[k]);
                CALL(vane_gauge_set_to, m[i], numbers[x], sets[k]);
                CALL(vane_histogram_observe_to, m[i], numbers[x], sets[k]);
            }
            CALL(vane_counter_add_to, m[i], 1, sets[k]);
            CALL(vane_updown_add_to, m[i], -1, sets[k]);
            CALL(vane_gauge_set_to_now, g);
            CALL(vane_counter_value, c, &n);
            CALL(vane_fcounter_value, f, &v);
            CALL(vane_updown_value, ud, &d);
            CALL(vane_gauge_value, g, &v);
            CALL(vane_histogram_value, h, &n, &v);
            CALL(vane_counter_value, c, NULL);
            CALL(vane_histogram_value, h, NULL, NULL);
            vane_timer timer = CALL(vane_timer_start, h);
            assert_true(CALL(vane_timer_stop, &timer) >= 0);
            CALL(vane_timer_cleanup_, &timer);
            CALL(vane_series_remove, m[i], sets[k]);
            CALL(vane_counter_add, c, 1); /* of a series that is gone */
        }
    }
    CALL(vane_timer_stop, NULL);
    CALL(vane_info_set, t, u, t);
    vane_group g = CALL(vane_group_new, t);
    vane_group_opts go = VANE_GROUP_OPTS_INIT;
    go.name = t, go.version = u, go.prefix = u, go.labels = t;
    CALL(vane_group_new_opts, &go, &st);
    CALL(vane_group_new_opts, NULL, NULL);
    CALL(vane_group_counter, g, t, u, t);
    CALL(vane_group_gauge, (vane_group){ 99 }, t, u, t);
    CALL(vane_group_histogram, g, u, t, u);
    for (size_t i = 0; i < SDK_COUNT_OF(m); i++) {
        CALL(vane_metric_free, m[i]);
        CALL(vane_metric_free, m[i]); /* twice */
        CALL(vane_counter_add_to, m[i], 1, sets[1]);
    }
}

static void traces(const char *t, const char *u)
{
    vane_attr attrs[] = { vane_str(t, u),
                          vane_strn(u, t, t ? strlen(t) : 5),
                          vane_bytes(t, u, u ? strlen(u) : 9),
                          vane_f64(t, NAN),
                          vane_int("n", INT64_MIN),
                          { .key = "odd", .type = (vane_type)77, .n = 1 },
                          { 0 } };
    vane_context c = { .trace_id = { 1 }, .span_id = { 2 }, .extra = 0xFFFFFF };
    vane_context links[] = { c, { .flags = 1 } };
    vane_span_opts o = { .size = sizeof o,
                         .kind = (vane_span_kind)77,
                         .parent = &c,
                         .attrs = attrs,
                         .n_attrs = 7,
                         .links = links,
                         .n_links = 2,
                         .start_unix_ns = UINT64_MAX };
    vane_span s, twin;
    CALL(vane_span_start, NULL, t, VANE_SPAN_SERVER);
    CALL(vane_span_start, &s, t, (vane_span_kind)-1);
    CALL(vane_span_set, &s, attrs[0]);
    CALL(vane_span_set_all, &s, attrs, SDK_COUNT_OF(attrs));
    CALL(vane_span_set_all, &s, NULL, 5);
    CALL(vane_span_put_, &s, t, 77, SIZE_MAX, UINT64_MAX); /* what vane_span_set() becomes */
    CALL(vane_span_put_, &s, u, VANE_T_F64, 0, UINT64_MAX);
    CALL(vane_span_put_, NULL, u, VANE_T_INT, 0, 1);
    CALL(vane_span_put_str_, &s, t, 0, SIZE_MAX, u);
    CALL(vane_span_put_str_, NULL, t, 0, SIZE_MAX, u);
    CALL(vane_span_rename, &s, t);
    CALL(vane_span_status, &s, (vane_span_code)9, t);
    CALL(vane_span_status, &s, VANE_SPAN_ERROR, u);
    CALL(vane_span_event, &s, t, attrs, SDK_COUNT_OF(attrs));
    CALL(vane_span_event_at, &s, u, UINT64_MAX, NULL, 3);
    CALL(vane_span_exception, &s, t, u, t);
    CALL(vane_span_link, &s, &c, attrs, SDK_COUNT_OF(attrs));
    CALL(vane_span_link, &s, NULL, NULL, 1);
    CALL(vane_span_recording, &s);
    CALL(vane_span_recording, NULL);
    CALL(vane_span_context, &s);
    CALL(vane_span_context, NULL);
    CALL(vane_span_current);
    twin = s;
    CALL(vane_span_end, &twin);
    CALL(vane_span_end, &s);
    CALL(vane_span_end, &s);
    CALL(vane_span_cleanup_, &s);
    CALL(vane_span_end, NULL);
    memset(&s, 0xA5, sizeof s); /* memory that never was a span */
    CALL(vane_span_end_at, &s, 1);
    CALL(vane_span_set, &s, attrs[0]);
    CALL(vane_span_start_opts, &s, t, &o);
    CALL(vane_span_end_at, &s, 1); /* long before it began */
    CALL(vane_span_start_opts, &s, u, NULL);
    CALL(vane_span_cleanup_, &s);
    vane_span_set(NULL, attrs[0]);
    vane_span_set_all(NULL, attrs, 1);
    vane_span_rename(NULL, t);
    vane_span_status(NULL, VANE_SPAN_OK, t);
    vane_span_event(NULL, t, NULL, 0);
    vane_span_exception(NULL, t, t, t);
    char hex[2][33], buf[64];
    CALL(vane_context_hex, NULL, hex[0], hex[1]);
    CALL(vane_context_valid, NULL);
    CALL(vane_context_current);
    CALL(vane_context_detach, CALL(vane_context_attach, NULL));
    CALL(vane_context_detach, c); /* never attached */
    CALL(vane_context_detach, (vane_context){ 0 });
    CALL(vane_context_release, c); /* of an extra that is none */
    CALL(vane_context_tracestate, &c, buf, 0);
    CALL(vane_context_tracestate, NULL, NULL, 9);
    CALL(vane_context_release, CALL(vane_context_with_tracestate, c, t));
    vane_context b = CALL(vane_baggage_with, c, t, u, t);
    CALL(vane_baggage_get, &b, u, buf, 1);
    CALL(vane_baggage_get, NULL, NULL, NULL, 0);
    CALL(vane_baggage_each, &b, baggage_see, NULL);
    CALL(vane_baggage_each, NULL, NULL, NULL);
    CALL(vane_inject, &b, header_set, NULL);
    CALL(vane_inject, NULL, NULL, NULL);
    vane_context_release(b);
    vane_context_release(b); /* twice */
    vane_context got;
    char empty[1] = "";
    CALL(vane_extract, header_get, (void *)(uintptr_t)(t ? t : empty), &got);
    vane_context_release(got);
    CALL(vane_extract, NULL, NULL, &got);
    CALL(vane_extract, header_get, NULL, NULL);
    CALL(vane_traceparent, NULL, buf);
    CALL(vane_traceparent_parse, t, t ? strlen(t) : 55, &got);
    CALL(vane_traceparent_parse, NULL, 0, NULL);
    char *env[] = { (char *)(uintptr_t)(t ? t : "x"), (char *)(uintptr_t) "TRACEPARENT=nonsense", NULL };
    CALL(vane_extract_env, env, &got);
    CALL(vane_extract_env, NULL, NULL);
    CALL(vane_env_free, CALL(vane_inject_env, &c, env));
    CALL(vane_env_free, NULL);
    vane_sampler_rule rules[] = { { .name = t, .attr_key = u, .attr_value = t, .ratio = NAN }, { .per_second = -1 } };
    CALL(vane_sampler_rules, rules, 2);
    CALL(vane_sampler_rules, NULL, 5);
    CALL(vane_sampler_rules, rules, SIZE_MAX);
}

static void logs(const char *t, const char *u)
{
    vane_attr attrs[] = { vane_str(t, u),
                          vane_strn("b", t, t ? strlen(t) : 7),
                          vane_bytes(u, t, t ? strlen(t) : 7),
                          vane_f64("inf", INFINITY),
                          { .type = VANE_T_STR, .n = SIZE_MAX },
                          { .key = "odd", .type = (vane_type)-5 } };
    static vane_log_site site = { NULL, -1, { 0 } };
    vane_log_level level;
    CALL(vane_log, (vane_log_level)999, NULL, t, attrs, SDK_COUNT_OF(attrs));
    CALL(vane_log, VANE_LOG_ERROR, &site, t, NULL, 9);
    CALL(vane_logf_, VANE_LOG_ERROR, NULL, "%s", t ? t : "nothing");
    CALL(vane_log_allow_rate_, &site, 0);
    CALL(vane_log_allow_one_in_, &site, 0);
    CALL(vane_log_allow_rate_, NULL, 1);
    CALL(vane_log_allow_one_in_, NULL, 1);
    vane_log_scope scopes[VANE_LOG_SCOPES_MAX + 4];
    for (size_t i = 0; i < SDK_COUNT_OF(scopes); i++)
        scopes[i] = CALL(vane_log_scope_begin, i % 2 ? attrs : NULL, SDK_COUNT_OF(attrs));
    vane_log(VANE_LOG_ERROR, NULL, "deep", attrs, 1);
    vane_log_saved *saved = CALL(vane_log_context_save);
    vane_log_scope carried = CALL(vane_log_context_begin, saved);
    CALL(vane_log_scope_end, &carried);
    CALL(vane_log_context_free, saved);
    CALL(vane_log_context_begin, NULL);
    for (size_t i = 0; i < SDK_COUNT_OF(scopes); i++) { /* in the wrong order, each twice */
        CALL(vane_log_scope_end, &scopes[i]);
        CALL(vane_log_scope_end, &scopes[i]);
    }
    CALL(vane_log_scope_end, NULL);
    CALL(vane_log_level_parse, t, &level);
    CALL(vane_log_level_parse, "info", NULL);
    CALL(vane_log_set_level, (vane_log_level)-7); /* the highest */
    CALL(vane_log_set_level, VANE_LOG_DEBUG);
    CALL(vane_log_redact, t);
    CALL(vane_log_add_sink, NULL, NULL);
    CALL(vane_log_reopen);
    CALL(vane_audit, t, u, t, u, attrs, SDK_COUNT_OF(attrs));
    assert_int_not_equal(CALL(vane_audit, "a", "b", "c", "perhaps", NULL, 9), VANE_OK);
}

static void middleware(const char *t, const char *u)
{
    vane_http_request q = { .size = sizeof q,
                            .method = t,
                            .path = u,
                            .query = t,
                            .route = t,
                            .scheme = u,
                            .host = t,
                            .protocol = u,
                            .client = t,
                            .user_agent = u,
                            .body_bytes = INT64_MIN,
                            .get_header = header_get,
                            .carrier = (void *)(uintptr_t)(t ? t : "") };
    vane_http_response r = { .size = sizeof r, .status = -5, .route = u, .user = t, .error_type = u, .body_bytes = -9 };
    vane_http_server x;
    memset(&x, 0xA5, sizeof x);
    CALL(vane_http_server_end, &x, &r); /* never begun */
    CALL(vane_http_server_begin, NULL, &q);
    CALL(vane_http_server_begin, &x, NULL);
    CALL(vane_http_server_begin, &x, &q);
    CALL(vane_http_server_correlation_id, &x);
    CALL(vane_http_server_correlation_id, NULL);
    CALL(vane_http_server_span, NULL);
    CALL(vane_http_server_span, &x);
    CALL(vane_http_server_suspend, &x);
    CALL(vane_http_server_suspend, &x);
    CALL(vane_http_server_resume, &x);
    CALL(vane_http_server_resume, NULL);
    CALL(vane_http_server_end, &x, &r);
    CALL(vane_http_server_end, &x, NULL);
    CALL(vane_http_server_end, NULL, NULL);
    vane_http_client h;
    CALL(vane_http_client_begin, NULL, t, u, NULL, NULL);
    CALL(vane_http_client_begin, &h, t, u, header_set, NULL);
    CALL(vane_http_client_end, &h, 70000, t, INT64_MAX);
    CALL(vane_http_client_end, &h, 200, NULL, 0);
    CALL(vane_http_client_end, NULL, 0, NULL, 0);
    vane_db_query d;
    CALL(vane_db_begin, NULL, t, u, t);
    CALL(vane_db_begin, &d, t, u, t);
    CALL(vane_db_end, &d, t, INT64_MIN);
    CALL(vane_db_end, &d, NULL, 0);
    CALL(vane_db_pool, t, -1, INT64_MAX, INT64_MIN);
    CALL(vane_db_connect_failed, t);
    char clean[16];
    CALL(vane_db_sanitize, t, clean, sizeof clean);
    CALL(vane_db_sanitize, t, NULL, 0);
    CALL(vane_user_event, t, u, NULL, 4);
    for (size_t i = 0; i < SDK_COUNT_OF(numbers); i++) {
        CALL(vane_rating, t, u, t, numbers[i], 0, 5, u);
        CALL(vane_retrieval, t, 0, UINT32_MAX, numbers[i]);
    }
    vane_llm_call_info c = VANE_LLM_CALL_INIT;
    CALL(vane_llm_call, NULL);
    c.provider = t, c.request_model = u, c.operation = t, c.user = u, c.currency = t, c.error_type = u;
    c.duration_s = NAN, c.cost = -INFINITY, c.input_tokens = INT64_MAX, c.start_unix_ns = UINT64_MAX;
    CALL(vane_llm_call, &c);
}

static void rest(const char *t, const char *u)
{
    static const vane_health states[] = { VANE_HEALTHY, (vane_health)77 };
    vane_health_opts o = { .size = sizeof o,
                           .name = t,
                           .check = check,
                           .ctx = (void *)(uintptr_t)&states[1],
                           .interval_ms = 100,
                           .timeout_ms = 1000,
                           .flags = 0 };
    char *body;
    const char *type;
    size_t n;
    CALL(vane_health_add, NULL);
    CALL(vane_health_add, &o);
    o.flags = UINT32_MAX;
    CALL(vane_health_add, &o);
    CALL(vane_health_set, u, (vane_health)3, t);
    CALL(vane_health_set, u, VANE_DEGRADED, t);
    CALL(vane_health_set_ready, 1, t);
    CALL(vane_health_overall);
    CALL(vane_health_render, (vane_health_view)99, &body, &n);
    if (CALL(vane_health_render, VANE_HEALTH_DETAILED, &body, &n) && body) {
        assert_true(sdk_text_valid(body, n));
        CALL(vane_render_free, body);
    }
    CALL(vane_health_render, VANE_HEALTH_LIVE, NULL, NULL);
    CALL(vane_health_remove, t);
    CALL(vane_health_remove, t);
    CALL(vane_format_negotiate, t);
    CALL(vane_format_content_type, (vane_format)99);
    if (CALL(vane_render, (vane_format)(t ? VANE_FORMAT_OPENMETRICS : VANE_FORMAT_TEXT), &body, &n) == VANE_OK) {
        assert_true(sdk_text_valid(body, n));
        vane_render_free(body);
    }
    CALL(vane_render, (vane_format)99, &body, &n);
    CALL(vane_render, VANE_FORMAT_TEXT, NULL, NULL);
    CALL(vane_render_free, NULL);
    size_t written = 0;
    CALL(vane_render_to, VANE_FORMAT_PROTOBUF, write_none, &written);
    CALL(vane_render_to, VANE_FORMAT_TEXT, NULL, NULL);
    CALL(vane_handle_request, t, u, t, &body, &n, &type);
    CALL(vane_handle_request, NULL, NULL, NULL, NULL, NULL, NULL);
    CALL(vane_handle_request, "GET", t, u, &body, &n, &type);
    CALL(vane_listen_port);
    CALL(vane_push_now);
    CALL(vane_multiproc_fold);
    CALL(vane_config_print, NULL, 5);
    char print[3];
    CALL(vane_config_print, print, sizeof print);
    vane_self_stats self = { .size = 1 };
    assert_int_equal(CALL(vane_self, &self), VANE_E_ARG);
    assert_int_equal(CALL(vane_self, NULL), VANE_E_ARG);
    assert_non_null(CALL(vane_status_text, (vane_status)-1));
    CALL(vane_version);
    CALL(vane_running);
    CALL(vane_fork_resume);
    CALL(vane_thread_attach);
    CALL(vane_profile_request_begin, t);
    CALL(vane_profile_request_end);
    CALL(vane_profile_request_end);
    CALL(vane_profile_stop, NULL, NULL);
    CALL(vane_profile_stop, &body, &n);
    CALL(vane_profile_stop_to_file, t);
    CALL(vane_profile_stop_to_url, t);
    CALL(vane_profile_flush);
    vane_profile_opts p = { .size = sizeof p, .hz = 100000, .stacks_max = UINT32_MAX };
    CALL(vane_profile_start, &p);
    CALL(vane_profile_stop, &body, &n);
    CALL(vane_flush, 0);
}

static void sweep(void)
{
    EACH_TEXT(t)
    EACH_TEXT(u)
    {
        if (t_i != u_i && (t_i + u_i) % 5) /* each with itself and with some of the others */
            continue;
        metrics(T(t), T(u));
        traces(T(t), T(u));
        logs(T(t), T(u));
        middleware(T(t), T(u));
        if (t_i == u_i) /* health checks wait for their runner */
            rest(T(t), T(u));
    }
}

/* ---- lines are checked as they are written ---- */

static _Atomic uint32_t lines, bad_lines;
static void on_line(void *ctx, vane_log_level level, const char *line, size_t n)
{
    (void)ctx;
    bool good = sdk_text_valid(line, n) && n > 2 && line[0] == '{' && line[n - 2] == '}' && line[n - 1] == '\n' &&
                !memchr(line, '\n', n - 1) && level >= VANE_LOG_DEBUG && level <= VANE_LOG_CRITICAL;
    atomic_fetch_add(good ? &lines : &bad_lines, 1);
}

static vane_config config(void)
{
    vane_config c = VANE_CONFIG_INIT;
    c.ignore_environment = VANE_ON;
    c.log_sinks = "none";
    c.log_level = "DEBUG";
    c.propagators = "tracecontext,baggage,b3,b3multi,jaeger";
    c.health_interval_s = 1;
    return c;
}

static void test_never_started(void **state)
{
    (void)state;
    sweep();
    vane_self_stats self = { .size = sizeof self };
    assert_int_equal(vane_self(&self), VANE_OK);
    assert_int_equal(self.stale_handles + self.bad_values + self.spans_started + self.logs_dropped, 0);
}

static void test_running(void **state)
{
    (void)state;
    vane_config bad[] = { config(), config(), config(), config() };
    bad[0].size = 1;
    bad[1].log_level = "loud";
    bad[2].metrics_path = "metrics";
    bad[3].sample_rate = 7;
    for (size_t i = 0; i < SDK_COUNT_OF(bad); i++)
        assert_int_equal(CALL(vane_start, &bad[i]), VANE_E_ARG);
    vane_config c = config();
    assert_int_equal(vane_start(&c), VANE_OK);
    assert_int_equal(vane_start(&c), VANE_E_STATE);
    vane_log_add_sink(on_line, NULL);
    sweep();
    assert_int_equal(vane_flush(10000), VANE_OK);
    vane_self_stats self = { .size = sizeof self };
    vane_self(&self);
    assert_true(self.stale_handles && self.bad_values && self.bad_labels && self.replaced_strings && self.cut_strings);
    assert_true(self.span_misuse && self.headers_refused);
    assert_int_equal(bad_lines, 0);
    assert_true(lines > 100); /* most are long, and a full ring drops them */
    /* It still works. */
    vane_counter ok = vane_counter_bind(vane_counter_new("afterwards_total", "", ""), VANE_NO_LABELS);
    uint64_t n = 0;
    vane_counter_add(ok, 3);
    assert_int_equal(vane_counter_value(ok, &n), VANE_OK);
    assert_int_equal(n, 3);
    assert_int_equal(CALL(vane_stop, 10000), VANE_OK);
    assert_int_equal(vane_stop(0), VANE_E_STATE);
    sweep();
    assert_int_equal(vane_counter_value(ok, &n), VANE_E_STALE);
}

static void test_disabled(void **state)
{
    (void)state;
    vane_config c = config();
    c.disabled = VANE_ON;
    assert_int_equal(vane_start(&c), VANE_OK);
    sweep();
    assert_int_equal(vane_stop(0), VANE_OK);
}

/* The wall clock goes back an hour and on a year, in the middle of everything. */
static void test_clock(void **state)
{
    (void)state;
    vane_config c = config();
    c.otlp_traces_endpoint = "http://127.0.0.1:1/"; /* nobody there: spans wait */
    c.batch_delay_ms = 86400000;
    assert_int_equal(vane_start(&c), VANE_OK);
    vane_log_add_sink(on_line, NULL);
    static const int64_t jumps[] = { -3600, 31536000, -31536000, 7200 };
    vane_histogram h = vane_histogram_bind(vane_histogram_new("h_seconds", "", ""), VANE_NO_LABELS);
    uint32_t before = lines;
    static vane_log_site site = { "x.c", 1, { 0 } };
    for (size_t i = 0; i < SDK_COUNT_OF(jumps); i++) {
        vane_span s;
        vane_timer t = vane_timer_start(h);
        vane_span_start(&s, "over a jump", VANE_SPAN_INTERNAL);
        atomic_store(&sdk_clock_offset_ns, jumps[i] * 1000000000);
        assert_true(vane_timer_stop(&t) < 60);
        assert_true(vane_span_end(&s) < 60000000000u);
        vane_log(VANE_LOG_INFO, NULL, "line", NULL, 0);
        assert_true(vane_log_allow_rate_(&site, 1000)); /* by the clock that does not jump */
        char *body;
        size_t n;
        assert_int_equal(vane_render(VANE_FORMAT_OPENMETRICS, &body, &n), VANE_OK);
        vane_render_free(body);
    }
    assert_int_equal(sdk_trace_waiting(), SDK_COUNT_OF(jumps));
    vane_stop(1000);
    atomic_store(&sdk_clock_offset_ns, 0);
    assert_int_equal(lines - before, SDK_COUNT_OF(jumps));
    assert_int_equal(bad_lines, 0);
}

static void test_all_were_called(void **state)
{
    (void)state;
    const char *root = getenv("VANE_SOURCE");
    char path[1024], name[128], missing[2048] = "";
    if (!root)
        skip();
    snprintf(path, sizeof path, "%s/src/sdk/EXPORTS", root);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fscanf(f, "%127s", name) == 1) {
        char line[140];
        snprintf(line, sizeof line, " %s ", name);
        if (!strstr(called, line) && strcmp(name, "vane_log_threshold_") && strlen(missing) < 1900)
            strcat(missing, line);
    }
    fclose(f);
    assert_string_equal(missing, "");
}

int main(void)
{
    texts_make();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_never_started), cmocka_unit_test(test_running),         cmocka_unit_test(test_disabled),
        cmocka_unit_test(test_clock),         cmocka_unit_test(test_all_were_called),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
