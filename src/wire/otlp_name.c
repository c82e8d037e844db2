/* Names: OTLP metric, unit and attribute names -> Prometheus (manual: otlp.h; rules: prometheus/otlptranslator and the
 * OpenTelemetry specification "Prometheus and OpenMetrics Compatibility").
 *
 * Escaping works on code points: each one that a legacy name cannot hold is one '_'. */
#include "base/check.h"
#include "wire/otlp.h"

static inline bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}
static inline bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}
/* A byte that continues a code point: its first byte stood for it already. */
static inline bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* ---- units ---- */

static const struct {
    str unit, name;
} units[] = {
    { STR_INIT("d"), STR_INIT("days") },
    { STR_INIT("h"), STR_INIT("hours") },
    { STR_INIT("min"), STR_INIT("minutes") },
    { STR_INIT("s"), STR_INIT("seconds") },
    { STR_INIT("ms"), STR_INIT("milliseconds") },
    { STR_INIT("us"), STR_INIT("microseconds") },
    { STR_INIT("ns"), STR_INIT("nanoseconds") },
    { STR_INIT("By"), STR_INIT("bytes") },
    { STR_INIT("KiBy"), STR_INIT("kibibytes") },
    { STR_INIT("MiBy"), STR_INIT("mebibytes") },
    { STR_INIT("GiBy"), STR_INIT("gibibytes") },
    { STR_INIT("TiBy"), STR_INIT("tibibytes") },
    { STR_INIT("KBy"), STR_INIT("kilobytes") },
    { STR_INIT("MBy"), STR_INIT("megabytes") },
    { STR_INIT("GBy"), STR_INIT("gigabytes") },
    { STR_INIT("TBy"), STR_INIT("terabytes") },
    { STR_INIT("m"), STR_INIT("meters") },
    { STR_INIT("V"), STR_INIT("volts") },
    { STR_INIT("A"), STR_INIT("amperes") },
    { STR_INIT("J"), STR_INIT("joules") },
    { STR_INIT("W"), STR_INIT("watts") },
    { STR_INIT("g"), STR_INIT("grams") },
    { STR_INIT("Cel"), STR_INIT("celsius") },
    { STR_INIT("Hz"), STR_INIT("hertz") },
    { STR_INIT("1"), STR_INIT("") },
    { STR_INIT("%"), STR_INIT("percent") },
};
static const struct {
    str unit, name;
} per_units[] = {
    { STR_INIT("s"), STR_INIT("second") }, { STR_INIT("m"), STR_INIT("minute") }, { STR_INIT("h"), STR_INIT("hour") },
    { STR_INIT("d"), STR_INIT("day") },    { STR_INIT("w"), STR_INIT("week") },   { STR_INIT("mo"), STR_INIT("month") },
    { STR_INIT("y"), STR_INIT("year") },
};

static bool has_braces(str s)
{
    return str_find_char(s, '{') != SIZE_MAX || str_find_char(s, '}') != SIZE_MAX;
}

/* "By/s" -> "bytes", "per_second"; annotations in braces say nothing. */
static void unit_words(struct arena *a, str unit, str *ret_main, str *ret_per)
{
    size_t slash = str_find_char(unit, '/');
    str main_unit = str_trim(str_take(unit, slash)), per = STR_NONE;
    if (slash != SIZE_MAX)
        per = str_trim(str_skip(unit, slash + 1));
    if (has_braces(main_unit))
        main_unit = STR_NONE;
    if (has_braces(per))
        per = STR_NONE;
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (str_eq(main_unit, units[i].unit)) {
            main_unit = units[i].name;
            break;
        }
    for (size_t i = 0; i < ARRAY_LEN(per_units); i++)
        if (str_eq(per, per_units[i].unit)) {
            per = per_units[i].name;
            break;
        }
    *ret_main = main_unit;
    *ret_per = per.n ? arena_printf(a, "per_" STR_FMT, STR_ARG(per)) : STR_NONE;
}

/* Everything that is not [a-zA-Z0-9:] becomes '_', runs of it one, none at the start. */
static str unit_clean(struct arena *a, str s)
{
    char *out = arena_alloc_align(a, s.n + 1, 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        bool ok = is_alnum(s.p[i]) || s.p[i] == ':';
        if (ok)
            out[n++] = s.p[i];
        else if (n && out[n - 1] != '_')
            out[n++] = '_';
    }
    return (str){ out, n };
}

str otlp_unit_name(struct arena *a, str unit, bool utf8_allowed)
{
    str main_unit, per;
    unit_words(a, unit, &main_unit, &per);
    if (!utf8_allowed) {
        main_unit = unit_clean(a, main_unit);
        per = unit_clean(a, per);
    }
    str u = main_unit.n && per.n ? arena_printf(a, STR_FMT "_" STR_FMT, STR_ARG(main_unit), STR_ARG(per))
            : main_unit.n        ? main_unit
                                 : per;
    if (u.n && u.p[0] == '_')
        u = str_skip(u, 1);
    if (u.n && u.p[u.n - 1] == '_')
        u.n--;
    return u;
}

/* ---- metric names, escaped ---- */

struct words {
    str *p;
    size_t n, cap;
};

static bool words_have(const struct words *w, str word)
{
    for (size_t i = 0; i < w->n; i++)
        if (str_eq(w->p[i], word))
            return true;
    return false;
}
static void words_remove(struct words *w, str word)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++)
        if (!str_eq(w->p[i], word))
            w->p[n++] = w->p[i];
    w->n = n;
}
/* Split at everything that is not [a-zA-Z0-9:] (keep_underscore: nor '_'). */
static void words_split(struct arena *a, struct words *w, str s, bool keep_underscore)
{
    size_t from = 0;
    for (size_t i = 0; i <= s.n; i++) {
        if (i < s.n && (is_alnum(s.p[i]) || s.p[i] == ':' || (keep_underscore && s.p[i] == '_')))
            continue;
        if (i > from)
            avec_push(a, w, ((str){ s.p + from, i - from }));
        from = i + 1;
    }
}
static str words_join(struct arena *a, const struct words *w)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++)
        n += w->p[i].n + 1;
    char *out = arena_alloc_align(a, n + 2, 1), *q = out;
    if (w->n && is_digit(w->p[0].p[0]))
        *q++ = '_';
    for (size_t i = 0; i < w->n; i++) {
        if (i)
            *q++ = '_';
        memcpy(q, w->p[i].p, w->p[i].n);
        q += w->p[i].n;
    }
    return (str){ out, (size_t)(q - out) };
}

static str trim_last_underscore(str s)
{
    return s.n && s.p[s.n - 1] == '_' ? str_take(s, s.n - 1) : s;
}

static void add_unit_words(struct arena *a, struct words *w, str unit)
{
    str main_unit, per;
    unit_words(a, unit, &main_unit, &per);
    main_unit = unit_clean(a, main_unit);
    per = unit_clean(a, per);
    if (words_have(w, main_unit))
        main_unit = STR_NONE;
    per = str_eq(per, STR("per_")) ? STR_NONE : trim_last_underscore(per);
    if (words_have(w, per))
        per = STR_NONE;
    if (per.n)
        main_unit = trim_last_underscore(main_unit);
    if (main_unit.n)
        avec_push(a, w, main_unit);
    if (per.n)
        avec_push(a, w, per);
}

static str escaped_name(struct arena *a, str name, str unit, enum otlp_metric_kind kind,
                        const struct otlp_name_options *opt)
{
    struct words ns = { 0 }, w = { 0 };
    words_split(a, &ns, opt->name_space, true);
    if (opt->name_space.n)
        avec_push(a, &w, words_join(a, &ns));
    size_t first = w.n;
    words_split(a, &w, name, !opt->with_suffixes);
    if (opt->with_suffixes) {
        struct words own = { first ? w.p + first : w.p, w.n - first, 0 };
        own.cap = own.n; /* grows into its own copy: the namespace is no word of the name */
        add_unit_words(a, &own, unit);
        if (kind == OTLP_KIND_SUM_MONOTONIC) {
            words_remove(&own, STR("total"));
            avec_push(a, &own, STR("total"));
        }
        if (kind == OTLP_KIND_GAUGE && str_eq(unit, STR("1"))) {
            words_remove(&own, STR("ratio"));
            avec_push(a, &own, STR("ratio"));
        }
        w.n = first;
        for (size_t i = 0; i < own.n; i++)
            avec_push(a, &w, own.p[i]);
    }
    return words_join(a, &w);
}

/* ---- metric names, UTF-8 ---- */

/* name without "_suffix" (any one byte before the suffix), unless nothing would remain. */
static str trim_suffix(str name, str suffix)
{
    return str_has_suffix(name, suffix) && name.n > suffix.n + 1 ? str_take(name, name.n - suffix.n - 1) : name;
}

static str utf8_name(struct arena *a, str name, str unit, enum otlp_metric_kind kind,
                     const struct otlp_name_options *opt)
{
    if (opt->name_space.n)
        name = arena_printf(a, STR_FMT "_" STR_FMT, STR_ARG(opt->name_space), STR_ARG(name));
    if (!opt->with_suffixes)
        return name;
    bool ratio = kind == OTLP_KIND_GAUGE && str_eq(unit, STR("1")), total = kind == OTLP_KIND_SUM_MONOTONIC;
    str main_unit, per;
    unit_words(a, unit, &main_unit, &per);
    if (ratio)
        name = trim_suffix(name, STR("ratio"));
    if (total)
        name = trim_suffix(name, STR("total"));
    if (per.n)
        name = trim_suffix(name, per);
    if (main_unit.n && !str_has_suffix(name, main_unit))
        name = arena_printf(a, STR_FMT "_" STR_FMT, STR_ARG(name), STR_ARG(main_unit));
    if (!per.n && !total && !ratio)
        return name;
    return arena_printf(a, STR_FMT "%s" STR_FMT "%s%s", STR_ARG(name), per.n ? "_" : "", STR_ARG(per),
                        total ? "_total" : "", ratio ? "_ratio" : "");
}

static bool only_underscores(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '_')
            return false;
    return true;
}

enum err otlp_metric_name(struct arena *a, str name, str unit, enum otlp_metric_kind kind,
                          const struct otlp_name_options *opt, str *ret, struct err_text *reterr)
{
    str s = opt->utf8_allowed ? utf8_name(a, name, unit, kind, opt) : escaped_name(a, name, unit, kind, opt);
    if (!s.n || (!opt->utf8_allowed && !str_eq(s, name) && only_underscores(s)))
        return err_fail(reterr, ERR_INVALID, "the metric name \"" STR_FMT "\" leaves nothing that can be a name",
                        STR_ARG(str_take(name, 100)));
    *ret = s;
    return OK;
}

/* ---- label names ---- */

/* Code points outside [a-zA-Z0-9_] as '_'; merge: runs of '_' become one, but a name __like_this__ keeps its ends. */
static str label_escape(struct arena *a, str s, bool merge)
{
    bool reserved = merge && s.n > 4 && str_has_prefix(s, STR("__")) && str_has_suffix(s, STR("__"));
    char *out = arena_alloc_align(a, s.n + 1, 1);
    size_t n = 0;
    str mid = reserved ? (str){ s.p + 2, s.n - 4 } : s;
    if (reserved) {
        memcpy(out, "__", 2);
        n = 2;
    }
    bool after = false; /* an underscore was just written in the middle part */
    for (size_t i = 0; i < mid.n; i++) {
        if (is_alnum(mid.p[i])) {
            out[n++] = mid.p[i];
            after = false;
        } else if (!is_continuation(mid.p[i]) && !(merge && after)) {
            out[n++] = '_';
            after = true;
        }
    }
    if (reserved) {
        memcpy(out + n, "__", 2);
        n += 2;
    }
    return (str){ out, n };
}

enum err otlp_label_name(struct arena *a, str name, const struct otlp_label_options *opt, str *ret,
                         struct err_text *reterr)
{
    str s = name;
    if (!opt->utf8_allowed && name.n) {
        s = label_escape(a, name, !opt->preserve_multiple_underscores);
        bool one = s.n && s.p[0] == '_' && !(s.n > 1 && s.p[1] == '_');
        const char *prefix = s.n && is_digit(s.p[0]) ? "key_" : opt->underscore_prefix && one ? "key" : "";
        if (*prefix) {
            size_t k = strlen(prefix);
            char *p = arena_alloc_align(a, s.n + k, 1);
            memcpy(p, prefix, k);
            memcpy(p + k, s.p, s.n);
            s = (str){ p, s.n + k };
        }
    }
    if (!s.n || (!opt->utf8_allowed && !str_eq(s, name) && only_underscores(s)))
        return err_fail(reterr, ERR_INVALID,
                        "the attribute name \"" STR_FMT "\" leaves nothing that can be a label name",
                        STR_ARG(str_take(name, 100)));
    *ret = s;
    return OK;
}
