/* What makes the store big, and who passed a limit:
 *   /api/v1/status/tsdb          upstream's shape
 *   /api/v1/status/cardinality   ours: the same for series that match[], by job, new series of the last hour, limits,
 *                                what was folded into overflow series and by which label, elected replicas */
#include "api/api_int.h"

enum { ROWS_DEFAULT = 10, ROWS_MAX = 10000 };

/* limit=, at least 1. */
static bool rows_param(const struct http_request *rq, struct http_response *rs, size_t *ret)
{
    int64_t limit;
    if (!api_count_param(rq, rs, "limit", &limit))
        return false;
    if (limit < 1 && http_param(rq, STR("limit")).n) {
        api_fail(rs, API_BAD_DATA, "limit must be a positive number");
        return false;
    }
    *ret = limit < 1 ? ROWS_DEFAULT : (size_t)MIN(limit, ROWS_MAX);
    return true;
}

static void top_json(struct json_out *j, str key, const struct tsdb_top *p, size_t n, size_t limit)
{
    json_key(j, key);
    json_arr(j);
    for (size_t i = 0; i < n && i < limit; i++) {
        json_obj(j);
        json_kstr(j, "name", p[i].name);
        json_ku64(j, "value", p[i].value);
        json_obj_end(j);
    }
    json_arr_end(j);
}

static void tops_json(struct json_out *j, const struct tsdb_cardinality *c, size_t rows)
{
    top_json(j, STR("seriesCountByMetricName"), c->metrics, c->n_metrics, rows);
    top_json(j, STR("labelValueCountByLabelName"), c->labels, c->n_labels, rows);
    top_json(j, STR("memoryInBytesByLabelName"), c->label_bytes, c->n_label_bytes, rows);
    top_json(j, STR("seriesCountByLabelValuePair"), c->pairs, c->n_pairs, rows);
}

static struct tsdb_cardinality tops_of_stats(struct tsdb_stats *s)
{
    return (struct tsdb_cardinality){ .metrics = s->top_metrics,
                                      .n_metrics = s->n_top_metrics,
                                      .labels = s->top_labels,
                                      .n_labels = s->n_top_labels,
                                      .label_bytes = s->top_label_bytes,
                                      .n_label_bytes = s->n_top_label_bytes,
                                      .pairs = s->top_pairs,
                                      .n_pairs = s->n_top_pairs };
}

static void status_tsdb(struct http_request *rq, struct http_response *rs)
{
    const struct api_store *st = api_store(rq);
    struct tsdb_stats s = { 0 };
    struct tsdb_cardinality c = { 0 };
    size_t rows;
    if (!rows_param(rq, rs, &rows))
        return;
    enum err e = st->stats(st->ctx, !st->cardinality, rq->a, &s);
    if (e == OK && st->cardinality)
        e = st->cardinality(st->ctx, NULL, 0, rows, rq->a, &c);
    else if (e == OK)
        c = tops_of_stats(&s);
    if (e != OK) {
        api_fail_err(rs, e, NULL);
        return;
    }
    struct json_out j = api_begin(rs);
    json_obj(&j);
    json_key(&j, STR("headStats"));
    json_obj(&j);
    json_ku64(&j, "numSeries", s.head_series);
    json_ku64(&j, "numLabelPairs", s.label_pairs);
    json_ku64(&j, "chunkCount", s.head_chunks);
    json_ki64(&j, "minTime", s.head_min_ms);
    json_ki64(&j, "maxTime", s.head_max_ms);
    json_obj_end(&j);
    tops_json(&j, &c, rows);
    json_key(&j, STR("storage")); /* ours: what lies on disk */
    json_obj(&j);
    json_ku64(&j, "segments", s.segments);
    json_ku64(&j, "segmentBytes", s.segment_bytes);
    json_ku64(&j, "walBytes", s.wal_bytes);
    json_ku64(&j, "headBytes", s.head_bytes);
    json_ki64(&j, "minTime", s.min_ms);
    json_ki64(&j, "maxTime", s.max_ms);
    json_obj_end(&j);
    json_obj_end(&j);
    api_end(&j, NULL, 0);
}

/* ---- cardinality ---- */

static void ktime(struct json_out *j, const char *key, int64_t ms)
{
    json_key(j, str_c(key));
    api_json_rfc3339(j, ms);
}

static void counts_json(struct json_out *j, const char *key, const struct ingest_count *p, size_t n, bool target)
{
    json_key(j, str_c(key));
    json_arr(j);
    for (size_t i = 0; i < n; i++) {
        json_obj(j);
        json_key(j, target ? STR("job") : STR("name"));
        json_str(j, p[i].name);
        if (target)
            json_kstr(j, "instance", p[i].instance);
        json_ku64(j, "series", p[i].series);
        json_ku64(j, "created", p[i].created);
        json_ku64(j, "limit", p[i].limit);
        json_obj_end(j);
    }
    json_arr_end(j);
}

static void overflow_labels_json(struct json_out *j, const struct ingest_overflow *o)
{
    json_key(j, STR("labels"));
    json_arr(j);
    for (size_t i = 0; i < o->n_labels; i++) {
        const struct ingest_culprit_label *l = &o->labels[i];
        json_obj(j);
        json_kstr(j, "name", l->name);
        json_ku64(j, "values", l->values);
        json_key(j, STR("examples"));
        json_arr(j);
        for (size_t k = 0; k < l->n_samples; k++)
            json_str(j, l->sample[k]);
        json_arr_end(j);
        json_obj_end(j);
    }
    json_arr_end(j);
}

static void overflow_json(struct json_out *j, const struct ingest_overflow *o)
{
    json_obj(j);
    json_kstr(j, "limit", str_c(ingest_kind_name(o->kind)));
    if (o->kind == INGEST_METRIC)
        json_kstr(j, "metric", o->name);
    if (o->kind == INGEST_JOB || o->kind == INGEST_TARGET)
        json_kstr(j, "job", o->name);
    if (o->kind == INGEST_TARGET)
        json_kstr(j, "instance", o->instance);
    json_ku64(j, "max", o->limit);
    json_kbool(j, "active", o->active);
    ktime(j, "since", o->since_ms);
    ktime(j, "last", o->last_ms);
    json_ku64(j, "foldedSeries", o->series);
    json_ku64(j, "foldedSamples", o->samples);
    json_kstr(j, "label", o->n_labels ? o->labels[0].name : STR(""));
    overflow_labels_json(j, o);
    json_key(j, STR("metrics"));
    json_arr(j);
    for (size_t i = 0; i < o->n_metrics; i++) {
        json_obj(j);
        json_kstr(j, "name", o->metrics[i].name);
        json_ku64(j, "foldedSeries", o->metrics[i].series);
        json_obj_end(j);
    }
    json_arr_end(j);
    json_obj_end(j);
}

static void limits_json(struct json_out *j, const struct ingest_status *s)
{
    json_key(j, STR("limits"));
    json_obj(j);
    json_ku64(j, "seriesPerTenant", s->limits.tenant);
    json_ku64(j, "seriesPerJob", s->limits.job);
    json_ku64(j, "seriesPerTarget", s->limits.target);
    json_ku64(j, "seriesPerMetric", s->limits.metric);
    json_obj_end(j);
    json_key(j, STR("usage"));
    json_obj(j);
    json_ku64(j, "series", s->tenant.series);
    counts_json(j, "jobs", s->jobs, s->n_jobs, false);
    counts_json(j, "targets", s->targets, s->n_targets, true);
    counts_json(j, "metrics", s->metrics, s->n_metrics, false);
    json_obj_end(j);
    json_key(j, STR("churn"));
    json_obj(j);
    json_ki64(j, "windowSeconds", 3600);
    json_ku64(j, "created", s->tenant.created);
    counts_json(j, "jobs", s->job_churn, s->n_job_churn, false);
    counts_json(j, "metrics", s->metric_churn, s->n_metric_churn, false);
    json_obj_end(j);
    json_key(j, STR("overflows"));
    json_arr(j);
    for (size_t i = 0; i < s->n_overflows; i++)
        overflow_json(j, &s->overflows[i]);
    json_arr_end(j);
    json_key(j, STR("replicas"));
    json_arr(j);
    for (size_t i = 0; i < s->n_replicas; i++) {
        const struct ingest_replica *r = &s->replicas[i];
        json_obj(j);
        json_kstr(j, "cluster", r->cluster);
        json_kstr(j, "replica", r->replica);
        ktime(j, "lastSeen", r->seen_ms);
        ktime(j, "elected", r->elected_ms);
        json_ku64(j, "changes", r->changes);
        json_ku64(j, "droppedSamples", r->dropped);
        json_obj_end(j);
    }
    json_arr_end(j);
}

static void status_cardinality(struct http_request *rq, struct http_response *rs)
{
    const struct api_store *st = api_store(rq);
    struct api_selector *sel;
    struct tsdb_cardinality c = { 0 };
    struct ingest_status s = { 0 };
    size_t rows, n_sel;
    if (api_not_ready(api_of(rq), rs) || !rows_param(rq, rs, &rows) ||
        !api_selector_params(rq, rs, false, &sel, &n_sel))
        return;
    enum err e = OK;
    if (n_sel > 1)
        api_fail(rs, API_BAD_DATA, "only one match[] is taken: a selector, without a union");
    else if (!st->cardinality || !st->usage)
        api_fail(rs, API_UNAVAILABLE, "this store does not count");
    else if ((e = st->cardinality(st->ctx, n_sel ? sel->m : NULL, n_sel ? sel->n : 0, rows, rq->a, &c)) != OK)
        api_fail_err(rs, e, NULL);
    api_selectors_deinit(sel, n_sel);
    if (rs->body.n)
        return;
    st->usage(st->ctx, api_tenant(rq), rows, rq->a, &s);
    struct json_out j = api_begin(rs);
    json_obj(&j);
    json_ku64(&j, "series", c.series);
    json_ku64(&j, "labelPairs", c.label_pairs);
    json_ku64(&j, "labelNames", c.label_names);
    tops_json(&j, &c, rows);
    top_json(&j, STR("seriesCountByJob"), c.jobs, c.n_jobs, rows);
    limits_json(&j, &s);
    json_obj_end(&j);
    api_end(&j, NULL, 0);
}

const struct http_route api_cardinality_routes[] = {
    { HTTP_BIT(HTTP_GET), "/api/v1/status/tsdb", status_tsdb, HTTP_CONTROL, NULL, HTTP_CORS },
    { HTTP_BIT(HTTP_GET), "/api/v1/status/cardinality", status_cardinality, HTTP_QUERY, NULL, HTTP_CORS },
};
const size_t api_cardinality_routes_n = ARRAY_LEN(api_cardinality_routes);
