/* Alertmanager's template functions, and the types its notifications are made of. */
#include <stdlib.h>

#include "tmpl/tmpl_lib_int.h"

#define ROUTE_LABEL_DEPTH_MAX 16

/* ---- KV, Pairs, Alert(s), Data ---- */
static const char *const pair_fields[] = { "Name", "Value" };
static const char *const alert_fields[] = { "Status", "Labels",       "Annotations", "StartsAt",
                                            "EndsAt", "GeneratorURL", "Fingerprint" };
static const char *const alert_json[] = { "status", "labels",       "annotations", "startsAt",
                                          "endsAt", "generatorURL", "fingerprint" };
static const char *const data_fields[] = { "Receiver",    "Status",       "Alerts",
                                           "GroupLabels", "CommonLabels", "CommonAnnotations",
                                           "ExternalURL", "RouteLabels",  "Changes" };
static const char *const data_json[] = { "receiver",    "status",       "alerts",
                                         "groupLabels", "commonLabels", "commonAnnotations",
                                         "externalURL", "routeLabels",  "changes" };
static const char *const changes_fields[] = { "New", "Resolved", "Unchanged" };
static const char *const changes_json[] = { "new", "resolved", "unchanged" };
const struct tmpl_type tmpl_am_pair = { .name = "template.Pair", .fields = pair_fields, .n_fields = 2 };

/* Sorted by name, but alertname first. */
static enum err kv_sorted_pairs(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    n = v->map.n;
    *ret = tmpl_list(c->a, &tmpl_am_pairs, n);
    size_t first = SIZE_MAX, k = 0;
    for (size_t i = 0; i < n; i++)
        if (str_eq(v->map.p[i].k, STR("alertname")))
            first = i;
    for (size_t i = 0; i < n; i++) {
        size_t from = first == SIZE_MAX ? i : i == 0 ? first : i <= first ? i - 1 : i;
        struct tmpl_val pair = tmpl_struct(c->a, &tmpl_am_pair);
        pair.list.p[0] = tmpl_str(v->map.p[from].k);
        pair.list.p[1] = v->map.p[from].v;
        ret->list.p[k++] = pair;
    }
    return OK;
}

static struct tmpl_val pair_column(struct arena *a, const struct tmpl_val *pairs, size_t field)
{
    struct tmpl_val v = tmpl_list(a, &tmpl_type_strings, pairs->list.n);
    for (size_t i = 0; i < pairs->list.n; i++)
        v.list.p[i] = pairs->list.p[i].list.p[field];
    return v;
}

static enum err kv_names(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    struct tmpl_val pairs;
    TRY(kv_sorted_pairs(c, v, n, &pairs));
    *ret = pair_column(c->a, &pairs, 0);
    return OK;
}

static enum err kv_values(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    struct tmpl_val pairs;
    TRY(kv_sorted_pairs(c, v, n, &pairs));
    *ret = pair_column(c->a, &pairs, 1);
    return OK;
}

static bool contains(const struct tmpl_val *list, str s)
{
    for (size_t i = 0; list->kind == TMPL_LIST && i < list->list.n; i++)
        if (str_eq(list->list.p[i].s, s))
            return true;
    return false;
}

static enum err kv_remove(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    *ret = tmpl_map(c->a, v->type, v->map.n);
    n = 0;
    for (size_t i = 0; i < v->map.n; i++)
        if (!contains(&v[1], v->map.p[i].k))
            ret->map.p[n++] = v->map.p[i];
    ret->map.n = n;
    return OK;
}
static const struct tmpl_func kv_methods[] = {
    { "SortedPairs", "", kv_sorted_pairs },
    { "Names", "", kv_names },
    { "Values", "", kv_values },
    { "Remove", "l", kv_remove },
};
const struct tmpl_type tmpl_am_kv = {
    .name = "template.KV", .methods = kv_methods, .n_methods = ARRAY_LEN(kv_methods), .elem_str = true
};

static enum err pairs_names(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    (void)n;
    *ret = pair_column(c->a, v, 0);
    return OK;
}

static enum err pairs_values(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    (void)n;
    *ret = pair_column(c->a, v, 1);
    return OK;
}
static const struct tmpl_func pairs_methods[] = { { "Names", "", pairs_names }, { "Values", "", pairs_values } };
const struct tmpl_type tmpl_am_pairs = {
    .name = "template.Pairs", .methods = pairs_methods, .n_methods = ARRAY_LEN(pairs_methods), .elem = &tmpl_am_pair
};

const struct tmpl_type tmpl_am_alert = {
    .name = "template.Alert", .fields = alert_fields, .json = alert_json, .n_fields = 7
};
static const struct tmpl_type plain_alerts = { .name = "[]template.Alert", .elem = &tmpl_am_alert };

static struct tmpl_val with_status(struct arena *a, const struct tmpl_val *v, str status)
{
    struct tmpl_val r = tmpl_list(a, &plain_alerts, v->list.n);
    r.list.n = 0;
    for (size_t i = 0; i < v->list.n; i++)
        if (str_eq(v->list.p[i].list.p[0].s, status))
            r.list.p[r.list.n++] = v->list.p[i];
    return r;
}

static enum err alerts_firing(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    (void)n;
    *ret = with_status(c->a, v, STR("firing"));
    return OK;
}

static enum err alerts_resolved(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    (void)n;
    *ret = with_status(c->a, v, STR("resolved"));
    return OK;
}
static const struct tmpl_func alerts_methods[] = { { "Firing", "", alerts_firing },
                                                   { "Resolved", "", alerts_resolved } };
const struct tmpl_type tmpl_am_alerts = {
    .name = "template.Alerts", .methods = alerts_methods, .n_methods = ARRAY_LEN(alerts_methods), .elem = &tmpl_am_alert
};
const struct tmpl_type tmpl_am_data = {
    .name = "template.Data", .fields = data_fields, .json = data_json, .n_fields = 8
};
const struct tmpl_type tmpl_am_changes = {
    .name = "template.Changes", .fields = changes_fields, .json = changes_json, .n_fields = 3
};
const struct tmpl_type tmpl_am_data_changes = {
    .name = "template.Data", .fields = data_fields, .json = data_json, .n_fields = 9
};

/* ---- functions ---- */
static struct tmpl_am *world(const struct tmpl_call *c)
{
    return c->ctx;
}

static enum err f_title(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    (void)n;
    return lib_title(c, args[0].s, true, ret);
}

static enum err f_trim_space(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    (void)c, (void)n;
    *ret = tmpl_str(str_trim(args[0].s));
    return OK;
}

static enum err f_join(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    struct buf b;
    (void)n;
    buf_init(&b, TMPL_OUTPUT_BYTES_MAX);
    for (size_t i = 0; args[1].kind == TMPL_LIST && i < args[1].list.n; i++) {
        if (i)
            buf_str_add(&b, args[0].s);
        buf_str_add(&b, args[1].list.p[i].s);
    }
    *ret = lib_take(c, &b);
    return OK;
}

static enum err f_string_slice(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    *ret = tmpl_list(c->a, &tmpl_type_strings, n);
    for (size_t i = 0; i < n; i++)
        ret->list.p[i] = args[i];
    return OK;
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

static enum err f_url_unescape(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    struct buf b;
    str s = args[0].s;
    (void)n;
    buf_init(&b, TMPL_OUTPUT_BYTES_MAX);
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '+') {
            buf_u8(&b, ' ');
        } else if (s.p[i] != '%') {
            buf_u8(&b, (uint8_t)s.p[i]);
        } else if (i + 2 < s.n && hex(s.p[i + 1]) >= 0 && hex(s.p[i + 2]) >= 0) {
            buf_u8(&b, (uint8_t)(hex(s.p[i + 1]) * 16 + hex(s.p[i + 2])));
            i += 2;
        } else {
            buf_deinit(&b);
            return err_fail(c->why, ERR_EXEC, "invalid URL escape \"" STR_FMT "\"",
                            STR_ARG(str_take(str_skip(s, i), 3)));
        }
    }
    *ret = lib_take(c, &b);
    return OK;
}

static enum err f_to_json(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    struct buf b;
    (void)n;
    buf_init(&b, TMPL_OUTPUT_BYTES_MAX);
    tmpl_json(&b, args);
    *ret = lib_take(c, &b);
    return OK;
}

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static enum err f_base64_encode(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    struct buf b;
    str s = args[0].s;
    (void)n;
    buf_init(&b, TMPL_OUTPUT_BYTES_MAX);
    for (size_t i = 0; i < s.n; i += 3) {
        unsigned char g[3] = { 0 };
        size_t k = MIN(s.n - i, (size_t)3);
        memcpy(g, s.p + i, k);
        uint32_t v = (uint32_t)g[0] << 16 | (uint32_t)g[1] << 8 | g[2];
        for (size_t d = 0; d < 4; d++)
            buf_u8(&b, (uint8_t)(d <= k ? base64_digits[v >> (18 - 6 * d) & 63] : '='));
    }
    *ret = lib_take(c, &b);
    return OK;
}

static enum err f_base64_decode(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    struct buf b;
    str s = args[0].s;
    uint32_t v = 0;
    size_t k = 0, pad = 0;
    (void)n;
    buf_init(&b, TMPL_OUTPUT_BYTES_MAX);
    for (size_t i = 0; i < s.n; i++) {
        const char *d = s.p[i] ? strchr(base64_digits, s.p[i]) : NULL;
        if (s.p[i] == '\n' || s.p[i] == '\r')
            continue;
        bool last = s.p[i] == '=' && k >= 2;
        if ((!d && !last) || (d && pad)) {
            buf_deinit(&b);
            return err_fail(c->why, ERR_EXEC, "illegal base64 data at input byte %zu", i);
        }
        pad += last;
        v = v << 6 | (uint32_t)(d ? d - base64_digits : 0);
        if (++k == 4) {
            for (size_t o = 0; o < 3 - pad; o++)
                buf_u8(&b, (uint8_t)(v >> (16 - 8 * o)));
            k = 0;
            v = 0;
        }
    }
    if (k) {
        buf_deinit(&b);
        return err_fail(c->why, ERR_EXEC, "illegal base64 data at input byte %zu", s.n);
    }
    *ret = lib_take(c, &b);
    return OK;
}

static enum err f_dict(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    if (n % 2)
        return err_fail(c->why, ERR_EXEC, "dict expects an even number of arguments, got %zu", n);
    *ret = tmpl_map(c->a, NULL, n / 2);
    size_t k = 0;
    for (size_t i = 0; i < n; i += 2) {
        if (args[i].kind != TMPL_STR)
            return err_fail(c->why, ERR_EXEC, "dict keys must be strings, got %s", tmpl_type_name(&args[i]));
        size_t at = 0;
        while (at < k && !str_eq(ret->map.p[at].k, args[i].s))
            at++;
        ret->map.p[at] = (struct tmpl_pair){ args[i].s, args[i + 1] };
        k += at == k;
    }
    ret->map.n = k;
    tmpl_map_sort(ret);
    return OK;
}

static enum err f_list(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    *ret = tmpl_list(c->a, NULL, n);
    for (size_t i = 0; i < n; i++)
        ret->list.p[i] = args[i];
    return OK;
}

static enum err f_append(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    size_t old = args[0].kind == TMPL_LIST ? args[0].list.n : 0;
    if (args[0].kind != TMPL_LIST && args[0].kind > TMPL_NIL)
        return err_fail(c->why, ERR_EXEC, "append expects a list, got %s", tmpl_type_name(args));
    *ret = tmpl_list(c->a, NULL, old + n - 1);
    for (size_t i = 0; i < old; i++)
        ret->list.p[i] = args[0].list.p[i];
    for (size_t i = 1; i < n; i++)
        ret->list.p[old + i - 1] = args[i];
    return OK;
}

/* ---- time ---- */
struct moment {
    int64_t s;
    uint32_t ns;
    const struct tz *tz;
};
static enum err want_time(struct tmpl_call *c, const struct tmpl_val *v, struct moment *ret)
{
    if (tmpl_time_get(v, &ret->s, &ret->ns, &ret->tz))
        return OK;
    return err_fail(c->why, ERR_EXEC, "wrong type for value; expected time.Time; got %s", tmpl_type_name(v));
}

static enum err f_date(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    struct moment m;
    struct buf b;
    (void)n;
    TRY(want_time(c, &args[1], &m));
    buf_init(&b, TMPL_OUTPUT_BYTES_MAX);
    tmpl_time_format(&b, m.s, m.ns, m.tz, args[0].s);
    *ret = lib_take(c, &b);
    return OK;
}

static enum err f_tz(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    struct moment m;
    (void)n;
    TRY(want_time(c, &args[1], &m));
    TRY(tz_load(args[0].s, &m.tz, c->why));
    *ret = tmpl_time(c->a, m.s, m.ns, m.tz);
    return OK;
}

static enum err f_since(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    struct moment m;
    int64_t ns;
    (void)n;
    TRY(want_time(c, args, &m));
    int64_t ms = world(c)->now_ms - m.s * 1000 - m.ns / 1000000;
    if (__builtin_mul_overflow(ms, INT64_C(1000000), &ns))
        ns = ms < 0 ? INT64_MIN : INT64_MAX;
    *ret = tmpl_duration(ns);
    return OK;
}

static enum err f_must_to_date(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    const struct tz *tz;
    int64_t s;
    uint32_t ns;
    (void)n;
    TRY(tz_load(STR("Local"), &tz, c->why));
    if (!tmpl_time_parse(args[0].s, args[1].s, tz, &s, &ns))
        return err_fail(c->why, ERR_EXEC, "parsing time \"" STR_FMT "\" as \"" STR_FMT "\": it does not have this form",
                        STR_ARG(args[1].s), STR_ARG(args[0].s));
    *ret = tmpl_time(c->a, s, ns, tz);
    return OK;
}

static enum err f_to_date(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    struct err_text why;
    struct tmpl_call quiet = *c;
    quiet.why = &why;
    if (f_must_to_date(&quiet, args, n, ret) != OK)
        *ret = tmpl_time(c->a, TMPL_TIME_ZERO_S, 0, tz_utc);
    return OK;
}

/* ---- labels of the route ---- */
static enum err render(struct tmpl_call *c, str name, str text, struct tmpl_val *ret)
{
    struct tmpl_am *w = world(c);
    struct buf b;
    buf_init(&b, TMPL_OUTPUT_BYTES_MAX);
    w->depth++;
    enum err e = tmpl_once(NULL, w->set, name, text, w->data, w->run, &b, c->why);
    w->depth--;
    if (e) {
        buf_deinit(&b);
        return e;
    }
    *ret = lib_take(c, &b);
    return OK;
}

static enum err f_route_labels(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    struct tmpl_am *w = world(c);
    const struct tmpl_val *labels = w->data && w->data->kind == TMPL_STRUCT ? &w->data->list.p[7] : NULL;
    const struct tmpl_val *v = labels && labels->kind == TMPL_MAP ? tmpl_get(labels, args[0].s) : NULL;
    (void)n;
    *ret = tmpl_str(STR(""));
    if (!v)
        return OK;
    if (w->depth >= ROUTE_LABEL_DEPTH_MAX)
        return err_fail(c->why, ERR_EXEC, "route label \"" STR_FMT "\" refers to itself", STR_ARG(args[0].s));
    return render(c, args[0].s, v->s, ret);
}

const struct tmpl_func tmpl_am_funcs[] = {
    { "toUpper", "s", lib_to_upper },
    { "toLower", "s", lib_to_lower },
    { "title", "s", f_title },
    { "trimSpace", "s", f_trim_space },
    { "join", "sl", f_join },
    { "match", "ss", lib_match },
    { "reReplaceAll", "sss", lib_re_replace_all },
    { "safeHtml", "s", lib_safe_html },
    { "safeUrl", "s", lib_safe_url },
    { "urlUnescape", "s", f_url_unescape },
    { "stringSlice", "s*", f_string_slice },
    { "date", "sv", f_date },
    { "tz", "sv", f_tz },
    { "since", "v", f_since },
    { "humanizeDuration", "v", lib_humanize_duration },
    { "toJson", "v", f_to_json },
    { "base64encode", "s", f_base64_encode },
    { "base64decode", "s", f_base64_decode },
    { "dict", "v*", f_dict },
    { "list", "v*", f_list },
    { "append", "vv*", f_append },
    { "routeLabels", "s", f_route_labels },
    { "toDate", "ss", f_to_date },
    { "mustToDate", "ss", f_must_to_date },
};
const size_t tmpl_am_n_funcs = ARRAY_LEN(tmpl_am_funcs);
