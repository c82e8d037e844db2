/* Inside `vane serve`: the options, and the process with all its pieces. */
#ifndef VANE_CLI_CLI_SERVE_H
#define VANE_CLI_CLI_SERVE_H

#include "api/api.h"
#include "cli/cli.h"
#include "cli/cli_config.h"
#include "cli/cli_self.h"
#include "compat/compat.h"
#include "forward/forward.h"
#include "host/host.h"
#include "notify/notify.h"
#include "rules/rules_manager.h"
#include "scrape/scrape.h"
#include "store/store.h"

enum {
    SERVE_LISTENERS_MAX = 8,
    FORWARD_GRACE_MS = 5000, /* at the end, to send what is left */
};

/* What the command line says; it wins over the file. Zero = not given. */
struct serve_options {
    const char *config_path, *data_dir, *log_level, *log_format, *external_url, *cors_origin, *web_config;
    struct cli_listen listen[SERVE_LISTENERS_MAX], otlp_listen[SERVE_LISTENERS_MAX],
        otlp_grpc_listen[SERVE_LISTENERS_MAX];
    size_t n_listen, n_otlp_listen, n_otlp_grpc_listen;
    int64_t retention_ms; /* -1: not given */
    uint64_t retention_bytes;
    bool retention_bytes_given, insecure, no_host_metrics, no_self_metrics, no_otlp, no_otlp_grpc, lifecycle, admin;
    bool agent; /* `vane agent`: no segments, no queries */
    unsigned features;
    struct http_pair flags[64]; /* status/flags: as given, for show */
    size_t n_flags;
    struct arena *a;
};
/* Returns CLI_OK to go on; otherwise *ret_exit is the exit code (also after --help). */
bool serve_options_parse(const struct cli_command *self, int argc, char **argv, struct arena *a,
                         struct serve_options *ret, int *ret_exit);
extern const char serve_help[], agent_help[];

struct serve {
    struct arena a;
    struct serve_options opt;
    struct mtx mu; /* guards cfg, reload_*: rank 1 */
    struct cli_config *cfg;
    bool reload_ok;
    int64_t reload_ms, start_ms;
    atomic_bool ready, taking; /* everything can be read; writes are taken */
    struct store *store;
    struct tsdb *db;
    struct ingest *ingest;
    struct api_store_pair api_store;
    struct pool *query_pool;
    struct promql_engine *engine;
    struct promql_source *tsdb_source, *source, *rules_source; /* rules_source: of the tenant that rules are of */
    struct control *control; /* NULL in an agent, as rules */
    struct rules_manager *rules;
    struct am_service *alertmanager; /* NULL: none is asked for */
    struct api_alertmanager api_alertmanager;
    struct drills *drills; /* NULL: there is no Alertmanager */
    struct api_drills api_drills;
    struct notify *notify;
    struct api_alertmanagers api_alertmanagers;
    struct scrape *scrape;
    struct scrape_sink sink;
    struct host *host;
    struct push *push;
    struct forward *forward;
    struct compat *compat;
    struct cli_self *self;
    struct api *api;
    str otlp_text; /* what the API's OTLP options were made of */
    struct api_scrape api_scrape;
    struct api_forward api_forward;
    struct api_process api_process;
    struct http_certificates *certificates; /* NULL: plain */
    struct http_users *users;               /* NULL: no web configuration file */
    struct http_server *server;
    struct grpc_server *grpc;
};
/* cli_serve_reload.c: configuration and its use by the running pieces */
enum err serve_load(struct serve *s, struct cli_config **ret, struct buf *report, struct err_text *reterr) MUST_CHECK;
/* cli_serve_alertmanager.c */
enum err serve_alertmanager_open(struct serve *s, struct err_text *reterr) MUST_CHECK;
struct am_config;
struct am_alert;
struct am_chart;
/* cli_serve_value.c: am_sender_config.value */
str serve_alert_value(void *serve, const struct am_alert *al, int64_t now_ms, struct arena *a);
/* am_sender_config.chart: the last hour of an alert's expression; ctx: struct serve. */
bool serve_alert_chart(void *ctx, const struct am_alert *al, int64_t now_ms, struct arena *a, struct am_chart *ret);
/* For a reload: *ret NULL if there is none. */
enum err serve_alertmanager_load(struct serve *s, const struct cli_config *cfg, struct am_config **ret,
                                 struct buf *report, struct err_text *reterr) MUST_CHECK;
enum err serve_reload(struct serve *s, struct err_text *reterr) MUST_CHECK;
void serve_otlp(struct serve *s, const struct cli_config *cfg);
enum err serve_users(struct serve *s, const struct cli_config *cfg, struct err_text *reterr) MUST_CHECK;
void serve_log_setup(const struct serve *s, const struct cli_config *cfg); /* level and format, options first */
void serve_ingest_config(const struct serve *s, const struct cli_config *cfg, struct ingest_config *ret);
void serve_tsdb_config(const struct serve *s, const struct cli_config *cfg, struct tsdb_config *ret);
/* cli_serve_rules.c: control database, rules */
enum err serve_control_open(struct serve *s, struct err_text *reterr) MUST_CHECK;
/* Where samples of rules go, and their alerts: ctx is the serve. */
enum err serve_rules_append(void *ctx, const struct batch *b, struct err_text *reterr) MUST_CHECK;
void serve_rules_tell(void *ctx, struct rule_alert *const *alerts, size_t n);
enum err serve_rules_open(struct serve *s, struct err_text *reterr) MUST_CHECK;
enum err serve_rules_load(struct serve *s, const struct cli_config *cfg, struct rules_load **ret, struct buf *report,
                          struct err_text *reterr) MUST_CHECK;
void serve_notify_reload(struct serve *s, const struct cli_config *cfg);
/* cli_serve_api.c: the process and its targets as the API sees them */
void serve_api_deps(struct serve *s, struct api_deps *ret);

#endif
