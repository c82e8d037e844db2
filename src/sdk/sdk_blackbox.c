/* See sdk_blackbox.h. The file is read as every rendering in multi-process mode reads it; here it does not matter whether
 * its process lives. Its rings are in docs/format/sdk-file.md: neither tells how far it has been written, so every place is
 * looked at, what stands the checks is taken, and all of it is put into the order of time. */
#include "sdk_blackbox.h"
#include "sdk_file.h"
#include "sdk_push.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* ---- what the rings hold ---- */

struct item {
    uint64_t unix_ns;
    const char *p;
    size_t n;
};
struct items {
    struct item *all;
    size_t n, cap;
    bool failed;
};

static void item_add(struct items *l, uint64_t unix_ns, const char *p, size_t n)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 256;
        struct item *more = l->failed ? NULL : sdk_grow(l->all, l->cap * sizeof *more, cap * sizeof *more);
        l->failed |= !more;
        if (!more)
            return;
        l->all = more;
        l->cap = cap;
    }
    l->all[l->n++] = (struct item){ unix_ns, p, n };
}

static int by_time(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    return x->unix_ns != y->unix_ns ? (x->unix_ns > y->unix_ns) - (x->unix_ns < y->unix_ns)
                                    : (x->p > y->p) - (x->p < y->p);
}

/* How often a ring has been filled, by the record at its beginning: every lap begins with one. */
static bool lap_of(const struct sdk_log_rec *first, size_t ring, uint64_t *ret)
{
    for (uint64_t lap = 0; lap < (uint64_t)1 << 24; lap++)
        if (first->check == sdk_log_check(lap * ring, first->size)) {
            *ret = lap;
            return true;
        }
    return false;
}

static void lines_of(struct items *l, const char *p, size_t n)
{
    static struct sdk_log_line line;
    struct sdk_log_rec h;
    uint64_t lap;
    if (n < sizeof h)
        return;
    memcpy(&h, p, sizeof h);
    if (!h.check || !sdk_log_read(p, n, &line) || !lap_of(&h, n, &lap))
        return;
    for (size_t at = 0; at + sizeof h <= n;) {
        memcpy(&h, p + at, sizeof h);
        bool ours = h.check == sdk_log_check(lap * n + at, h.size) ||
                    (lap && h.check == sdk_log_check((lap - 1) * n + at, h.size));
        if (ours && h.size % 8 == 0 && sdk_log_read(p + at, n - at, &line)) {
            item_add(l, h.unix_ns, p + at, h.size);
            at += h.size;
        } else {
            at += 8;
        }
    }
}

/* The record in a slot, every length in it checked. false: none, or torn. */
static bool span_ok(const char *p, size_t n)
{
    struct sdk_span_rec r;
    memcpy(&r, p, sizeof r);
    if (r.size < sizeof r || r.size > n || r.kind < VANE_SPAN_INTERNAL || r.kind > VANE_SPAN_CONSUMER ||
        r.code > VANE_SPAN_ERROR || r.end_unix_ns < r.start_unix_ns)
        return false;
    uint64_t need = (uint64_t)r.name_n + r.status_n + r.state_n, room = r.size - sizeof r;
    for (unsigned i = 0; i < r.n_attrs; i++) {
        struct sdk_rec_attr a;
        if (need + sizeof a > room)
            return false;
        memcpy(&a, p + sizeof r + need, sizeof a);
        need += sizeof a + a.key_n + (uint64_t)a.n;
        if (need > room || a.type < VANE_T_STR || a.type > VANE_T_BYTES ||
            (a.type != VANE_T_STR && a.type != VANE_T_BYTES && a.n != 8))
            return false;
    }
    return need + r.events_n + r.links_n <= room;
}

static void spans_of(struct items *l, const char *p, size_t n)
{
    for (size_t at = 0; at + SDK_SPAN_SLOT <= n; at += SDK_SPAN_SLOT) {
        const char *rec = p + at + SDK_SPAN_SLOT_HEAD;
        struct sdk_span_rec r;
        memcpy(&r, rec, sizeof r);
        if (span_ok(rec, SDK_SPAN_SLOT - SDK_SPAN_SLOT_HEAD))
            item_add(l, r.end_unix_ns, rec, r.size);
    }
}

struct rings {
    struct items lines, spans;
};

static int see_region(void *ctx, const char kind[4], uint32_t index, const void *p, size_t n)
{
    struct rings *r = ctx;
    (void)index;
    if (!memcmp(kind, "LOGS", 4))
        lines_of(&r->lines, p, n);
    else if (!memcmp(kind, "span", 4))
        spans_of(&r->spans, p, n);
    return r->lines.failed || r->spans.failed;
}

/* ---- as text ---- */

static void put_pair(struct sdk_buf *b, const char *key, size_t key_n, unsigned type, const void *value, size_t n)
{
    sdk_putc(b, ' ');
    sdk_put_json_str(b, key, key_n);
    sdk_putc(b, '=');
    sdk_put_json_value(b, (vane_type)type, value, n, false);
}

static void show_events(struct sdk_buf *b, const char *p, size_t n)
{
    struct sdk_pb_field e, f;
    struct sdk_pb_attr a;
    for (const char *end = p + n; sdk_pb_next(&p, end, &e);) {
        SDK_PUTS(b, "    event");
        for (const char *at = e.p; sdk_pb_next(&at, e.p + e.n, &f);) {
            if (f.number == 1) {
                sdk_putc(b, ' ');
                sdk_put_rfc3339(b, f.v);
            } else if (f.number == 2) {
                sdk_putc(b, ' ');
                sdk_put_json_str(b, f.p, f.n);
            } else if (f.number == 3 && sdk_pb_attr(f.p, f.n, &a)) {
                put_pair(b, a.key.p, a.key.n, a.type, a.v.wire == 2 ? (const void *)a.v.p : &a.v.v, a.v.n);
            }
        }
        sdk_putc(b, '\n');
    }
}

static void show_span(struct sdk_buf *b, const char *p)
{
    static const char *const kinds[] = { "", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER" };
    static const uint8_t none[8];
    struct sdk_span_rec r;
    memcpy(&r, p, sizeof r);
    const char *name = p + sizeof r, *at = name + r.name_n + r.status_n + r.state_n;
    sdk_put_rfc3339(b, r.end_unix_ns);
    sdk_putf(b, " %s ", kinds[r.kind]);
    sdk_put_json_str(b, name, r.name_n);
    sdk_putf(b, " %.3f ms trace_id=", (double)(r.end_unix_ns - r.start_unix_ns) / 1e6);
    sdk_put_hex(b, r.trace_id, 16);
    SDK_PUTS(b, " span_id=");
    sdk_put_hex(b, r.span_id, 8);
    if (memcmp(r.parent, none, 8)) {
        SDK_PUTS(b, " parent_span_id=");
        sdk_put_hex(b, r.parent, 8);
    }
    if (r.code) {
        sdk_puts(b, r.code == VANE_SPAN_OK ? " status=OK " : " status=ERROR ");
        sdk_put_json_str(b, name + r.name_n, r.status_n);
    }
    for (unsigned i = 0; i < r.n_attrs; i++) {
        struct sdk_rec_attr a;
        memcpy(&a, at, sizeof a);
        at += sizeof a;
        put_pair(b, at, a.key_n, a.type, at + a.key_n, a.n);
        at += a.key_n + a.n;
    }
    if (r.dropped_attrs)
        sdk_putf(b, " dropped_attributes=%u", r.dropped_attrs);
    sdk_putc(b, '\n');
    show_events(b, at, r.events_n);
}

/* Texts of the host may hold anything: what is shown is valid UTF-8. */
static void show_line(struct sdk_buf *b, struct sdk_buf *tmp, const char *p, size_t n, const char *service)
{
    static struct sdk_log_line line;
    tmp->n = 0;
    if (!sdk_log_read(p, n, &line))
        return;
    sdk_log_text(tmp, &line, service);
    if (!tmp->failed && sdk_buf_room(b, 3 * tmp->n))
        b->n += sdk_text(b->p + b->n, b->cap - b->n, tmp->p, tmp->n);
}

static void show_rings(const struct sdk_file *f, struct sdk_buf *b, const char *service)
{
    struct rings r = { { 0 }, { 0 } };
    struct sdk_buf tmp;
    sdk_buf_init(&tmp, (size_t)4 << 20);
    if (sdk_file_regions(f, see_region, &r))
        SDK_PUTS(b, "# some of what follows is missing: out of memory\n");
    struct items *all[] = { &r.spans, &r.lines };
    for (size_t k = 0; k < SDK_COUNT_OF(all); k++) {
        if (all[k]->n) {
            sdk_putf(b, "# the last %zu %s, oldest first\n", all[k]->n, k ? "log lines" : "finished spans");
            qsort(all[k]->all, all[k]->n, sizeof *all[k]->all, by_time);
        }
        for (size_t i = 0; i < all[k]->n && !b->failed; i++)
            if (k)
                show_line(b, &tmp, all[k]->all[i].p, all[k]->all[i].n, service);
            else
                show_span(b, all[k]->all[i].p);
        sdk_free(all[k]->all, all[k]->cap * sizeof *all[k]->all);
    }
    sdk_buf_free(&tmp);
}

static const char *state_of(const struct sdk_file_head *h)
{
    if (sdk_file_alive(h))
        return "running";
    return h->state == SDK_FILE_STOPPED ? "stopped in good order" : "died: it was killed, crashed, or lost power";
}

/* Text of a fixed field, which may lack its NUL and hold anything. */
static void fixed_text(char *dst, size_t cap, const char *s, size_t n)
{
    dst[sdk_text(dst, cap - 1, s, strnlen(s, n))] = 0;
    for (; *dst; dst++)
        if ((uint8_t)*dst < ' ' || *dst == 0x7F)
            *dst = '?';
}

void sdk_blackbox_file(const struct sdk_file *f, struct sdk_buf *b)
{
    char service[3 * sizeof f->head->service + 1], instance[3 * sizeof f->head->instance + 1];
    fixed_text(service, sizeof service, f->head->service, sizeof f->head->service);
    fixed_text(instance, sizeof instance, f->head->instance, sizeof f->head->instance);
    sdk_putf(b, "# service %s, instance %s, process %u, started ", service, instance, f->head->pid);
    sdk_put_rfc3339(b, f->head->created_unix_ms % 253402300800000u * 1000000u);
    sdk_putf(b, ", %s\n", state_of(f->head));
    int stop = sdk_expo_file(f, b);
    if (stop && !b->failed)
        SDK_PUTS(b, "# what follows is missing: out of memory\n");
    show_rings(f, b, service);
    SDK_PUTS(b, "\n");
}

static bool show_file(const char *path, struct sdk_buf *b)
{
    static struct sdk_file f;
    vane_status st = sdk_file_read(&f, path);
    sdk_putf(b, "# %.400s\n", path);
    if (st) {
        sdk_putf(b, "# cannot be read: %s\n\n",
                 st == VANE_E_IO ? strerror(errno) : "not a file of libvane, or of another version");
        return false;
    }
    sdk_blackbox_file(&f, b);
    sdk_file_free(&f);
    return true;
}

static int is_ours(const struct dirent *e)
{
    size_t n = strlen(e->d_name);
    return n > 9 && !strncmp(e->d_name, "vane_", 5) && !strcmp(e->d_name + n - 4, ".vsm");
}

int sdk_blackbox_print(const char *path, int (*write)(void *ctx, const char *p, size_t n), void *ctx)
{
    struct stat st;
    if (stat(path, &st))
        return -1;
    struct sdk_buf b;
    sdk_buf_init(&b, 1 << 30);
    if (!sdk_buf_room(&b, 65536)) {
        errno = ENOMEM;
        return -1;
    }
    b.flush = write;
    b.flush_ctx = ctx;
    int shown = 0;
    if (!S_ISDIR(st.st_mode)) {
        shown = show_file(path, &b);
    } else {
        struct dirent **names = NULL;
        int n = scandir(path, &names, is_ours, alphasort), saved = errno;
        for (int i = 0; i < n; i++) {
            char file[4096];
            if ((size_t)snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name) < sizeof file && !b.failed)
                shown += show_file(file, &b);
            free(names[i]);
        }
        free(names);
        if (n < 0) {
            errno = saved;
            shown = -1;
        }
    }
    if (!b.failed && b.n)
        write(ctx, b.p, b.n);
    sdk_buf_free(&b);
    return shown;
}
