/* assistant: answers customers' questions about products with an imaginary language model.
 *   POST /chat       {"question":"Which grinder ...?","conversation":"c-12"}: 200, 429 the model is overloaded
 *   POST /feedback   {"conversation":"c-12","score":4}: 1 to 5 stars
 *   POST /duty/{who} what vane's Alertmanager tells (its webhook): a line in the log, as a bot would write in a chat
 * A question asked before is answered from the cache; others look for products at the catalog (propagated), then ask the
 * model. Metrics: gen_ai_client_* (tokens, durations, cost), ai_retrieval_*, user_ratings, llm_cache_requests_total
 * {result}. Health: database, catalog, model (DEGRADED while many calls fail). Peer: environment CATALOG_URL. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../common/demo.h"

enum { CACHED_MAX = 40 };

static vane_metric cache_requests;
static const char *catalog_url;
static _Atomic double failing; /* share of the last calls that failed, decaying */

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS answers (question TEXT PRIMARY KEY, answer TEXT);"
    "CREATE TABLE IF NOT EXISTS messages (conversation TEXT, question TEXT, model TEXT, cost REAL);";

struct call {
    const char *model, *conversation;
    int input_tokens, output_tokens;
    bool failed;
    double cost;
};

static void report(const struct call *c, int cached_tokens, double duration_s, double first_s, bool from_cache)
{
    vane_llm_call_info i = VANE_LLM_CALL_INIT;
    i.provider = "acme-ai";
    i.request_model = c->model;
    i.response_model = c->model;
    i.conversation_id = c->conversation;
    i.cache_hit = from_cache;
    i.duration_s = duration_s;
    if (c->failed) {
        i.error_type = "rate_limit_exceeded";
    } else if (!from_cache) {
        i.finish_reason = "stop";
        i.input_tokens = c->input_tokens;
        i.output_tokens = c->output_tokens;
        i.cache_read_tokens = cached_tokens;
        i.time_to_first_chunk_s = first_s;
        i.cost = c->cost;
    }
    vane_llm_call(&i);
}

/* The imaginary model: its time and its price follow its tokens. */
static void ask_model(struct call *c, const char *question)
{
    bool large = strcmp(c->model, "acme-large") == 0;
    c->input_tokens = 400 + (int)strlen(question) / 4 + (int)(demo_random() * 900);
    c->output_tokens = (int)demo_draw(120);
    c->failed = demo_random() < (large ? 0.04 : 0.01);
    int cached = demo_random() < 0.5 ? 380 : 0; /* the instructions, which the provider may still have */
    double first = demo_draw(large ? 0.12 : 0.05), each = large ? 0.0012 : 0.0005;
    double duration = c->failed ? 0.02 : first + c->output_tokens * each;
    c->cost = c->failed ? 0 : ((c->input_tokens - cached * 0.9) * 0.5 + c->output_tokens * 2) * (large ? 6e-6 : 1e-6);
    struct timespec ts = { (time_t)duration, (long)((duration - (double)(time_t)duration) * 1e9) };
    nanosleep(&ts, NULL);
    failing = failing * 0.95 + (c->failed ? 0.05 : 0);
    report(c, cached, duration, first, false);
}

/* Products that go with the question: its longest word is looked up at the catalog. */
static void retrieve(const char *question)
{
    char word[32] = "", url[256];
    for (const char *p = question; *p;) {
        size_t n = strcspn(p, " ?.,");
        if (n > strlen(word) && n < sizeof(word))
            snprintf(word, sizeof(word), "%.*s", (int)n, p);
        p += n + strspn(p + n, " ?.,");
    }
    for (char *p = word; *p; p++) /* into a URL */
        *p = *p >= 'a' && *p <= 'z' ? *p : '-';
    json_t *found = NULL;
    snprintf(url, sizeof(url), "%s/search?q=%s", catalog_url, word);
    int status = demo_call(url, NULL, NULL, &found, 2000);
    if (status == 200)
        vane_retrieval("products", 5, (uint32_t)json_array_size(found), 0.6 + 0.4 * demo_random());
    else
        VANE_WARN("answering without products", vane_int("status", status));
    json_decref(found);
}

static int chat(const struct demo_request *rq, json_t **ret)
{
    const char *question = "", *conversation = "";
    if (json_unpack(rq->body, "{s:s, s:s}", "question", &question, "conversation", &conversation) || !question[0])
        return demo_error(ret, 400, "question and conversation are needed");
    struct call c = { .model = demo_random() < 0.3 ? "acme-large" : "acme-small", .conversation = conversation };
    json_t *rows = demo_sql(NULL, "SELECT answer FROM answers WHERE question = ?", "s", question);
    bool hit = json_array_size(rows) > 0;
    json_decref(rows);
    vane_counter_add_to(cache_requests, 1, VANE_LABELS(hit ? "hit" : "miss"));
    if (hit) {
        demo_work(0.002);
        report(&c, 0, 0.002, -1, true);
    } else {
        retrieve(question);
        ask_model(&c, question);
        if (c.failed) {
            VANE_WARN("the model is overloaded, asking a smaller one", vane_str("model", c.model));
            c.model = "acme-small";
            ask_model(&c, question);
        }
        if (c.failed)
            return demo_error(ret, 429, "the model is overloaded; try again");
        demo_sql_do("INSERT OR REPLACE INTO answers VALUES (?, 'It depends.')", "s", question);
        demo_sql_do("DELETE FROM answers WHERE rowid <= (SELECT max(rowid) FROM answers) - ?", "i", CACHED_MAX);
    }
    demo_sql_do("INSERT INTO messages VALUES (?, ?, ?, ?)", "sssd", conversation, question, c.model, c.cost);
    VANE_INFO("answered", vane_str("model", c.model), vane_bool("cached", hit), vane_int("tokens", c.output_tokens));
    *ret = json_pack("{s:s, s:s, s:b}", "answer", "It depends.", "model", c.model, "cached", hit);
    return 200;
}

static int feedback(const struct demo_request *rq, json_t **ret)
{
    const char *conversation = "";
    int score = 0;
    if (json_unpack(rq->body, "{s:s, s:i}", "conversation", &conversation, "score", &score) || score < 1 || score > 5)
        return demo_error(ret, 400, "conversation and a score from 1 to 5 are needed");
    vane_rating(NULL, "answer", conversation, score, 1, 5, NULL);
    *ret = json_pack("{s:b}", "ok", 1);
    return 200;
}

static int duty(const struct demo_request *rq, json_t **ret)
{
    const char *status = "", *title = "";
    if (json_unpack(rq->body, "{s:s, s?{s?s}}", "status", &status, "groupLabels", "alertname", &title))
        return demo_error(ret, 400, "a message of an Alertmanager is needed");
    VANE_WARN("told of an alert", vane_str("who", rq->tail), vane_str("status", status), vane_str("alert", title),
              vane_int("alerts", (int)json_array_size(json_object_get(rq->body, "alerts"))));
    *ret = json_pack("{s:b}", "ok", 1);
    return 200;
}

static vane_health check_model(void *ctx, char *message, size_t n)
{
    (void)ctx;
    if (failing < 0.15)
        return VANE_HEALTHY;
    snprintf(message, n, "%.0f %% of the last calls failed", failing * 100);
    return VANE_DEGRADED;
}

int main(int argc, char **argv)
{
    static const struct demo_route routes[] = {
        { "POST", "/chat", "/chat", chat },
        { "POST", "/feedback", "/feedback", feedback },
        { "POST", "/duty/", "/duty/{who}", duty },
    };
    static char catalog_health[300];
    catalog_url = demo_env("CATALOG_URL", "http://127.0.0.1:18082");
    snprintf(catalog_health, sizeof(catalog_health), "%s/health/live", catalog_url);
    demo_init(argc, argv, "assistant", 18083);
    cache_requests = vane_counter_new("llm_cache_requests_total", "Questions looked up in the cache.", "result");
    demo_db_open("assistant", schema);
    vane_health_opts model = { .size = sizeof(model), .name = "model", .check = check_model };
    vane_health_opts peer = { .size = sizeof(peer),
                              .name = "catalog",
                              .check = demo_check_peer,
                              .ctx = catalog_health,
                              .flags = VANE_HEALTH_READINESS | VANE_HEALTH_OPTIONAL };
    vane_health_add(&model);
    vane_health_add(&peer);
    demo_serve(routes, sizeof(routes) / sizeof(routes[0]));
    return 0;
}
