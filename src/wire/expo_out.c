/* Writer of text exposition (manual: expo.h). */
#include <math.h>

#include "base/num.h"
#include "wire/expo.h"
#include "wire/expo_int.h"

/* quote: in label values and OpenMetrics help a '"' is escaped too. */
static void escaped(struct buf *b, str s, bool quote)
{
    size_t from = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c != '\\' && c != '\n' && !(c == '"' && quote))
            continue;
        buf_add(b, s.p + from, i - from);
        buf_u8(b, '\\');
        buf_u8(b, c == '\n' ? 'n' : (uint8_t)c);
        from = i + 1;
    }
    buf_add(b, s.p + from, s.n - from);
}

static void quoted(struct buf *b, str s)
{
    buf_u8(b, '"');
    escaped(b, s, true);
    buf_u8(b, '"');
}

static void family_name(struct buf *b, str name)
{
    if (labels_valid_metric_name(name))
        buf_str_add(b, name);
    else
        quoted(b, name);
}

static const char *type_text(enum expo_format f, enum metric_type t)
{
    if (f == EXPO_OPENMETRICS)
        return metric_type_name(t);
    switch (t) {
    case METRIC_COUNTER:
    case METRIC_GAUGE:
    case METRIC_HISTOGRAM:
    case METRIC_SUMMARY:
        return metric_type_name(t);
    case METRIC_INFO:
    case METRIC_STATESET:
        return "gauge";
    default:
        return "untyped";
    }
}

void expo_out_family(struct expo_out *o, str name, const struct metric_meta *meta)
{
    struct buf *b = o->b;
    bool om = o->format == EXPO_OPENMETRICS;
    if (om && meta->type == METRIC_COUNTER && str_has_suffix(name, STR("_total")))
        name.n -= 6;
    if (om && meta->type == METRIC_INFO && str_has_suffix(name, STR("_info")))
        name.n -= 5;
    if (meta->help.n) {
        buf_lit(b, "# HELP ");
        family_name(b, name);
        buf_u8(b, ' ');
        escaped(b, meta->help, om);
        buf_u8(b, '\n');
    }
    buf_lit(b, "# TYPE ");
    family_name(b, name);
    buf_u8(b, ' ');
    buf_str_add(b, str_c(type_text(o->format, meta->type)));
    buf_u8(b, '\n');
    if (om && meta->unit.n && str_has_suffix(name, meta->unit) && name.n > meta->unit.n &&
        name.p[name.n - meta->unit.n - 1] == '_') {
        buf_lit(b, "# UNIT ");
        family_name(b, name);
        buf_u8(b, ' ');
        escaped(b, meta->unit, true);
        buf_u8(b, '\n');
    }
}

static void pair(struct buf *b, str name, str value, bool *comma)
{
    if (*comma)
        buf_u8(b, ',');
    *comma = true;
    if (labels_valid_name(name))
        buf_str_add(b, name);
    else
        quoted(b, name);
    buf_u8(b, '=');
    quoted(b, value);
}

static void series(struct buf *b, struct labels ls)
{
    str name = labels_name(ls);
    bool legacy = labels_valid_metric_name(name), comma = false;
    size_t others = ls.n - (name.p != NULL);
    if (legacy)
        buf_str_add(b, name);
    if (legacy && others == 0)
        return;
    buf_u8(b, '{');
    if (!legacy && name.p) {
        quoted(b, name);
        comma = true;
    }
    labels_each (l, ls)
        if (!str_eq(l->name, LABEL_NAME))
            pair(b, l->name, l->value, &comma);
    buf_u8(b, '}');
}

/* Milliseconds as OpenMetrics seconds: "1520879607.789". */
static void seconds(struct buf *b, int64_t ms)
{
    uint64_t u = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;
    if (ms < 0)
        buf_u8(b, '-');
    buf_u64_dec(b, u / 1000);
    if (u % 1000)
        buf_printf(b, ".%03u", (unsigned)(u % 1000));
}

/* OpenMetrics wants floats to look like floats: "1.0", "1e+06", "NaN". */
static void number(struct buf *b, double v, bool om)
{
    size_t at = b->n;
    buf_f64_g(b, v);
    if (!om || b->failed || isnan(v) || isinf(v))
        return;
    for (size_t i = at; i < b->n; i++)
        if (b->p[i] == '.' || b->p[i] == 'e')
            return;
    buf_lit(b, ".0");
}

void expo_out_sample(struct expo_out *o, struct labels ls, double v, const int64_t *ts_ms, const struct exemplar *ex)
{
    struct buf *b = o->b;
    bool om = o->format == EXPO_OPENMETRICS;
    series(b, ls);
    buf_u8(b, ' ');
    number(b, v, om);
    if (ts_ms) {
        buf_u8(b, ' ');
        om ? seconds(b, *ts_ms) : buf_i64_dec(b, *ts_ms);
    }
    if (ex && om) {
        bool comma = false;
        buf_lit(b, " # {");
        labels_each (l, ex->labels)
            pair(b, l->name, l->value, &comma);
        buf_lit(b, "} ");
        number(b, ex->v, om);
        if (ex->ts_ms) {
            buf_u8(b, ' ');
            seconds(b, ex->ts_ms);
        }
    }
    buf_u8(b, '\n');
}

void expo_out_end(struct expo_out *o)
{
    if (o->format == EXPO_OPENMETRICS)
        buf_lit(o->b, "# EOF\n");
}
