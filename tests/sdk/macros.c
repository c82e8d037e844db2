/* Compiled (not run) by headers.py as C99 and C++: every macro a user may write. */
#include <vane/vane.h>

void use(vane_metric m, vane_histogram h, const char *text);
void use(vane_metric m, vane_histogram h, const char *text)
{
    vane_config cfg = VANE_CONFIG_INIT;
    vane_metric_opts mo = VANE_METRIC_OPTS_INIT;
    vane_group_opts go = VANE_GROUP_OPTS_INIT;
    vane_llm_call_info call = VANE_LLM_CALL_INIT;
    cfg.service_name = text;
    mo.name = go.name = call.provider = text;
    vane_start(&cfg);
    m = vane_metric_new(&mo, NULL);
    vane_group_new_opts(&go, NULL);
    vane_llm_call(&call);
    vane_counter_add_to(m, 1, VANE_LABELS("GET", text));
    vane_gauge_set_to(m, 1, VANE_NO_LABELS);
    VANE_TIMER(h);
    VANE_SPAN(span, "charge card");
    VANE_LOG_SCOPE(vane_str("user_id", text), vane_int("n", 1));
    VANE_DEBUG("plain");
    VANE_INFO("with fields", vane_str("a", text), vane_int("b", 2), vane_f64("c", 0.5), vane_bool("d", 1));
    VANE_WARN(text, vane_strn("a", text, 3), vane_bytes("raw", text, 3));
    VANE_ERROR("x");
    VANE_CRITICAL("x", vane_int("code", 3));
    vane_logf(VANE_LOG_INFO, "retry %d of %s", 3, text);
    VANE_LOG_RATE(10, VANE_LOG_WARN, "slow", vane_f64("s", 1.5));
    VANE_LOG_ONE_IN(100, VANE_LOG_DEBUG, "often");
    vane_span_set(&span, vane_str("k", "v"));
}
