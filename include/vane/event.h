/* libvane usage and AI events: what users do, how they rate it, what model calls cost.
 *
 * Events are log records with an event name (OTLP), sent and stored like lines; the same calls count metrics, so that
 * dashboards need no log query. Metric labels never hold user ids. Everything given is copied. */
#ifndef VANE_EVENT_H
#define VANE_EVENT_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A user did something: event user.event, e.g. name "feature.used" with vane_str("feature", "export").
 *   user   NULL: the scope's user_id
 * Metric: user_events_total{event, feature}; feature is the attribute of that name, capped like all labels. */
VANE_API void vane_user_event(const char *user, const char *name, const vane_attr *attrs, size_t n);

/* A rating: score between min and max (min < max), otherwise bad_values. Metric: user_ratings (histogram of the score
 * scaled to 0..1){object_kind}. object_id and comment go to the event only. */
VANE_API void vane_rating(const char *user, const char *object_kind, const char *object_id, double score, double min,
                          double max, const char *comment);

/* A call of a model, by the OpenTelemetry GenAI conventions: a client span "{operation} {model}" as a child of the
 * current span, the metrics gen_ai.client.token.usage and gen_ai.client.operation.duration, gen_ai.client.cost, and an
 * event. input_tokens includes cached tokens, as the convention has it: an API that reports them apart (raw Anthropic)
 * sets input_excludes_cache, and the library adds them. Unknown numbers: -1 (see VANE_LLM_CALL_INIT). */
typedef struct vane_llm_call_info {
    size_t size;
    const char *operation;     /* "chat" (when NULL), "embeddings", "text_completion", "execute_tool" ... */
    const char *provider;      /* gen_ai.provider.name: "openai", "anthropic" ... required */
    const char *request_model; /* required */
    const char *response_model;
    const char *user; /* NULL: the scope's user_id; event and span only */
    const char *conversation_id;
    const char *finish_reason;
    const char *error_type; /* NULL: success */
    int64_t input_tokens;
    int64_t output_tokens;
    int64_t cache_read_tokens;
    int64_t cache_creation_tokens;
    int64_t reasoning_tokens; /* part of output_tokens */
    int input_excludes_cache;
    int cache_hit;          /* answered by the host's own response cache: 1 yes, 0 no, -1 unknown */
    double cost;            /* in currency; below 0: unknown */
    const char *currency;   /* NULL: "USD" */
    uint64_t start_unix_ns; /* 0: now - duration_s */
    double duration_s;
    double time_to_first_chunk_s; /* below 0: not streamed */
} vane_llm_call_info;

static inline vane_llm_call_info vane_llm_call_init_(void)
{
    static const vane_llm_call_info zero = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
    vane_llm_call_info c = zero;
    c.size = sizeof c;
    c.input_tokens = c.output_tokens = c.cache_read_tokens = c.cache_creation_tokens = c.reasoning_tokens = -1;
    c.cache_hit = -1;
    c.cost = c.time_to_first_chunk_s = -1;
    return c;
}
#define VANE_LLM_CALL_INIT vane_llm_call_init_()

/* Returns VANE_OK, VANE_E_ARG (size, provider, model), VANE_E_STATE. */
VANE_API vane_status vane_llm_call(const vane_llm_call_info *call);

/* Outcome of a vector search: metrics ai_retrieval_recall{index, k} and ai_retrieval_results{index}. recall in [0, 1];
 * below 0: unknown. */
VANE_API void vane_retrieval(const char *index, uint32_t k, uint32_t results, double recall);

#ifdef __cplusplus
}
#endif
#endif
