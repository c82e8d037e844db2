/* What is unusual about an exposition, as promtool's `check metrics` tells it: names, units, suffixes, labels, help.
 * Spec: prometheus.io/docs/practices/naming, prometheus.io/docs/instrumenting/writing_exporters. */
#include <stdlib.h>
#include <string.h>

#include "base/vec.h"
#include "cli/cli_promtool.h"
#include "wire/expo.h"

struct family {
    str name;
    bool help, typed;
    enum metric_type type; /* UNKNOWN: untyped */
    size_t n_series;       /* sample lines */
};
#define MAP_NAME     family_map
#define MAP_KEY      str
#define MAP_VALUE    struct family *
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/hash.h"
#include "base/map.h"

struct lint {
    struct arena a;
    struct family_map families;
    VEC(struct family *) order;
    VEC(str) problems; /* "metric text" */
};

static struct family *family(struct lint *l, str name)
{
    bool is_new;
    struct family **slot = family_map_put(&l->families, name, &is_new);
    if (is_new) {
        *slot = arena_new(&l->a, struct family);
        **slot = (struct family){ .name = name };
        avec_push(&l->a, &l->order, *slot);
    }
    return *slot;
}

static str without(str name, str suffix)
{
    return str_has_suffix(name, suffix) ? str_take(name, name.n - suffix.n) : STR_NONE;
}

/* a_bucket, a_count and a_sum are of a, if that is a histogram or summary. */
static struct family *family_of_sample(struct lint *l, str name)
{
    static const str suffixes[] = { STR_INIT("_bucket"), STR_INIT("_count"), STR_INIT("_sum") };
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        str base = without(name, suffixes[i]);
        struct family **f = base.n ? family_map_get(&l->families, base) : NULL;
        if (f && ((*f)->type == METRIC_HISTOGRAM || ((*f)->type == METRIC_SUMMARY && i > 0)))
            return *f;
    }
    return family(l, name);
}

static void problem(struct lint *l, const struct family *f, const char *fmt, const char *x, const char *y)
{
    /* Every text has room for two words at most. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    str text = arena_printf(&l->a, fmt, x, y);
#pragma GCC diagnostic pop
    avec_push(&l->a, &l->problems, arena_printf(&l->a, STR_FMT " %s", STR_ARG(f->name), text.p));
}

static bool is_camel(str s)
{
    for (size_t i = 1; i < s.n; i++)
        if (s.p[i - 1] >= 'a' && s.p[i - 1] <= 'z' && s.p[i] >= 'A' && s.p[i] <= 'Z')
            return true;
    return false;
}

static bool is_bucketed(const struct family *f)
{
    return f->type == METRIC_HISTOGRAM || f->type == METRIC_GAUGE_HISTOGRAM;
}

/* A histogram or summary is one series with its buckets: looked at once, where it is counted. */
static void labels_of(struct lint *l, const struct family *f, const struct expo *x, str name)
{
    struct labels ls;
    bool whole = is_bucketed(f) || f->type == METRIC_SUMMARY;
    if ((whole && !str_has_suffix(name, STR("_count"))) || expo_labels(x, &l->a, &ls, NULL) != OK)
        return;
    labels_each (label, ls) {
        if (str_eq(label->name, LABEL_NAME))
            continue;
        if (f->typed && f->type != METRIC_UNKNOWN && !is_bucketed(f) && str_eq(label->name, STR("le")))
            problem(l, f, "non-histogram metrics should not have \"le\" label", "", "");
        if (f->typed && f->type != METRIC_UNKNOWN && f->type != METRIC_SUMMARY && str_eq(label->name, STR("quantile")))
            problem(l, f, "non-summary metrics should not have \"quantile\" label", "", "");
        if (is_camel(label->name))
            problem(l, f, "label names should be written in 'snake_case' not 'camelCase'", "", "");
    }
}

/* ---- names ---- */
static bool has_word(str name, str word)
{
    str rest = name, part;
    bool first = true;
    while (str_cut(&rest, '_', &part)) {
        if (!first && str_eq(part, word))
            return true;
        first = false;
    }
    return false;
}

/* "_gauge_histogram_" and the like: several words. */
static bool has_words(str name, str words)
{
    for (size_t at = 0; at + words.n < name.n; at++) {
        str here = str_skip(name, at);
        if (here.p[0] == '_' && str_has_prefix(str_skip(here, 1), words) &&
            (here.n == words.n + 1 || here.p[words.n + 1] == '_'))
            return true;
    }
    return false;
}

static const struct {
    const char *unit, *base;
} units[] = { { "amperes", "amperes" },    { "bytes", "bytes" },     { "celsius", "celsius" }, { "grams", "grams" },
              { "joules", "joules" },      { "kelvin", "kelvin" },   { "meters", "meters" },   { "metres", "metres" },
              { "moles", "moles" },        { "seconds", "seconds" }, { "volts", "volts" },     { "minutes", "seconds" },
              { "hours", "seconds" },      { "days", "seconds" },    { "weeks", "seconds" },   { "kelvins", "kelvin" },
              { "fahrenheit", "celsius" }, { "rankine", "celsius" }, { "inches", "meters" },   { "yards", "meters" },
              { "miles", "meters" },       { "bits", "bytes" },      { "calories", "joules" }, { "pounds", "grams" },
              { "ounces", "grams" } };
static const char *const prefixes[] = { "",     "pico",  "nano", "micro", "milli", "centi", "deci",
                                        "deca", "hecto", "kilo", "kibi",  "mega",  "mibi",  "giga",
                                        "gibi", "tera",  "tebi", "peta",  "pebi" };

static void unit_of(struct lint *l, const struct family *f)
{
    str rest = f->name, part;
    while (str_cut(&rest, '_', &part))
        for (size_t u = 0; u < ARRAY_LEN(units); u++)
            for (size_t p = 0; p < ARRAY_LEN(prefixes); p++) {
                str word = arena_printf(&l->a, "%s%s", prefixes[p], units[u].unit);
                if (!str_eq(part, word))
                    continue;
                if (!str_eq(word, str_c(units[u].base)))
                    problem(l, f, "use base unit \"%s\" instead of \"%s\"", units[u].base, word.p);
                return;
            }
}

static void suffixes_of(struct lint *l, const struct family *f)
{
    bool total = str_has_suffix(f->name, STR("_total")), untyped = !f->typed || f->type == METRIC_UNKNOWN;
    if (f->type == METRIC_COUNTER && !total)
        problem(l, f, "counter metrics should have \"_total\" suffix", "", "");
    if (untyped)
        return;
    if (f->type != METRIC_COUNTER && total)
        problem(l, f, "non-counter metrics should not have \"_total\" suffix", "", "");
    if (!is_bucketed(f) && str_has_suffix(f->name, STR("_bucket")))
        problem(l, f, "non-histogram metrics should not have \"_bucket\" suffix", "", "");
    if (is_bucketed(f) || f->type == METRIC_SUMMARY)
        return;
    if (str_has_suffix(f->name, STR("_count")))
        problem(l, f, "non-histogram and non-summary metrics should not have \"_count\" suffix", "", "");
    if (str_has_suffix(f->name, STR("_sum")))
        problem(l, f, "non-histogram and non-summary metrics should not have \"_sum\" suffix", "", "");
}

static void name_of(struct lint *l, const struct family *f)
{
    static const char *const types[] = { "counter", "gauge", "summary", "histogram", "gauge_histogram" };
    static const char *const short_units[] = { "s",  "ms", "us", "ns", "sec", "b", "kb",
                                               "mb", "gb", "tb", "pb", "m",   "h", "d" };
    char *lower = arena_cstr(&l->a, f->name);
    for (char *p = lower; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    if (!f->help)
        problem(l, f, "no help text", "", "");
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (has_words(str_c(lower), str_c(types[i])))
            problem(l, f, "metric name should not include type '%s'", types[i], "");
    if (memchr(f->name.p, ':', f->name.n))
        problem(l, f, "metric names should not contain ':'", "", "");
    if (is_camel(f->name))
        problem(l, f, "metric names should be written in 'snake_case' not 'camelCase'", "", "");
    for (size_t i = 0; i < ARRAY_LEN(short_units); i++)
        if (has_word(str_c(lower), str_c(short_units[i]))) {
            problem(l, f, "metric names should not contain abbreviated units", "", "");
            break;
        }
}

/* ---- all of it ---- */
static enum err read_all(struct lint *l, str text, struct err_text *reterr)
{
    struct expo x;
    arena_init(&l->a, 0);
    expo_init(&x, EXPO_TEXT, text);
    for (enum expo_entry e; (e = expo_next(&x)) > EXPO_ERROR;) {
        if (e == EXPO_HELP) {
            family(l, arena_str(&l->a, x.name))->help = true;
        } else if (e == EXPO_TYPE) {
            struct family *f = family(l, arena_str(&l->a, x.name));
            f->typed = true;
            f->type = x.type;
        } else if (e == EXPO_SAMPLE) {
            str name = arena_str(&l->a, expo_metric_name(&x, &l->a));
            struct family *f = family_of_sample(l, name);
            f->n_series++;
            labels_of(l, f, &x, name);
        }
    }
    if (x.entry == EXPO_END)
        return OK;
    *reterr = x.error;
    return ERR_PARSE;
}

static void release(struct lint *l)
{
    family_map_free(&l->families);
    arena_deinit(&l->a);
}

static int cmp_text(const void *a, const void *b)
{
    return str_cmp(*(const str *)a, *(const str *)b);
}

enum err cli_promlint(str text, struct buf *out, size_t *ret_n, struct err_text *reterr)
{
    struct lint l = { 0 };
    enum err e = read_all(&l, text, reterr);
    for (size_t i = 0; !e && i < l.order.n; i++) {
        const struct family *f = l.order.p[i];
        if (!f->n_series)
            continue; /* announced, but never there */
        name_of(&l, f);
        unit_of(&l, f);
        suffixes_of(&l, f);
    }
    if (l.problems.n)
        qsort(l.problems.p, l.problems.n, sizeof(str), cmp_text);
    for (size_t i = 0; !e && i < l.problems.n; i++)
        buf_printf(out, STR_FMT "\n", STR_ARG(l.problems.p[i]));
    *ret_n = l.problems.n;
    release(&l);
    return e;
}

static int by_series(const void *a, const void *b)
{
    const struct family *x = *(struct family *const *)a, *y = *(struct family *const *)b;
    return x->n_series != y->n_series ? (x->n_series < y->n_series) - (x->n_series > y->n_series)
                                      : str_cmp(x->name, y->name);
}

enum err cli_promlint_cardinality(str text, struct buf *out, struct err_text *reterr)
{
    struct lint l = { 0 };
    size_t total = 0, width = sizeof("Metric") - 1;
    enum err e = read_all(&l, text, reterr);
    for (size_t i = 0; i < l.order.n; i++) {
        total += l.order.p[i]->n_series;
        width = MAX(width, l.order.p[i]->n_series ? l.order.p[i]->name.n : 0);
    }
    if (l.order.n)
        qsort(l.order.p, l.order.n, sizeof(struct family *), by_series);
    if (!e)
        buf_printf(out, "%-*s    Cardinality    Percentage\n", (int)width, "Metric");
    for (size_t i = 0; !e && i < l.order.n && l.order.p[i]->n_series; i++)
        buf_printf(out, "%-*.*s    %-11zu    %.2f%%\n", (int)width, STR_ARG(l.order.p[i]->name), l.order.p[i]->n_series,
                   100.0 * (double)l.order.p[i]->n_series / (double)total);
    release(&l);
    return e;
}
