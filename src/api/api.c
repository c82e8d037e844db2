/* The api's life and its tables. */
#include "api/api_int.h"

enum err api_open(const struct api_deps *deps, struct api **ret, struct err_text *reterr)
{
    static const struct otlp_options otlp_default = { .limits = { .labels_max = 128,
                                                                  .label_name_bytes_max = 1024,
                                                                  .label_value_bytes_max = 64 << 10,
                                                                  .series_max = 1 << 20,
                                                                  .samples_max = 8 << 20 } };
    if (!deps->engine || !deps->source || !deps->process || !deps->store.write)
        return err_fail(reterr, ERR_INVALID, "the API needs an engine, a source, a store and the process");
    struct api *api = mem_zalloc(sizeof(*api));
    api->d = *deps;
    if (!api->d.clock)
        api->d.clock = os_clock();
    if (api->d.write_limits.series_max == 0)
        api->d.write_limits = WIRE_LIMITS_DEFAULT;
    atomic_init(&api->otlp, deps->otlp ? deps->otlp : &otlp_default);
    api_self_open(api);
    *ret = api;
    return OK;
}

void api_close(struct api *api)
{
    if (!api)
        return;
    api_self_close(api);
    mem_free(api->guarded);
    mem_free(api->handlers);
    mem_free(api);
}

void api_set_otlp(struct api *api, const struct otlp_options *opt)
{
    atomic_store_explicit(&api->otlp, opt, memory_order_release); /* pairs with the load in api_otlp.c */
}

size_t api_tables(struct api *api, unsigned mask_main, unsigned mask_otlp, struct http_table tables[API_TABLES_MAX])
{
    const struct http_table query[] = {
        { api_query_routes, api_query_routes_n, api, mask_main },
        { api_meta_routes, api_meta_routes_n, api, mask_main },
        { api_cardinality_routes, api_cardinality_routes_n, api, mask_main },
        { api_admin_routes, api_admin_routes_n, api, mask_main },
        { api_retention_routes, api_retention_routes_n, api, mask_main },
        { api_transfer_routes, api_transfer_routes_n, api, mask_main },
        { api_federate_routes, api_federate_routes_n, api, mask_main },
        { api_read_routes, api_read_routes_n, api, mask_main },
        { api_backtest_routes, api_backtest_routes_n, api, mask_main },
    };
    const struct http_table agent[] = { { api_agent_routes, api_agent_routes_n, api, mask_main } };
    const struct http_table rows[] = {
        { api_status_routes, api_status_routes_n, api, mask_main },
        { api_rules_routes, api_rules_routes_n, api, mask_main },
        { api_runbook_routes, api_runbook_routes_n, api, mask_main },
        { api_forward_routes, api_forward_routes_n, api, mask_main },
        { api_write_routes, api_write_routes_n, api, mask_main },
        { api_custom_routes, api_custom_routes_n, api, mask_main },
        { api_push_routes, api_push_routes_n, api, mask_main },
        { api_alertmanager_routes, api_alertmanager_routes_n, api, mask_main },
        { api_alerting_routes, api_alerting_routes_n, api, mask_main },
        { api_alerting_receivers, api_alerting_receivers_n, api, mask_main },
        { api_alerts_routes, api_alerts_routes_n, api, mask_main },
        { api_history_routes, api_history_routes_n, api, mask_main },
        { api_policy_routes, api_policy_routes_n, api, mask_main },
        { api_drill_routes, api_drill_routes_n, api, mask_main },
        { api_influx_routes, api_influx_routes_n, api, mask_main },
        { api_otlp_routes, api_otlp_routes_n, api, mask_main | mask_otlp },
        { api_common_routes, api_common_routes_n, api, mask_main | mask_otlp },
        { api_file_routes, api_file_routes_n, api, mask_main },
    };
    _Static_assert(ARRAY_LEN(rows) + ARRAY_LEN(query) <= API_TABLES_MAX, "API_TABLES_MAX");
    memcpy(tables, rows, sizeof(rows));
    size_t n = api->d.agent ? ARRAY_LEN(agent) : ARRAY_LEN(query);
    memcpy(tables + ARRAY_LEN(rows), api->d.agent ? agent : query, n * sizeof(*tables));
    api_tenant_guard(api, tables, ARRAY_LEN(rows) + n);
    return ARRAY_LEN(rows) + n;
}
