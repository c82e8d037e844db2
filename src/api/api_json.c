/* JSON of Prometheus' HTTP API: the envelope, samples, native histograms, results. */
#include "api/api_int.h"
#include "model/histogram_math.h"

struct json_out api_begin(struct http_response *rs)
{
    buf_clear(&rs->body);
    struct json_out j = json_out_init(&rs->body);
    json_obj(&j);
    json_kstr(&j, "status", STR("success"));
    json_key(&j, STR("data"));
    return j;
}

static void notes_json(struct json_out *j, str key, bool info, const struct promql_note *notes, size_t n)
{
    bool open = false;
    for (size_t i = 0; i < n; i++) {
        if (notes[i].info != info)
            continue;
        if (!open) {
            json_key(j, key);
            json_arr(j);
            open = true;
        }
        json_str(j, notes[i].text);
    }
    if (open)
        json_arr_end(j);
}

void api_end(struct json_out *j, const struct promql_note *notes, size_t n_notes)
{
    notes_json(j, STR("warnings"), false, notes, n_notes);
    notes_json(j, STR("infos"), true, notes, n_notes);
    json_obj_end(j);
}

void api_end_truncated(struct json_out *j, bool truncated)
{
    const struct promql_note note = { .text = STR(API_TRUNCATED) };
    api_end(j, &note, truncated ? 1 : 0);
}

void api_json_value(struct json_out *j, int64_t ts_ms, double v)
{
    json_arr(j);
    json_ms_as_s(j, ts_ms);
    json_f64_str(j, v);
    json_arr_end(j);
}

void api_json_histogram(struct json_out *j, int64_t ts_ms, const struct histogram *h)
{
    json_arr(j);
    json_ms_as_s(j, ts_ms);
    histogram_json(j, h);
    json_arr_end(j);
}

/* ---- results ---- */

static void series_values(struct json_out *j, const struct promql_result_series *s, bool histograms, str key,
                          struct json_samples *seen)
{
    bool open = false;
    for (size_t i = 0; i < s->n_points; i++) {
        const struct promql_point *p = &s->points[i];
        if ((p->h != NULL) != histograms)
            continue;
        if (!open) {
            json_key(j, key);
            json_arr(j);
            open = true;
        }
        if (p->h)
            api_json_histogram(j, p->ts_ms, p->h);
        else
            json_sample(j, seen, i, p->ts_ms, p->v);
    }
    if (open)
        json_arr_end(j);
}

static void vector_json(struct json_out *j, const struct promql_result_series *s)
{
    const struct promql_point *p = &s->points[0];
    json_key(j, p->h ? STR("histogram") : STR("value"));
    if (p->h)
        api_json_histogram(j, p->ts_ms, p->h);
    else
        api_json_value(j, p->ts_ms, p->v);
}

void api_json_result(struct json_out *j, const struct promql_result *r, size_t limit)
{
    static const char *const names[] = { [PROMQL_NONE] = "none",
                                         [PROMQL_SCALAR] = "scalar",
                                         [PROMQL_VECTOR] = "vector",
                                         [PROMQL_MATRIX] = "matrix",
                                         [PROMQL_STRING] = "string" };
    json_kstr(j, "resultType", str_c(names[r->type]));
    json_key(j, STR("result"));
    if (r->type == PROMQL_SCALAR) {
        api_json_value(j, r->scalar.ts_ms, r->scalar.v);
        return;
    }
    if (r->type == PROMQL_STRING) {
        json_arr(j);
        json_ms_as_s(j, r->string_ts_ms);
        json_str(j, r->string);
        json_arr_end(j);
        return;
    }
    AUTO_FREE struct json_samples *seen = r->type == PROMQL_MATRIX ? mem_zalloc(sizeof(*seen)) : NULL;
    json_arr(j);
    for (size_t i = 0; i < r->n_series && (!limit || i < limit); i++) {
        const struct promql_result_series *s = &r->series[i];
        json_obj(j);
        json_key(j, STR("metric"));
        labels_json(j, s->labels);
        if (r->type == PROMQL_VECTOR) {
            vector_json(j, s);
        } else {
            series_values(j, s, false, STR("values"), seen);
            series_values(j, s, true, STR("histograms"), seen);
        }
        json_obj_end(j);
    }
    json_arr_end(j);
}

void api_json_rfc3339(struct json_out *j, int64_t ts_ms)
{
    if (ts_ms == 0) {
        json_str(j, STR("0001-01-01T00:00:00Z"));
        return;
    }
    struct buf b;
    buf_init(&b, 0);
    buf_rfc3339_ms(&b, ts_ms);
    json_str(j, buf_str(&b));
    buf_deinit(&b);
}

void api_json_moment(struct json_out *j, str key, int64_t ts_ms)
{
    json_key(j, key);
    if (ts_ms)
        api_json_rfc3339(j, ts_ms);
    else
        json_put_null(j);
}

void api_json_duration(struct json_out *j, str key, int64_t ms)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_duration(&b, ms);
    json_key(j, key);
    json_str(j, buf_str(&b));
}
