/* /api/v1: query, query_range, query_exemplars, format_query, parse_query. */
#include <stdlib.h>

#include "api/api_int.h"

enum { POINTS_MAX = 11000, EXEMPLAR_SELECTORS_MAX = 64 };
#define ANSWER_BYTES_MAX ((size_t)1 << 30) /* before compression */

static struct stat_hist query_seconds =
    STAT_HIST("vane_query_duration_seconds", "Duration of PromQL queries, parsing to result", "");
static struct stat queries_failed =
    STAT_COUNTER("vane_queries_failed_total", "PromQL queries that ended with an error", "");
static struct stat samples_read = STAT_COUNTER("vane_query_samples_total", "Samples read by PromQL queries", "");

/* The reason in upstream's words: `cannot parse "x" to a valid duration`. */
static bool duration_param(const struct http_request *rq, struct http_response *rs, const char *name,
                           const char *prefix, int64_t *ret)
{
    str s = http_param(rq, str_c(name));
    const char *why;
    if (s.n == 0 || api_parse_duration(s, ret, &why))
        return true;
    struct buf b;
    buf_init(&b, 0);
    json_escape(&b, str_take(s, 200));
    if (prefix)
        api_fail(rs, API_BAD_DATA, "%s: cannot parse " STR_FMT " %s", prefix, STR_ARG(buf_str(&b)), why);
    else
        api_fail(rs, API_BAD_DATA, "invalid parameter \"%s\": cannot parse " STR_FMT " %s", name, STR_ARG(buf_str(&b)),
                 why);
    buf_deinit(&b);
    return false;
}

/* timeout and lookback_delta, common to both kinds of query */
static bool common_params(const struct http_request *rq, struct http_response *rs, struct promql_query *q)
{
    if (!duration_param(rq, rs, "timeout", NULL, &q->timeout_ms) ||
        !duration_param(rq, rs, "lookback_delta", "error parsing lookback delta duration", &q->lookback_ms))
        return false;
    if (q->timeout_ms < 0)
        q->timeout_ms = 1; /* over before it begins, as upstream */
    q->text = http_param(rq, STR("query"));
    if (!q->text.p)
        q->text = STR("");
    q->cancel = rq->cancelled;
    return true;
}

/* An error of the engine. Instant queries name the parameter when the text does not parse. */
static void query_failed(struct http_response *rs, const struct promql_query *q, enum err e, const struct err_text *why)
{
    stat_add(&queries_failed, 1);
    if (e == ERR_PARSE && q->instant)
        api_fail_param(rs, "query", why->msg);
    else if (e == ERR_TIMEOUT)
        api_fail(rs, API_TIMEOUT, "%s", why->msg[0] ? why->msg : "query timed out in expression evaluation");
    else if (e == ERR_CANCELLED)
        api_fail(rs, API_CANCELED, "%s", why->msg[0] ? why->msg : "query was canceled in expression evaluation");
    else if (e == ERR_INVALID)
        api_fail(rs, API_BAD_DATA, "%s", why->msg);
    else
        api_fail_err(rs, e, why);
}

static void stats_json(struct json_out *j, const struct promql_stats *s)
{
    double total = (double)(s->parse_ns + s->prepare_ns + s->exec_ns) * 1e-9, exec = (double)s->exec_ns * 1e-9;
    json_key(j, STR("stats"));
    json_obj(j);
    json_key(j, STR("timings"));
    json_obj(j);
    json_kf64(j, "evalTotalTime", total);
    json_kf64(j, "resultSortTime", 0);
    json_kf64(j, "queryPreparationTime", (double)s->prepare_ns * 1e-9);
    json_kf64(j, "innerEvalTime", exec);
    json_kf64(j, "execQueueTime", 0);
    json_kf64(j, "execTotalTime", total);
    json_obj_end(j);
    json_key(j, STR("samples"));
    json_obj(j);
    json_ku64(j, "totalQueryableSamples", s->samples_read);
    json_ku64(j, "peakSamples", s->samples_read);
    json_obj_end(j);
    json_key(j, STR("vane"));
    json_obj(j);
    json_ku64(j, "seriesRead", s->series_read);
    json_ku64(j, "bytesPeak", s->bytes_peak);
    json_kf64(j, "parseTime", (double)s->parse_ns * 1e-9);
    json_obj_end(j);
    json_obj_end(j);
}

static void run(struct http_request *rq, struct http_response *rs, const struct promql_query *q, size_t limit)
{
    struct api *api = api_of(rq);
    struct promql_result result = { 0 };
    struct err_text why = { .msg = "" };
    uint64_t t0 = os_mono_ns();
    enum err e = promql_exec(api->d.engine, api_source(rq), q, rq->a, &result, &why);
    stat_hist_observe_ns(&query_seconds, os_mono_ns() - t0);
    if (e != OK) {
        query_failed(rs, q, e, &why);
        return;
    }
    stat_add(&samples_read, (int64_t)result.stats.samples_read);
    rs->body.max = ANSWER_BYTES_MAX;
    struct json_out j = api_begin(rs);
    json_obj(&j);
    api_json_result(&j, &result, limit);
    if (http_param(rq, STR("stats")).n)
        stats_json(&j, &result.stats);
    json_obj_end(&j);
    bool truncated = limit && result.n_series > limit;
    struct promql_note *notes = arena_array(rq->a, struct promql_note, result.n_notes + 1);
    if (result.n_notes)
        memcpy(notes, result.notes, result.n_notes * sizeof(*notes));
    if (truncated)
        notes[result.n_notes] = (struct promql_note){ .text = STR(API_TRUNCATED) };
    api_end(&j, notes, result.n_notes + truncated);
    if (rs->body.failed)
        api_fail(rs, API_EXECUTION, "the answer would be larger than %zu bytes: aggregate, or ask for fewer points",
                 ANSWER_BYTES_MAX);
}

static void query(struct http_request *rq, struct http_response *rs)
{
    const struct api *api = api_of(rq);
    struct promql_query q = { .instant = true };
    size_t limit;
    if (api_not_ready(api, rs) || !api_limit_param(rq, rs, "limit", &limit) ||
        !api_time_param(rq, rs, "time", api_now_ms(api), &q.from_ms) || !common_params(rq, rs, &q))
        return;
    q.to_ms = q.from_ms;
    run(rq, rs, &q, limit);
}

/* start and end of query_range have no default, and their own message. */
static bool required_time(const struct http_request *rq, struct http_response *rs, const char *name, int64_t *ret_ms)
{
    str s = http_param(rq, str_c(name));
    if (api_parse_time(s, ret_ms))
        return true;
    struct buf b;
    buf_init(&b, 0);
    json_escape(&b, str_take(s, 200));
    api_fail(rs, API_BAD_DATA, "invalid parameter \"%s\": cannot parse " STR_FMT " to a valid timestamp", name,
             STR_ARG(buf_str(&b)));
    buf_deinit(&b);
    return false;
}

static bool range_params(const struct http_request *rq, struct http_response *rs, struct promql_query *q)
{
    if (!required_time(rq, rs, "start", &q->from_ms) || !required_time(rq, rs, "end", &q->to_ms))
        return false;
    if (q->to_ms < q->from_ms) {
        api_fail_param(rs, "end", "end timestamp must not be before start time");
        return false;
    }
    if (http_param(rq, STR("step")).n == 0) {
        api_fail_param(rs, "step", "cannot parse \"\" to a valid duration");
        return false;
    }
    if (!duration_param(rq, rs, "step", NULL, &q->step_ms))
        return false;
    if (q->step_ms <= 0) {
        api_fail_param(rs, "step",
                       "zero or negative query resolution step widths are not accepted. Try a positive integer");
        return false;
    }
    if (((uint64_t)q->to_ms - (uint64_t)q->from_ms) / (uint64_t)q->step_ms > POINTS_MAX) {
        api_fail(rs, API_BAD_DATA,
                 "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query "
                 "resolution (?step=XX)");
        return false;
    }
    return true;
}

static void query_range(struct http_request *rq, struct http_response *rs)
{
    struct promql_query q = { 0 };
    size_t limit;
    if (api_not_ready(api_of(rq), rs) || !api_limit_param(rq, rs, "limit", &limit) || !range_params(rq, rs, &q) ||
        !common_params(rq, rs, &q))
        return;
    run(rq, rs, &q, limit);
}

/* ---- exemplars of the selectors of an expression ---- */

struct selectors {
    const struct promql_vector_sel *p[EXEMPLAR_SELECTORS_MAX];
    size_t n;
};

static void selectors_collect(const struct promql_expr *e, struct selectors *out)
{
    if (e->kind == PQ_VECTOR && out->n < EXEMPLAR_SELECTORS_MAX)
        out->p[out->n++] = &e->vector;
    const struct promql_expr *kids[64];
    size_t n = promql_children(e, kids, ARRAY_LEN(kids));
    for (size_t i = 0; i < n && i < ARRAY_LEN(kids); i++)
        selectors_collect(kids[i], out);
}

static void exemplars_json(struct json_out *j, const struct tsdb_exemplars *x)
{
    json_obj(j);
    json_key(j, STR("seriesLabels"));
    labels_json(j, x->labels);
    json_key(j, STR("exemplars"));
    json_arr(j);
    for (size_t i = 0; i < x->n; i++) {
        json_obj(j);
        json_key(j, STR("labels"));
        labels_json(j, x->p[i].labels);
        json_key(j, STR("value"));
        json_f64_str(j, x->p[i].v);
        json_key(j, STR("timestamp"));
        json_ms_as_s(j, x->p[i].ts_ms);
        json_obj_end(j);
    }
    json_arr_end(j);
    json_obj_end(j);
}

static bool seen_before(const struct tsdb_exemplars *all, size_t n, struct labels ls)
{
    for (size_t i = 0; i < n; i++)
        if (labels_eq(all[i].labels, ls))
            return true;
    return false;
}

static void exemplars_answer(struct http_request *rq, struct http_response *rs, const struct selectors *sel,
                             int64_t from, int64_t to)
{
    const struct api_store *st = api_store(rq);
    VEC(struct tsdb_exemplars) all = { 0 };
    for (size_t i = 0; i < sel->n; i++) {
        struct tsdb_exemplars *found;
        size_t n;
        enum err e = st->exemplars(st->ctx, from, to, sel->p[i]->matchers, sel->p[i]->n_matchers, rq->a, &found, &n);
        if (e != OK) {
            api_fail_err(rs, e, NULL);
            return;
        }
        for (size_t k = 0; k < n; k++)
            if (!seen_before(all.p, all.n, found[k].labels))
                avec_push(rq->a, &all, found[k]);
    }
    struct json_out j = api_begin(rs);
    json_arr(&j);
    vec_each (struct tsdb_exemplars, x, &all)
        if (x->n)
            exemplars_json(&j, x);
    json_arr_end(&j);
    api_end(&j, NULL, 0);
}

static void query_exemplars(struct http_request *rq, struct http_response *rs)
{
    const struct api *api = api_of(rq);
    int64_t from, to;
    if (api_not_ready(api, rs) || !api_range_params(rq, rs, &from, &to))
        return;
    if (to < from) {
        api_fail(rs, API_BAD_DATA, "end timestamp must not be before start timestamp");
        return;
    }
    const struct promql_expr *e = NULL;
    struct err_text why = { .msg = "" };
    enum err err = promql_parse_text(rq->a, http_param(rq, STR("query")), api->d.promql_features, &e, &why);
    if (err != OK) {
        api_fail(rs, API_BAD_DATA, "%s", why.msg);
        return;
    }
    struct selectors sel = { 0 };
    selectors_collect(e, &sel);
    if (sel.n)
        exemplars_answer(rq, rs, &sel, from, to);
    else
        buf_lit(&rs->body, "{\"status\":\"success\"}");
    promql_expr_deinit(e);
}

/* ---- the text of a query ---- */

static const struct promql_expr *parse_param(struct http_request *rq, struct http_response *rs)
{
    const struct promql_expr *e = NULL;
    struct err_text why = { .msg = "" };
    str text = http_param(rq, STR("query"));
    if (promql_parse_text(rq->a, text.p ? text : STR(""), api_of(rq)->d.promql_features, &e, &why) == OK)
        return e;
    api_fail_param(rs, "query", why.msg);
    return NULL;
}

static void format_query(struct http_request *rq, struct http_response *rs)
{
    const struct promql_expr *e = parse_param(rq, rs);
    if (!e)
        return;
    struct buf text;
    buf_init(&text, 0);
    promql_print_pretty(&text, e, PROMQL_PRETTY_COLUMNS);
    struct json_out j = api_begin(rs);
    json_str(&j, buf_str(&text));
    api_end(&j, NULL, 0);
    buf_deinit(&text);
    promql_expr_deinit(e);
}

static void parse_query(struct http_request *rq, struct http_response *rs)
{
    const struct promql_expr *e = parse_param(rq, rs);
    if (!e)
        return;
    struct json_out j = api_begin(rs);
    promql_print_json(&j, e);
    api_end(&j, NULL, 0);
    promql_expr_deinit(e);
}

#define BOTH (HTTP_BIT(HTTP_GET) | HTTP_BIT(HTTP_POST))
const struct http_route api_query_routes[] = {
    { BOTH, "/api/v1/query", query, HTTP_QUERY, NULL, HTTP_CORS },
    { BOTH, "/api/v1/query_range", query_range, HTTP_QUERY, NULL, HTTP_CORS },
    { BOTH, "/api/v1/query_exemplars", query_exemplars, HTTP_QUERY, NULL, HTTP_CORS },
    { BOTH, "/api/v1/format_query", format_query, HTTP_CONTROL, NULL, HTTP_CORS },
    { BOTH, "/api/v1/parse_query", parse_query, HTTP_CONTROL, NULL, HTTP_CORS },
};
const size_t api_query_routes_n = ARRAY_LEN(api_query_routes);
