/* What the decoders share: checking label sets, counting refusals (wire.h, wire_int.h). */
#include "wire/wire.h"

#include "base/check.h"
#include "wire/wire_int.h"

enum { RUN_BLOCK_BYTES = 64 << 10 };

void *wire_run_grow(struct arena *a, void *p, size_t *n, size_t *cap, size_t *from, size_t size)
{
    size_t open = *n - *from;
    *cap = MAX(open * 2, RUN_BLOCK_BYTES / size);
    char *q = arena_alloc(a, *cap * size);
    if (open)
        memcpy(q, (char *)p + *from * size, open * size);
    *n = open;
    *from = 0;
    return q;
}

/* Say what is wrong with a label that did not pass. */
__attribute__((cold)) static enum err label_refuse(const struct label *l, const struct wire_limits *lim,
                                                   struct err_text *reterr)
{
    if (l->name.n == 0)
        return err_fail(reterr, ERR_INVALID, "a label has an empty name");
    if (!wire_utf8_ok(l->name))
        return err_fail(reterr, ERR_INVALID, "a label name is not valid UTF-8");
    if (!wire_utf8_ok(l->value))
        return err_fail(reterr, ERR_INVALID, "the value of label \"" STR_FMT "\" is not valid UTF-8",
                        STR_ARG(str_take(l->name, 100)));
    if (l->name.n > lim->label_name_bytes_max)
        return err_fail(reterr, ERR_INVALID, "a label name of %zu bytes (\"" STR_FMT "...\"), at most %zu are allowed",
                        l->name.n, STR_ARG(str_take(l->name, 60)), lim->label_name_bytes_max);
    return err_fail(reterr, ERR_INVALID, "the value of label \"" STR_FMT "\" has %zu bytes, at most %zu are allowed",
                    STR_ARG(str_take(l->name, 100)), l->value.n, lim->label_value_bytes_max);
}

static inline bool label_ok(const struct label *l, const struct wire_limits *lim)
{
    return l->name.n != 0 && l->name.n <= lim->label_name_bytes_max && l->value.n <= lim->label_value_bytes_max &&
           wire_utf8_ok(l->name) && wire_utf8_ok(l->value);
}

enum err wire_labels_check(struct labels ls, const struct wire_limits *lim, struct err_text *reterr)
{
    bool named = false;
    if (ls.n > lim->labels_max)
        return err_fail(reterr, ERR_INVALID, "%zu labels, at most %zu are allowed", ls.n, lim->labels_max);
    labels_each (l, ls) {
        if (__builtin_expect(!label_ok(l, lim), 0))
            return label_refuse(l, lim, reterr);
        named |= l->name.n == 8 && memcmp(l->name.p, "__name__", 8) == 0;
    }
    return named ? OK : err_fail(reterr, ERR_INVALID, "no metric name");
}

enum err wire_labels_finish(struct label *p, size_t *n, const struct wire_limits *lim, struct err_text *reterr)
{
    bool fine = true;
    for (size_t i = 0; i < *n && fine; i++)
        fine = p[i].value.n != 0 && (i == 0 || wire_name_less(p[i - 1].name, p[i].name));
    if (!fine)
        TRY(labels_sort(p, n, reterr));
    return wire_labels_check((struct labels){ p, *n }, lim, reterr);
}

void wire_reject(struct wire_rejects *r, struct labels ls, const struct err_text *why)
{
    if (r->first.msg[0])
        return;
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    labels_print(&b, (struct labels){ ls.p, MIN(ls.n, (size_t)20) });
    str shown = str_take(buf_str(&b), 200);
    shown.n = str_utf8_valid_len(shown);
    IGNORE_ERR(err_fail(&r->first, ERR_INVALID, "series " STR_FMT "%s: %s", STR_ARG(shown), b.n > shown.n ? "..." : "",
                        why->msg));
}

str wire_legacy_name(struct arena *a, str s, bool metric)
{
    if (metric ? labels_valid_metric_name(s) : labels_valid_name(s))
        return s;
    bool digit = s.n == 0 || (s.p[0] >= '0' && s.p[0] <= '9');
    char *out = arena_array(a, char, s.n + 1);
    size_t n = 0;
    if (digit)
        out[n++] = '_';
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                  (metric && c == ':');
        out[n++] = ok ? c : '_';
    }
    return (str){ out, n };
}
