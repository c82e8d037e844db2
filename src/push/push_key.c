/* The grouping key of a Pushgateway's path (manual: push.h). */
#include "push/push.h"

#define JOB STR("job")
enum { KEY_LABELS_MAX = 64 };

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' || c == '+' ? 62 : c == '_' ? 63 : -1;
}

/* RFC 4648 base64url; padding may be missing. */
static bool base64url(struct arena *a, str in, str *ret)
{
    while (in.n && in.p[in.n - 1] == '=')
        in.n--;
    char *out = arena_array(a, char, in.n + 1);
    size_t n = 0;
    uint32_t acc = 0;
    for (size_t i = 0; i < in.n; i++) {
        int d = base64_digit(in.p[i]);
        if (d < 0)
            return false;
        acc = acc << 6 | (uint32_t)d;
        if (i % 4)
            out[n++] = (char)(uint8_t)(acc >> (6 - 2 * (i % 4)));
    }
    *ret = (str){ out, n };
    return in.n % 4 != 1;
}

static enum err pair_read(struct arena *a, str *path, struct label *ret, struct err_text *reterr)
{
    str name, value, base64 = STR("@base64");
    str_cut(path, '/', &name);
    if (!str_cut(path, '/', &value))
        return err_fail(reterr, ERR_INVALID, "label \"" STR_FMT "\" has no value", STR_ARG(str_take(name, 100)));
    if (str_has_suffix(name, base64)) {
        name.n -= base64.n;
        if (!base64url(a, value, &value))
            return err_fail(reterr, ERR_INVALID, "value of label \"" STR_FMT "\" is not base64url",
                            STR_ARG(str_take(name, 100)));
    }
    if (!labels_valid_name(name) || str_has_prefix(name, STR("__")))
        return err_fail(reterr, ERR_INVALID, "improper label name \"" STR_FMT "\"", STR_ARG(str_take(name, 100)));
    if (!str_utf8_ok(value))
        return err_fail(reterr, ERR_INVALID, "value of label \"" STR_FMT "\" is not UTF-8",
                        STR_ARG(str_take(name, 100)));
    *ret = (struct label){ name, value };
    return OK;
}

enum err push_key_parse(struct arena *a, str path, struct labels *ret, struct err_text *reterr)
{
    struct label_builder b;
    lb_init(&b, a);
    bool first = true;
    str job = STR_NONE;
    while (path.n) {
        struct label l;
        TRY(pair_read(a, &path, &l, reterr));
        if (first && !str_eq(l.name, JOB))
            return err_fail(reterr, ERR_INVALID, "the grouping key must begin with job");
        if (first)
            job = l.value;
        else if (b.v.n >= KEY_LABELS_MAX)
            return err_fail(reterr, ERR_INVALID, "more than %d labels in the grouping key", KEY_LABELS_MAX);
        lb_set(&b, l.name, l.value);
        first = false;
    }
    if (job.n == 0)
        return err_fail(reterr, ERR_INVALID, "job name is required");
    lb_set(&b, JOB, job); /* a second "job" further on does not win */
    *ret = lb_labels(&b);
    return OK;
}
