/* Graphite plaintext (manual: graphite.h). */
#include "wire/graphite.h"

#include <math.h>

#include "base/num.h"
#include "wire/wire_int.h"

static bool word(str *rest, str *ret)
{
    *rest = str_trim(*rest);
    size_t n = 0;
    while (n < rest->n && rest->p[n] != ' ' && rest->p[n] != '\t')
        n++;
    *ret = str_take(*rest, n);
    *rest = str_skip(*rest, n);
    return n > 0;
}

static enum err time_parse(str s, int64_t now_ms, int64_t *ret, struct err_text *why)
{
    double t;
    *ret = now_ms;
    if (!s.n || str_eq(s, STR("-1")))
        return OK;
    if (!num_parse_f64(s, &t) || !(fabs(t) < 1e13))
        return err_fail(why, ERR_PARSE, "the timestamp is not a number of seconds");
    *ret = (int64_t)floor(t * 1000);
    return OK;
}

static enum err labels_parse(struct arena *a, str path, const struct wire_limits *lim, struct labels *ret,
                             struct err_text *why)
{
    VEC(struct label) v = { 0 };
    str part, name;
    str_cut(&path, ';', &part);
    if (!part.n)
        return err_fail(why, ERR_PARSE, "no path");
    avec_push(a, &v, ((struct label){ LABEL_NAME, wire_legacy_name(a, part, true) }));
    while (str_cut(&path, ';', &part)) {
        str tag = part;
        if (str_find_char(part, '=') == SIZE_MAX || !str_cut(&part, '=', &name) || !name.n)
            return err_fail(why, ERR_PARSE, "tag \"" STR_FMT "\" is not name=value", STR_ARG(str_take(tag, 60)));
        if (str_eq(name, LABEL_NAME))
            return err_fail(why, ERR_PARSE, "the tag __name__ is reserved");
        if (v.n > lim->labels_max)
            return err_fail(why, ERR_INVALID, "too many tags");
        avec_push(a, &v, ((struct label){ wire_legacy_name(a, name, false), part }));
    }
    TRY(wire_labels_finish(v.p, &v.n, lim, why));
    *ret = (struct labels){ v.p, v.n };
    return OK;
}

enum err graphite_parse(struct arena *a, str line, int64_t now_ms, const struct wire_limits *lim,
                        struct graphite_line *ret, struct err_text *why)
{
    str path, value, time, rest = line;
    if (!word(&rest, &path) || !word(&rest, &value))
        return err_fail(why, ERR_PARSE, "not a line of \"path value timestamp\"");
    bool has_time = word(&rest, &time);
    if (has_time && str_trim(rest).n)
        return err_fail(why, ERR_PARSE, "more than path, value and timestamp");
    if (!num_parse_f64(value, &ret->sample.v))
        return err_fail(why, ERR_PARSE, "\"" STR_FMT "\" is not a number", STR_ARG(str_take(value, 60)));
    if (isnan(ret->sample.v))
        ret->sample.v = f64_from_bits(NORMAL_NAN_BITS);
    TRY(time_parse(has_time ? time : STR(""), now_ms, &ret->sample.ts_ms, why));
    return labels_parse(a, path, lim, &ret->labels, why);
}
