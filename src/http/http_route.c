/* The table of routes: literal paths by binary search, patterns with captures in order of specificity; and the
 * counters that each pattern owns. Built once, read-only afterwards (counters are atomic). */
#include <stdlib.h>

#include "http/http_int.h"

const int http_codes[HTTP_CODES - 1] = {
    200, 202, 204, 206, 301, 302, 304, 307, 308, 400, 401, 403, 404, 405, 406,
    408, 409, 413, 414, 415, 422, 429, 431, 499, 500, 501, 503, 504, 507,
};
static const double duration_bounds[HTTP_BUCKETS] = { .1, .2, .4, 1, 3, 8, 20, 60, 120 };

static bool is_literal(str pattern)
{
    return str_find_char(pattern, '{') == SIZE_MAX;
}

/* Literal segments weigh most, then {one}, then {rest*}; earlier segments weigh more than later ones. */
static unsigned pattern_rank(str pattern)
{
    unsigned rank = 0, place = 15;
    str seg;
    while (str_cut(&pattern, '/', &seg) && place > 0) {
        if (seg.n == 0)
            continue;
        unsigned weight = seg.p[0] != '{' ? 0 : str_has_suffix(seg, STR("*}")) ? 2 : 1;
        rank |= weight << (2 * place--);
    }
    return rank;
}

static const char *pattern_label(struct arena *a, str pattern)
{
    struct buf b;
    buf_init(&b, 0);
    for (size_t i = 0; i < pattern.n; i++) {
        str rest = str_skip(pattern, i + 1);
        if (pattern.p[i] == '{') {
            size_t end = str_find_char(rest, '}');
            buf_u8(&b, end != SIZE_MAX && end > 0 && rest.p[end - 1] == '*' ? '*' : ':');
        } else if (pattern.p[i] != '}' && !(pattern.p[i] == '*' && rest.n && rest.p[0] == '}')) {
            buf_u8(&b, (uint8_t)pattern.p[i]);
        }
    }
    const char *label = arena_cstr(a, buf_str(&b));
    buf_deinit(&b);
    return label;
}

static int entry_order(const void *pa, const void *pb)
{
    const struct http_entry *a = *(struct http_entry *const *)pa, *b = *(struct http_entry *const *)pb;
    bool la = is_literal(a->pattern), lb = is_literal(b->pattern);
    if (la != lb)
        return la ? -1 : 1;
    if (!la && a->rank != b->rank)
        return a->rank < b->rank ? -1 : 1;
    return str_cmp(a->pattern, b->pattern);
}

static struct http_entry *entry_of(struct http_router *r, str pattern)
{
    for (size_t i = 0; i < r->n; i++)
        if (str_eq(r->entries[i]->pattern, pattern))
            return r->entries[i];
    struct http_entry *e = arena_new(&r->a, struct http_entry);
    e->pattern = pattern;
    e->rank = pattern_rank(pattern);
    e->handler = pattern_label(&r->a, pattern);
    r->entries[r->n++] = e;
    return e;
}

static enum err route_add(struct http_router *r, const struct http_route *route, const struct http_table *t,
                          struct err_text *reterr)
{
    struct http_entry *e = entry_of(r, str_c(route->pattern));
    for (int m = 0; m < HTTP_METHODS; m++) {
        if (!(route->methods & HTTP_BIT(m)))
            continue;
        if (e->by_method[m])
            return err_fail(reterr, ERR_EXISTS, "two routes for %s %s", http_method_name((enum http_method)m).p,
                            route->pattern);
        e->by_method[m] = route;
        e->ctx[m] = t->ctx;
        e->listeners[m] = t->listeners ? t->listeners : ~0u;
    }
    return OK;
}

enum err http_router_init(struct http_router *r, const struct http_table *tables, size_t n_tables,
                          struct err_text *reterr)
{
    memset(r, 0, sizeof(*r));
    arena_init(&r->a, 0);
    size_t n = 0;
    for (size_t i = 0; i < n_tables; i++)
        n += tables[i].n_routes;
    r->entries = arena_zarray(&r->a, struct http_entry *, n + 1);
    r->unmatched.handler = "other";
    for (size_t i = 0; i < n_tables; i++)
        for (size_t k = 0; k < tables[i].n_routes; k++)
            TRY(route_add(r, &tables[i].routes[k], &tables[i], reterr));
    qsort(r->entries, r->n, sizeof(*r->entries), entry_order);
    while (r->n_literal < r->n && is_literal(r->entries[r->n_literal]->pattern))
        r->n_literal++;
    return OK;
}

void http_router_deinit(struct http_router *r)
{
    arena_deinit(&r->a);
}

static bool pattern_match(str pattern, str path, str captures[HTTP_CAPTURES_MAX], size_t *ret_n)
{
    size_t n = 0;
    while (pattern.n) {
        if (pattern.p[0] != '{') {
            if (path.n == 0 || path.p[0] != pattern.p[0])
                return false;
            pattern = str_skip(pattern, 1);
            path = str_skip(path, 1);
            continue;
        }
        size_t close = str_find_char(pattern, '}');
        bool rest = pattern.p[close - 1] == '*';
        size_t end = rest ? SIZE_MAX : str_find_char(path, '/');
        str value = str_take(path, end == SIZE_MAX ? path.n : end);
        if (n == HTTP_CAPTURES_MAX || (!rest && value.n == 0))
            return false;
        captures[n++] = value;
        path = str_skip(path, value.n);
        pattern = str_skip(pattern, close + 1);
    }
    *ret_n = n;
    return path.n == 0;
}

struct http_entry *http_router_find(const struct http_router *r, str path, str captures[HTTP_CAPTURES_MAX],
                                    size_t *ret_n)
{
    size_t lo = 0, hi = r->n_literal;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = str_cmp(r->entries[mid]->pattern, path);
        if (c == 0) {
            *ret_n = 0;
            return r->entries[mid];
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (size_t i = r->n_literal; i < r->n; i++)
        if (pattern_match(r->entries[i]->pattern, path, captures, ret_n))
            return r->entries[i];
    return NULL;
}

unsigned http_entry_methods(const struct http_entry *e, unsigned listener)
{
    unsigned bits = 0;
    for (int m = 0; m < HTTP_METHODS; m++)
        if (e->by_method[m] && (e->listeners[m] >> listener & 1))
            bits |= HTTP_BIT(m);
    if (bits & HTTP_BIT(HTTP_GET))
        bits |= HTTP_BIT(HTTP_HEAD);
    return bits ? bits | HTTP_BIT(HTTP_OPTIONS) : 0;
}

void http_count(struct http_entry *e, int status, uint64_t duration_ns, size_t bytes_out)
{
    size_t code = 0, bucket = 0;
    while (code < HTTP_CODES - 1 && http_codes[code] != status)
        code++;
    double seconds = (double)duration_ns * 1e-9;
    while (bucket < HTTP_BUCKETS && seconds > duration_bounds[bucket])
        bucket++;
    atomic_fetch_add_explicit(&e->counts.by_code[code], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&e->counts.bucket[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&e->counts.duration_ns, duration_ns, memory_order_relaxed);
    atomic_fetch_add_explicit(&e->counts.bytes_out, bytes_out, memory_order_relaxed);
}

static uint64_t load(const atomic_uint_least64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

static uint64_t requests_of(const struct http_entry *e)
{
    uint64_t n = 0;
    for (size_t i = 0; i < HTTP_CODES; i++)
        n += load(&e->counts.by_code[i]);
    return n;
}

static void render_requests(const struct http_entry *e, const char *family, struct buf *out)
{
    for (size_t i = 0; i < HTTP_CODES; i++) {
        uint64_t n = load(&e->counts.by_code[i]);
        if (n == 0)
            continue;
        if (i < HTTP_CODES - 1)
            buf_printf(out, "%s{handler=\"%s\",code=\"%d\"} %llu\n", family, e->handler, http_codes[i],
                       (unsigned long long)n);
        else
            buf_printf(out, "%s{handler=\"%s\",code=\"other\"} %llu\n", family, e->handler, (unsigned long long)n);
    }
}

static void render_durations(const struct http_entry *e, const char *family, struct buf *out)
{
    uint64_t n = 0;
    for (size_t i = 0; i < HTTP_BUCKETS; i++) {
        n += load(&e->counts.bucket[i]);
        buf_printf(out, "%s_bucket{handler=\"%s\",le=\"%g\"} %llu\n", family, e->handler, duration_bounds[i],
                   (unsigned long long)n);
    }
    n += load(&e->counts.bucket[HTTP_BUCKETS]);
    buf_printf(out, "%s_bucket{handler=\"%s\",le=\"+Inf\"} %llu\n", family, e->handler, (unsigned long long)n);
    buf_printf(out, "%s_sum{handler=\"%s\"} %.9g\n", family, e->handler, (double)load(&e->counts.duration_ns) * 1e-9);
    buf_printf(out, "%s_count{handler=\"%s\"} %llu\n", family, e->handler, (unsigned long long)n);
}

static void render_bytes(const struct http_entry *e, const char *family, struct buf *out)
{
    buf_printf(out, "%s{handler=\"%s\"} %llu\n", family, e->handler, (unsigned long long)load(&e->counts.bytes_out));
}

static void render_family(const struct http_router *r, const char *family, const char *type, const char *help,
                          void (*render)(const struct http_entry *, const char *, struct buf *), struct buf *out)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", family, help, family, type);
    for (size_t i = 0; i < r->n; i++)
        if (requests_of(r->entries[i]))
            render(r->entries[i], family, out);
    if (requests_of(&r->unmatched))
        render(&r->unmatched, family, out);
}

void http_router_render(const struct http_router *r, struct buf *out)
{
    render_family(r, "prometheus_http_request_duration_seconds", "histogram",
                  "Duration of HTTP requests, as Prometheus names it.", render_durations, out);
    render_family(r, "prometheus_http_requests_total", "counter", "HTTP requests, as Prometheus names them.",
                  render_requests, out);
    render_family(r, "vane_http_request_duration_seconds", "histogram",
                  "Duration of HTTP requests from the request line to the end of the answer.", render_durations, out);
    render_family(r, "vane_http_requests_total", "counter", "HTTP requests by route and status code.", render_requests,
                  out);
    render_family(r, "vane_http_response_bytes_total", "counter", "Bytes of answers' bodies, after compression.",
                  render_bytes, out);
}
