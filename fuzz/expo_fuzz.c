/* Text exposition, both formats (first byte: even = text, odd = OpenMetrics).
 * Oracles: hinting with the series just read changes nothing; labels and exemplars of accepted lines can be taken; what
 * the writer makes of them reads back with the same labels and value. */
#include "base/check.h"
#include "wire/expo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(enum expo_format f, struct labels ls, double v, struct arena *a)
{
    AUTO_BUF struct buf b;
    struct expo y;
    struct labels back;
    buf_init(&b, 0);
    struct expo_out o = { &b, f };
    expo_out_sample(&o, ls, v, NULL, NULL);
    expo_out_end(&o);
    expo_init(&y, f, buf_str(&b));
    if (!labels_has(ls, LABEL_NAME))
        return;
    ASSERT(expo_next(&y) == EXPO_SAMPLE);
    ASSERT(expo_labels(&y, a, &back, NULL) == OK);
    ASSERT(labels_eq(ls, back));
    ASSERT(f64_bits(v) == f64_bits(y.value));
}

/* A NUL cannot stand in a quoted name. */
static bool printable(struct labels ls)
{
    labels_each (l, ls) {
        if (l->name.n && memchr(l->name.p, 0, l->name.n))
            return false;
        if (str_eq(l->name, LABEL_NAME) && memchr(l->value.p, 0, l->value.n))
            return false;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    enum expo_format f = data[0] & 1 ? EXPO_OPENMETRICS : EXPO_TEXT;
    str body = { (const char *)data + 1, size - 1 }, last = STR_NONE;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct expo x, hinted;
    expo_init(&x, f, body);
    expo_init(&hinted, f, body);
    for (;;) {
        expo_hint(&hinted, last);
        enum expo_entry e = expo_next(&x);
        ASSERT(e == expo_next(&hinted));
        ASSERT(x.p == hinted.p);
        ASSERT(x.p >= x.start);
        ASSERT(x.p <= x.end);
        if (e <= EXPO_ERROR)
            break;
        if (e == EXPO_HELP)
            (void)expo_help(&x, &a);
        if (e != EXPO_SAMPLE)
            continue;
        ASSERT(str_eq(x.series, hinted.series));
        ASSERT(f64_bits(x.value) == f64_bits(hinted.value));
        last = x.series;
        struct labels ls;
        struct exemplar ex;
        bool has_ts;
        if (expo_labels(&x, &a, &ls, NULL) == OK && printable(ls))
            check_round_trip(f, ls, x.value, &a);
        if (x.has_exemplar)
            IGNORE_ERR(expo_exemplar(&x, &a, &ex, &has_ts, NULL));
        (void)expo_start_ms(&x);
    }
    if (f == EXPO_OPENMETRICS)
        IGNORE_ERR(expo_check_openmetrics(body, NULL));
    return 0;
}
