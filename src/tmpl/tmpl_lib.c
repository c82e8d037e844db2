/* What Prometheus' and Alertmanager's functions have in common: numbers for people, strings, regular expressions. */
#include <ctype.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <wctype.h>

#include "base/num.h"
#include "base/rx.h"
#include "tmpl/tmpl_lib_int.h"

const struct tmpl_type tmpl_type_strings = { .name = "[]string", .elem_str = true };
const struct tmpl_type tmpl_type_string_map = { .name = "map[string]string", .elem_str = true };
static const struct tmpl_type html_type = { .name = "template.HTML", .safe = TMPL_SAFE_HTML };
static const struct tmpl_type url_type = { .name = "template.URL", .safe = TMPL_SAFE_URL };

struct tmpl_val tmpl_strings(struct arena *a, const str *p, size_t n)
{
    struct tmpl_val v = tmpl_list(a, &tmpl_type_strings, n);
    for (size_t i = 0; i < n; i++)
        v.list.p[i] = tmpl_str(p[i]);
    return v;
}

struct tmpl_val lib_take(struct tmpl_call *c, struct buf *b)
{
    struct tmpl_val v = tmpl_str(arena_str(c->a, buf_str(b)));
    buf_deinit(b);
    return v;
}

/* ---- numbers ---- */
enum err lib_float(struct tmpl_call *c, const struct tmpl_val *v, double *ret)
{
    switch (v->kind) {
    case TMPL_FLOAT:
        *ret = v->f;
        return OK;
    case TMPL_INT:
        *ret = v->type ? (double)v->i / 1e9 : (double)v->i; /* a typed one is a time.Duration */
        return OK;
    case TMPL_UINT:
        *ret = (double)v->u;
        return OK;
    case TMPL_STR:
        if (num_parse_f64(v->s, ret))
            return OK;
        return err_fail(c->why, ERR_EXEC, "strconv.ParseFloat: parsing \"" STR_FMT "\": invalid syntax", STR_ARG(v->s));
    default:
        return err_fail(c->why, ERR_EXEC, "can't convert %s to float", tmpl_type_name(v));
    }
}

static struct tmpl_val four_digits(struct tmpl_call *c, double v, const char *suffix)
{
    struct buf b;
    struct tmpl_val arg = tmpl_float(v);
    buf_init(&b, 0);
    tmpl_printf(&b, STR("%.4g"), &arg, 1);
    buf_str_add(&b, str_c(suffix));
    return lib_take(c, &b);
}

static bool odd(double v)
{
    return isnan(v) || isinf(v);
}

enum err lib_humanize(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    static const char *const big[] = { "k", "M", "G", "T", "P", "E", "Z", "Y" };
    static const char *const small[] = { "m", "u", "n", "p", "f", "a", "z", "y" };
    const char *prefix = "";
    double v;
    (void)n;
    TRY(lib_float(c, args, &v));
    if (v != 0 && !odd(v) && fabs(v) >= 1)
        for (size_t i = 0; i < ARRAY_LEN(big) && fabs(v) >= 1000; i++, v /= 1000)
            prefix = big[i];
    else if (v != 0 && !odd(v))
        for (size_t i = 0; i < ARRAY_LEN(small) && fabs(v) < 1; i++, v *= 1000)
            prefix = small[i];
    *ret = four_digits(c, v, prefix);
    return OK;
}

enum err lib_humanize1024(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    static const char *const big[] = { "ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi" };
    const char *prefix = "";
    double v;
    (void)n;
    TRY(lib_float(c, args, &v));
    if (fabs(v) > 1 && !odd(v))
        for (size_t i = 0; i < ARRAY_LEN(big) && fabs(v) >= 1024; i++, v /= 1024)
            prefix = big[i];
    *ret = four_digits(c, v, prefix);
    return OK;
}

static int64_t truncated(double v) /* as amd64 converts: out of range is the smallest integer */
{
    return v >= -9223372036854775808.0 && v < 9223372036854775808.0 ? (int64_t)v : INT64_MIN;
}

static struct tmpl_val long_duration(struct tmpl_call *c, double v)
{
    const char *sign = v < 0 ? "-" : "";
    int64_t d = truncated(fabs(v));
    long long s = d % 60, m = d / 60 % 60, h = d / 3600 % 24, days = d / 86400;
    struct buf b;
    buf_init(&b, 0);
    if (days)
        buf_printf(&b, "%s%lldd %lldh %lldm %llds", sign, days, h, m, s);
    else if (h)
        buf_printf(&b, "%s%lldh %lldm %llds", sign, h, m, s);
    else if (m)
        buf_printf(&b, "%s%lldm %llds", sign, m, s);
    else
        return buf_deinit(&b), four_digits(c, v, "s");
    return lib_take(c, &b);
}

enum err lib_humanize_duration(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    static const char *const units[] = { "s", "ms", "us", "ns", "ps", "fs", "as", "zs", "ys" };
    size_t unit = 0;
    double v;
    (void)n;
    TRY(lib_float(c, args, &v));
    if (odd(v)) {
        *ret = four_digits(c, v, "");
    } else if (fabs(v) >= 1) {
        *ret = long_duration(c, v);
    } else {
        for (; v != 0 && unit + 1 < ARRAY_LEN(units) && fabs(v) < 1; unit++)
            v *= 1000;
        *ret = four_digits(c, v, units[unit]);
    }
    return OK;
}

enum err lib_humanize_percentage(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    double v;
    (void)n;
    TRY(lib_float(c, args, &v));
    *ret = four_digits(c, v * 100, "%");
    return OK;
}

enum err lib_nanoseconds(struct tmpl_call *c, double seconds, const char *what, int64_t *ret)
{
    double ns = seconds * 1e9;
    if (!(ns < 9223372036854775808.0 && ns >= -9223372036854775808.0)) {
        AUTO_BUF struct buf b;
        buf_init(&b, 0);
        buf_f64_g(&b, seconds);
        return err_fail(c->why, ERR_EXEC, STR_FMT " cannot be represented as a nanoseconds %s since it overflows int64",
                        STR_ARG(buf_str(&b)), what);
    }
    *ret = (int64_t)ns;
    return OK;
}

enum err lib_time(struct tmpl_call *c, const struct tmpl_val *v, struct tmpl_val *ret)
{
    double s = 0;
    int64_t ns = 0;
    TRY(lib_float(c, v, &s));
    TRY(lib_nanoseconds(c, s, "timestamp", &ns));
    *ret = tmpl_time_ms(c->a, ns / 1000000);
    return OK;
}

enum err lib_humanize_timestamp(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    struct tmpl_val t;
    struct buf b;
    double v;
    (void)n;
    TRY(lib_float(c, args, &v));
    if (odd(v)) {
        *ret = four_digits(c, v, "");
        return OK;
    }
    TRY(lib_time(c, args, &t));
    buf_init(&b, 0);
    tmpl_print(&b, &t);
    *ret = lib_take(c, &b);
    return OK;
}

/* ---- strings ---- */
static locale_t utf8_locale;
static void open_locale(void)
{
    utf8_locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

static uint32_t change_case(uint32_t r, bool upper)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_locale);
    if (r < 0x80 || !utf8_locale)
        return r < 0x80 ? (uint32_t)(upper ? toupper((int)r) : tolower((int)r)) : r;
    return (uint32_t)(upper ? towupper_l((wint_t)r, utf8_locale) : towlower_l((wint_t)r, utf8_locale));
}

static bool is_letter(uint32_t r)
{
    return r < 0x80 ? isalpha((int)r) != 0 : utf8_locale ? iswalpha_l((wint_t)r, utf8_locale) != 0 : true;
}

static void put(struct buf *b, uint32_t r)
{
    char enc[4];
    buf_add(b, enc, str_utf8_put(enc, r));
}

static enum err all_cases(struct tmpl_call *c, str s, bool upper, struct tmpl_val *ret)
{
    struct buf b;
    buf_init(&b, 0);
    while (s.n) {
        uint32_t r;
        s = str_skip(s, str_utf8_get(s, &r));
        put(&b, change_case(r, upper));
    }
    *ret = lib_take(c, &b);
    return OK;
}

enum err lib_to_upper(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    (void)n;
    return all_cases(c, args[0].s, true, ret);
}

enum err lib_to_lower(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    (void)n;
    return all_cases(c, args[0].s, false, ret);
}

/* lower_rest: the words of Unicode, which ' . and : between letters do not end, with their rest in lower case; else
 * Go's strings.Title. */
enum err lib_title(struct tmpl_call *c, str s, bool lower_rest, struct tmpl_val *ret)
{
    struct buf b;
    bool in_word = false;
    change_case('a', true);
    buf_init(&b, 0);
    while (s.n) {
        uint32_t r, after = 0;
        s = str_skip(s, str_utf8_get(s, &r));
        if (s.n)
            str_utf8_get(s, &after);
        bool part = is_letter(r) || (r >= '0' && r <= '9') || r == '_';
        if (part && in_word)
            put(&b, lower_rest ? change_case(r, false) : r);
        else if (part)
            put(&b, change_case(r, true));
        else
            put(&b, r);
        bool joins = lower_rest && in_word && (r == '\'' || r == '.' || r == ':' || r == 0x2019 || r == 0xb7) &&
                     is_letter(after);
        in_word = part || joins;
    }
    *ret = lib_take(c, &b);
    return OK;
}

enum err lib_match(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    struct rx *rx;
    str group;
    struct err_text why = { 0 };
    (void)n;
    if (rx_compile(args[0].s, false, &rx, &why) != OK)
        return err_fail(c->why, ERR_EXEC, "error parsing regexp: %s", why.msg);
    *ret = tmpl_bool(rx_find(rx, args[1].s, 0, &group, 1));
    rx_free(rx);
    return OK;
}

enum err lib_re_replace_all(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    struct rx *rx;
    struct buf b;
    struct err_text why = { 0 };
    str text = args[2].s, groups[RX_GROUPS_MAX + 1];
    size_t at = 0, copied = 0, last_end = SIZE_MAX;
    (void)n;
    if (rx_compile(args[0].s, false, &rx, &why) != OK)
        return err_fail(c->why, ERR_EXEC, "error parsing regexp: %s", why.msg);
    size_t n_groups = MIN(rx_n_groups(rx), (size_t)RX_GROUPS_MAX) + 1;
    buf_init(&b, TMPL_OUTPUT_BYTES_MAX);
    while (at <= text.n && !b.failed && rx_find(rx, text, at, groups, n_groups)) {
        size_t from = (size_t)(groups[0].p - text.p), end = from + groups[0].n;
        if (groups[0].n || from != last_end) { /* Go: no empty match right behind a match */
            buf_add(&b, text.p + copied, from - copied);
            rx_expand(rx, args[1].s, groups, n_groups, &b);
            copied = end;
            last_end = end;
        }
        at = end;
        if (groups[0].n == 0) { /* an empty match: one character on */
            uint32_t r;
            if (at >= text.n)
                break;
            at += str_utf8_get(str_skip(text, at), &r);
        }
    }
    if (copied < text.n)
        buf_add(&b, text.p + copied, text.n - copied);
    rx_free(rx);
    *ret = lib_take(c, &b);
    return OK;
}

enum err lib_safe_html(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    (void)c, (void)n;
    *ret = args[0];
    ret->type = &html_type;
    return OK;
}

enum err lib_safe_url(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
{
    (void)c, (void)n;
    *ret = args[0];
    ret->type = &url_type;
    return OK;
}
