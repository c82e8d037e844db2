/* Content negotiation of text exposition (expo.h): which parser reads a body, which format we answer in. */
#include "base/check.h"
#include "wire/expo.h"

/* Media type of a Content-Type value: lower case is not needed, parameters are cut off. False where the syntax of
 * RFC 2045 does not hold (no type/subtype, a parameter without '=' or without a name). */
static bool token_ok(str s)
{
    if (!s.n)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f || memchr("()<>@,;:\\\"/[]?=", s.p[i], 15))
            return false;
    return true;
}
/* The end of a parameter that starts at p[0]: the next ';' outside quotes. */
static size_t param_end(str s)
{
    bool quoted = false;
    size_t i = 0;
    for (; i < s.n && (quoted || s.p[i] != ';'); i++) {
        if (quoted && s.p[i] == '\\')
            i++;
        else if (s.p[i] == '"')
            quoted = !quoted;
    }
    return MIN(i, s.n);
}
static bool media_type(str s, str *ret)
{
    size_t n = param_end(s);
    str type = str_trim(str_take(s, n)), sub = type, main_type;
    if (!str_cut(&sub, '/', &main_type) || !token_ok(main_type) || !token_ok(sub))
        return false;
    for (s = str_skip(s, n + 1); s.n; s = str_skip(s, n + 1)) {
        n = param_end(s);
        str param = str_trim(str_take(s, n)), name;
        size_t eq = str_find_char(param, '=');
        if (!param.n && n == s.n)
            break; /* a trailing ';' */
        name = str_trim(str_take(param, eq == SIZE_MAX ? 0 : eq));
        if (eq == SIZE_MAX || !token_ok(name))
            return false;
        str value = str_trim(str_skip(param, eq + 1));
        bool quoted = value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"';
        if (!quoted && !token_ok(value))
            return false;
    }
    *ret = type;
    return true;
}

static bool format_of_protocol(str protocol, enum expo_format *ret)
{
    bool text = str_has_prefix(protocol, STR("PrometheusText")), om = str_has_prefix(protocol, STR("OpenMetricsText")),
         pb = str_eq(protocol, STR("PrometheusProto"));
    *ret = pb ? EXPO_PROTOBUF : om ? EXPO_OPENMETRICS : EXPO_TEXT;
    return text || om || pb;
}

enum err expo_format_select(str content_type, str fallback, enum expo_format *ret, struct err_text *ret_warn,
                            struct err_text *reterr)
{
    str type = STR_NONE;
    enum expo_format fb;
    bool has_fb = format_of_protocol(fallback, &fb);
    const char *why = !str_trim(content_type).n          ? "sent no Content-Type"
                      : !media_type(content_type, &type) ? "sent a malformed Content-Type"
                                                         : "sent an unsupported Content-Type";
    if (ret_warn)
        ret_warn->msg[0] = '\0';
    if (str_ieq(type, STR("text/plain")) || str_ieq(type, STR("application/openmetrics-text"))) {
        *ret = type.n == 10 ? EXPO_TEXT : EXPO_OPENMETRICS;
        return OK;
    }
    if (str_ieq(type, STR("application/vnd.google.protobuf"))) {
        *ret = EXPO_PROTOBUF;
        return OK;
    }
    content_type = str_take(content_type, 100);
    if (!has_fb)
        return err_fail(reterr, ERR_UNSUPPORTED,
                        "the target %s (\"" STR_FMT "\") and no usable fallback_scrape_protocol is set", why,
                        STR_ARG(content_type));
    IGNORE_ERR(err_fail(ret_warn, ERR_UNSUPPORTED,
                        "the target %s (\"" STR_FMT "\"), using fallback_scrape_protocol " STR_FMT, why,
                        STR_ARG(content_type), STR_ARG(fallback)));
    *ret = fb;
    return OK;
}

/* q of one Accept item in thousandths, 1000 if absent. */
static int accept_q(str item)
{
    str param;
    while (str_cut(&item, ';', &param)) {
        param = str_trim(param);
        if (!str_has_prefix(param, STR("q=")))
            continue;
        int q = 0, unit = 1000;
        for (size_t i = 2; i < param.n && unit > 0; i++) {
            if (param.p[i] == '.')
                continue;
            if (param.p[i] < '0' || param.p[i] > '9')
                return 0;
            q += (param.p[i] - '0') * unit;
            unit /= 10;
        }
        return MIN(q, 1000);
    }
    return 1000;
}

bool expo_accepts_openmetrics(str accept)
{
    int om = 0, text = 0;
    str item, type;
    while (str_cut(&accept, ',', &item)) {
        if (!str_cut(&item, ';', &type))
            continue;
        type = str_trim(type);
        int q = accept_q(item);
        if (str_ieq(type, STR("application/openmetrics-text")))
            om = MAX(om, q);
        else if (str_ieq(type, STR("text/plain")) || str_eq(type, STR("text/*")) || str_eq(type, STR("*/*")))
            text = MAX(text, q);
    }
    return om > 0 && om >= text;
}
