/* Label matchers; see matcher.h. */
#include "model/matcher.h"

enum err matcher_init(struct matcher *m, enum match_type type, str name, str value, struct err_text *reterr)
{
    struct rx *rx = NULL;
    if (type == MATCH_RE || type == MATCH_NRE)
        TRY(rx_compile(value, true, &rx, reterr));
    *m = (struct matcher){ .type = type, .name = name, .value = value, .rx = rx };
    return OK;
}

void matcher_deinit(struct matcher *m)
{
    if (m->rx)
        rx_free(m->rx);
    m->rx = NULL;
}

static bool regex_matches(const struct rx *rx, str value)
{
    const struct rx_info *info = rx_info(rx);
    if (info->n_set) {
        for (size_t i = 0; i < info->n_set; i++)
            if (str_eq(info->set[i], value))
                return true;
        return false;
    }
    return str_has_prefix(value, info->prefix) && rx_match(rx, value);
}

bool matcher_matches(const struct matcher *m, str value)
{
    switch (m->type) {
    case MATCH_EQ:
        return str_eq(m->value, value);
    case MATCH_NE:
        return !str_eq(m->value, value);
    case MATCH_RE:
        return regex_matches(m->rx, value);
    case MATCH_NRE:
        return !regex_matches(m->rx, value);
    }
    return false;
}

bool matcher_matches_labels(const struct matcher *m, struct labels ls)
{
    return matcher_matches(m, labels_get(ls, m->name));
}

bool matchers_match(const struct matcher *m, size_t n, struct labels ls)
{
    for (size_t i = 0; i < n; i++)
        if (!matcher_matches_labels(&m[i], ls))
            return false;
    return true;
}

bool matcher_matches_empty(const struct matcher *m)
{
    return matcher_matches(m, STR(""));
}

void matcher_print(struct buf *out, const struct matcher *m)
{
    static const char *const ops[] = { "=", "!=", "=~", "!~" };
    if (labels_valid_name(m->name))
        buf_str_add(out, m->name);
    else
        buf_go_quote(out, m->name);
    buf_str_add(out, str_c(ops[m->type]));
    buf_go_quote(out, m->value);
}
