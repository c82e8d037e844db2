/* Private to the room scrape: what the schema files share. */
#ifndef VANE_SCRAPE_SCRAPE_CONFIG_INT_H
#define VANE_SCRAPE_SCRAPE_CONFIG_INT_H

#include "base/check.h"
#include "scrape/scrape_config.h"

#define FAIL(...) IGNORE_ERR(conf_error(cx, n, __VA_ARGS__))
#define SCHEMA    CONF_SCHEMA

extern const struct conf_schema alerting_schema, remote_read_schema, otlp_schema, storage_schema, tracing_schema,
    runtime_schema;
extern const struct conf_schema sd_configs_schema, target_group_schema;

/* Targets of static_configs must be hosts, not URLs. */
void scrape_check_static_targets(struct conf_ctx *cx, const struct conf_node *n, const struct sd_configs *sd);
void invalid_label_name(struct conf_ctx *cx, const struct conf_node *at, str name);
void sd_configs_set_dir(struct arena *a, struct sd_configs *c, str dir);

#endif
