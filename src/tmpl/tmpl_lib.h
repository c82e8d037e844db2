/* Functions and types that Prometheus and Alertmanager give their templates, on top of Go's own.
 * Names, arguments and results are the references'; what needs the world around it comes through tmpl_run.ctx. */
#ifndef VANE_TMPL_TMPL_LIB_H
#define VANE_TMPL_TMPL_LIB_H

#include "base/tz.h"
#include "tmpl/tmpl.h"

/* ---- time.Time and time.Duration ---- */
struct tmpl_val tmpl_time(struct arena *a, int64_t unix_s, uint32_t ns, const struct tz *tz);
struct tmpl_val tmpl_time_ms(struct arena *a, int64_t ts_ms); /* in UTC */
struct tmpl_val tmpl_duration(int64_t ns);
bool tmpl_time_get(const struct tmpl_val *v, int64_t *ret_s, uint32_t *ret_ns, const struct tz **ret_tz);
/* time.Format: "2006-01-02 15:04:05.999 MST". */
void tmpl_time_format(struct buf *out, int64_t unix_s, uint32_t ns, const struct tz *tz, str layout);
/* time.Parse; what the text has no zone for is in tz. */
bool tmpl_time_parse(str layout, str text, const struct tz *tz, int64_t *ret_s, uint32_t *ret_ns);
#define TMPL_TIME_ZERO_S INT64_C(-62135596800) /* 0001-01-01, Go's zero time */

extern const struct tmpl_type tmpl_type_strings;    /* []string */
extern const struct tmpl_type tmpl_type_string_map; /* map[string]string */
struct tmpl_val tmpl_strings(struct arena *a, const str *p, size_t n);

/* ---- Prometheus: rule files ---- */
struct tmpl_prom_sample {
    const struct tmpl_pair *labels; /* sorted, string values, with __name__ */
    size_t n_labels;
    double value;
    str histogram; /* .p set: a native histogram, as text */
};
struct tmpl_prom { /* tmpl_run.ctx */
    void *ctx;
    int64_t now_ms;
    str external_url; /* "http://host:9090/prefix" */
    /* An instant query; samples in a. Errors go to the template. */
    enum err (*query)(void *ctx, str expr, struct arena *a, struct tmpl_prom_sample **ret, size_t *ret_n,
                      struct err_text *reterr);
};
extern const struct tmpl_func tmpl_prom_funcs[];
extern const size_t tmpl_prom_n_funcs;
struct tmpl_val tmpl_prom_value(struct arena *a, const struct tmpl_prom_sample *s); /* what `query` gives */

/* ---- Alertmanager: notifications ---- */
extern const struct tmpl_func tmpl_am_funcs[];
extern const size_t tmpl_am_n_funcs;
extern const struct tmpl_type tmpl_am_kv, tmpl_am_pairs, tmpl_am_pair, tmpl_am_alert, tmpl_am_alerts, tmpl_am_data;
/* Data with a ninth field: Changes, of the fields New, Resolved, Unchanged (ints). */
extern const struct tmpl_type tmpl_am_data_changes, tmpl_am_changes;
/* The default templates ("slack.default.title" ...): before those of the configuration. */
enum err tmpl_am_defaults(struct tmpl_set *set, struct err_text *reterr) MUST_CHECK;
/* After them: the subject says what changed. For data of the type tmpl_am_data_changes only. */
enum err tmpl_am_changes_defaults(struct tmpl_set *set, struct err_text *reterr) MUST_CHECK;
/* Data's fields in order: Receiver, Status, Alerts, GroupLabels, CommonLabels, CommonAnnotations, ExternalURL, RouteLabels;
 * an Alert's: Status, Labels, Annotations, StartsAt, EndsAt, GeneratorURL, Fingerprint. */
struct tmpl_am { /* tmpl_run.ctx */
    int64_t now_ms;
    const struct tmpl_set *set;  /* for routeLabels */
    const struct tmpl_val *data; /* the dot of the outermost template */
    const struct tmpl_run *run;
    unsigned depth;
};

#endif
