/* GET /api/v1/rules and /api/v1/alerts: the groups as of their last evaluation, in Prometheus' shapes.
 * Rules are the default tenant's. */
#include "api/api_int.h"
#include "rules/rules_manager.h"

struct filter {
    bool alerting, recording, exclude_alerts;
    const str *names, *groups, *files;
    size_t n_names, n_groups, n_files;
    struct api_selector *sel;
    size_t n_sel;
    size_t limit; /* of groups; 0: all */
    str token;    /* where to go on; empty: at the first */
};

static struct rules_snapshot snapshot(const struct http_request *rq)
{
    return api_tenant_is_default(rq) ? rules_manager_snapshot(api_of(rq)->d.rules) : (struct rules_snapshot){ 0 };
}

static bool among(const str *list, size_t n, str s)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(list[i], s))
            return true;
    return n == 0;
}

/* A label that is a template is not known before it is carried out: it matches as if it were absent. */
static struct labels plain_labels(struct arena *a, struct labels ls)
{
    struct label *p = arena_array(a, struct label, ls.n + 1);
    size_t n = 0;
    labels_each (l, ls)
        if (str_find(l->value, STR("{{")) == SIZE_MAX)
            p[n++] = *l;
    return (struct labels){ p, n };
}

static bool wanted(const struct filter *f, struct arena *a, const struct rule *r)
{
    bool found = f->n_sel == 0;
    if (!(r->alerting ? f->alerting : f->recording) || !among(f->names, f->n_names, r->name))
        return false;
    struct labels ls = found ? LABELS_NONE : plain_labels(a, r->labels);
    for (size_t i = 0; i < f->n_sel && !found; i++)
        found = matchers_match(f->sel[i].m, f->sel[i].n, ls);
    return found;
}

/* ---- alerts ---- */
static bool is_active(const struct rule_alert *al)
{
    return al->state != ALERT_INACTIVE;
}

static void json_klabels(struct json_out *j, str key, struct labels ls)
{
    json_key(j, key);
    labels_json(j, ls);
}

static void json_ktime(struct json_out *j, str key, int64_t ms)
{
    json_key(j, key);
    api_json_rfc3339(j, ms);
}

static void alert_json(struct json_out *j, const struct rule_alert *al)
{
    AUTO_BUF struct buf value = { 0 };
    buf_f64_e(&value, al->value);
    json_obj(j);
    json_klabels(j, STR("labels"), al->labels);
    json_klabels(j, STR("annotations"), al->annotations);
    json_kstr(j, "state", str_c(alert_state_name(al->state)));
    json_ktime(j, STR("activeAt"), al->active_at_ms);
    if (al->keep_firing_since_ms)
        json_ktime(j, STR("keepFiringSince"), al->keep_firing_since_ms);
    json_kstr(j, "value", buf_str(&value));
    json_obj_end(j);
}

static void alerts_json(struct json_out *j, const struct rule_facts *f)
{
    for (size_t i = 0; i < f->n_alerts; i++)
        if (is_active(f->alerts[i]))
            alert_json(j, f->alerts[i]);
}

static void alerts(struct http_request *rq, struct http_response *rs)
{
    struct rules_snapshot s = snapshot(rq);
    struct json_out j = api_begin(rs);
    json_obj(&j);
    json_key(&j, STR("alerts"));
    json_arr(&j);
    for (size_t g = 0; g < s.n; g++)
        for (size_t i = 0; i < s.groups[g]->group->n_rules; i++)
            alerts_json(&j, &s.groups[g]->rules[i]);
    json_arr_end(&j);
    json_obj_end(&j);
    api_end(&j, NULL, 0);
    rules_snapshot_deinit(&s);
}

/* ---- rules ---- */
static const char *rule_state(const struct rule_facts *f)
{
    enum alert_state worst = ALERT_INACTIVE;
    for (size_t i = 0; i < f->n_alerts; i++)
        worst = MAX(worst, f->alerts[i]->state);
    return !f->last_eval_ms && worst == ALERT_INACTIVE ? "unknown" : alert_state_name(worst);
}

static void rule_json(struct json_out *j, const struct filter *f, const struct rule_facts *r)
{
    AUTO_BUF struct buf query = { 0 };
    promql_print(&query, r->rule->parsed);
    json_obj(j);
    if (r->rule->alerting)
        json_kstr(j, "state", str_c(rule_state(r)));
    json_kstr(j, "name", r->rule->name);
    json_kstr(j, "query", buf_str(&query));
    if (r->rule->alerting) {
        json_kf64(j, "duration", (double)r->rule->for_ms / 1e3);
        json_kf64(j, "keepFiringFor", (double)r->rule->keep_firing_for_ms / 1e3);
    }
    if (r->rule->alerting || r->rule->labels.n)
        json_klabels(j, STR("labels"), r->rule->labels);
    if (r->rule->alerting) {
        json_klabels(j, STR("annotations"), r->rule->annotations);
        json_key(j, STR("alerts"));
        json_arr(j);
        if (!f->exclude_alerts)
            alerts_json(j, r);
        json_arr_end(j);
    }
    json_kstr(j, "health", str_c(r->health));
    if (r->last_error[0])
        json_kstr(j, "lastError", str_c(r->last_error));
    json_kf64(j, "evaluationTime", (double)r->eval_duration_ns / 1e9);
    json_ktime(j, STR("lastEvaluation"), r->last_eval_ms);
    json_kstr(j, "type", r->rule->alerting ? STR("alerting") : STR("recording"));
    json_obj_end(j);
}

static void group_json(struct json_out *j, const struct filter *f, struct arena *a, const struct rules_view *v)
{
    json_obj(j);
    json_kstr(j, "name", v->group->name);
    json_kstr(j, "file", v->group->file);
    json_key(j, STR("rules"));
    json_arr(j);
    for (size_t i = 0; i < v->group->n_rules; i++)
        if (wanted(f, a, v->rules[i].rule))
            rule_json(j, f, &v->rules[i]);
    json_arr_end(j);
    json_kf64(j, "interval", (double)v->interval_ms / 1e3);
    json_ku64(j, "limit", v->group->limit);
    json_kf64(j, "evaluationTime", (double)v->duration_ns / 1e9);
    json_ktime(j, STR("lastEvaluation"), v->last_eval_ms);
    json_obj_end(j);
}

static bool shows(const struct filter *f, struct arena *a, const struct rules_view *v)
{
    if (!among(f->groups, f->n_groups, v->group->name) || !among(f->files, f->n_files, v->group->file))
        return false;
    for (size_t i = 0; i < v->group->n_rules; i++)
        if (wanted(f, a, v->rules[i].rule))
            return true;
    return false;
}

static str token_of(struct arena *a, const struct rules_view *v)
{
    hash128 h = hash128_seed(v->group->name, hash64(v->group->file));
    return arena_printf(a, "%016llx%016llx", (unsigned long long)h.hi, (unsigned long long)h.lo);
}

static void groups_json(struct json_out *j, const struct filter *f, struct arena *a, const struct rules_snapshot *s,
                        size_t from)
{
    str next = STR_NONE;
    size_t n = 0;
    json_obj(j);
    json_key(j, STR("groups"));
    json_arr(j);
    for (size_t g = from; g < s->n && !next.n; g++) {
        if (!shows(f, a, s->groups[g]))
            continue;
        if (f->limit && n++ == f->limit)
            next = token_of(a, s->groups[g]);
        else
            group_json(j, f, a, s->groups[g]);
    }
    json_arr_end(j);
    if (next.n)
        json_kstr(j, "groupNextToken", next);
    json_obj_end(j);
}

static bool read_type(struct http_request *rq, struct http_response *rs, struct filter *f)
{
    str type = http_param(rq, STR("type"));
    f->alerting = !type.n || str_ieq(type, STR("alert"));
    f->recording = !type.n || str_ieq(type, STR("record"));
    if (f->alerting || f->recording)
        return true;
    api_fail(rs, API_BAD_DATA, "invalid parameter \"type\": not supported value \"" STR_FMT "\"",
             STR_ARG(str_take(type, 200)));
    return false;
}

static bool read_bool(struct http_request *rq, struct http_response *rs, str name, bool *ret)
{
    const str yes[] = { STR("1"), STR("t"), STR("T"), STR("TRUE"), STR("true"), STR("True") };
    const str no[] = { STR("0"), STR("f"), STR("F"), STR("FALSE"), STR("false"), STR("False") };
    str s = http_param(rq, name);
    *ret = s.n && among(yes, ARRAY_LEN(yes), s);
    if (!s.n || *ret || among(no, ARRAY_LEN(no), s))
        return true;
    api_fail(rs, API_BAD_DATA, "invalid parameter \"" STR_FMT "\": \"" STR_FMT "\" is neither true nor false",
             STR_ARG(name), STR_ARG(str_take(s, 200)));
    return false;
}

static bool read_page(struct http_request *rq, struct http_response *rs, struct filter *f)
{
    str limit = http_param(rq, STR("group_limit"));
    int64_t v = 0;
    f->token = http_param(rq, STR("group_next_token"));
    if (limit.n && (!str_to_i64(limit, &v) || v <= 0)) {
        api_fail_param(rs, "group_limit", "group_limit needs to be a valid number and > 0");
        return false;
    }
    f->limit = (size_t)v;
    if (!f->token.n || f->limit)
        return true;
    api_fail_param(rs, "group_limit", "group_limit needs to be present in order to paginate over the groups");
    return false;
}

static bool find_token(const struct filter *f, struct arena *a, const struct rules_snapshot *s, size_t *ret)
{
    *ret = 0;
    while (f->token.n && *ret < s->n && !str_eq(token_of(a, s->groups[*ret]), f->token))
        (*ret)++;
    return !f->token.n || *ret < s->n;
}

static void rules(struct http_request *rq, struct http_response *rs)
{
    struct filter f = { 0 };
    size_t from;
    if (!read_type(rq, rs, &f) || !read_bool(rq, rs, STR("exclude_alerts"), &f.exclude_alerts) ||
        !read_page(rq, rs, &f) || !api_selector_params(rq, rs, false, &f.sel, &f.n_sel))
        return;
    f.n_names = http_params(rq, STR("rule_name[]"), &f.names);
    f.n_groups = http_params(rq, STR("rule_group[]"), &f.groups);
    f.n_files = http_params(rq, STR("file[]"), &f.files);
    struct rules_snapshot s = snapshot(rq);
    if (find_token(&f, rq->a, &s, &from)) {
        struct json_out j = api_begin(rs);
        groups_json(&j, &f, rq->a, &s, from);
        api_end(&j, NULL, 0);
    } else {
        api_fail_param(rs, "group_next_token", "no group has this token: were rule groups changed?");
    }
    rules_snapshot_deinit(&s);
    api_selectors_deinit(f.sel, f.n_sel);
}

#define GET HTTP_BIT(HTTP_GET)
const struct http_route api_rules_routes[] = {
    { GET, "/api/v1/rules", rules, HTTP_CONTROL, NULL, HTTP_CORS },
    { GET, "/api/v1/alerts", alerts, HTTP_CONTROL, NULL, HTTP_CORS },
};
const size_t api_rules_routes_n = ARRAY_LEN(api_rules_routes);
