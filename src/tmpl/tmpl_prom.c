/* Prometheus' template functions: queries, links, numbers. */
#include <arpa/inet.h>
#include <stdlib.h>

#include "base/num.h"
#include "tmpl/tmpl_lib_int.h"

static const char *const sample_fields[] = { "Labels", "Value", "Histogram" };
static const struct tmpl_type sample_type = { .name = "*template.sample", .fields = sample_fields, .n_fields = 2 };
static const struct tmpl_type result_type = { .name = "template.queryResult", .elem = &sample_type };
static const struct tmpl_type histogram_type = { .name = "*histogram.FloatHistogram" };

static const struct tmpl_prom *world(const struct tmpl_call *c)
{
    return c->ctx;
}

struct tmpl_val tmpl_prom_value(struct arena *a, const struct tmpl_prom_sample *s)
{
    struct tmpl_val v = { .kind = TMPL_STRUCT, .type = &sample_type };
    v.list.p = arena_zarray(a, struct tmpl_val, 3); /* the histogram has no field */
    v.list.n = 2;
    v.list.p[0] = tmpl_map(a, &tmpl_type_string_map, s->n_labels);
    for (size_t i = 0; i < s->n_labels; i++)
        v.list.p[0].map.p[i] = s->labels[i];
    v.list.p[1] = tmpl_float(s->value);
    v.list.p[2] = (struct tmpl_val){ .kind = TMPL_NIL };
    if (s->histogram.p)
        v.list.p[2] = (struct tmpl_val){ .kind = TMPL_STR, .type = &histogram_type, .s = arena_str(a, s->histogram) };
    return v;
}

static enum err want_sample(struct tmpl_call *c, const struct tmpl_val *v)
{
    if (v->kind == TMPL_STRUCT && v->type == &sample_type)
        return OK;
    return err_fail(c->why, ERR_EXEC, "wrong type for value; expected *template.sample; got %s", tmpl_type_name(v));
}

static enum err want_result(struct tmpl_call *c, const struct tmpl_val *v)
{
    if (v->kind == TMPL_LIST && v->type == &result_type)
        return OK;
    return err_fail(c->why, ERR_EXEC, "wrong type for value; expected template.queryResult; got %s", tmpl_type_name(v));
}

static enum err f_query(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    struct tmpl_prom_sample *p;
    const struct tmpl_prom *w = world(c);
    (void)n;
    if (!w->query)
        return err_fail(c->why, ERR_EXEC, "queries are not possible here");
    TRY(w->query(w->ctx, args[0].s, c->a, &p, &n, c->why));
    *ret = tmpl_list(c->a, &result_type, n);
    for (size_t i = 0; i < n; i++)
        ret->list.p[i] = tmpl_prom_value(c->a, &p[i]);
    return OK;
}

static enum err f_first(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    (void)n;
    TRY(want_result(c, args));
    if (!args[0].list.n)
        return err_fail(c->why, ERR_EXEC, "first() called on vector with no elements");
    *ret = args[0].list.p[0];
    return OK;
}

static struct tmpl_val label_of(const struct tmpl_val *sample, str name)
{
    const struct tmpl_val *v = tmpl_get(&sample->list.p[0], name);
    return v ? *v : tmpl_str(STR(""));
}

static enum err f_label(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    (void)n;
    TRY(want_sample(c, &args[1]));
    *ret = label_of(&args[1], args[0].s);
    return OK;
}

static enum err f_value(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    (void)n;
    TRY(want_sample(c, args));
    *ret = args[0].list.p[args[0].list.p[2].kind == TMPL_STR ? 2 : 1];
    return OK;
}

static enum err f_strvalue(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    (void)n;
    TRY(want_sample(c, args));
    *ret = label_of(args, STR("__value__"));
    return OK;
}

static enum err f_args(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    *ret = tmpl_map(c->a, NULL, n);
    for (size_t i = 0; i < n; i++)
        ret->map.p[i] = (struct tmpl_pair){ arena_printf(c->a, "arg%zu", i), args[i] };
    tmpl_map_sort(ret);
    return OK;
}

static enum err f_sort_by_label(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    TRY(want_result(c, &args[1]));
    n = args[1].list.n;
    *ret = tmpl_list(c->a, &result_type, n);
    for (size_t i = 0; i < n; i++) { /* insertion keeps the order of equal ones */
        str key = label_of(&args[1].list.p[i], args[0].s).s;
        size_t at = i;
        for (; at > 0 && str_cmp(label_of(&ret->list.p[at - 1], args[0].s).s, key) > 0; at--)
            ret->list.p[at] = ret->list.p[at - 1];
        ret->list.p[at] = args[1].list.p[i];
    }
    return OK;
}

static enum err f_title(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    (void)n;
    return lib_title(c, args[0].s, false, ret);
}

static enum err link_to(struct tmpl_call *c, str expr, int tab, struct tmpl_val *ret)
{
    struct buf b;
    buf_init(&b, 0);
    buf_lit(&b, "/graph?g0.expr=");
    escape_query(&b, expr);
    buf_printf(&b, "&g0.tab=%d", tab);
    *ret = lib_take(c, &b);
    return OK;
}

static enum err f_graph_link(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    (void)n;
    return link_to(c, args[0].s, 0, ret);
}

static enum err f_table_link(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    (void)n;
    return link_to(c, args[0].s, 1, ret);
}

/* net.SplitHostPort. */
static bool split_host_port(str s, str *ret_host, str *ret_port)
{
    size_t colon = SIZE_MAX;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == ':')
            colon = i;
    if (colon == SIZE_MAX)
        return false;
    *ret_port = str_skip(s, colon + 1);
    str host = str_take(s, colon);
    if (host.n && host.p[0] == '[') {
        size_t close = str_find_char(host, ']');
        if (close == SIZE_MAX || close + 1 != host.n)
            return false;
        host = str_n(host.p + 1, close - 1);
    } else if (str_find_char(host, ':') != SIZE_MAX) {
        return false;
    }
    *ret_host = host;
    return str_find_char(host, '[') == SIZE_MAX && str_find_char(host, ']') == SIZE_MAX &&
           str_find_char(*ret_port, ']') == SIZE_MAX && str_find_char(*ret_port, '[') == SIZE_MAX;
}

static enum err f_strip_port(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    str host, port;
    (void)c, (void)n;
    *ret = tmpl_str(split_host_port(args[0].s, &host, &port) ? host : args[0].s);
    return OK;
}

static bool is_ip(struct arena *a, str s)
{
    unsigned char tmp[16];
    const char *z = arena_cstr(a, str_take(s, 100));
    return inet_pton(AF_INET, z, tmp) == 1 || inet_pton(AF_INET6, z, tmp) == 1;
}

static enum err f_strip_domain(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    str host, port;
    (void)n;
    if (!split_host_port(args[0].s, &host, &port)) {
        host = args[0].s;
        port = STR_NONE;
    }
    *ret = args[0];
    if (is_ip(c->a, host))
        return OK;
    size_t dot = str_find_char(host, '.');
    host = str_take(host, dot);
    *ret = tmpl_str(host);
    if (port.n && str_find_char(host, ':') != SIZE_MAX)
        ret->s = arena_printf(c->a, "[" STR_FMT "]:" STR_FMT, STR_ARG(host), STR_ARG(port));
    else if (port.n)
        ret->s = arena_printf(c->a, STR_FMT ":" STR_FMT, STR_ARG(host), STR_ARG(port));
    return OK;
}

static enum err f_to_time(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    (void)n;
    return lib_time(c, args, ret);
}

static enum err f_to_duration(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    double s;
    int64_t ns;
    (void)n;
    TRY(lib_float(c, args, &s));
    TRY(lib_nanoseconds(c, s, "duration", &ns));
    *ret = tmpl_duration(ns);
    return OK;
}

static enum err f_now(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    (void)args, (void)n;
    *ret = tmpl_float((double)world(c)->now_ms / 1000);
    return OK;
}

static enum err f_external_url(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    (void)args, (void)n;
    *ret = tmpl_str(world(c)->external_url);
    return OK;
}

static enum err f_path_prefix(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    (void)args, (void)n;
    str url = world(c)->external_url;
    size_t host = str_find(url, STR("://"));
    str rest = host == SIZE_MAX ? url : str_skip(url, host + 3);
    size_t slash = str_find_char(rest, '/');
    str path = slash == SIZE_MAX ? STR("") : str_skip(rest, slash);
    size_t end = MIN(str_find_char(path, '?'), str_find_char(path, '#'));
    *ret = tmpl_str(str_take(path, end));
    return OK;
}

static enum err f_parse_duration(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    int64_t ms;
    str s = args[0].s;
    bool negative = s.n && s.p[0] == '-';
    (void)n;
    if (!num_parse_duration(negative ? str_skip(s, 1) : s, &ms))
        return err_fail(c->why, ERR_EXEC, "not a valid duration string: \"" STR_FMT "\"", STR_ARG(s));
    *ret = tmpl_float((double)(negative ? -ms : ms) / 1000);
    return OK;
}

const struct tmpl_func tmpl_prom_funcs[] = {
    { "query", "s", f_query },
    { "first", "v", f_first },
    { "label", "sv", f_label },
    { "value", "v", f_value },
    { "strvalue", "v", f_strvalue },
    { "args", "v*", f_args },
    { "reReplaceAll", "sss", lib_re_replace_all },
    { "safeHtml", "s", lib_safe_html },
    { "match", "ss", lib_match },
    { "title", "s", f_title },
    { "toUpper", "s", lib_to_upper },
    { "toLower", "s", lib_to_lower },
    { "graphLink", "s", f_graph_link },
    { "tableLink", "s", f_table_link },
    { "sortByLabel", "sv", f_sort_by_label },
    { "stripPort", "s", f_strip_port },
    { "stripDomain", "s", f_strip_domain },
    { "humanize", "v", lib_humanize },
    { "humanize1024", "v", lib_humanize1024 },
    { "humanizeDuration", "v", lib_humanize_duration },
    { "humanizePercentage", "v", lib_humanize_percentage },
    { "humanizeTimestamp", "v", lib_humanize_timestamp },
    { "toTime", "v", f_to_time },
    { "toDuration", "v", f_to_duration },
    { "now", "", f_now },
    { "pathPrefix", "", f_path_prefix },
    { "externalURL", "", f_external_url },
    { "parseDuration", "s", f_parse_duration },
};
const size_t tmpl_prom_n_funcs = ARRAY_LEN(tmpl_prom_funcs);
