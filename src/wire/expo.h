/* Text exposition: Prometheus text format 0.0.4 and 1.0.0 (UTF-8 names), OpenMetrics 1.0.
 * Accepts and refuses exactly what Prometheus 3's own parsers do, with the same results.
 *
 * Pull parser: one entry per expo_next(), one pass, nothing copied. Sample lines give their raw series
 * text (`go_goroutines{job="x"}` as it stands) so that a scrape loop can look the series up by it and parse
 * labels only for what it has not seen:
 *
 *   struct expo x;
 *   expo_init(&x, EXPO_TEXT, body);
 *   for (enum expo_entry e; (e = expo_next(&x)) > EXPO_ERROR;)
 *       if (e == EXPO_SAMPLE) use(x.series, x.value, x.has_ts ? x.ts_ms : now);
 *   if (x.entry == EXPO_ERROR) report(&x.error);       // the whole scrape fails
 *
 * Order and values of fields: see struct expo. Text slices borrow from the body.
 * Limits: none of its own beyond the body's size; label limits are the scrape's (expo_labels gives them). */
#ifndef VANE_WIRE_EXPO_H
#define VANE_WIRE_EXPO_H

#include "wire/wire.h"

enum expo_format { EXPO_TEXT, EXPO_OPENMETRICS, EXPO_PROTOBUF /* read by expo_pb.h */ };

enum expo_entry {
    EXPO_END,       /* all read */
    EXPO_ERROR,     /* malformed: x->error says what and where; sticky */
    EXPO_SAMPLE,    /* series, value, has_ts/ts_ms; on demand: expo_labels, expo_exemplar, expo_start_ms */
    EXPO_HELP,      /* name, text (escaped as it stands: expo_help() decodes) */
    EXPO_TYPE,      /* name, type */
    EXPO_UNIT,      /* name, text: OpenMetrics only */
    EXPO_COMMENT,   /* text, with the '#' */
    EXPO_HISTOGRAM, /* a whole histogram; expo_pb.h only */
};

struct expo {
    /* ---- the current entry ---- */
    enum expo_entry entry;
    str series;   /* SAMPLE: raw text of name and labels, without white space around */
    double value; /* NaN is always NORMAL_NAN_BITS */
    bool has_ts, has_exemplar;
    int64_t ts_ms;
    str name;              /* HELP, TYPE, UNIT: metric name without quotes */
    str text;              /* HELP, UNIT, COMMENT */
    enum metric_type type; /* TYPE: this entry's; otherwise the last TYPE seen */
    unsigned line;         /* 1-based line of the current entry (approximate after raw newlines in values) */
    struct err_text error; /* EXPO_ERROR: "line 7: expected value after metric, got ..."; pos = byte */
    /* ---- private ---- */
    enum expo_format format;
    unsigned line_next;
    const char *start, *p, *end, *entry_start;
    str hint;
    str family;        /* name of the last HELP/TYPE/UNIT */
    str exemplar;      /* raw text from '{' to the end of the line */
    bool skip_created; /* OpenMetrics: `_created` lines are start timestamps, not samples (default true) */
    struct {
        const char *until; /* the next `_created` line or the end of the family: samples before it know the answer */
        bool found;
        uint64_t key, last_key; /* labels without le/quantile, family name */
        int64_t ms, last_ms;    /* last_*: of the line passed most recently; last_ms 0 = none */
    } created;
};

void expo_init(struct expo *x, enum expo_format format, str body);
/* The next entry; also in x->entry. After EXPO_END or EXPO_ERROR it stays there. */
enum expo_entry expo_next(struct expo *x);
/* Before expo_next: "the next sample line probably begins with this raw series text" (the line that followed
 * last time). raw must be an x->series of an earlier, accepted body of the same format. When it is there, the
 * series is recognised by one comparison instead of being lexed; otherwise nothing changes. */
static inline void expo_hint(struct expo *x, str raw)
{
    x->hint = raw;
}

/* Of the current SAMPLE: name and labels, sorted. Escapes are decoded into a; the rest borrows from the body.
 * `le` of histograms and `quantile` of summaries are written as floats ("1" -> "1.0") as Prometheus 3 does.
 * Empty values are dropped, as an absent label. ERR_INVALID: a label name twice. */
enum err expo_labels(const struct expo *x, struct arena *a, struct labels *ret, struct err_text *reterr) MUST_CHECK;
/* Of the current SAMPLE with has_exemplar. ret_has_ts false: the exemplar has no own timestamp. */
enum err expo_exemplar(const struct expo *x, struct arena *a, struct exemplar *ret, bool *ret_has_ts,
                       struct err_text *reterr) MUST_CHECK;
/* Of the current SAMPLE: start timestamp from the family's `_created` line (looked up ahead), 0 = unknown. */
int64_t expo_start_ms(struct expo *x);
/* Of the current SAMPLE: its metric name, escapes decoded (into a when there are any). */
str expo_metric_name(const struct expo *x, struct arena *a);
/* Of the current HELP: text with escapes decoded. */
str expo_help(const struct expo *x, struct arena *a);

/* ---- which parser for a Content-Type ---- */
/* fallback: scrape_config's fallback_scrape_protocol ("PrometheusText0.0.4", "PrometheusText1.0.0",
 * "OpenMetricsText0.0.1", "OpenMetricsText1.0.0", "PrometheusProto"), or empty. EXPO_PROTOBUF is for expo_pb_init().
 * OK with ret_warn empty; OK with ret_warn set when the fallback had to be used; ERR_UNSUPPORTED otherwise. */
enum err expo_format_select(str content_type, str fallback, enum expo_format *ret, struct err_text *ret_warn,
                            struct err_text *reterr) MUST_CHECK;
#define EXPO_CONTENT_TYPE_TEXT "text/plain; version=0.0.4; charset=utf-8"
#define EXPO_CONTENT_TYPE_PROTOBUF \
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
#define EXPO_CONTENT_TYPE_OPENMETRICS "application/openmetrics-text; version=1.0.0; charset=utf-8"
/* What a scrape asks for. */
#define EXPO_ACCEPT                                                                                         \
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"                                \
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4," \
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
/* Does an Accept header prefer OpenMetrics over text? (what our own /metrics answers) */
bool expo_accepts_openmetrics(str accept);

/* ---- the specification's full rules: `vane check metrics`, tests; not used when scraping ---- */
/* OpenMetrics 1.0 as the specification has it (families whole and once, suffixes and labels that fit the type,
 * counters not negative, timestamps ascending ...). ERR_INVALID/ERR_PARSE with "line N: ...". */
enum err expo_check_openmetrics(str body, struct err_text *reterr) MUST_CHECK;

/* ---- writer ----
 * Families one after the other: expo_out_family, then its samples; expo_out_end once (OpenMetrics: # EOF).
 * In OpenMetrics, a counter's family name loses "_total"; names that are not legacy are quoted. */
struct expo_out {
    struct buf *b;
    enum expo_format format;
};
void expo_out_family(struct expo_out *o, str name, const struct metric_meta *meta);
/* ts_ms NULL = none; ex NULL = none (written in OpenMetrics only). */
void expo_out_sample(struct expo_out *o, struct labels ls, double v, const int64_t *ts_ms, const struct exemplar *ex);
void expo_out_end(struct expo_out *o);

#endif
