/* libvane's usage and AI events: each is a log record with an event name, and counts metrics that never hold a user id.
 * The instruments are made at the first event of their kind in each life of the library; making one again is a lookup. */
#include "sdk_http.h"
#include "sdk_log.h"

#include <math.h>
#include <stdio.h>

enum { M_EVENTS, M_RATINGS, M_DURATION, M_TOKENS, M_FIRST_CHUNK, M_COST, M_CACHE, M_RECALL, M_RESULTS, M_N };
#define MODEL_LABELS "gen_ai_operation_name,gen_ai_provider_name,gen_ai_request_model"
static struct sdk_own_metric instruments[M_N] = {
    { VANE_COUNTER, "user_events_total", NULL, "Things users did.", "event,feature", NULL, 0, 0, 0 },
    { VANE_HISTOGRAM, "user_ratings", NULL, "Ratings, scaled to 0 to 1.", "object_kind", NULL, 0, 0, 0 },
    { VANE_HISTOGRAM, "gen_ai_client_operation_duration_seconds", "seconds", "Duration of calls of models.",
      MODEL_LABELS ",gen_ai_response_model,error_type", NULL, 0, 0, 0 },
    { VANE_HISTOGRAM, "gen_ai_client_token_usage", "token", "Tokens used by calls of models.",
      MODEL_LABELS ",gen_ai_response_model,gen_ai_token_type", NULL, 0, 0, 0 },
    { VANE_HISTOGRAM, "gen_ai_client_operation_time_to_first_chunk_seconds", "seconds",
      "Time to the first piece of a streamed answer.", MODEL_LABELS, NULL, 0, 0, 0 },
    { VANE_FCOUNTER, "gen_ai_client_cost_total", NULL, "Cost of calls of models.",
      "gen_ai_provider_name,gen_ai_request_model,currency", NULL, 0, 0, 0 },
    { VANE_COUNTER, "gen_ai_client_cache_total", NULL, "Calls by whether the own cache of responses answered.",
      "gen_ai_request_model,hit", NULL, 0, 0, 0 },
    { VANE_HISTOGRAM, "ai_retrieval_recall", NULL, "Recall of vector searches.", "index,k", NULL, 0, 0, 0 },
    { VANE_HISTOGRAM, "ai_retrieval_results", NULL, "Results of vector searches.", "index", NULL, 0, 0, 0 },
};

static void observe(unsigned which, double value, vane_labels labels)
{
    vane_histogram_observe_to(sdk_own_metric(&instruments[which]), value, labels);
}

static void send_event(vane_log_level level, const char *message, const vane_attr *fields, size_t n)
{
    if (!sdk_log_put(SDK_LOG_EVENT, level, NULL, message, fields, n))
        sdk_count(SDK_EVENTS_DROPPED, 1);
}

/* ---- users ---- */

void vane_user_event(const char *user, const char *name, const vane_attr *attrs, size_t n)
{
    if (!sdk_enter())
        return;
    char feature[VANE_VALUE_MAX + 1] = "";
    struct sdk_attrs f = { .n = 0 };
    if (!name || !*name)
        name = "unknown";
    sdk_attr_str(&f, "event.name", name);
    sdk_attr_str(&f, "user_id", user); /* else the scope's, which every record has */
    for (size_t i = 0; attrs && i < n; i++) {
        sdk_attr_add(&f, attrs[i]);
        if (attrs[i].key && !strcmp(attrs[i].key, "feature") && attrs[i].type == VANE_T_STR)
            feature[sdk_text(feature, sizeof feature - 1, attrs[i].v.s, attrs[i].n)] = 0;
    }
    send_event(VANE_LOG_INFO, name, f.a, f.n);
    vane_counter_add_to(sdk_own_metric(&instruments[M_EVENTS]), 1, VANE_LABELS(name, feature));
    sdk_leave();
}

void vane_rating(const char *user, const char *object_kind, const char *object_id, double score, double min, double max,
                 const char *comment)
{
    if (!sdk_enter())
        return;
    if (!isfinite(score) || !isfinite(min) || !isfinite(max) || !(min < max) || score < min || score > max) {
        sdk_count(SDK_BAD_VALUES, 1);
        sdk_leave();
        return;
    }
    double scaled = score / (max - min) - min / (max - min);
    struct sdk_attrs f = { .n = 0 };
    sdk_attr_str(&f, "event.name", "user.rating");
    sdk_attr_str(&f, "user_id", user);
    sdk_attr_str(&f, "object.kind", object_kind);
    sdk_attr_str(&f, "object.id", object_id);
    sdk_attr_f64(&f, "rating.score", score);
    sdk_attr_f64(&f, "rating.min", min);
    sdk_attr_f64(&f, "rating.max", max);
    sdk_attr_f64(&f, "rating.value", scaled);
    sdk_attr_str(&f, "comment", comment);
    send_event(VANE_LOG_INFO, "user.rating", f.a, f.n);
    observe(M_RATINGS, scaled, VANE_LABELS(object_kind));
    sdk_leave();
}

/* ---- models ---- */

static void count_tokens(const vane_llm_call_info *c, const char *operation, const char *model, const char *type,
                         int64_t n)
{
    if (n >= 0)
        observe(M_TOKENS, (double)n, VANE_LABELS(operation, c->provider, c->request_model, model, type));
}

static void llm_metrics(const vane_llm_call_info *c, const char *operation, const char *model, const char *currency)
{
    observe(M_DURATION, c->duration_s, VANE_LABELS(operation, c->provider, c->request_model, model, c->error_type));
    count_tokens(c, operation, model, "input", c->input_tokens);
    count_tokens(c, operation, model, "output", c->output_tokens);
    if (c->time_to_first_chunk_s >= 0)
        observe(M_FIRST_CHUNK, c->time_to_first_chunk_s, VANE_LABELS(operation, c->provider, c->request_model));
    if (c->cost >= 0)
        vane_fcounter_add_to(sdk_own_metric(&instruments[M_COST]), c->cost,
                             VANE_LABELS(c->provider, c->request_model, currency));
    if (c->cache_hit >= 0)
        vane_counter_add_to(sdk_own_metric(&instruments[M_CACHE]), 1,
                            VANE_LABELS(c->request_model, c->cache_hit ? "true" : "false"));
}

static void llm_fields(struct sdk_attrs *f, const vane_llm_call_info *c, const char *operation, const char *currency)
{
    sdk_attr_str(f, "gen_ai.operation.name", operation);
    sdk_attr_str(f, "gen_ai.provider.name", c->provider);
    sdk_attr_str(f, "gen_ai.request.model", c->request_model);
    sdk_attr_str(f, "gen_ai.response.model", c->response_model);
    sdk_attr_str(f, "gen_ai.conversation.id", c->conversation_id);
    sdk_attr_str(f, "gen_ai.response.finish_reasons", c->finish_reason);
    sdk_attr_str(f, "error.type", c->error_type);
    sdk_attr_int(f, "gen_ai.usage.input_tokens", c->input_tokens);
    sdk_attr_int(f, "gen_ai.usage.output_tokens", c->output_tokens);
    sdk_attr_int(f, "gen_ai.usage.cache_read.input_tokens", c->cache_read_tokens);
    sdk_attr_int(f, "gen_ai.usage.cache_creation.input_tokens", c->cache_creation_tokens);
    sdk_attr_int(f, "gen_ai.usage.reasoning.output_tokens", c->reasoning_tokens);
    if (c->cache_hit >= 0)
        sdk_attr_add(f, vane_bool("gen_ai.client.cache_hit", c->cache_hit));
    if (c->cost >= 0) {
        sdk_attr_f64(f, "gen_ai.client.cost", c->cost);
        sdk_attr_str(f, "gen_ai.client.cost.currency", currency);
    }
    if (c->time_to_first_chunk_s >= 0)
        sdk_attr_f64(f, "gen_ai.response.time_to_first_chunk", c->time_to_first_chunk_s);
}

static void llm_span(const vane_llm_call_info *c, const char *operation, const struct sdk_attrs *f)
{
    char name[160];
    snprintf(name, sizeof name, "%.40s %.100s", operation, c->request_model);
    uint64_t took = (uint64_t)(c->duration_s * 1e9), now = sdk_unix_ns();
    uint64_t start = c->start_unix_ns ? c->start_unix_ns : now > took ? now - took : 1;
    vane_span s;
    vane_span_init(&s);
    const vane_span_opts o = { .size = sizeof o,
                               .kind = VANE_SPAN_CLIENT,
                               .start_unix_ns = start,
                               .attrs = f->a,
                               .n_attrs = f->n,
                               .not_current = 1 };
    vane_span_start_opts(&s, name, &o);
    if (c->error_type && *c->error_type)
        vane_span_status(&s, VANE_SPAN_ERROR, c->error_type);
    vane_span_end_at(&s, start + took);
}

static int64_t known(int64_t n)
{
    return n > 0 ? n : 0;
}

vane_status vane_llm_call(const vane_llm_call_info *call)
{
    vane_llm_call_info c = VANE_LLM_CALL_INIT;
    if (!call || call->size < offsetof(vane_llm_call_info, response_model) || call->size > 4096)
        return VANE_E_ARG;
    memcpy(&c, call, call->size < sizeof c ? call->size : sizeof c);
    if (!c.provider || !*c.provider || !c.request_model || !*c.request_model)
        return VANE_E_ARG;
    if (!sdk_enter())
        return VANE_E_STATE;
    if (!isfinite(c.duration_s) || c.duration_s < 0 || c.duration_s > 1e7) {
        sdk_count(SDK_BAD_VALUES, 1);
        c.duration_s = 0;
    }
    if (!isfinite(c.cost) || !isfinite(c.time_to_first_chunk_s)) {
        sdk_count(SDK_BAD_VALUES, 1);
        c.cost = isfinite(c.cost) ? c.cost : -1;
        c.time_to_first_chunk_s = isfinite(c.time_to_first_chunk_s) ? c.time_to_first_chunk_s : -1;
    }
    const int64_t most = INT64_MAX / 4;
    int64_t *const counts[] = { &c.input_tokens, &c.output_tokens, &c.cache_read_tokens, &c.cache_creation_tokens,
                                &c.reasoning_tokens };
    for (size_t i = 0; i < SDK_COUNT_OF(counts); i++)
        if (*counts[i] > most) {
            sdk_count(SDK_BAD_VALUES, 1);
            *counts[i] = -1;
        }
    if (c.input_excludes_cache && c.input_tokens >= 0)
        c.input_tokens += known(c.cache_read_tokens) + known(c.cache_creation_tokens);
    const char *operation = c.operation && *c.operation ? c.operation : "chat";
    const char *currency = c.currency && *c.currency ? c.currency : "USD";
    const char *model = c.response_model && *c.response_model ? c.response_model : c.request_model;
    struct sdk_attrs f = { .n = 0 };
    llm_fields(&f, &c, operation, currency);
    llm_span(&c, operation, &f);
    sdk_attr_f64(&f, "gen_ai.client.operation.duration", c.duration_s);
    sdk_attr_str(&f, "event.name", "gen_ai.client.inference.operation.details");
    sdk_attr_str(&f, "user_id", c.user);
    send_event(c.error_type && *c.error_type ? VANE_LOG_ERROR : VANE_LOG_INFO, operation, f.a, f.n);
    llm_metrics(&c, operation, model, currency);
    sdk_leave();
    return VANE_OK;
}

void vane_retrieval(const char *index, uint32_t k, uint32_t results, double recall)
{
    if (!sdk_enter())
        return;
    char text[24];
    text[sdk_fmt_u64(text, k)] = 0;
    if (isnan(recall) || recall > 1)
        sdk_count(SDK_BAD_VALUES, 1);
    else if (recall >= 0)
        observe(M_RECALL, recall, VANE_LABELS(index, text));
    observe(M_RESULTS, results, VANE_LABELS(index));
    sdk_leave();
}
