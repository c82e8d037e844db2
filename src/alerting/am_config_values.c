/* Values of alertmanager.yml that the room conf has no type for: URLs with Go's words, secret URLs, optional booleans,
 * Go's durations, host:port. */
#include "alerting/am_config_int.h"
#include "base/num.h"

static enum err check_url(struct conf_ctx *cx, const struct conf_node *n, str s)
{
    struct err_text why;
    size_t colon = str_find(s, STR("://"));
    str scheme = colon == SIZE_MAX ? STR("") : str_take(s, colon),
        host = colon == SIZE_MAX ? s : str_skip(s, colon + 3);
    if (conf_check_url(s, false, &why) != OK)
        return conf_error(cx, n, "%s", why.msg);
    if (!str_ieq(scheme, STR("http")) && !str_ieq(scheme, STR("https")))
        return conf_error(cx, n, "unsupported scheme \"" STR_FMT "\" for URL", STR_ARG(str_take(scheme, 40)));
    if (!host.n || strchr("/?#:", host.p[0]))
        return conf_error(cx, n, "missing host for URL");
    return OK;
}

enum err am_read_url(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    str s = STR_NONE;
    TRY(conf_read_str(cx, n, &s));
    if (n->kind != CONF_NULL)
        TRY(check_url(cx, n, s));
    *(str *)field = s;
    return OK;
}

enum err am_read_secret_url(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    str s = STR_NONE;
    TRY(conf_read_str(cx, n, &s));
    if (n->kind != CONF_NULL && !str_eq(s, STR("<secret>")))
        TRY(check_url(cx, n, s));
    *(str *)field = s;
    return OK;
}

enum err am_read_tri(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    bool b = false;
    TRY(conf_read_bool(cx, n, &b));
    *(enum am_tri *)field = n->kind == CONF_NULL ? AM_UNSET : b ? AM_TRUE : AM_FALSE;
    return OK;
}

static bool go_duration(str s, double *ret_ms)
{
    static const struct {
        const char *name;
        double ms;
    } units[] = { { "ns", 1e-6 }, { "us", 1e-3 }, { "µs", 1e-3 }, { "μs", 1e-3 },
                  { "ms", 1 },    { "s", 1e3 },   { "m", 6e4 },   { "h", 3.6e6 } };
    double total = 0;
    if (str_eq(s, STR("0"))) {
        *ret_ms = 0;
        return true;
    }
    if (s.n && s.p[0] == '+')
        s = str_skip(s, 1);
    if (!s.n)
        return false;
    while (s.n) {
        size_t digits = 0, k = 0, unit = 0;
        double v;
        while (digits < s.n && (s.p[digits] == '.' || (s.p[digits] >= '0' && s.p[digits] <= '9')))
            digits++;
        if (!digits || !num_parse_f64(str_take(s, digits), &v))
            return false;
        s = str_skip(s, digits);
        while (unit < s.n && s.p[unit] != '.' && (s.p[unit] < '0' || s.p[unit] > '9'))
            unit++;
        while (k < ARRAY_LEN(units) && !str_eq(str_take(s, unit), str_c(units[k].name)))
            k++;
        if (k == ARRAY_LEN(units))
            return false;
        total += v * units[k].ms;
        s = str_skip(s, unit);
    }
    *ret_ms = total;
    return total < 9e12;
}

enum err am_read_go_duration(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    str s = STR_NONE;
    double ms = 0;
    TRY(conf_read_str(cx, n, &s));
    if (n->kind != CONF_NULL && !go_duration(s, &ms))
        return conf_error(cx, n, "time: invalid duration \"" STR_FMT "\" (examples: 30s, 1m30s, 1h)",
                          STR_ARG(str_take(s, 60)));
    *(int64_t *)field = (int64_t)ms;
    return OK;
}

enum err am_read_host_port(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    struct am_host_port *hp = field;
    str s = STR_NONE;
    size_t colon = SIZE_MAX;
    TRY(conf_read_str(cx, n, &s));
    *hp = (struct am_host_port){ STR(""), STR("") };
    if (!s.n)
        return OK;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == ':')
            colon = i;
    if (colon == SIZE_MAX || (s.p[0] == '[' && s.p[s.n - 1] == ']'))
        return conf_error(cx, n, "address " STR_FMT ": missing port in address", STR_ARG(str_take(s, 100)));
    hp->host = str_take(s, colon);
    hp->port = str_skip(s, colon + 1);
    if (hp->host.n > 1 && hp->host.p[0] == '[' && hp->host.p[hp->host.n - 1] == ']')
        hp->host = str_take(str_skip(hp->host, 1), hp->host.n - 2);
    else if (str_find_char(hp->host, ':') != SIZE_MAX)
        return conf_error(cx, n, "address " STR_FMT ": too many colons in address", STR_ARG(str_take(s, 100)));
    if (!hp->port.n)
        return conf_error(cx, n, "address \"" STR_FMT "\": port cannot be empty", STR_ARG(str_take(s, 100)));
    return OK;
}

void am_print_str(struct conf_out *out, const void *field)
{
    if (((const str *)field)->n)
        conf_out_scalar(out, *(const str *)field);
}

void am_print_secret(struct conf_out *out, const void *field)
{
    str s = ((const struct conf_secret *)field)->value;
    if (s.n)
        conf_out_scalar(out, out->reveal ? s : STR("<secret>"));
}

void am_print_tri(struct conf_out *out, const void *field)
{
    enum am_tri t = *(const enum am_tri *)field;
    if (t != AM_UNSET)
        conf_out_scalar(out, t == AM_TRUE ? STR("true") : STR("false"));
}

void am_print_duration(struct conf_out *out, const void *field)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    if (!*(const int64_t *)field)
        return;
    buf_printf(&b, "%lldms", (long long)*(const int64_t *)field);
    conf_out_scalar(out, buf_str(&b));
}

void am_print_host_port(struct conf_out *out, const void *field)
{
    const struct am_host_port *hp = field;
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    if (!hp->port.n)
        return;
    buf_printf(&b, str_find_char(hp->host, ':') == SIZE_MAX ? STR_FMT ":" STR_FMT : "[" STR_FMT "]:" STR_FMT,
               STR_ARG(hp->host), STR_ARG(hp->port));
    conf_out_scalar(out, buf_str(&b));
}
