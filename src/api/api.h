/* Room `api`: every HTTP route of vane, as rows (one file per protocol family), over interfaces that the binary
 * (or a test) plugs in. Errors become status codes in one table (api_error.c).
 *
 *   struct api *api;
 *   api_open(&deps, &api)
 *   api_tables(api, listeners_main, listeners_otlp, tables)      -> http_server_config.tables
 *   api_grpc_tables(api, grpc_tables)                            -> grpc_server_config.tables
 *   http_server_open(...), grpc_server_open(...) ... and both closed
 *   api_close(api)
 *
 *   api_prometheus_query.c   /api/v1/query, query_range, query_exemplars, format_query, parse_query
 *   api_prometheus_meta.c    /api/v1/series, labels, label/<name>/values, metadata
 *   api_prometheus_status.c  /api/v1/targets*, scrape_pools, alertmanagers, status/..., features, /-/...
 *   api_rules.c              /api/v1/rules, alerts
 *   api_backtest.c           /api/v1/rules/backtest, backfill
 *   api_runbook.c            /runbook, /runbook/ALERT
 *   api_alertmanager.c       /api/v2/alerts, silences, receivers, status (also under /alertmanager)
 *   api_alerting_routes.c    /api/v1/alerting/status, routes: the routing tree, and which way an alert goes
 *   api_alerting_history.c   /api/v1/alerting/history, acks, explain
 *   api_drills.c             /api/v1/alerting/drills
 *   api_alerting_policy.c    /api/v1/heartbeats, /api/v1/alerting/severities
 *   api_admin.c              /api/v1/admin/tsdb/...
 *   api_transfer.c           /api/v1/admin/tsdb/import, export
 *   api_write.c              /api/v1/write
 *   api_otlp.c               /v1/metrics, /api/v1/otlp/v1/metrics, gRPC MetricsService/Export
 *   api_grpc.c               gRPC services: the tables, grpc.health.v1.Health/Check
 *   api_custom.c             /metrics/custom
 *   api_push.c               /api/v1/import/prometheus, /metrics/job/...
 *   api_federate.c           /federate
 *   api_read.c               /api/v1/read
 *   api_influx.c             /write, /api/v2/write, /ping
 *   api_self.c               /metrics
 *   api_agent.c              /api/v1/status/forwarding; what an agent answers to queries
 *   api_files.c              the web UI, /api/openapi.yaml
 *   api_tenant.c             X-Scope-OrgID: who asks, and the store as it sees it
 *   api_cardinality.c        /api/v1/status/tsdb, /api/v1/status/cardinality
 *   api_source.c             promql_source and api_store over tsdb
 *   api_classic_histograms.c native view of classic histograms, over any promql_source
 *
 * Spec: prometheus.io/docs/prometheus/latest/querying/api, remote write 1.0, OTLP/HTTP 1.x.
 * Threads: everything may be called from any thread. */
#ifndef VANE_API_API_H
#define VANE_API_API_H

#include "http/grpc.h"
#include "ingest/ingest.h"
#include "promql/promql.h"
#include "push/push.h"
#include "tsdb/tsdb.h"
#include "wire/otlp.h"
#include "wire/wire.h"

/* ---- the store as the API sees it: api_store_tsdb() is the real one ---- */
struct api_store {
    void *ctx;
    enum err (*write)(void *ctx, const struct batch *b, const struct ingest_source *who,
                      struct tsdb_write_result *ret); /* as ingest_append */
    enum err (*wait)(void *ctx, uint64_t lsn);        /* as tsdb_wait */
    /* Sorted, without duplicates, in a; at most limit (0 = all). */
    enum err (*series)(void *ctx, int64_t from_ms, int64_t to_ms, const struct matcher *m, size_t n_matchers,
                       size_t limit, struct arena *a, struct labels **ret, size_t *ret_n);
    enum err (*label_names)(void *ctx, int64_t from_ms, int64_t to_ms, const struct matcher *m, size_t n_matchers,
                            size_t limit, struct arena *a, str **ret, size_t *ret_n);
    enum err (*label_values)(void *ctx, int64_t from_ms, int64_t to_ms, str name, const struct matcher *m,
                             size_t n_matchers, size_t limit, struct arena *a, str **ret, size_t *ret_n);
    enum err (*exemplars)(void *ctx, int64_t from_ms, int64_t to_ms, const struct matcher *m, size_t n_matchers,
                          struct arena *a, struct tsdb_exemplars **ret, size_t *ret_n);
    enum err (*metadata)(void *ctx, str name, size_t limit, struct arena *a, struct tsdb_metadata **ret, size_t *ret_n);
    enum err (*stats)(void *ctx, bool with_top, struct arena *a, struct tsdb_stats *ret);
    /* As tsdb_cardinality. NULL: stats' tops are all there is. */
    enum err (*cardinality)(void *ctx, const struct matcher *m, size_t n_matchers, size_t top, struct arena *a,
                            struct tsdb_cardinality *ret);
    void (*usage)(void *ctx, str tenant, size_t top, struct arena *a,
                  struct ingest_status *ret); /* as ingest_status; NULL: nothing is limited */
    uint64_t (*known)(void *ctx, str bytes, uint64_t salt, uint32_t *io_hint,
                      hash128 *ret_key);                          /* tsdb_known(); NULL = nothing is */
    uint64_t (*salt)(void *ctx, const struct ingest_source *who); /* as ingest_salt; NULL = 0 */
    /* As in tsdb.h. NULL: this store has no administration. */
    enum err (*delete_series)(void *ctx, const struct tsdb_selector *sel, size_t n, int64_t from_ms, int64_t to_ms,
                              struct err_text *reterr);
    enum err (*clean_tombstones)(void *ctx, struct err_text *reterr);
    enum err (*snapshot)(void *ctx, str name, bool skip_head, struct err_text *reterr); /* DATA/snapshots/NAME */
    struct tsdb *(*db)(void *ctx); /* for import and export of everything; NULL: there is none */
};
struct api_store_pair { /* ctx of api_store_tsdb */
    struct tsdb *db;
    struct ingest *ingest;
};
struct api_store api_store_tsdb(struct api_store_pair *pair); /* writes go through ingest; pair must outlive it */

/* The tsdb as a source for PromQL. */
/* The document of /api/v1/status/retention. */
void api_retention_json(struct json_out *j, const struct tsdb_plan *p);
struct promql_source *api_source_tsdb_new(struct tsdb *db);
void api_source_tsdb_free(struct promql_source *s);
/* Wraps a source: a selector on NAME (equality) that finds no series of its own is answered, when NAME_bucket
 * exists, with custom-bucket native histograms (schema -53) built from NAME_bucket, NAME_sum and NAME_count. So
 * histogram_quantile(0.95, rate(http_request_duration_seconds[5m])) works on what was sent as a classic histogram.
 * Everything else passes through. */
struct promql_source *api_classic_histograms_new(struct promql_source *inner); /* inner must outlive it */
void api_classic_histograms_free(struct promql_source *s);
/* One tenant's view of inner, in a. */
struct promql_source *api_tenant_source(struct arena *a, struct promql_source *inner, str tenant);

/* ---- scraping as the API sees it ---- */
enum api_health { API_HEALTH_UNKNOWN, API_HEALTH_UP, API_HEALTH_DOWN };
struct api_target { /* active */
    struct labels discovered, labels;
    str pool, url, global_url;
    str last_error;         /* empty: none */
    int64_t last_scrape_ms; /* 0 = never */
    double last_duration_s;
    enum api_health health;
    int64_t interval_ms, timeout_ms;
};
struct api_dropped_target {
    struct labels discovered;
    str pool;
};
struct api_pool_count {
    str pool;
    size_t n;
};
struct api_targets {
    const struct api_target *active; /* sorted by pool, then as discovered */
    size_t n_active;
    const struct api_dropped_target *dropped; /* the ones kept for show */
    size_t n_dropped;
    const struct api_pool_count *dropped_counts; /* all of them, per pool */
    size_t n_dropped_counts;
};
struct api_target_metadata {
    struct labels target;
    str metric;
    struct metric_meta meta;
};
struct api_scrape {
    void *ctx;
    /* A snapshot, copied into a. want_dropped false: n_dropped is 0. */
    enum err (*targets)(void *ctx, bool want_active, bool want_dropped, struct arena *a, struct api_targets *ret);
    enum err (*pools)(void *ctx, struct arena *a, str **ret, size_t *ret_n); /* names, sorted */
    /* Of the targets that match (NULL = all); metric "" = all; at most limit rows (0 = all). NULL: none are known. */
    enum err (*metadata)(void *ctx, str metric, bool (*match)(void *match_ctx, struct labels target), void *match_ctx,
                         size_t limit, struct arena *a, struct api_target_metadata **ret, size_t *ret_n);
};

/* ---- the process as the API sees it ---- */
struct api_build {
    str version, revision, branch, build_user, build_date, compiler;
};
struct api_config_state {
    bool reload_ok;    /* the last one */
    int64_t reload_ms; /* when the configuration in use was loaded */
};
struct api_process {
    void *ctx;
    bool (*ready)(void *ctx);  /* false: 503 at /-/ready and for queries, and for writes unless taking */
    bool (*taking)(void *ctx); /* writes are taken, though nothing can be read yet; NULL: as ready */
    enum err (*config_text)(void *ctx, struct arena *a, str *ret);           /* YAML in use, secrets hidden */
    void (*external_labels)(void *ctx, struct arena *a, struct labels *ret); /* global, sorted, in a; NULL = none */
    void (*config_state)(void *ctx, struct api_config_state *ret);
    enum err (*reload)(void *ctx, struct err_text *reterr);
    void (*quit)(void *ctx);              /* NULL: /-/quit answers 403 */
    double (*replay_progress)(void *ctx); /* 0..1; NULL = 1 */
    /* What belongs into DATA/snapshots/NAME beside the store's; NULL: nothing. */
    enum err (*snapshot_rest)(void *ctx, str name, struct err_text *reterr);
};

/* ---- forwarding as the API sees it ---- */
struct api_forward_row { /* one remote_write */
    str name, url, protocol;
    unsigned shards, shards_desired;
    uint64_t pending, sent, failed, retried, dropped, lag_bytes;
    double lag_seconds;
    int64_t highest_sent_ms, last_ok_ms; /* 0: never */
    str last_error;
};
struct api_forward {
    void *ctx;
    void (*status)(void *ctx, struct arena *a, const struct api_forward_row **ret, size_t *ret_n); /* copied into a */
};

/* ---- Alertmanagers elsewhere that alerts are sent to ---- */
struct api_alertmanagers {
    void *ctx;
    void (*urls)(void *ctx, struct arena *a, str **ret_active, size_t *ret_n_active, str **ret_dropped,
                 size_t *ret_n_dropped); /* copied into a */
};

struct rules_manager;
struct am;
struct am_sender;
struct api_alertmanager {
    struct am *am;
    void *ctx;
    void (*wake)(void *ctx);  /* something came in: am_tick() may have work; may be NULL */
    struct am_sender *sender; /* NULL: receivers cannot be tested */
    str external_url;         /* where providers reach this vane, if an integration does not say */
};
/* ---- fire drills: whoever plugs in carries them out ---- */
struct api_drill {
    str target;   /* NAME, rule:NAME, receiver:NAME, or labels for the way through the routes: {team="db"} */
    str severity; /* instead of the rule's; "": that one */
    int64_t for_ms, timeout_ms; /* for_ms -1: the rule's; timeout_ms 0: for + two intervals + five minutes */
    bool scheduled;
};
struct api_drills {
    void *ctx;
    /* Begins; the id lives in a. ERR_NOT_FOUND: no such target; ERR_INVALID, ERR_LIMIT, ERR_BUSY. */
    enum err (*start)(void *ctx, const struct api_drill *what, struct arena *a, str *ret_id, struct err_text *reterr);
    /* One (ERR_NOT_FOUND), or with id "" the newest ones: JSON objects one after the other. */
    enum err (*json)(void *ctx, str id, size_t limit, struct json_out *j, struct err_text *reterr);
};
struct api_deps {
    struct api_store store;
    struct promql_engine *engine;
    struct promql_source *source;
    unsigned promql_features;                      /* for parse_query and format_query: the engine's */
    const struct api_scrape *scrape;               /* NULL: nothing is scraped */
    struct push *push;                             /* pushed groups; NULL: none are taken */
    struct rules_manager *rules;                   /* NULL: there are none */
    const struct api_alertmanagers *alertmanagers; /* NULL: there are none */
    const struct api_alertmanager *alertmanager;   /* the one inside; NULL: there is none */
    const struct api_drills *drills;               /* NULL: there are none */
    const struct api_forward *forwarding;          /* NULL: there is none */
    bool agent;                                    /* nothing can be asked for: queries are answered with an error */
    const struct api_process *process;             /* never NULL */
    bool admin;                                    /* /api/v1/admin/tsdb/... is on */
    const struct http_pair *flags;                 /* status/flags, sorted by name */
    size_t n_flags;
    struct api_build build;
    struct clock *clock;
    int64_t start_ms;
    str storage_retention; /* "15d", "15d or 10GiB": runtimeinfo */
    str cwd, hostname;
    bool tenants; /* X-Scope-OrgID is asked for; default_tenant: whose scrapes and this machine's metrics are */
    str default_tenant;
    int64_t lookback_ms; /* the engine's, for limits of lookback_delta */
    struct wire_limits write_limits;
    size_t write_body_bytes_max;     /* decoded; 0 = 64 MiB */
    const struct otlp_options *otlp; /* NULL = defaults; reload swaps it with api_set_otlp */
    /* The web UI: the file of a path, or index.html for one of the UI's pages; false if it is neither. What ret
     * points to lives for ever. NULL: no UI. */
    bool (*ui_find)(str path, struct http_file *ret);
    str ui_csp;       /* Content-Security-Policy of pages; may be empty */
    str external_url; /* prefix for links; may be empty */
};

struct api;
enum err api_open(const struct api_deps *deps, struct api **ret,
                  struct err_text *reterr) MUST_CHECK; /* deps is copied, what it points to is not */
void api_close(struct api *api);
void api_set_otlp(struct api *api, const struct otlp_options *opt); /* must live until api_close */
#define API_TABLES_MAX 32
/* Fill tables for http_server_config: everything on the listeners of mask_main, OTLP, health and /metrics also on
 * those of mask_otlp. Returns how many. The routes live as long as the api. */
size_t api_tables(struct api *api, unsigned mask_main, unsigned mask_otlp, struct http_table tables[API_TABLES_MAX]);
#define API_GRPC_TABLES_MAX 4
/* The same for grpc_server_config: OTLP services and grpc.health.v1.Health. */
size_t api_grpc_tables(struct api *api, struct grpc_table tables[API_GRPC_TABLES_MAX]);

#endif
