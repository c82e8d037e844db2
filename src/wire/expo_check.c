/* OpenMetrics 1.0 as the specification has it (expo.h, expo_check_openmetrics). The pull parser checks the grammar, as
 * scrapes do; this file adds what a scrape lets pass:
 *   families   once each, whole, metadata before samples; names that a type's suffixes claim belong to it alone
 *   samples    suffixes, labels (le, quantile, a stateset's own) and values that fit the type; exemplars only on buckets
 *              and counters, at most 128 characters of labels
 *   groups     (labels without le/quantile) in one piece; timestamps all or none, never going back
 *   histograms buckets ascend and end in +Inf, counts agree, _sum and _count together
 * The verdicts are those of the specification's reference parser. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"
#include "base/num.h"
#include "wire/expo_int.h"

enum { EXEMPLAR_RUNES_MAX = 128 };

#define MAP_NAME     owners
#define MAP_KEY      str
#define MAP_VALUE    unsigned
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"

struct histogram_state { /* of one group and timestamp */
    bool open;
    bool has_count, has_sum, has_gsum, negative_gsum, negative_bucket, has_bucket;
    double count, bucket, value;
};

struct checker {
    struct expo x;
    struct arena a;
    struct owners names;  /* every name a family claims -> its number */
    struct owners groups; /* of this family -> 1 */
    unsigned family_no;
    bool in_family, has_help, has_type, has_unit, has_samples;
    str family, unit;
    enum metric_type type;
    str group; /* of the last sample, as text; p == NULL: none */
    bool group_has_ts;
    int64_t group_ts;
    struct histogram_state h;
    struct err_text *err;
};

PRINTF_LIKE(2, 3) static enum err bad(struct checker *c, const char *fmt, ...)
{
    va_list ap;
    char text[300];
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return err_fail_at(c->err, ERR_INVALID, (size_t)(c->x.entry_start - c->x.start), "line %u: %s", c->x.line, text);
}

/* ---- suffixes ---- */

static const char *const suffixes[][4] = {
    [METRIC_UNKNOWN] = { "" },
    [METRIC_COUNTER] = { "_total", "_created" },
    [METRIC_GAUGE] = { "" },
    [METRIC_HISTOGRAM] = { "_count", "_sum", "_bucket", "_created" },
    [METRIC_GAUGE_HISTOGRAM] = { "_gcount", "_gsum", "_bucket" },
    [METRIC_SUMMARY] = { "", "_count", "_sum", "_created" },
    [METRIC_INFO] = { "_info" },
    [METRIC_STATESET] = { "" },
};

/* The suffix of a sample's name if the current family may have it, or NULL. */
static const char *suffix_of(const struct checker *c, str name)
{
    if (!c->in_family || !str_has_prefix(name, c->family))
        return NULL;
    str rest = str_skip(name, c->family.n);
    for (size_t i = 0; i < 4 && suffixes[c->type][i]; i++)
        if (str_eq(rest, str_c(suffixes[c->type][i])))
            return suffixes[c->type][i];
    return NULL;
}

static enum err claim(struct checker *c, const char *suffix)
{
    bool fresh;
    str name = arena_printf(&c->a, STR_FMT "%s", STR_ARG(c->family), suffix);
    unsigned *owner = owners_put(&c->names, name, &fresh);
    if (!fresh && *owner != c->family_no)
        return bad(c, "the name " STR_FMT " clashes with an earlier family", STR_ARG(str_take(name, 100)));
    *owner = c->family_no;
    return OK;
}

/* ---- histograms ---- */

static enum err histogram_end(struct checker *c)
{
    struct histogram_state h = c->h;
    c->h = (struct histogram_state){ 0 };
    if (!h.open)
        return OK;
    if (!h.has_bucket || h.bucket != HUGE_VAL)
        return bad(c, "the histogram before this has no +Inf bucket");
    if (h.has_count && h.value != h.count)
        return bad(c, "the histogram's count does not match its +Inf bucket");
    if ((h.has_sum || h.has_gsum) && !h.has_count)
        return bad(c, "the histogram has a sum but no count");
    if (h.has_count && !h.has_sum && !h.has_gsum)
        return bad(c, "the histogram has a count but no sum");
    if (h.negative_bucket && h.has_sum)
        return bad(c, "a histogram with negative buckets cannot have _sum");
    if (!h.negative_bucket && h.negative_gsum)
        return bad(c, "_gsum is negative without negative buckets");
    return OK;
}

static enum err histogram_sample(struct checker *c, str suffix, struct labels ls)
{
    double v = c->x.value, le;
    c->h.open = true;
    if (str_eq(suffix, STR("_count")) || str_eq(suffix, STR("_gcount"))) {
        c->h.has_count = true;
        c->h.count = v;
    } else if (str_eq(suffix, STR("_sum"))) {
        c->h.has_sum = true;
    } else if (str_eq(suffix, STR("_gsum"))) {
        c->h.has_gsum = true;
        c->h.negative_gsum = v < 0;
    }
    if (!str_eq(suffix, STR("_bucket")))
        return OK;
    if (!num_parse_f64(labels_get(ls, LABEL_BUCKET), &le))
        return bad(c, "invalid le label");
    if (c->h.has_bucket && le <= c->h.bucket)
        return bad(c, "buckets out of order");
    if (c->h.has_bucket && v < c->h.value)
        return bad(c, "bucket values go down");
    c->h.has_bucket = true;
    c->h.negative_bucket |= le < 0;
    c->h.bucket = le;
    c->h.value = v;
    return OK;
}

/* ---- families ---- */

static enum err family_end(struct checker *c)
{
    if (!c->in_family)
        return OK;
    for (size_t i = 0; i < 4 && suffixes[c->type][i]; i++)
        TRY(claim(c, suffixes[c->type][i]));
    TRY(claim(c, ""));
    if (c->unit.n && (c->type == METRIC_INFO || c->type == METRIC_STATESET))
        return bad(c, "family " STR_FMT ": this type cannot have a unit", STR_ARG(str_take(c->family, 100)));
    return histogram_end(c);
}

static enum err family_begin(struct checker *c, str name)
{
    TRY(family_end(c));
    c->family_no++;
    c->in_family = true;
    c->family = name;
    c->type = METRIC_UNKNOWN;
    c->unit = STR_NONE;
    c->has_help = c->has_type = c->has_unit = c->has_samples = false;
    c->group = STR_NONE;
    owners_clear(&c->groups);
    if (owners_get(&c->names, name))
        return bad(c, "the name " STR_FMT " clashes with an earlier family", STR_ARG(str_take(name, 100)));
    return OK;
}

static enum err metadata(struct checker *c)
{
    struct expo *x = &c->x;
    if (!c->in_family || !str_eq(x->name, c->family))
        TRY(family_begin(c, x->name));
    if (c->has_samples)
        return bad(c, "metadata after samples of its family");
    bool *has = x->entry == EXPO_HELP ? &c->has_help : x->entry == EXPO_TYPE ? &c->has_type : &c->has_unit;
    if (*has)
        return bad(c, "the same kind of metadata twice");
    *has = true;
    if (x->entry == EXPO_TYPE)
        c->type = x->type;
    if (x->entry == EXPO_UNIT)
        c->unit = x->text;
    return OK;
}

/* ---- samples ---- */

/* The labels that make a group, as text in the arena. */
static str group_of(struct checker *c, struct labels ls, str suffix)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    bool bucket = str_eq(suffix, STR("_bucket")), quantile = c->type == METRIC_SUMMARY && !suffix.n;
    if (c->type == METRIC_INFO)
        return STR("");
    labels_each (l, ls) {
        bool own = str_eq(l->name, LABEL_NAME) || (bucket && str_eq(l->name, LABEL_BUCKET)) ||
                   (quantile && str_eq(l->name, LABEL_QUANTILE)) ||
                   (c->type == METRIC_STATESET && str_eq(l->name, c->family));
        if (own)
            continue;
        buf_lstr(&b, l->name);
        buf_lstr(&b, l->value);
    }
    return arena_str(&c->a, buf_str(&b));
}

static enum err group_check(struct checker *c, struct labels ls, str suffix)
{
    struct expo *x = &c->x;
    str g = group_of(c, ls, suffix);
    bool same = c->group.p && str_eq(g, c->group), fresh;
    bool hist = c->type == METRIC_HISTOGRAM || c->type == METRIC_GAUGE_HISTOGRAM;
    if (same && x->has_ts != c->group_has_ts)
        return bad(c, "some samples of the group have timestamps and some have none");
    if (same && x->has_ts && x->ts_ms < c->group_ts && c->type != METRIC_INFO)
        return bad(c, "timestamps go back within a group");
    if (hist && (!same || (x->has_ts && x->ts_ms != c->group_ts)))
        TRY(histogram_end(c));
    owners_put(&c->groups, g, &fresh);
    if (!same && !fresh)
        return bad(c, "the samples of a group are not together");
    c->group = g;
    c->group_has_ts = x->has_ts;
    c->group_ts = x->ts_ms;
    return hist ? histogram_sample(c, suffix, ls) : OK;
}

static bool one_of(str s, const char *list) /* "_total _sum " */
{
    char word[16];
    if (!s.n || s.n > 12)
        return false;
    memcpy(word, s.p, s.n);
    word[s.n] = ' ';
    return str_contains(str_c(list), (str){ word, s.n + 1 });
}

static enum err labels_fit(struct checker *c, struct labels ls, str suffix)
{
    double v;
    str le = labels_get(ls, LABEL_BUCKET), q = labels_get(ls, LABEL_QUANTILE);
    if (c->type == METRIC_STATESET && !labels_has(ls, c->family))
        return bad(c, "a stateset's sample lacks the label " STR_FMT, STR_ARG(str_take(c->family, 100)));
    if (str_eq(suffix, STR("_bucket")) &&
        (!num_parse_f64(le, &v) || isnan(v) || (v == HUGE_VAL && !str_eq(le, STR("+Inf")))))
        return bad(c, "invalid le label");
    if (c->type == METRIC_SUMMARY && !suffix.n && (!num_parse_f64(q, &v) || !(v >= 0 && v <= 1)))
        return bad(c, "invalid quantile label");
    return OK;
}

static enum err value_fits(struct checker *c, str suffix)
{
    double v = c->x.value;
    if (one_of(suffix, "_bucket _count _gcount ") && isfinite(v) && v != floor(v))
        return bad(c, "buckets and counts must be whole numbers");
    if (c->type == METRIC_STATESET && v != 0 && v != 1)
        return bad(c, "a stateset's value must be 0 or 1");
    if (c->type == METRIC_INFO && v != 1)
        return bad(c, "an info's value must be 1");
    if (c->type == METRIC_SUMMARY && !suffix.n && v < 0)
        return bad(c, "a quantile's value cannot be negative");
    if (one_of(suffix, "_total _sum _count _bucket _gcount _gsum ") && isnan(v))
        return bad(c, "a counter's value cannot be NaN");
    if (one_of(suffix, "_total _sum _count _bucket _gcount ") && v < 0)
        return bad(c, "a counter's value cannot be negative");
    return OK;
}

static size_t runes(str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((uint8_t)s.p[i] & 0xc0) != 0x80;
    return n;
}

static enum err exemplar_fits(struct checker *c, str suffix)
{
    bool hist = c->type == METRIC_HISTOGRAM || c->type == METRIC_GAUGE_HISTOGRAM;
    struct exemplar ex;
    bool has_ts;
    size_t n = 0;
    if (!(hist && str_eq(suffix, STR("_bucket"))) && !(c->type == METRIC_COUNTER && str_eq(suffix, STR("_total"))))
        return bad(c, "only buckets and counters can have exemplars");
    if (expo_exemplar(&c->x, &c->a, &ex, &has_ts, NULL) != OK)
        return bad(c, "invalid exemplar labels");
    labels_each (l, ex.labels)
        n += runes(l->name) + runes(l->value);
    return n > EXEMPLAR_RUNES_MAX ? bad(c, "the exemplar's labels have %zu characters, at most 128 are allowed", n)
                                  : OK;
}

/* A comma before a '}' that is not in quotes. */
static bool trailing_comma(str s)
{
    bool quoted = false;
    for (size_t i = 0; i < s.n; i++) {
        if (quoted && s.p[i] == '\\')
            i++;
        else if (s.p[i] == '"')
            quoted = !quoted;
        else if (!quoted && s.p[i] == ',' && i + 1 < s.n && s.p[i + 1] == '}')
            return true;
    }
    return false;
}

static enum err sample(struct checker *c)
{
    struct expo *x = &c->x;
    struct labels ls;
    struct err_text why;
    x->type = METRIC_UNKNOWN; /* le and quantile as they stand */
    if (expo_labels(x, &c->a, &ls, &why) != OK)
        return bad(c, "%s", why.msg);
    str name = labels_name(ls);
    if (trailing_comma(x->series) || (x->has_exemplar && trailing_comma(x->exemplar)))
        return bad(c, "a comma before '}'");
    const char *suffix = suffix_of(c, name);
    if (!suffix) {
        TRY(family_begin(c, name));
        suffix = "";
    }
    str s = str_c(suffix);
    c->has_samples = true;
    TRY(labels_fit(c, ls, s));
    TRY(value_fits(c, s));
    TRY(group_check(c, ls, s));
    return x->has_exemplar ? exemplar_fits(c, s) : OK;
}

static enum err check(struct checker *c)
{
    struct expo *x = &c->x;
    while (expo_next(x) > EXPO_ERROR)
        TRY(x->entry == EXPO_SAMPLE ? sample(c) : metadata(c));
    if (x->entry == EXPO_ERROR)
        return err_fail_at(c->err, ERR_PARSE, x->error.pos, "%s", x->error.msg);
    return family_end(c);
}

enum err expo_check_openmetrics(str body, struct err_text *reterr)
{
    struct checker c = { .err = reterr };
    expo_init(&c.x, EXPO_OPENMETRICS, body);
    c.x.skip_created = false;
    arena_init(&c.a, 0);
    enum err e = check(&c);
    owners_free(&c.names);
    owners_free(&c.groups);
    arena_deinit(&c.a);
    return e;
}
