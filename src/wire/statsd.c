/* StatsD lines (manual: statsd.h). */
#include "wire/statsd.h"

#include <math.h>

#include "base/check.h"
#include "base/num.h"
#include "wire/wire_int.h"

struct tags {
    struct arena *a;
    const struct wire_limits *lim;
    VEC(struct label) v;
};

static enum err tag_add(struct tags *t, str tag, char sep, struct err_text *why)
{
    str name = tag, value = STR("true");
    size_t at = str_find_char(tag, sep);
    if (at != SIZE_MAX) {
        name = str_take(tag, at);
        value = str_skip(tag, at + 1);
    }
    if (!name.n || str_eq(name, LABEL_NAME))
        return err_fail(why, ERR_PARSE, "a tag has no usable name");
    if (t->v.n > t->lim->labels_max)
        return err_fail(why, ERR_INVALID, "too many tags");
    avec_push(t->a, &t->v, ((struct label){ wire_legacy_name(t->a, name, false), value }));
    return OK;
}

static enum err tags_add(struct tags *t, str list, char between, char sep, struct err_text *why)
{
    str tag;
    while (str_cut(&list, between, &tag))
        if (tag.n)
            TRY(tag_add(t, tag, sep, why));
    return OK;
}

/* "name", "name,a=b", "name;a=b" */
static enum err name_read(struct tags *t, str text, struct err_text *why)
{
    size_t at = str_find_char(text, ',');
    char between = ',';
    if (at == SIZE_MAX) {
        at = str_find_char(text, ';');
        between = ';';
    }
    str name = at == SIZE_MAX ? text : str_take(text, at);
    if (!name.n)
        return err_fail(why, ERR_PARSE, "no name");
    avec_push(t->a, &t->v, ((struct label){ LABEL_NAME, wire_legacy_name(t->a, name, true) }));
    return at == SIZE_MAX ? OK : tags_add(t, str_skip(text, at + 1), between, '=', why);
}

static bool type_read(str s, enum statsd_type *ret)
{
    static const struct {
        const char *name;
        enum statsd_type type;
    } rows[] = { { "c", STATSD_COUNTER },   { "g", STATSD_GAUGE },     { "ms", STATSD_TIMER },
                 { "h", STATSD_HISTOGRAM }, { "d", STATSD_HISTOGRAM }, { "s", STATSD_SET } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eq(s, str_c(rows[i].name))) {
            *ret = rows[i].type;
            return true;
        }
    return false;
}

bool statsd_value(struct statsd_line *l, struct statsd_value *ret)
{
    *ret = (struct statsd_value){ 0 };
    if (l->type == STATSD_SET) { /* a member may hold a ':' */
        ret->text = l->values;
        l->values = STR_NONE;
        return ret->text.n > 0;
    }
    if (!str_cut(&l->values, ':', &ret->text))
        return false;
    ret->relative = l->type == STATSD_GAUGE && ret->text.n && (ret->text.p[0] == '+' || ret->text.p[0] == '-');
    if (!num_parse_f64(ret->text, &ret->v))
        ret->v = f64_from_bits(NORMAL_NAN_BITS);
    return true;
}

static enum err values_check(struct statsd_line l, struct err_text *why)
{
    struct statsd_value v;
    bool any = false;
    for (; statsd_value(&l, &v); any = true)
        if (l.type != STATSD_SET && !isfinite(v.v))
            return err_fail(why, ERR_PARSE, "\"" STR_FMT "\" is not a number", STR_ARG(str_take(v.text, 60)));
    return any ? OK : err_fail(why, ERR_PARSE, "no value");
}

static enum err section_read(struct tags *t, struct statsd_line *l, str s, struct err_text *why)
{
    if (s.n && s.p[0] == '#')
        return tags_add(t, str_skip(s, 1), ',', ':', why);
    if (!s.n || s.p[0] != '@')
        return OK; /* c:container, T:timestamp ... */
    if (!num_parse_f64(str_skip(s, 1), &l->rate) || !(l->rate > 0 && l->rate <= 1))
        return err_fail(why, ERR_PARSE, "the sample rate must be above 0 and at most 1");
    return OK;
}

enum err statsd_parse(struct arena *a, str line, const struct wire_limits *lim, struct statsd_line *ret,
                      struct err_text *why)
{
    struct tags t = { .a = a, .lim = lim };
    str rest = str_trim(line), head, type, section;
    *ret = (struct statsd_line){ .rate = 1 };
    if (!str_cut(&rest, '|', &head) || !str_cut(&rest, '|', &type))
        return err_fail(why, ERR_PARSE, "not a line of \"name:value|type\"");
    size_t colon = str_find_char(head, ':');
    if (colon == SIZE_MAX)
        return err_fail(why, ERR_PARSE, "no value");
    if (!type_read(str_trim(type), &ret->type))
        return err_fail(why, ERR_PARSE, "unknown type \"" STR_FMT "\"", STR_ARG(str_take(type, 20)));
    ret->values = str_skip(head, colon + 1);
    TRY(values_check(*ret, why));
    TRY(name_read(&t, str_take(head, colon), why));
    while (str_cut(&rest, '|', &section))
        TRY(section_read(&t, ret, section, why));
    TRY(wire_labels_finish(t.v.p, &t.v.n, lim, why));
    ret->labels = (struct labels){ t.v.p, t.v.n };
    return OK;
}
