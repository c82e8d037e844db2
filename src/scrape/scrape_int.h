/* Private to the room scrape: the engine's objects.
 *
 *   scrape ── pools (one per scrape config) ── targets
 *     │            └─ providers (one per service discovery) ── groups (labels of discovered targets)
 *     ├─ heap of idle targets by due time         scheduler thread
 *     ├─ http client                              its own thread
 *     ├─ ready list of targets with a result      worker threads
 *     └─ discovery thread, DNS thread
 *
 * One mutex (scrape.mu) guards the lists, the states and the status fields; a target's cache belongs to the worker
 * that has it (TARGET_WORK) under cache_mu, which only the metadata query shares. Never both at a time. */
#ifndef VANE_SCRAPE_SCRAPE_INT_H
#define VANE_SCRAPE_SCRAPE_INT_H

#include "base/check.h"
#include "base/log.h"
#include "base/thread.h"
#include "http/http.h"
#include "scrape/scrape.h"
#include "scrape/scrape_config_int.h"
#include "wire/expo_pb.h"

#define SCRAPE_BODY_BYTES_MAX    (256u << 20) /* where body_size_limit says nothing */
#define SCRAPE_IN_FLIGHT_DEFAULT 8192
#define SCRAPE_SD_BYTES_MAX      (64u << 20)
#define SCRAPE_SD_TARGETS_MAX    1000000u

/* ---- discovery ---- */
struct sd_group {
    struct labels *targets; /* each: __address__, meta labels, the group's labels */
    size_t n;
};
struct sd_groups { /* what one provider knows; immutable, replaced as a whole */
    struct arena a;
    VEC(struct sd_group) v; /* in the arena */
};
void sd_groups_free(struct sd_groups *g);
struct sd_source {            /* one file, or the single answer of another kind */
    str path;                 /* owned; file: its name */
    uint64_t stamp;           /* file: fingerprint of time and size */
    struct sd_groups *groups; /* NULL: nothing good yet */
    bool present;             /* mark of a round */
};
enum sd_kind {
    SD_STATIC,
    SD_FILE,
    SD_HTTP,
    SD_DNS,
    SD_KUBERNETES /* from here on: scrape_sd_remote.h, in the order of enum sd_other */,
    SD_CONSUL,
    SD_DOCKER,
    SD_EC2,
    SD_KINDS
};
struct remote;
struct provider {
    struct scrape *s;
    struct spool *pool;
    enum sd_kind kind;
    uint64_t identity;             /* of its configuration */
    struct prom_config *prom;      /* keeps cfg alive */
    const void *cfg;               /* const struct file_sd_config *, ... */
    VEC(struct sd_source) sources; /* owned by the thread that has it busy; changed under scrape.mu */
    uint64_t next_ns;              /* when to look again */
    bool busy;                     /* a thread or the HTTP client has it */
    bool answered;                 /* http: body is there */
    bool dead;                     /* removed while busy: whoever has it frees it */
    str body;                      /* http: owned */
    struct arena request_a;        /* what the client borrows */
    char error[256];
};
/* Looks at the files and re-reads what changed: true if something did. A bad file keeps its last good groups; error says why. */
bool sd_files_read(const struct file_sd_config *cfg, struct provider *p);
struct sd_groups *sd_static(const struct target_group *groups, size_t n);
struct sd_groups *sd_groups_new(void);
/* A list of {"targets": [...], "labels": {...}}; every target also gets meta_name = source. Strict. */
enum err sd_json_decode(struct sd_groups *g, str json, str meta_name, str source, struct err_text *reterr) MUST_CHECK;
enum err sd_yaml_decode(struct sd_groups *g, str file, str text, str meta_name, struct err_text *reterr) MUST_CHECK;
/* Blocking. One name's records appended to g; a name that does not exist has none. */
enum err sd_dns_resolve(const struct dns_sd_config *cfg, str name, struct sd_groups *g,
                        struct err_text *reterr) MUST_CHECK;
extern uint16_t sd_dns_port_override; /* tests: ask 127.0.0.1 at this port */

/* ---- a target's memory ---- */
#define NO_SERIES UINT32_MAX
struct cache_line {  /* one line of the exposition as it stands */
    str raw;         /* or a key of protobuf (expo_pb.h), or of a converted histogram (scrape_nhcb.c) */
    uint32_t series; /* NO_SERIES: relabelling dropped it */
    uint32_t gen;    /* scrape that saw it last; 0: slot is free */
    uint32_t pos;    /* place in the order of that scrape */
};
struct cache_series { /* one series after relabelling; several lines may end up in one */
    struct labels labels;
    uint64_t ref;                     /* the store's */
    uint32_t n_lines;                 /* 0: slot is free */
    uint32_t gen;                     /* scrape that saw it last */
    uint32_t tracked, tracked_before; /* scrapes after which it wants a staleness marker when it goes */
    int64_t last_ts_ms;
    bool is_hist; /* its newest sample was a histogram: so is its staleness marker */
};
enum classic_part { PART_NONE, PART_BUCKET, PART_COUNT, PART_SUM };
struct cache_part { /* what a line is to the classic histogram it belongs to */
    enum classic_part part;
    uint32_t group; /* line that stands for the whole */
    double le;
};
struct cache_meta {
    struct metric_meta meta; /* strings owned (mem_dup) */
};
#define MAP_NAME     line_map
#define MAP_KEY      str
#define MAP_VALUE    uint32_t
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"
#define MAP_NAME     series_map
#define MAP_KEY      hash128
#define MAP_VALUE    uint32_t
#define MAP_HASH(k)  ((k).lo)
#define MAP_EQ(a, b) hash128_eq(a, b)
#include "base/map.h"
#define MAP_NAME     meta_map
#define MAP_KEY      str
#define MAP_VALUE    struct cache_meta
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"

struct cache {
    struct arena a; /* raw texts and labels */
    VEC(struct cache_line) lines;
    VEC(struct cache_series) series;
    VEC(uint32_t) free_lines, free_series;
    VEC(struct cache_part) parts;    /* by line; only where classic histograms are converted */
    VEC(uint32_t) order, order_next; /* lines as they came last time, as they come now */
    struct line_map by_raw;
    struct series_map by_labels;
    struct meta_map meta;
    size_t n_lines, n_series;      /* in use */
    size_t dead_bytes, live_bytes; /* of a */
    uint32_t gen;                  /* of the current scrape */
    uint32_t tracked_gen;          /* scrape whose series are live in the store; 0: none */
    size_t n_tracked;
};
void cache_init(struct cache *c);
void cache_deinit(struct cache *c);

enum {
    REPORT_UP,
    REPORT_DURATION,
    REPORT_SCRAPED,
    REPORT_POST,
    REPORT_ADDED,
    REPORT_TIMEOUT,
    REPORT_LIMIT,
    REPORT_BODY,
    REPORT_N
};

/* ---- targets ---- */
enum target_state {
    TARGET_IDLE,  /* in the heap */
    TARGET_FETCH, /* the HTTP client has it */
    TARGET_READY, /* in the ready list */
    TARGET_WORK,  /* a worker has it */
};
struct target {
    struct scrape *s;
    struct spool *pool;       /* valid while the target is listed in it */
    struct prom_config *prom; /* keeps cfg alive */
    const struct scrape_config *cfg;
    struct arena a; /* labels, url */
    struct labels labels, discovered;
    str url, url_path_on; /* url_path_on: from the path on, for global_url */
    str host, scheme;
    hash128 key; /* labels, url, settings: equal keys are the same target */
    int64_t interval_ms, timeout_ms;
    atomic_uint refs;

    /* under scrape.mu */
    enum target_state state;
    bool stop; /* asked to end: one last pass writes the markers */
    bool seen; /* mark of a sync */
    size_t heap_pos;
    uint64_t due_ns; /* monotonic */
    uint64_t request;
    struct target *next_ready;
    char last_error[256], forced_error[128], forced_now[128]; /* forced_now: of the scrape in progress */
    int64_t last_scrape_ms;
    double last_duration_s;
    enum scrape_health health;
    size_t last_samples, last_series;

    struct arena request_a; /* what the client borrows until fetch_done */

    /* the result on its way from client to worker */
    enum err fetch_err;
    char fetch_error[256];
    int status;
    str body;          /* owned */
    str content_type;  /* owned */
    int64_t scrape_ms; /* timestamp of the scrape */
    uint64_t start_ns;
    int64_t aligned_ms; /* ideal time of the last scrape; 0: none */

    struct mtx cache_mu;
    struct cache cache;
    uint64_t report_ref[REPORT_N];
    bool has_report; /* report series were written */
    int64_t newest_ms;
};
struct target_spec { /* what relabelling made of a discovered target */
    struct labels labels, discovered;
    str url, host, scheme, url_path_on;
    int64_t interval_ms, timeout_ms;
    hash128 key;
    bool dropped;
    char error[256]; /* not empty: unusable */
};
/* Labels -> target (Prometheus' PopulateLabels). Everything in a. */
void target_populate(struct arena *a, const struct scrape_config *cfg, uint64_t settings, struct labels discovered,
                     struct target_spec *ret);
struct target *target_new(struct scrape *s, struct spool *pool, const struct target_spec *spec);
struct target *target_ref(struct target *t);
void target_unref(struct target *t);

/* One scrape's result into the sink: parse, cache, markers, report. extra: scratch arena. Fills error[] ("" = up). */
struct scrape_outcome {
    size_t scraped, post, added, body_bytes;
    char error[256];
};
void target_process(struct target *t, struct arena *scratch, struct scrape_outcome *ret);
/* The end: markers for everything. */
void target_finish(struct target *t, struct arena *scratch);
/* Fill the request; strings in a. False: credentials cannot be read (error). */
bool target_request(struct target *t, struct arena *a, struct http_fetch *f, char *error, size_t error_size);

/* ---- pools and engine ---- */
struct dropped_target {
    struct labels discovered;
};
struct spool {
    struct prom_config *prom;
    const struct scrape_config *cfg;
    uint64_t settings; /* hash of everything but discovery and target relabelling */
    VEC(struct provider *) providers;
    VEC(struct target *) targets;
    struct arena dropped_arena;
    VEC(struct labels) dropped; /* at most keep_dropped_targets */
    size_t n_dropped, n_discovered;
    bool over_limit;
    uint64_t syncs, sync_ns;
    char error[256];
};
/* How far apart scrapes really were, per configured interval: the newest of them. */
#define SCRAPE_LENGTHS   512
#define SCRAPE_INTERVALS 8
struct interval_lengths {
    int64_t interval_ms;
    uint64_t count;
    double sum_s;
    float newest_s[SCRAPE_LENGTHS];
};
struct scrape {
    struct scrape_sink *sink;
    struct clock *clock;
    struct http_client *http;
    bool extra_metrics;
    unsigned in_flight_max;
    struct mtx mu;
    struct cond wake, ready_cv, idle_cv, sd_cv, dns_cv, remote_cv;
    bool remote_news;
    VEC(struct remote *) remotes; /* of the thread sd_remote_main */
    struct prom_config *prom;
    VEC(struct spool *) pools;
    VEC(struct target *) heap;
    struct target *ready_head, *ready_tail;
    struct interval_lengths lengths[SCRAPE_INTERVALS];
    size_t in_flight, n_alive; /* targets not yet freed by their last pass */
    bool closing, sd_closing;
    unsigned n_workers;
    pthread_t scheduler, sd, dns, remote, *workers;
};
void scrape_sync_pool(struct scrape *s, struct spool *p);    /* under mu */
void scrape_target_stop(struct scrape *s, struct target *t); /* under mu */
void provider_free(struct provider *p);
void sd_main(void *s);
void sd_dns_main(void *s);
void sd_remote_main(void *s);
void sd_remote_close(struct scrape *s);
void sd_install(struct provider *p, struct sd_groups *g); /* under mu: the one answer of p; its pool is synced */

extern struct stat scrape_stat_sample_limit, scrape_stat_body_limit, scrape_stat_duplicates, scrape_stat_scrapes,
    scrape_stat_failed, scrape_stat_cache_misses, scrape_stat_target_limit, scrape_stat_label_limit,
    scrape_stat_bucket_limit;

#endif
