/* /api/v1: series, labels, label/<name>/values, metadata. Several match[] are a union. */
#include <stdlib.h>

#include "api/api_int.h"

/* ---- unions ---- */

static int str_order(const void *a, const void *b)
{
    return str_cmp(*(const str *)a, *(const str *)b);
}
static int labels_order(const void *a, const void *b)
{
    return labels_cmp(*(const struct labels *)a, *(const struct labels *)b);
}

static size_t strs_sort_unique(str *p, size_t n)
{
    size_t k = 0;
    if (n)
        qsort(p, n, sizeof(*p), str_order);
    for (size_t i = 0; i < n; i++)
        if (k == 0 || !str_eq(p[k - 1], p[i]))
            p[k++] = p[i];
    return k;
}

/* One more than asked for, to know whether something was cut off. */
static size_t one_more(size_t limit)
{
    return limit ? limit + 1 : 0;
}

static void strs_answer(struct http_response *rs, const str *p, size_t n, size_t limit)
{
    struct json_out j = api_begin(rs);
    json_arr(&j);
    for (size_t i = 0; i < n && (!limit || i < limit); i++)
        json_str(&j, p[i]);
    json_arr_end(&j);
    api_end_truncated(&j, limit && n > limit);
}

/* ---- series ---- */

static enum err series_collect(struct http_request *rq, const struct api_selector *sel, size_t n_sel, int64_t from,
                               int64_t to, size_t limit, struct labels **ret, size_t *ret_n)
{
    const struct api_store *st = api_store(rq);
    VEC(struct labels) all = { 0 };
    for (size_t i = 0; i < n_sel && from <= to; i++) {
        struct labels *found;
        size_t n;
        TRY(st->series(st->ctx, from, to, sel[i].m, sel[i].n, one_more(limit), rq->a, &found, &n));
        for (size_t k = 0; k < n; k++)
            avec_push(rq->a, &all, found[k]);
    }
    size_t n = all.n;
    if (n_sel > 1 && all.n) {
        qsort(all.p, all.n, sizeof(*all.p), labels_order);
        n = 0;
        for (size_t i = 0; i < all.n; i++)
            if (n == 0 || !labels_eq(all.p[n - 1], all.p[i]))
                all.p[n++] = all.p[i];
    }
    *ret = all.p;
    *ret_n = n;
    return OK;
}

static void series(struct http_request *rq, struct http_response *rs)
{
    int64_t from, to;
    size_t limit, n_sel, n;
    struct api_selector *sel;
    struct labels *all;
    if (api_not_ready(api_of(rq), rs) || !api_limit_param(rq, rs, "limit", &limit) ||
        !api_selector_params(rq, rs, true, &sel, &n_sel))
        return;
    if (!api_range_params(rq, rs, &from, &to)) {
        api_selectors_deinit(sel, n_sel);
        return;
    }
    enum err e = series_collect(rq, sel, n_sel, from, to, limit, &all, &n);
    api_selectors_deinit(sel, n_sel);
    if (e != OK) {
        api_fail_err(rs, e, NULL);
        return;
    }
    struct json_out j = api_begin(rs);
    json_arr(&j);
    for (size_t i = 0; i < n && (!limit || i < limit); i++)
        labels_json(&j, all[i]);
    json_arr_end(&j);
    api_end_truncated(&j, limit && n > limit);
}

/* ---- names and values of labels ---- */

static enum err names_collect(struct http_request *rq, const str *value_of, const struct api_selector *sel,
                              size_t n_sel, int64_t from, int64_t to, size_t limit, str **ret, size_t *ret_n)
{
    const struct api_store *st = api_store(rq);
    VEC(str) all = { 0 };
    size_t rounds = n_sel ? n_sel : 1;
    for (size_t i = 0; i < rounds && from <= to; i++) {
        const struct matcher *m = n_sel ? sel[i].m : NULL;
        size_t n_m = n_sel ? sel[i].n : 0, n;
        str *found;
        if (value_of)
            TRY(st->label_values(st->ctx, from, to, *value_of, m, n_m, one_more(limit), rq->a, &found, &n));
        else
            TRY(st->label_names(st->ctx, from, to, m, n_m, one_more(limit), rq->a, &found, &n));
        for (size_t k = 0; k < n; k++)
            avec_push(rq->a, &all, found[k]);
    }
    *ret = all.p;
    *ret_n = n_sel > 1 ? strs_sort_unique(all.p, all.n) : all.n;
    return OK;
}

static void names_answer(struct http_request *rq, struct http_response *rs, const str *value_of)
{
    int64_t from, to;
    size_t limit, n_sel, n;
    struct api_selector *sel;
    str *all;
    if (!api_limit_param(rq, rs, "limit", &limit) || !api_range_params(rq, rs, &from, &to) ||
        !api_selector_params(rq, rs, false, &sel, &n_sel))
        return;
    enum err e = names_collect(rq, value_of, sel, n_sel, from, to, limit, &all, &n);
    api_selectors_deinit(sel, n_sel);
    if (e != OK)
        api_fail_err(rs, e, NULL);
    else
        strs_answer(rs, all, n, limit);
}

static void label_names(struct http_request *rq, struct http_response *rs)
{
    if (!api_not_ready(api_of(rq), rs))
        names_answer(rq, rs, NULL);
}

/* "U__a_2e_b" -> "a.b": names that are not legacy, as clients write them into paths. False: not such an escape. */
static bool name_unescape(struct arena *a, str s, str *ret)
{
    struct buf b;
    buf_init(&b, 0);
    bool ok = true;
    for (size_t i = 3; i < s.n && ok; i++) {
        if (s.p[i] != '_') {
            buf_u8(&b, (uint8_t)s.p[i]);
            continue;
        }
        str rest = str_skip(s, i + 1);
        size_t end = str_find_char(rest, '_');
        uint32_t cp = 0;
        ok = end != SIZE_MAX && end <= 6;
        for (size_t k = 0; ok && k < end; k++) {
            char c = rest.p[k];
            int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
            ok = digit >= 0;
            cp = cp * 16 + (uint32_t)(digit < 0 ? 0 : digit);
        }
        char utf8[4];
        if (ok)
            buf_add(&b, end == 0 ? "_" : utf8, end == 0 ? 1 : str_utf8_put(utf8, cp));
        i += end + 1;
    }
    *ret = arena_str(a, buf_str(&b));
    buf_deinit(&b);
    return ok;
}

static void label_values(struct http_request *rq, struct http_response *rs)
{
    str name = rq->captures[0], plain;
    if (api_not_ready(api_of(rq), rs))
        return;
    if (str_has_prefix(name, STR("U__")) && name_unescape(rq->a, name, &plain))
        name = plain;
    if (name.n == 0 || !str_utf8_ok(name)) {
        struct buf b;
        buf_init(&b, 0);
        json_escape(&b, name);
        api_fail(rs, API_BAD_DATA, "invalid label name: " STR_FMT, STR_ARG(buf_str(&b)));
        buf_deinit(&b);
        return;
    }
    names_answer(rq, rs, &name);
}

/* ---- metadata ---- */

static void meta_json(struct json_out *j, const struct metric_meta *m)
{
    json_obj(j);
    json_kstr(j, "type", str_c(metric_type_name(m->type)));
    json_kstr(j, "help", m->help.p ? m->help : STR(""));
    json_kstr(j, "unit", m->unit.p ? m->unit : STR(""));
    json_obj_end(j);
}

static int metadata_order(const void *pa, const void *pb)
{
    return str_cmp(((const struct tsdb_metadata *)pa)->name, ((const struct tsdb_metadata *)pb)->name);
}

static void metadata(struct http_request *rq, struct http_response *rs)
{
    const struct api_store *st = api_store(rq);
    int64_t limit, per_metric;
    size_t n;
    struct tsdb_metadata *all;
    if (api_not_ready(api_of(rq), rs) || !api_count_param(rq, rs, "limit", &limit) ||
        !api_count_param(rq, rs, "limit_per_metric", &per_metric))
        return;
    enum err e = st->metadata(st->ctx, http_param(rq, STR("metric")), 0, rq->a, &all, &n);
    if (e != OK) {
        api_fail_err(rs, e, NULL);
        return;
    }
    if (n)
        qsort(all, n, sizeof(*all), metadata_order);
    struct json_out j = api_begin(rs);
    json_obj(&j);
    size_t families = 0;
    for (size_t i = 0; i < n && (limit < 0 || families < (size_t)limit); families++) {
        json_key(&j, all[i].name);
        json_arr(&j);
        size_t k = i;
        for (; k < n && str_eq(all[k].name, all[i].name); k++)
            if (per_metric <= 0 || k - i < (size_t)per_metric)
                meta_json(&j, &all[k].meta);
        json_arr_end(&j);
        i = k;
    }
    json_obj_end(&j);
    api_end(&j, NULL, 0);
}

#define BOTH (HTTP_BIT(HTTP_GET) | HTTP_BIT(HTTP_POST))
const struct http_route api_meta_routes[] = {
    { BOTH, "/api/v1/series", series, HTTP_QUERY, NULL, HTTP_CORS },
    { BOTH, "/api/v1/labels", label_names, HTTP_QUERY, NULL, HTTP_CORS },
    { HTTP_BIT(HTTP_GET), "/api/v1/label/{name}/values", label_values, HTTP_QUERY, NULL, HTTP_CORS },
    { HTTP_BIT(HTTP_GET), "/api/v1/metadata", metadata, HTTP_QUERY, NULL, HTTP_CORS },
};
const size_t api_meta_routes_n = ARRAY_LEN(api_meta_routes);
