/* libvane's events: what the log records and the metrics hold, and bad input. */
#include "../../src/sdk/sdk_log.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static char line[65536], metrics[65536];

static void capture(void *ctx, vane_log_level level, const char *text, size_t n)
{
    (void)ctx, (void)level;
    assert_true(n < sizeof line);
    memcpy(line, text, n);
    line[n] = 0;
}

static void begin(void)
{
    vane_config c = VANE_CONFIG_INIT;
    c.ignore_environment = VANE_ON;
    c.service_name = "shop";
    c.log_sinks = "none";
    c.log_level = "CRITICAL"; /* events go whatever the level */
    line[0] = 0;
    assert_int_equal(vane_start(&c), VANE_OK);
    assert_int_equal(vane_log_add_sink(capture, NULL), VANE_OK);
}

static void look(void)
{
    char *body;
    size_t n;
    assert_int_equal(vane_flush(5000), VANE_OK);
    assert_int_equal(vane_render(VANE_FORMAT_OPENMETRICS, &body, &n), VANE_OK);
    assert_true(n < sizeof metrics);
    memcpy(metrics, body, n);
    metrics[n] = 0;
    vane_render_free(body);
}

static void has(int where, const char *text, const char *part, bool wanted)
{
    if ((strstr(text, part) != NULL) != wanted)
        fail_msg("line %d: %s \"%s\" in: %s", where, wanted ? "no" : "a", part, text);
}
#define HAS(text, part)     has(__LINE__, text, part, true)
#define HAS_NOT(text, part) has(__LINE__, text, part, false)

static void test_users(void **state)
{
    (void)state;
    begin();
    VANE_LOG_SCOPE(vane_str("user_id", "u-scope"));
    vane_user_event(NULL, "feature.used", (vane_attr[]){ vane_str("feature", "export"), vane_int("rows", 7) }, 2);
    look();
    HAS(line,
        "\"log.kind\":\"event\",\"message\":\"feature.used\",\"user_id\":\"u-scope\",\"event.name\":\"feature.used\",");
    HAS(line, "\"feature\":\"export\",\"rows\":7}");
    HAS(metrics, "user_events_total{event=\"feature.used\",feature=\"export\"} 1");
    vane_rating("u-2", "article", "a/7", 4, 1, 5, "good \"read\"");
    look();
    HAS(line, "\"user_id\":\"u-2\",\"event.name\":\"user.rating\"");
    HAS(line, "\"rating.value\":0.75,\"comment\":\"good \\\"read\\\"\"");
    HAS(metrics, "user_ratings_count{object_kind=\"article\"} 1");
    HAS(metrics, "user_ratings_sum{object_kind=\"article\"} 0.75");
    HAS_NOT(metrics, "u-2");
    HAS_NOT(metrics, "u-scope");
    uint64_t bad = atomic_load(&sdk_counters[SDK_BAD_VALUES]);
    vane_rating("u", "article", "x", 6, 1, 5, NULL);
    vane_rating("u", "article", "x", NAN, 1, 5, NULL);
    vane_rating("u", "article", "x", 1, 5, 1, NULL);
    vane_rating("u", "article", "x", 1, -INFINITY, 5, NULL);
    assert_int_equal(atomic_load(&sdk_counters[SDK_BAD_VALUES]), bad + 4);
    vane_user_event(NULL, NULL, NULL, 9);
    vane_rating(NULL, NULL, NULL, -1e308, -1e308, 1e308, NULL);
    look();
    HAS(metrics, "user_events_total{event=\"unknown\",feature=\"\"} 1");
    HAS(line, "\"rating.value\":0");
    assert_int_equal(vane_stop(5000), VANE_OK);
}

static void test_models(void **state)
{
    (void)state;
    vane_llm_call_info c = VANE_LLM_CALL_INIT;
    c.provider = "anthropic";
    c.request_model = "m-1";
    assert_int_equal(vane_llm_call(&c), VANE_E_STATE);
    begin();
    c.user = "u-9";
    c.input_tokens = 10;
    c.cache_read_tokens = 90;
    c.input_excludes_cache = 1;
    c.output_tokens = 20;
    c.cost = 0.25;
    c.cache_hit = 0;
    c.duration_s = 1.5;
    c.finish_reason = "stop";
    assert_int_equal(vane_llm_call(&c), VANE_OK);
    look();
    HAS(line, "\"level\":\"INFO\"");
    HAS(line, "\"user_id\":\"u-9\"");
    HAS(line, "\"event.name\":\"gen_ai.client.inference.operation.details\"");
    HAS(line, "\"gen_ai.usage.input_tokens\":100,\"gen_ai.usage.output_tokens\":20");
    HAS(line, "\"gen_ai.client.cost\":0.25,\"gen_ai.client.cost.currency\":\"USD\"");
    HAS(metrics, "gen_ai_client_token_usage_sum{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"anthropic\","
                 "gen_ai_request_model=\"m-1\",gen_ai_response_model=\"m-1\",gen_ai_token_type=\"input\"} 100");
    HAS(metrics,
        "gen_ai_client_cost_total{gen_ai_provider_name=\"anthropic\",gen_ai_request_model=\"m-1\",currency=\"USD\"} "
        "0.25");
    HAS(metrics, "gen_ai_client_operation_duration_seconds_count{");
    HAS(metrics, "gen_ai_client_cache_total{gen_ai_request_model=\"m-1\",hit=\"false\"} 1");
    HAS_NOT(metrics, "u-9");
    assert_true(sdk_counter(SDK_SPANS_STARTED) >= 1);
    c.error_type = "timeout";
    c.input_tokens = c.output_tokens = -1;
    c.cost = NAN;
    c.duration_s = -3;
    c.time_to_first_chunk_s = INFINITY;
    c.cache_read_tokens = INT64_MAX;
    uint64_t bad = atomic_load(&sdk_counters[SDK_BAD_VALUES]);
    assert_int_equal(vane_llm_call(&c), VANE_OK);
    assert_int_equal(atomic_load(&sdk_counters[SDK_BAD_VALUES]), bad + 3);
    look();
    HAS(line, "\"level\":\"ERROR\"");
    HAS(line, "\"error.type\":\"timeout\"");
    HAS_NOT(line, "cost");
    HAS(metrics, "error_type=\"timeout\"");
    assert_int_equal(vane_llm_call(NULL), VANE_E_ARG);
    c.provider = "";
    assert_int_equal(vane_llm_call(&c), VANE_E_ARG);
    c.provider = "p";
    c.request_model = NULL;
    assert_int_equal(vane_llm_call(&c), VANE_E_ARG);
    c.request_model = "m";
    c.size = 8;
    assert_int_equal(vane_llm_call(&c), VANE_E_ARG);
    vane_retrieval("docs", 10, 7, 0.7);
    vane_retrieval("docs", 10, 3, -1);
    vane_retrieval(NULL, 1, 0, 2);
    look();
    HAS(metrics, "ai_retrieval_recall_count{index=\"docs\",k=\"10\"} 1");
    HAS(metrics, "ai_retrieval_results_count{index=\"docs\"} 2");
    assert_int_equal(vane_stop(5000), VANE_OK);
    vane_user_event("u", "n", NULL, 0);
    vane_rating("u", "k", "i", 1, 0, 2, NULL);
    vane_retrieval("i", 1, 1, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_users), cmocka_unit_test(test_models) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
