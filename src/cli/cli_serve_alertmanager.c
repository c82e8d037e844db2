/* The Alertmanager inside: `alertmanager:` of vane.yaml names its file. */
#include "alerting/am_service.h"
#include "cli/cli_serve.h"

enum err cli_alertmanager_load(const struct cli_config *cfg, struct am_config **ret, struct buf *report,
                               struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    *ret = NULL;
    if (!cfg->alertmanager_file.n)
        return OK;
    return am_config_load_under(arena_cstr(&a, cli_path_beside(&a, cfg->file, cfg->alertmanager_file)),
                                cfg->alert_policy_node, ret, report, reterr);
}

enum err serve_alertmanager_open(struct serve *s, struct err_text *reterr)
{
    struct am_config *c;
    AUTO_BUF struct buf report = { 0 };
    if (s->opt.agent)
        return OK;
    enum err e = cli_alertmanager_load(s->cfg, &c, &report, reterr);
    if (report.n)
        fwrite(report.p, 1, report.n, stderr);
    if (e || !c)
        return e;
    const struct am_service_options opt = { .clock = os_clock(),
                                            .external_url = cli_external_url(s->cfg, &s->a),
                                            .value = serve_alert_value,
                                            .value_ctx = s,
                                            .chart = serve_alert_chart,
                                            .chart_ctx = s,
                                            .control = s->control };
    e = am_service_open(&opt, c, &s->alertmanager, reterr);
    am_config_unref(c);
    if (!e)
        s->api_alertmanager =
            (struct api_alertmanager){ am_service_am(s->alertmanager), s->alertmanager, am_service_wake,
                                       am_service_sender(s->alertmanager), opt.external_url };
    return e;
}

enum err serve_alertmanager_load(struct serve *s, const struct cli_config *cfg, struct am_config **ret,
                                 struct buf *report, struct err_text *reterr)
{
    *ret = NULL;
    if ((cfg->alertmanager_file.n != 0) != (s->alertmanager != NULL) && !s->opt.agent)
        return err_fail(reterr, ERR_INVALID, "alertmanager: adding or removing it needs a restart");
    return s->alertmanager ? cli_alertmanager_load(cfg, ret, report, reterr) : OK;
}
