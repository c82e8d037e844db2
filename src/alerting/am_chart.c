#include "alerting/am_chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <zlib.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/num.h"

#define W AM_CHART_WIDTH
#define H AM_CHART_HEIGHT
enum { LEFT = 52, RIGHT = W - 12, TOP = 10, BOTTOM = H - 22 };
enum colour { WHITE, GREY, PALE, RED, MARK, LINES }; /* LINES ...: of the lines */
static const uint8_t palette[LINES + AM_CHART_LINES_MAX][3] = {
    { 255, 255, 255 }, { 110, 110, 110 }, { 225, 225, 225 }, { 200, 30, 30 },  { 230, 150, 150 },
    { 31, 100, 180 },  { 225, 120, 20 },  { 40, 140, 60 },   { 130, 80, 170 }, { 120, 75, 60 },
    { 200, 90, 170 },  { 90, 90, 90 },    { 20, 150, 170 },
};

struct canvas {
    uint8_t (*px)[W]; /* [H][W], colours */
    double lo, hi;    /* of the vertical axis */
    const struct am_chart *c;
};

static void dot(struct canvas *v, int x, int y, uint8_t colour)
{
    if (x >= 0 && x < W && y >= 0 && y < H)
        v->px[y][x] = colour;
}

/* ---- numbers: 5 x 7 dots, a row is five bits ---- */
static const struct {
    char c;
    uint8_t rows[7];
} glyphs[] = {
    { '0', { 14, 17, 19, 21, 25, 17, 14 } }, { '1', { 4, 12, 4, 4, 4, 4, 14 } },
    { '2', { 14, 17, 1, 6, 8, 16, 31 } },    { '3', { 30, 1, 1, 14, 1, 1, 30 } },
    { '4', { 2, 6, 10, 18, 31, 2, 2 } },     { '5', { 31, 16, 30, 1, 1, 17, 14 } },
    { '6', { 6, 8, 16, 30, 17, 17, 14 } },   { '7', { 31, 1, 2, 4, 4, 8, 8 } },
    { '8', { 14, 17, 17, 14, 17, 17, 14 } }, { '9', { 14, 17, 17, 15, 1, 2, 12 } },
    { '.', { 0, 0, 0, 0, 0, 6, 6 } },        { ':', { 0, 6, 6, 0, 6, 6, 0 } },
    { '-', { 0, 0, 0, 14, 0, 0, 0 } },       { 'k', { 16, 16, 18, 20, 24, 20, 18 } },
    { 'M', { 17, 27, 21, 21, 17, 17, 17 } }, { 'G', { 14, 17, 16, 23, 17, 17, 15 } },
    { 'T', { 31, 4, 4, 4, 4, 4, 4 } },       { 'm', { 0, 0, 26, 21, 21, 17, 17 } },
    { 'u', { 0, 0, 17, 17, 17, 19, 13 } },   { 'n', { 0, 0, 22, 25, 17, 17, 17 } },
    { 'e', { 0, 0, 14, 17, 31, 16, 14 } },   { '+', { 0, 4, 4, 31, 4, 4, 0 } },
};

static void write_text(struct canvas *v, int x, int y, const char *s)
{
    for (; *s; s++, x += 6)
        for (size_t i = 0; i < ARRAY_LEN(glyphs); i++)
            for (int row = 0; glyphs[i].c == *s && row < 7; row++)
                for (int col = 0; col < 5; col++)
                    if (glyphs[i].rows[row] & (16 >> col))
                        dot(v, x + col, y + row, GREY);
}

static void number(double x, char *out, size_t size)
{
    static const struct {
        double at;
        const char *unit;
    } units[] = { { 1e12, "T" }, { 1e9, "G" },  { 1e6, "M" },  { 1e3, "k" },
                  { 1, "" },     { 1e-3, "m" }, { 1e-6, "u" }, { 1e-9, "n" } };
    double a = fabs(x);
    snprintf(out, size, "%.1e", x);
    if (a == 0)
        snprintf(out, size, "0");
    for (size_t i = 0; i < ARRAY_LEN(units) && a >= 1e-9 && a < 1e15; i++)
        if (a >= units[i].at * 0.9999) {
            snprintf(out, size, "%.4g%s", x / units[i].at, units[i].unit);
            break;
        }
}

/* ---- geometry ---- */
static int x_of(const struct canvas *v, int64_t t)
{
    double part = (double)(t - v->c->from_ms) / (double)(v->c->to_ms - v->c->from_ms);
    return LEFT + (int)(part * (RIGHT - LEFT));
}

static int y_of(const struct canvas *v, double y)
{
    return BOTTOM - (int)((y - v->lo) / (v->hi - v->lo) * (BOTTOM - TOP));
}

static bool range(struct canvas *v)
{
    double lo = INFINITY, hi = -INFINITY;
    for (size_t i = 0; i < v->c->n_lines && i < AM_CHART_LINES_MAX; i++)
        for (size_t k = 0; k < v->c->lines[i].n && k < AM_CHART_POINTS_MAX; k++)
            if (isfinite(v->c->lines[i].v[k])) {
                lo = fmin(lo, v->c->lines[i].v[k]);
                hi = fmax(hi, v->c->lines[i].v[k]);
            }
    if (lo > hi || v->c->to_ms <= v->c->from_ms)
        return false;
    if (isfinite(v->c->threshold)) {
        lo = fmin(lo, v->c->threshold);
        hi = fmax(hi, v->c->threshold);
    }
    if (lo > 0 && lo < hi / 2) /* from nothing, if that costs little */
        lo = 0;
    if (hi <= lo) { /* one value */
        double d = fmax(fabs(lo) * 0.1, 1e-9);
        lo -= d;
        hi += d;
    }
    if (!isfinite(hi - lo)) /* the largest numbers there are */
        return false;
    v->lo = lo;
    v->hi = hi + (hi - lo) * 0.05;
    return isfinite(v->hi) && v->hi > v->lo;
}

static void segment(struct canvas *v, int x0, int y0, int x1, int y1, uint8_t colour)
{
    int n = MAX(MAX(abs(x1 - x0), abs(y1 - y0)), 1);
    for (int i = 0; i <= n; i++) {
        int x = x0 + (x1 - x0) * i / n, y = y0 + (y1 - y0) * i / n;
        dot(v, x, y, colour);
        dot(v, x, y + 1, colour);
    }
}

static void axes(struct canvas *v)
{
    char text[32];
    for (int i = 0; i <= 4; i++) {
        int y = BOTTOM - (BOTTOM - TOP) * i / 4;
        for (int x = LEFT; x <= RIGHT; x++)
            dot(v, x, y, i ? PALE : GREY);
        number(v->lo + (v->hi - v->lo) * i / 4, text, sizeof(text));
        text[8] = 0;
        write_text(v, LEFT - 4 - 6 * (int)strlen(text), y - 3, text);
    }
    for (int i = 0; i <= 4; i++) {
        time_t at = (time_t)((v->c->from_ms + (v->c->to_ms - v->c->from_ms) * i / 4) / 1000);
        struct tm tm;
        gmtime_r(&at, &tm);
        strftime(text, sizeof(text), "%H:%M", &tm);
        int x = LEFT + (RIGHT - LEFT) * i / 4;
        for (int y = TOP; y < BOTTOM; y++)
            dot(v, x, y, i ? PALE : GREY);
        write_text(v, MIN(x - 14, W - 31), BOTTOM + 8, text);
    }
}

static void lines(struct canvas *v)
{
    for (size_t i = 0; i < v->c->n_lines && i < AM_CHART_LINES_MAX; i++) {
        const struct am_chart_line *l = &v->c->lines[i];
        bool before = false;
        int px = 0, py = 0;
        for (size_t k = 0; k < l->n && k < AM_CHART_POINTS_MAX; k++) {
            bool in = isfinite(l->v[k]) && l->t_ms[k] >= v->c->from_ms && l->t_ms[k] <= v->c->to_ms;
            int x = in ? x_of(v, l->t_ms[k]) : 0, y = in ? y_of(v, l->v[k]) : 0;
            if (in)
                segment(v, before ? px : x, before ? py : y, x, y, (uint8_t)(LINES + i));
            before = in;
            px = x;
            py = y;
        }
    }
}

static void draw(struct canvas *v)
{
    axes(v);
    if (v->c->mark_ms > v->c->from_ms && v->c->mark_ms <= v->c->to_ms)
        for (int y = TOP; y < BOTTOM; y++)
            if (y % 4 < 2)
                dot(v, x_of(v, v->c->mark_ms), y, MARK);
    lines(v);
    for (int x = LEFT; isfinite(v->c->threshold) && x <= RIGHT; x++)
        if (x % 8 < 5)
            dot(v, x, y_of(v, v->c->threshold), RED);
}

/* ---- the file ---- */
static void chunk(struct buf *out, const char *type, const uint8_t *p, size_t n)
{
    uint8_t head[8] = { (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n };
    memcpy(head + 4, type, 4);
    uLong crc = crc32(crc32(0, head + 4, 4), p, (uInt)n);
    uint8_t tail[4] = { (uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8), (uint8_t)crc };
    buf_add(out, head, sizeof(head));
    buf_add(out, p, n);
    buf_add(out, tail, sizeof(tail));
}

static str file(struct arena *a, uint8_t (*px)[W])
{
    static const uint8_t magic[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
    static const uint8_t header[13] = { 0, 0, W >> 8, W & 255, 0, 0, H >> 8, H & 255, 8, 3, 0, 0, 0 };
    uint8_t *raw = arena_alloc(a, H * (W + 1)), *packed = arena_alloc(a, AM_CHART_BYTES_MAX);
    uLongf n = AM_CHART_BYTES_MAX - 1024;
    for (size_t y = 0; y < H; y++) {
        raw[y * (W + 1)] = 0; /* no filter */
        memcpy(raw + y * (W + 1) + 1, px[y], W);
    }
    if (compress2(packed, &n, raw, H * (W + 1), 9) != Z_OK)
        return STR("");
    AUTO_BUF struct buf out;
    buf_init(&out, AM_CHART_BYTES_MAX);
    buf_add(&out, magic, sizeof(magic));
    chunk(&out, "IHDR", header, sizeof(header));
    chunk(&out, "PLTE", palette[0], sizeof(palette));
    chunk(&out, "IDAT", packed, n);
    chunk(&out, "IEND", packed, 0);
    return out.failed ? STR("") : arena_str(a, buf_str(&out));
}

str am_chart_png(const struct am_chart *c, struct arena *a)
{
    struct canvas v = { .c = c, .px = arena_zalloc(a, sizeof(uint8_t[H][W])) };
    if (!range(&v))
        return STR("");
    draw(&v);
    return file(a, v.px);
}
