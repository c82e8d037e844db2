/* Rules of the running process: what prometheus.yml says of them, where their samples go and their state is kept. */
#include "base/log.h"
#include "base/stats.h"
#include "alerting/am_service.h"
#include "cli/cli_serve.h"

enum err serve_rules_load(struct serve *s, const struct cli_config *cfg, struct rules_load **ret, struct buf *report,
                          struct err_text *reterr)
{
    return cli_rules_load(cfg, s->opt.features, ret, report, reterr);
}

enum err serve_rules_append(void *ctx, const struct batch *b, struct err_text *reterr)
{
    struct serve *s = ctx;
    struct tsdb_write_result result;
    const struct ingest_source who = { 0 };
    enum err e = ingest_append(s->ingest, b, &who, &result);
    tsdb_sync_soon(s->db);
    if (e)
        return err_fail(reterr, e, "not stored: %s", result.first.msg[0] ? result.first.msg : err_describe(e));
    if (result.first.msg[0])
        LOG_WARN("samples of a rule were not stored", "why", result.first.msg);
    return OK;
}

/* To the Alertmanager inside by a call, and to those elsewhere. Who evaluates does not wait for the disk: alerts of
 * rules are written down by the rules, and told again. */
static void tell_inside(struct serve *s, struct rule_alert *const *alerts, size_t n)
{
    AUTO_ARENA struct arena a;
    AUTO_BUF struct buf why;
    size_t rejected, n_out = 0;
    arena_init(&a, 0);
    buf_init(&why, 1024);
    struct am_alert *v = arena_zarray(&a, struct am_alert, n + 1);
    for (size_t i = 0; i < n; i++) {
        const struct rule_alert *al = alerts[i];
        struct am_alert *to = &v[n_out];
        *to = (struct am_alert){ .annotations = al->annotations,
                                 .starts_ms = al->fired_at_ms,
                                 .ends_ms = al->resolved_at_ms ? al->resolved_at_ms : al->valid_until_ms };
        n_out += notify_outgoing(s->notify, al, &a, &to->labels, &to->generator_url);
    }
    if (am_take(am_service_am(s->alertmanager), v, n_out, os_now_ms(), &rejected, &why) != OK)
        LOG_WARN("alerts of rules were refused", "alerts", LOG_I64(rejected), "why", LOG_STR(buf_str(&why)));
    am_service_wake(s->alertmanager);
}

void serve_rules_tell(void *ctx, struct rule_alert *const *alerts, size_t n)
{
    struct serve *s = ctx;
    if (s->alertmanager && n)
        tell_inside(s, alerts, n);
    notify_alerts(s->notify, alerts, n);
}

void serve_notify_reload(struct serve *s, const struct cli_config *cfg)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    if (s->notify)
        notify_reload(s->notify, prom_config_ref(cfg->prom), cli_external_url(cfg, &a));
}

static struct stat durable =
    STAT_GAUGE("vane_control_durable", "1: rules and alerting keep their state in control.db; 0: in memory only", "");

/* Alerting goes on without its file: to be told twice is better than not at all. */
enum err serve_control_open(struct serve *s, struct err_text *reterr)
{
    const char *path = arena_printf(&s->a, STR_FMT "/control.db", STR_ARG(s->cfg->data_dir)).p;
    struct err_text why = { 0 };
    if (s->opt.agent)
        return OK;
    enum err e = control_open(path, &s->control, &why);
    stat_set(&durable, e == OK);
    if (e == OK)
        return OK;
    LOG_ERROR(
        "rules and alerting run WITHOUT THEIR DATABASE: alerts, silences and what was told are in memory only and a "
        "restart forgets them",
        "err", why.msg);
    return control_open(NULL, &s->control, reterr);
}

enum err serve_rules_open(struct serve *s, struct err_text *reterr)
{
    AUTO_BUF struct buf report = { 0 };
    struct rules_load *load;
    if (s->opt.agent) {
        if (s->cfg->prom->rule_files.n)
            LOG_WARN("rule_files are not carried out by an agent: it cannot query");
        return OK;
    }
    enum err e = serve_rules_load(s, s->cfg, &load, &report, reterr);
    fwrite(report.p, 1, report.n, stderr);
    if (e)
        return e;
    struct rules_manager_config cfg = {
        .engine = s->engine,
        .source = s->rules_source,
        .append_ctx = s,
        .append = serve_rules_append,
        .notify_ctx = s,
        .notify = serve_rules_tell,
        .clock = os_clock(),
    };
    cfg.control = s->control;
    e = notify_open(&s->notify, reterr);
    if (e == OK)
        e = rules_manager_open(&cfg, &s->rules, reterr);
    if (e) {
        rules_load_unref(load);
        return e;
    }
    if (rules_load_n_rules(load))
        LOG_INFO("rules loaded", "rules", LOG_I64(rules_load_n_rules(load)));
    serve_notify_reload(s, s->cfg);
    rules_manager_apply(s->rules, load);
    return OK;
}
