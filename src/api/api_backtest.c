/* POST /api/v1/rules/backtest: a rule file (the body), or rules that run here (no body), tried on what is stored: when they
 * would have fired, and whom the routing tree would have told. POST /api/v1/rules/backfill: the file's recording rules
 * computed for the past and stored, as an import; off unless api_deps.admin. */
#include <stdlib.h>

#include "alerting/am.h"
#include "alerting/am_policy.h"
#include "rules/rules_backtest.h"
#include "rules/rules_manager.h"
#include "transfer/transfer.h"

#include "api/api_int.h"

enum {
    ROUTES_MAX = 256,
    WEEK_MS = 7 * 86400000,
    LAST_MS = 7 * 86400000,
    TIMEOUT_MS_MAX = 600000,
    EPISODES_MAX = 10000
};

/* ---- what is asked for ---- */
struct trial_request {
    struct rule_file file;         /* of the body */
    struct rules_snapshot running; /* otherwise */
    struct conf_ctx cx;
    const struct rule_group **groups;
    size_t n_groups;
    struct rules_backtest_config cfg;
};

static bool duration_param(const struct http_request *rq, struct http_response *rs, const char *name, int64_t fallback,
                           int64_t max_ms, int64_t *ret)
{
    str s = http_param(rq, str_c(name));
    const char *why = NULL;
    *ret = fallback;
    if (s.n && !api_parse_duration(s, ret, &why)) {
        api_fail_param(rs, name, why);
        return false;
    }
    if (*ret <= 0 || *ret > max_ms) {
        api_fail_param(rs, name, "out of range");
        return false;
    }
    return true;
}

static bool read_times(const struct http_request *rq, struct http_response *rs, struct rules_backtest_config *cfg)
{
    int64_t last, now = api_now_ms(api_of(rq)), timeout;
    size_t episodes;
    rules_manager_defaults(api_of(rq)->d.rules, &cfg->interval_ms, &cfg->query_offset_ms);
    if (!duration_param(rq, rs, "last", LAST_MS, INT64_MAX, &last) ||
        !duration_param(rq, rs, "interval", cfg->interval_ms, INT64_MAX, &cfg->interval_ms) ||
        !duration_param(rq, rs, "timeout", TIMEOUT_MS_MAX / 5, TIMEOUT_MS_MAX, &timeout) ||
        !api_time_param(rq, rs, "end", now, &cfg->to_ms) || cfg->to_ms - last < 0 ||
        !api_time_param(rq, rs, "start", cfg->to_ms - last, &cfg->from_ms) ||
        !api_limit_param(rq, rs, "max_episodes", &episodes))
        return false;
    cfg->time_ms_max = timeout;
    cfg->episodes_max = episodes ? MIN(episodes, EPISODES_MAX) : 0;
    return true;
}

static bool read_body(const struct http_request *rq, struct http_response *rs, struct trial_request *t)
{
    const struct rules_options opt = { .features = api_of(rq)->d.promql_features };
    AUTO_BUF struct buf report = { 0 };
    if (rules_file_parse(&t->cx, STR("rules.yml"), rq->body, &opt, &t->file) != OK) {
        conf_diags_print(&report, &t->cx);
        api_fail(rs, API_BAD_DATA, STR_FMT, STR_ARG(str_trim(buf_str(&report))));
        return false;
    }
    t->groups = arena_array(rq->a, const struct rule_group *, t->file.n_groups + 1);
    for (size_t i = 0; i < t->file.n_groups; i++)
        t->groups[t->n_groups++] = &t->file.groups[i];
    return true;
}

static bool among(const struct http_request *rq, const char *param, str s)
{
    const str *v;
    size_t n = http_params(rq, str_c(param), &v);
    for (size_t i = 0; i < n; i++)
        if (str_eq(v[i], s))
            return true;
    return n == 0;
}

static void take_running(const struct http_request *rq, struct trial_request *t)
{
    t->running = rules_manager_snapshot(api_of(rq)->d.rules);
    t->groups = arena_array(rq->a, const struct rule_group *, t->running.n + 1);
    for (size_t i = 0; i < t->running.n; i++) {
        const struct rule_group *g = t->running.groups[i]->group;
        if (among(rq, "rule_group[]", g->name) && among(rq, "file[]", g->file))
            t->groups[t->n_groups++] = g;
    }
}

static bool request_open(struct http_request *rq, struct http_response *rs, struct trial_request *t)
{
    const struct api *api = api_of(rq);
    *t = (struct trial_request){ .cx = conf_ctx_init(rq->a, fs_os()) };
    t->cfg = (struct rules_backtest_config){ .engine = api->d.engine,
                                             .source = api_source(rq),
                                             .features = api->d.promql_features,
                                             .external_url = api->d.external_url,
                                             .cancel = rq->cancelled };
    if (!read_times(rq, rs, &t->cfg))
        return false;
    api_external_labels(api, rq->a, &t->cfg.external_labels);
    if (str_trim(rq->body).n)
        return read_body(rq, rs, t);
    take_running(rq, t);
    return true;
}

static void request_close(struct trial_request *t)
{
    rules_file_release(&t->file);
    rules_snapshot_deinit(&t->running);
    conf_ctx_release(&t->cx);
}

/* ---- whom it would have told ---- */
struct page { /* an episode on one of its routes */
    size_t trial;
    const struct am_route *route; /* NULL: nobody routes here */
    uint64_t group;               /* of its labels there */
    int64_t from_ms, to_ms;
};
struct told { /* pages by receiver */
    str receiver;
    uint64_t pages;
};
struct pages {
    VEC(struct page) v;
    const struct am_config *am; /* NULL: none runs here */
};

static void page_add(struct arena *a, struct pages *p, size_t trial, const struct rules_episode *e, int64_t end_ms)
{
    const struct am_route *routes[ROUTES_MAX];
    struct page one = { .trial = trial, .from_ms = e->fired_ms, .to_ms = e->resolved_ms ? e->resolved_ms : end_ms };
    size_t n = p->am ? MIN(am_route_match(p->am->route, e->labels, routes, ROUTES_MAX), ROUTES_MAX) : 0;
    if (!p->am)
        avec_push(a, &p->v, one);
    for (size_t i = 0; i < n; i++) {
        const struct am_route_policy *rp = routes[i]->policy;
        one.from_ms = e->fired_ms + (rp ? rp->after_ms : 0); /* of an escalation that nobody stops */
        if (one.from_ms >= one.to_ms && rp && rp->step)
            continue; /* it was over before */
        if (rp && (rp->digest || !am_config_receiver(p->am, routes[i]->receiver)->n_integrations))
            continue; /* nobody is called */
        one.route = routes[i];
        one.group = labels_hash(am_route_group(routes[i], e->labels, a));
        avec_push(a, &p->v, one);
    }
}

static int by_group(const struct page *x, const struct page *y)
{
    size_t i = x->route ? x->route->index : 0, k = y->route ? y->route->index : 0;
    int c = i < k ? -1 : i > k;
    c = c ? c : x->group < y->group ? -1 : x->group > y->group;
    return c ? c : x->from_ms < y->from_ms ? -1 : x->from_ms > y->from_ms;
}
static int by_route(const void *a, const void *b)
{
    return by_group(a, b);
}
static int by_trial(const void *a, const void *b)
{
    const struct page *x = a, *y = b;
    return x->trial != y->trial ? (x->trial < y->trial ? -1 : 1) : by_group(x, y);
}

static void count(struct arena *a, struct told **io, size_t *io_n, str receiver)
{
    for (size_t i = 0; i < *io_n; i++)
        if (str_eq((*io)[i].receiver, receiver)) {
            (*io)[i].pages++;
            return;
        }
    struct told *v = arena_array(a, struct told, *io_n + 1);
    if (*io_n)
        memcpy(v, *io, *io_n * sizeof(*v));
    v[*io_n] = (struct told){ receiver, 1 };
    *io = v;
    ++*io_n;
}

/* A page begins when a group that was silent for its group_interval begins to fire; sorted by group and time. */
static uint64_t count_pages(struct arena *a, const struct page *p, size_t n, struct told **ret, size_t *ret_n)
{
    uint64_t pages = 0;
    int64_t until = INT64_MIN;
    *ret = NULL;
    *ret_n = 0;
    for (size_t i = 0; i < n; i++) {
        bool same = i > 0 && p[i].route == p[i - 1].route && p[i].group == p[i - 1].group;
        int64_t gap = p[i].route ? p[i].route->group_interval_ms : 0;
        if (!same || p[i].from_ms > until + gap) {
            pages++;
            if (p[i].route)
                count(a, ret, ret_n, p[i].route->receiver);
            until = INT64_MIN;
        }
        until = MAX(until, p[i].to_ms);
    }
    return pages;
}

/* ---- the answer ---- */
static double per_week(uint64_t n, const struct rules_backtest_config *cfg, int64_t reached_ms)
{
    int64_t time_ms = MAX(reached_ms - cfg->from_ms, cfg->interval_ms);
    return (double)n * WEEK_MS / (double)time_ms;
}

static void json_told(struct json_out *j, const struct told *v, size_t n, const struct rules_backtest_config *cfg,
                      int64_t reached_ms)
{
    json_key(j, STR("receivers"));
    json_arr(j);
    for (size_t i = 0; i < n; i++) {
        json_obj(j);
        json_kstr(j, "name", v[i].receiver);
        json_ku64(j, "pages", v[i].pages);
        json_kf64(j, "pagesPerWeek", per_week(v[i].pages, cfg, reached_ms));
        json_obj_end(j);
    }
    json_arr_end(j);
}

static void episode_json(struct json_out *j, const struct rules_episode *e)
{
    AUTO_BUF struct buf value = { 0 };
    buf_f64_e(&value, e->value);
    json_obj(j);
    json_key(j, STR("labels"));
    labels_json(j, e->labels);
    json_key(j, STR("annotations"));
    labels_json(j, e->annotations);
    json_kstr(j, "value", buf_str(&value));
    api_json_moment(j, STR("activeAt"), e->active_ms);
    api_json_moment(j, STR("firedAt"), e->fired_ms);
    api_json_moment(j, STR("resolvedAt"), e->resolved_ms);
    json_obj_end(j);
}

static void trial_json(struct json_out *j, struct arena *a, const struct rules_trial *t, const struct page *p, size_t n,
                       const struct rules_backtest_config *cfg, int64_t reached_ms)
{
    json_obj(j);
    json_kstr(j, "file", t->group->file);
    json_kstr(j, "group", t->group->name);
    json_kstr(j, "name", t->rule->name);
    json_kstr(j, "type", t->rule->alerting ? STR("alerting") : STR("recording"));
    json_kstr(j, "query", t->rule->expr);
    json_key(j, STR("labels"));
    labels_json(j, t->rule->labels);
    json_ku64(j, "evaluations", t->evaluations);
    json_ku64(j, "failures", t->failures);
    if (t->last_error.n)
        json_kstr(j, "lastError", t->last_error);
    if (!t->rule->alerting) {
        json_ku64(j, "samples", t->samples);
    } else {
        struct told *told;
        size_t n_told;
        uint64_t pages = count_pages(a, p, n, &told, &n_told);
        json_ku64(j, "fired", t->n_fired);
        json_ku64(j, "endedPending", t->n_only_pending);
        json_kf64(j, "firingSeconds", (double)t->firing_ms / 1e3);
        json_ku64(j, "pages", pages);
        json_kf64(j, "pagesPerWeek", per_week(pages, cfg, reached_ms));
        json_told(j, told, n_told, cfg, reached_ms);
        json_key(j, STR("episodes"));
        json_arr(j);
        for (size_t i = 0; i < t->n_episodes; i++)
            episode_json(j, &t->episodes[i]);
        json_arr_end(j);
    }
    json_obj_end(j);
}

static void result_json(struct http_request *rq, struct http_response *rs, const struct trial_request *t,
                        const struct rules_backtest_result *r, struct pages *p)
{
    struct told *told;
    size_t n_told, at = 0;
    struct json_out j = api_begin(rs);
    if (p->v.n)
        qsort(p->v.p, p->v.n, sizeof(*p->v.p), by_route);
    uint64_t pages = count_pages(rq->a, p->v.p, p->v.n, &told, &n_told);
    json_obj(&j);
    api_json_moment(&j, STR("start"), t->cfg.from_ms);
    api_json_moment(&j, STR("end"), t->cfg.to_ms);
    json_kbool(&j, "complete", r->why.n == 0);
    if (r->why.n) {
        json_kstr(&j, "why", r->why);
        api_json_moment(&j, STR("reached"), r->reached_ms);
    }
    json_kbool(&j, "routed", p->am != NULL);
    json_ku64(&j, "pages", pages);
    json_kf64(&j, "pagesPerWeek", per_week(pages, &t->cfg, r->reached_ms));
    json_told(&j, told, n_told, &t->cfg, r->reached_ms);
    if (p->v.n)
        qsort(p->v.p, p->v.n, sizeof(*p->v.p), by_trial);
    json_key(&j, STR("rules"));
    json_arr(&j);
    for (size_t i = 0; i < r->n_trials; i++) {
        size_t first = at;
        while (at < p->v.n && p->v.p[at].trial == i)
            at++;
        if (among(rq, "rule_name[]", r->trials[i].rule->name))
            trial_json(&j, rq->a, &r->trials[i], p->v.p + first, at - first, &t->cfg, r->reached_ms);
    }
    json_arr_end(&j);
    json_obj_end(&j);
    api_end(&j, NULL, 0);
}

static void backtest(struct http_request *rq, struct http_response *rs)
{
    const struct api *api = api_of(rq);
    struct trial_request t;
    struct rules_backtest_result r;
    struct pages p = { 0 };
    struct err_text why = { 0 };
    if (api_not_ready(api, rs))
        return;
    if (!api_tenant_is_default(rq) && !str_trim(rq->body).n) {
        api_fail(rs, API_BAD_DATA, "the rules that run are the default tenant's: send a rule file");
        return;
    }
    if (!request_open(rq, rs, &t)) {
        request_close(&t);
        return;
    }
    enum err e = rules_backtest(&t.cfg, t.groups, t.n_groups, rq->a, &r, &why);
    if (e) {
        api_fail_err(rs, e, &why);
        request_close(&t);
        return;
    }
    struct am_config *am =
        api->d.alertmanager && api_tenant_is_default(rq) ? am_config_in_use(api->d.alertmanager->am) : NULL;
    p.am = am;
    for (size_t i = 0; i < r.n_trials; i++)
        for (size_t k = 0; k < r.trials[i].n_episodes; k++)
            if (among(rq, "rule_name[]", r.trials[i].rule->name))
                page_add(rq->a, &p, i, &r.trials[i].episodes[k], r.reached_ms);
    result_json(rq, rs, &t, &r, &p);
    am_config_unref(am);
    request_close(&t);
}

/* ---- backfill ---- */
static enum err gather_some(void *ctx, const struct batch *b, struct err_text *reterr)
{
    (void)reterr;
    gather_batch(ctx, b);
    return OK;
}

static enum err store_all(struct tsdb *db, struct gather *g, struct tsdb_bulk_result *ret, struct err_text *why)
{
    struct tsdb_bulk *b;
    enum err e = tsdb_bulk_open(db, 0, &b);
    if (e)
        return err_fail(why, e, "%s", err_describe(e));
    struct transfer_sink to = transfer_sink_bulk(b);
    e = gather_drain(g, false, &to, why);
    if (e) {
        tsdb_bulk_abort(b);
        return e;
    }
    return tsdb_bulk_commit(b, ret, why);
}

static void backfill_json(struct http_response *rs, const struct rules_backtest_config *cfg,
                          const struct rules_backtest_result *r, const struct tsdb_bulk_result *stored)
{
    struct json_out j = api_begin(rs);
    json_obj(&j);
    api_json_moment(&j, STR("start"), cfg->from_ms);
    api_json_moment(&j, STR("end"), r->reached_ms);
    json_kbool(&j, "complete", r->why.n == 0);
    if (r->why.n)
        json_kstr(&j, "why", r->why);
    json_ku64(&j, "samples", stored->samples + stored->histograms);
    json_key(&j, STR("rules"));
    json_arr(&j);
    for (size_t i = 0; i < r->n_trials; i++)
        if (!r->trials[i].rule->alerting)
            trial_json(&j, NULL, &r->trials[i], NULL, 0, cfg, r->reached_ms);
    json_arr_end(&j);
    json_obj_end(&j);
    api_end(&j, NULL, 0);
}

static void backfill(struct http_request *rq, struct http_response *rs)
{
    struct tsdb *db = api_admin_store(rq, rs);
    struct trial_request t;
    struct rules_backtest_result r;
    struct tsdb_bulk_result stored = { 0 };
    struct err_text why = { 0 };
    if (!db)
        return;
    if (!request_open(rq, rs, &t)) {
        request_close(&t);
        return;
    }
    struct gather *g = gather_new();
    t.cfg.recorded = gather_some;
    t.cfg.recorded_ctx = g;
    t.cfg.recording_only = true;
    enum err e = rules_backtest(&t.cfg, t.groups, t.n_groups, rq->a, &r, &why);
    e = e ? e : store_all(db, g, &stored, &why);
    gather_free(g);
    if (e) {
        api_fail_err(rs, e, &why);
    } else {
        LOG_INFO("recording rules backfilled", "samples", LOG_I64((int64_t)stored.samples));
        backfill_json(rs, &t.cfg, &r, &stored);
    }
    request_close(&t);
}

static const struct http_limits limits = { .body_bytes_max = 16 << 20,
                                           .decoded_bytes_max = 16 << 20,
                                           .body_ms_max = 60000,
                                           .arena_bytes_max = (size_t)512 << 20 };
const struct http_route api_backtest_routes[] = {
    { HTTP_BIT(HTTP_POST), "/api/v1/rules/backtest", backtest, HTTP_QUERY, &limits, HTTP_NO_FORM },
    { HTTP_BIT(HTTP_POST), "/api/v1/rules/backfill", backfill, HTTP_QUERY, &limits, HTTP_NO_FORM },
};
const size_t api_backtest_routes_n = ARRAY_LEN(api_backtest_routes);
