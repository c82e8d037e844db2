/* OpenMetrics text of any length into a sink: read in pieces that end with a line (manual: transfer.h). */
#include "base/check.h"
#include "transfer/transfer.h"
#include "wire/expo_batch.h"

#define PIECE_BYTES    (4u << 20)
#define LINE_BYTES_MAX (16u << 20)
#define NO_TIME        INT64_MIN /* stands for "without a timestamp" */

struct reader {
    const struct transfer_text *t;
    const struct transfer_sink *to;
    struct transfer_text_result *r;
    struct gather *g;
    struct buf raw;  /* read, not parsed yet */
    struct buf text; /* a piece with what it needs around it */
    struct buf type; /* the last # TYPE line */
    bool ended;      /* # EOF was met */
    struct arena a;
};

static size_t count_lines(str s)
{
    size_t n = 0;
    for (const char *p = s.p, *end = str_end(s); p < end; n++) {
        p = memchr(p, '\n', (size_t)(end - p));
        if (!p)
            break;
        p++;
    }
    return n;
}

/* Labels of later lines mean what the last TYPE says: carried into the next piece. */
static void keep_type(struct reader *r, str piece)
{
    str head = STR("# TYPE ");
    for (size_t at = piece.n; at > 0;) {
        size_t end = at;
        while (at && piece.p[at - 1] != '\n')
            at--;
        str line = str_n(piece.p + at, end - at);
        if (str_has_prefix(line, head)) {
            buf_clear(&r->type);
            buf_str_add(&r->type, line);
            buf_u8(&r->type, '\n');
            return;
        }
        if (at)
            at--;
    }
}

static enum err take(struct reader *r, const struct batch *b, struct err_text *reterr)
{
    vec_each (struct batch_series, s, &b->series)
        for (size_t i = 0; i < s->n_samples; i++)
            if (s->samples[i].ts_ms == NO_TIME) {
                AUTO_BUF struct buf name = { 0 };
                labels_print(&name, s->labels);
                return err_fail(reterr, ERR_PARSE,
                                STR_FMT " has no timestamp: what is imported needs one at every sample",
                                STR_ARG(str_take(buf_str(&name), 300)));
            }
    gather_batch(r->g, b);
    vec_each (struct batch_family, f, &b->families)
        if (r->to->family)
            r->to->family(r->to->ctx, f->name, &f->meta);
    r->r->samples += b->n_samples;
    r->r->exemplars += b->n_exemplars;
    return OK;
}

static enum err parse(struct reader *r, str piece, struct err_text *reterr)
{
    struct expo_batch_options opt = { .format = EXPO_OPENMETRICS, .now_ms = NO_TIME };
    struct wire_limits lim = WIRE_LIMITS_DEFAULT;
    struct batch b = { .a = &r->a };
    struct wire_rejects rejects = { 0 };
    arena_reset(&r->a);
    buf_clear(&r->text);
    buf_str_add(&r->text, buf_str(&r->type));
    buf_str_add(&r->text, piece);
    buf_lit(&r->text, "# EOF\n");
    enum err e = expo_batch(&r->a, buf_str(&r->text), &opt, &lim, &b, &rejects, reterr);
    if (!e)
        e = take(r, &b, reterr);
    if (e) {
        err_prefix(reterr, "in the part from line %llu on", (unsigned long long)(r->r->lines + 1 - (r->type.n > 0)));
        return e;
    }
    r->r->series_refused += rejects.series;
    if (rejects.series && !r->r->first.msg[0])
        r->r->first = rejects.first;
    r->r->lines += count_lines(piece);
    keep_type(r, piece);
    uint64_t max = r->t->memory_max ? r->t->memory_max : 256u << 20;
    return gather_bytes(r->g) > max ? gather_drain(r->g, false, r->to, reterr) : OK;
}

/* The piece without its # EOF line; sets ended. */
static enum err strip_eof(struct reader *r, str *piece, bool last, struct err_text *reterr)
{
    str s = *piece, eof = STR("# EOF");
    str bare = str_has_suffix(s, STR("\n")) ? str_take(s, s.n - 1) : s;
    if (str_has_suffix(bare, eof) && (bare.n == eof.n || bare.p[bare.n - eof.n - 1] == '\n')) {
        r->ended = true;
        *piece = str_take(bare, bare.n - eof.n);
    } else if (last) {
        return err_fail(reterr, ERR_PARSE, "line %llu: the text does not end with # EOF: it was cut off",
                        (unsigned long long)(r->r->lines + count_lines(s) + 1));
    }
    return OK;
}

static enum err pieces(struct reader *r, struct err_text *reterr)
{
    for (bool last = false; !last;) {
        size_t n = 0;
        if (!buf_reserve(&r->raw, PIECE_BYTES))
            return err_fail(reterr, ERR_LIMIT, "a line is longer than %u bytes", LINE_BYTES_MAX);
        TRY(r->t->read(r->t->ctx, r->raw.p + r->raw.n, PIECE_BYTES, &n, reterr));
        r->raw.n += n;
        last = n == 0;
        size_t end = r->raw.n;
        while (!last && end && r->raw.p[end - 1] != '\n')
            end--;
        if (!end && !last)
            continue;
        str piece = str_n(r->raw.p, end);
        if (r->ended && end)
            return err_fail(reterr, ERR_PARSE, "line %llu: text behind # EOF", (unsigned long long)r->r->lines + 2);
        if (!r->ended) {
            TRY(strip_eof(r, &piece, last, reterr));
            if (piece.n)
                TRY(parse(r, piece, reterr));
        }
        memmove(r->raw.p, r->raw.p + end, r->raw.n - end);
        r->raw.n -= end;
    }
    return gather_drain(r->g, false, r->to, reterr);
}

enum err transfer_openmetrics_in(const struct transfer_text *t, const struct transfer_sink *to,
                                 struct transfer_text_result *ret, struct err_text *reterr)
{
    *ret = (struct transfer_text_result){ 0 };
    struct reader r = { .t = t, .to = to, .r = ret, .g = gather_new() };
    arena_init(&r.a, 0);
    buf_init(&r.raw, LINE_BYTES_MAX + PIECE_BYTES);
    buf_init(&r.text, 0);
    buf_init(&r.type, 0);
    enum err e = pieces(&r, reterr);
    buf_deinit(&r.raw);
    buf_deinit(&r.text);
    buf_deinit(&r.type);
    gather_free(r.g);
    arena_deinit(&r.a);
    return e;
}
