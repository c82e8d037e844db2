/* Native histograms as text; see histogram_math.h. */
#include "base/num.h"
#include "model/histogram_math.h"

static void print_bucket(struct buf *out, const struct hist_bucket *b)
{
    buf_lit(out, ", ");
    buf_u8(out, b->lower_inclusive ? '[' : '(');
    buf_f64_g(out, b->lower);
    buf_u8(out, ',');
    buf_f64_g(out, b->upper);
    buf_u8(out, b->upper_inclusive ? ']' : ')');
    buf_u8(out, ':');
    buf_f64_g(out, b->count);
}

void histogram_print(struct buf *out, const struct histogram *h)
{
    struct hist_side_iter it;
    struct hist_bucket b;
    buf_lit(out, "{count:");
    buf_f64_g(out, h->count);
    buf_lit(out, ", sum:");
    buf_f64_g(out, h->sum);
    /* From the lowest bucket up. Sides as they are: bounds that reach into the zero bucket are not cut here. */
    struct histogram reversed = *h;
    reversed.zero_count = 0;
    reversed.zero_threshold = 0;
    reversed.pos = (struct hist_side){ 0 };
    struct hist_iter neg;
    hist_iter_init(&neg, &reversed, HIST_ASCENDING);
    while (hist_iter_next(&neg, &b))
        if (b.count != 0)
            print_bucket(out, &b);
    if (h->zero_count != 0)
        print_bucket(out, &(struct hist_bucket){ -h->zero_threshold, h->zero_threshold, h->zero_count, true, true, 0 });
    hist_side_iter_init(&it, h, false);
    while (hist_side_iter_next(&it, &b))
        if (b.count != 0)
            print_bucket(out, &b);
    buf_u8(out, '}');
}

/* ---- promqltest ---- */
struct words {
    struct buf *out;
    bool any;
};

static struct buf *word(struct words *w, const char *key)
{
    if (w->any)
        buf_u8(w->out, ' ');
    w->any = true;
    buf_printf(w->out, "%s:", key);
    return w->out;
}

static void word_f64(struct words *w, const char *key, double v)
{
    if (v != 0)
        buf_f64_g(word(w, key), v);
}

/* Buckets from the first populated to the last, gaps as zeros. */
static void word_buckets(struct words *w, const struct histogram *h, bool negative, const char *key, const char *offset)
{
    struct hist_side_iter it;
    struct hist_bucket b;
    bool any = false;
    int32_t next = 0;
    hist_side_iter_init(&it, h, negative);
    while (hist_side_iter_next(&it, &b)) {
        if (b.count == 0)
            continue;
        if (!any) {
            if (b.index != 0)
                buf_i64_dec(word(w, offset), b.index);
            buf_u8(word(w, key), '[');
            next = b.index;
        }
        for (; next < b.index; next++)
            buf_lit(w->out, " 0");
        if (any)
            buf_u8(w->out, ' ');
        buf_f64_g(w->out, b.count);
        any = true;
        next++;
    }
    if (any)
        buf_u8(w->out, ']');
}

void histogram_print_test(struct buf *out, const struct histogram *h)
{
    static const char *const hints[] = {
        [HIST_RESET_YES] = "reset", [HIST_RESET_NO] = "not_reset", [HIST_RESET_GAUGE] = "gauge"
    };
    struct words w = { out, false };
    buf_lit(out, "{{");
    if (h->schema != 0)
        buf_i64_dec(word(&w, "schema"), h->schema);
    word_f64(&w, "count", h->count);
    word_f64(&w, "sum", h->sum);
    word_f64(&w, "z_bucket", h->zero_count);
    word_f64(&w, "z_bucket_w", h->zero_threshold);
    if (histogram_is_custom(h)) {
        buf_u8(word(&w, "custom_values"), '[');
        for (size_t i = 0; i < h->n_custom; i++) {
            if (i)
                buf_u8(out, ' ');
            buf_f64_g(out, h->custom[i]);
        }
        buf_u8(out, ']');
    }
    if (h->reset != HIST_RESET_UNKNOWN)
        buf_printf(word(&w, "counter_reset_hint"), "%s", hints[h->reset]);
    word_buckets(&w, h, false, "buckets", "offset");
    word_buckets(&w, h, true, "n_buckets", "n_offset");
    buf_lit(out, "}}");
}

/* ---- the HTTP API ---- */
/* 0: (l, u], 1: [l, u), 2: (l, u), 3: [l, u] */
static int boundary_rule(const struct hist_bucket *b)
{
    if (b->lower_inclusive)
        return b->upper_inclusive ? 3 : 1;
    return b->upper_inclusive ? 0 : 2;
}

void histogram_json(struct json_out *j, const struct histogram *h)
{
    struct hist_iter it;
    struct hist_bucket b;
    bool any = false;
    json_obj(j);
    json_key(j, STR("count"));
    json_f64_str(j, h->count);
    json_key(j, STR("sum"));
    json_f64_str(j, h->sum);
    hist_iter_init(&it, h, HIST_ASCENDING);
    while (hist_iter_next(&it, &b)) {
        if (b.count == 0)
            continue;
        if (!any) {
            json_key(j, STR("buckets"));
            json_arr(j);
            any = true;
        }
        json_arr(j);
        json_i64(j, boundary_rule(&b));
        json_f64_str(j, b.lower);
        json_f64_str(j, b.upper);
        json_f64_str(j, b.count);
        json_arr_end(j);
    }
    if (any)
        json_arr_end(j);
    json_obj_end(j);
}
