/* Several processes, one exposition: the files of a folder added up.
 *
 *     vane_<pid>_<start>_<n>.vsm   values of one process, written by its adds (sdk_mem.c)
 *     vane_folded.vsf              what dead processes left, and the names of the files it already holds
 *     vane_fold.lock               whoever folds holds it (flock)
 *
 * Folding: read the folded file, add the dead ones it does not name, write a new one with their names beside it, rename,
 * then unlink them. A crash anywhere leaves a folder that reads the same: a file that is named and still there is skipped.
 * A rendering that meets a folding half-way sees by the generation number in the folded file that it changed, and reads
 * again. */
#include "sdk_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MAX = 4096, FILE_NAME_MAX = 80 };

/* ---- the sum ---- */

struct sum_series {
    struct sum_series *next;
    char *labels; /* labels_n bytes and NUL */
    uint32_t labels_n;
    uint8_t gauge_mode;
    bool set;
    uint64_t u, created_ms, stamp; /* u: whole number, or bits of a double */
    struct sdk_hist h;
};

struct sum_family {
    struct sum_family *next;
    struct sdk_family f; /* strings owned */
    uint32_t buckets_max;
    uint8_t schema;
    struct sum_series *first, **last;
};

struct sum {
    struct sum_family *first, **last;
    void **table; /* series and families by hash of their text, open addressing: pointer pairs */
    uint64_t *hashes;
    size_t n, cap;
    bool failed;
    /* of the folded file */
    uint64_t generation;
    char (*held)[FILE_NAME_MAX];
    size_t n_held;
};

static void sum_init(struct sum *s)
{
    *s = (struct sum){ 0 };
    s->last = &s->first;
}

static void sum_free(struct sum *s)
{
    for (struct sum_family *f = s->first, *nf; f; f = nf) {
        nf = f->next;
        for (struct sum_series *x = f->first, *nx; x; x = nx) {
            nx = x->next;
            sdk_free(x->labels, x->labels_n + 1);
            sdk_hist_free(&x->h);
            sdk_free(x, sizeof *x);
        }
        sdk_free_str((char *)(uintptr_t)f->f.name);
        sdk_free_str((char *)(uintptr_t)f->f.help);
        sdk_free_str((char *)(uintptr_t)f->f.unit);
        sdk_free_str((char *)(uintptr_t)f->f.scope);
        sdk_free_str((char *)(uintptr_t)f->f.scope_version);
        for (size_t i = 0; i < f->f.n_states; i++)
            sdk_free_str((char *)(uintptr_t)f->f.states[i]);
        sdk_free((void *)(uintptr_t)f->f.states, VANE_STATES_MAX * sizeof(char *));
        sdk_free((void *)(uintptr_t)f->f.bounds, f->f.n_bounds * sizeof(double));
        sdk_free(f, sizeof *f);
    }
    sdk_free(s->table, s->cap * sizeof *s->table);
    sdk_free(s->hashes, s->cap * sizeof *s->hashes);
    sdk_free(s->held, s->n_held * FILE_NAME_MAX);
    sum_init(s);
}

static bool table_room(struct sum *s)
{
    if ((s->n + 1) * 3 <= s->cap * 2)
        return true;
    size_t cap = s->cap ? s->cap * 2 : 1024;
    void **t = sdk_alloc(cap * sizeof *t);
    uint64_t *h = sdk_alloc(cap * sizeof *h);
    if (!t || !h) {
        sdk_free(t, cap * sizeof *t);
        sdk_free(h, cap * sizeof *h);
        s->failed = true;
        return false;
    }
    for (size_t i = 0; i < s->cap; i++) {
        if (!s->table[i])
            continue;
        size_t at = s->hashes[i] & (cap - 1);
        while (t[at])
            at = (at + 1) & (cap - 1);
        t[at] = s->table[i];
        h[at] = s->hashes[i];
    }
    sdk_free(s->table, s->cap * sizeof *s->table);
    sdk_free(s->hashes, s->cap * sizeof *s->hashes);
    s->table = t;
    s->hashes = h;
    s->cap = cap;
    return true;
}

static size_t table_start(const struct sum *s, uint64_t hash)
{
    return hash & (s->cap - 1);
}

static void table_put(struct sum *s, uint64_t hash, void *p)
{
    size_t at = table_start(s, hash);
    while (s->table[at])
        at = (at + 1) & (s->cap - 1);
    s->table[at] = p;
    s->hashes[at] = hash;
    s->n++;
}

static char *dup_n(const char *s, size_t n)
{
    char *p = sdk_alloc(n + 1);
    if (p && n)
        memcpy(p, s, n);
    return p;
}

static bool same_text(const char *a, const char *b, size_t n)
{
    return strlen(a) == n && !memcmp(a, b, n);
}

static bool family_fits(const struct sum_family *f, const struct sdk_file_series *s)
{
    return f->f.kind == (vane_kind)s->r->kind && f->f.native == (bool)s->r->native && f->f.n_bounds == s->r->n_bounds &&
           (!s->r->n_bounds || !memcmp(f->f.bounds, s->bounds, s->r->n_bounds * sizeof(double)));
}

static bool states_copy(struct sum_family *f, const struct sdk_file_series *s)
{
    const char **states = sdk_alloc(VANE_STATES_MAX * sizeof *states);
    f->f.states = states;
    for (size_t at = 0; states && at < s->r->states_n && f->f.n_states < VANE_STATES_MAX;) {
        size_t n = strlen(s->states + at); /* a NUL ends the list: sdk_record_parse() */
        states[f->f.n_states] = dup_n(s->states + at, n);
        if (!states[f->f.n_states])
            return false;
        f->f.n_states++;
        at += n + 1;
    }
    return states != NULL;
}

static struct sum_family *family_get(struct sum *s, const struct sdk_file_series *x)
{
    uint64_t hash = sdk_hash(x->name, x->r->name_n) | 1; /* families are odd, series even */
    for (size_t at = table_start(s, hash); s->cap && s->table[at]; at = (at + 1) & (s->cap - 1)) {
        struct sum_family *f = s->table[at];
        if (s->hashes[at] == hash && same_text(f->f.name, x->name, x->r->name_n))
            return family_fits(f, x) ? f : NULL;
    }
    if (!table_room(s))
        return NULL;
    struct sum_family *f = sdk_alloc(sizeof *f);
    if (!f) {
        s->failed = true;
        return NULL;
    }
    f->last = &f->first;
    f->f.kind = (vane_kind)x->r->kind;
    f->f.native = x->r->native != 0;
    f->schema = x->r->schema;
    f->buckets_max = x->r->buckets_max ? x->r->buckets_max : 160;
    f->f.name = dup_n(x->name, x->r->name_n);
    f->f.help = dup_n(x->help, x->r->help_n);
    f->f.unit = dup_n(x->unit, x->r->unit_n);
    f->f.scope = dup_n(x->scope, x->r->scope_n);
    f->f.scope_version = dup_n(x->version, x->r->version_n);
    bool ok = f->f.name && f->f.help && f->f.unit && f->f.scope && f->f.scope_version;
    if (x->r->n_bounds && ok) {
        double *b = sdk_alloc(x->r->n_bounds * sizeof *b);
        ok = b != NULL;
        if (b)
            memcpy(b, x->bounds, x->r->n_bounds * sizeof *b);
        f->f.bounds = b;
        f->f.n_bounds = b ? x->r->n_bounds : 0;
    }
    if (f->f.kind == VANE_STATESET && ok)
        ok = states_copy(f, x);
    *s->last = f; /* in the list at once: sum_free() finds it whatever happens */
    s->last = &f->next;
    if (!ok) {
        s->failed = true;
        return NULL;
    }
    table_put(s, hash, f);
    return f;
}

static struct sum_series *series_get(struct sum *s, struct sum_family *f, const char *labels, size_t n, uint8_t mode)
{
    uint64_t seed[2] = { (uintptr_t)f, sdk_hash(labels, n) };
    uint64_t hash = sdk_hash(seed, sizeof seed) & ~(uint64_t)1;
    for (size_t at = table_start(s, hash); s->cap && s->table[at]; at = (at + 1) & (s->cap - 1)) {
        struct sum_series *x = s->table[at];
        if (s->hashes[at] == hash && x->labels_n == n && !memcmp(x->labels, labels, n))
            return x;
    }
    struct sum_series *x = table_room(s) ? sdk_alloc(sizeof *x) : NULL;
    if (!x || !(x->labels = dup_n(labels, n))) {
        sdk_free(x, sizeof *x);
        s->failed = true;
        return NULL;
    }
    x->labels_n = (uint32_t)n;
    x->gauge_mode = mode;
    *f->last = x;
    f->last = &x->next;
    table_put(s, hash, x);
    return x;
}

static double f64(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, 8);
    return v;
}

static uint64_t bits_of(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, 8);
    return bits;
}

static void hist_into(struct sdk_hist *to, struct sdk_hist *from, bool first)
{
    size_t n_classic = from->n_classic > to->n_classic ? from->n_classic : to->n_classic;
    if (first)
        sdk_hist_reset(to, from->schema, n_classic);
    while (from->schema > to->schema)
        sdk_hist_halve(from);
    while (to->schema > from->schema)
        sdk_hist_halve(to);
    to->sum += from->sum;
    to->zero += from->zero;
    for (unsigned sign = 0; sign < 2; sign++)
        for (size_t i = 0; i < from->n[sign]; i++)
            sdk_hist_bucket(to, sign, from->b[sign][i].key, from->b[sign][i].count);
    for (size_t i = 0; i < from->n_classic && i < to->n_classic; i++)
        to->classic[i] += from->classic[i];
}

/* One value into the sum. bits: as the family's kind has it; for gauges the stored word (0: not set). */
static void add_value(struct sum_series *x, const struct sum_family *f, uint64_t bits, uint64_t stamp)
{
    switch (f->f.kind) {
    case VANE_COUNTER:
    case VANE_UPDOWN:
        x->u += bits;
        break;
    case VANE_FCOUNTER:
        x->u = bits_of(f64(x->u) + f64(bits));
        break;
    case VANE_STATESET:
        x->u = bits;
        break;
    case VANE_GAUGE: {
        double v = f64(bits ^ SDK_GAUGE_UNSET), was = f64(x->u);
        vane_gauge_mode mode = (vane_gauge_mode)x->gauge_mode;
        bool sum = mode == VANE_GAUGE_SUM || mode == VANE_GAUGE_LIVE_SUM;
        bool max = mode == VANE_GAUGE_MAX || mode == VANE_GAUGE_LIVE_MAX,
             min = mode == VANE_GAUGE_MIN || mode == VANE_GAUGE_LIVE_MIN;
        if (!x->set || (max && v > was) || (min && v < was) || (!sum && !max && !min && stamp >= x->stamp))
            x->u = bits_of(v), x->stamp = stamp;
        else if (sum)
            x->u = bits_of(was + v);
        break;
    }
    case VANE_HISTOGRAM:
    case VANE_INFO:
        break;
    }
    x->set = true;
}

static bool live_only(uint8_t mode)
{
    return mode % 2 == 1; /* the enum alternates */
}
_Static_assert(VANE_GAUGE_LIVE_ALL == 1 && VANE_GAUGE_LIVE_SUM == 3 && VANE_GAUGE_LIVE_MAX == 5 &&
                   VANE_GAUGE_LIVE_MIN == 7 && VANE_GAUGE_LIVE_RECENT == 9,
               "live_only()");

struct adding {
    struct sum *sum;
    bool alive, folding;
    struct sdk_hist scratch;
};

/* Gauges and state sets of single processes get the label pid. */
static size_t labels_with_pid(char *buf, size_t cap, const struct sdk_file_series *s, uint32_t pid)
{
    if (s->r->labels_n + 32u > cap)
        return 0;
    memcpy(buf, s->labels, s->r->labels_n);
    size_t n = s->r->labels_n;
    return n + (size_t)snprintf(buf + n, cap - n, "%spid=\"%u\"", n ? "," : "", pid);
}

static int add_record(void *ctx, const struct sdk_file *file, const struct sdk_file_series *s)
{
    static char with_pid[SDK_TEXT_MAX + 64]; /* under the collect lock */
    struct adding *a = ctx;
    const struct sdk_meta_record *r = s->r;
    bool gauge = r->kind == VANE_GAUGE,
         single = r->kind == VANE_STATESET || (gauge && r->gauge_mode <= VANE_GAUGE_LIVE_ALL);
    if (!a->alive && gauge && (live_only(r->gauge_mode) || (single && a->folding)))
        return 0;
    if (r->kind == VANE_INFO || (r->kind == VANE_STATESET && !a->alive))
        return 0;
    uint64_t bits = gauge || r->kind == VANE_STATESET ? sdk_file_shard0(file, r->slot) : sdk_file_u64(file, r->slot);
    uint64_t stamp = gauge ? sdk_file_shard0(file, r->slot + 1) : 0;
    if (gauge && !bits)
        return 0; /* never set by that process */
    if (r->kind == VANE_FCOUNTER)
        bits = bits_of(sdk_file_f64(file, r->slot));
    struct sum_family *f = family_get(a->sum, s);
    if (!f) {
        sdk_count(SDK_FILES_BAD, 1); /* the same name is something else in another process, or no memory */
        return a->sum->failed;
    }
    const char *labels = s->labels;
    size_t n = r->labels_n;
    if (single) {
        n = labels_with_pid(with_pid, sizeof with_pid, s, file->head->pid);
        labels = with_pid;
    }
    struct sum_series *x = series_get(a->sum, f, labels, n, r->gauge_mode);
    if (!x)
        return 1;
    bool first = !x->set;
    add_value(x, f, bits, stamp);
    if (!x->created_ms || r->created_ms < x->created_ms)
        x->created_ms = r->created_ms;
    if (r->kind == VANE_HISTOGRAM) {
        sdk_file_hist(file, r, &a->scratch);
        hist_into(&x->h, &a->scratch, first);
        a->sum->failed |= x->h.failed || a->scratch.failed;
    }
    return a->sum->failed;
}

/* ---- the folded file: head, names held, records with values ---- */

struct folded_head {
    char magic[8]; /* "VANEFOL1" */
    uint64_t generation, n_held, n_records, bytes;
    uint64_t hash; /* of everything behind the head */
};

/* Behind a record: value, stamp, created; for histograms sum, zero, schema, counts of lists, then the lists. */
struct folded_value {
    uint64_t u, stamp;
    uint64_t sum, zero;
    int32_t schema;
    uint32_t n[2], n_classic;
};

static void path_of(char *buf, size_t cap, const char *name)
{
    snprintf(buf, cap, "%.400s/%.80s", sdk_mem_dir(), name);
}

static void fold_record(struct sdk_buf *b, const struct sum_family *f, const struct sum_series *x)
{
    struct sdk_meta_record r = {
        .state = 1,
        .kind = (uint8_t)f->f.kind,
        .gauge_mode = x->gauge_mode,
        .native = f->f.native,
        .schema = f->schema,
        .n_bounds = (uint16_t)f->f.n_bounds,
        .slot = SDK_HEAD_SLOTS, /* none: the values follow */
        .created_ms = x->created_ms,
        .buckets_max = f->buckets_max,
        .name_n = (uint16_t)strlen(f->f.name),
        .help_n = (uint16_t)strlen(f->f.help),
        .unit_n = (uint16_t)strlen(f->f.unit),
        .scope_n = (uint16_t)strlen(f->f.scope),
        .version_n = (uint16_t)strlen(f->f.scope_version),
        .labels_n = x->labels_n,
    };
    size_t at = b->n;
    sdk_put(b, (const char *)&r, sizeof r);
    sdk_put(b, (const char *)f->f.bounds, f->f.n_bounds * sizeof(double));
    const char *const strings[] = { f->f.name, f->f.help, f->f.unit, f->f.scope, f->f.scope_version };
    for (size_t i = 0; i < SDK_COUNT_OF(strings); i++)
        sdk_puts(b, strings[i]);
    sdk_put(b, x->labels, x->labels_n);
    while (b->n % 8 && !b->failed)
        sdk_putc(b, 0);
    r.bytes = (uint32_t)(b->n - at);
    if (!b->failed)
        memcpy(b->p + at, &r, sizeof r);
    const struct sdk_hist *h = &x->h;
    struct folded_value v = { .u = x->u,
                              .stamp = x->stamp,
                              .sum = bits_of(h->sum),
                              .zero = h->zero,
                              .schema = h->schema,
                              .n = { (uint32_t)h->n[0], (uint32_t)h->n[1] },
                              .n_classic = f->f.n_bounds ? (uint32_t)f->f.n_bounds + 1 : 0 };
    if (f->f.kind != VANE_HISTOGRAM)
        v.n[0] = v.n[1] = v.n_classic = 0;
    sdk_put(b, (const char *)&v, sizeof v);
    for (int k = 0; k < 2; k++)
        sdk_put(b, (const char *)h->b[k], v.n[k] * sizeof *h->b[k]);
    sdk_put(b, (const char *)h->classic, v.n_classic * 8);
}

static bool folded_read_record(struct sum *sum, const char **at, const char *end)
{
    struct sdk_file_series s;
    struct folded_value v;
    if (!sdk_record_parse(*at, (size_t)(end - *at), &s) || (size_t)(end - *at) < s.r->bytes + sizeof v)
        return false;
    const char *p = *at + s.r->bytes;
    memcpy(&v, p, sizeof v);
    p += sizeof v;
    size_t lists = ((size_t)v.n[0] + v.n[1]) * sizeof(struct sdk_span_of_buckets) + (size_t)v.n_classic * 8;
    if ((size_t)(end - p) < lists || v.schema > 6 || v.schema < -4 ||
        (v.n_classic && v.n_classic != s.r->n_bounds + 1u))
        return false;
    *at = p + lists;
    struct sum_family *f = family_get(sum, &s);
    struct sum_series *x = f ? series_get(sum, f, s.labels, s.r->labels_n, s.r->gauge_mode) : NULL;
    if (!x)
        return f == NULL && !sum->failed;
    x->u = v.u;
    x->stamp = v.stamp;
    x->set = true;
    x->created_ms = s.r->created_ms;
    if (s.r->kind != VANE_HISTOGRAM)
        return true;
    sdk_hist_reset(&x->h, v.schema, v.n_classic);
    x->h.sum = f64(v.sum);
    x->h.zero = v.zero;
    for (unsigned k = 0; k < 2; k++)
        for (uint32_t i = 0; i < v.n[k]; i++, p += sizeof(struct sdk_span_of_buckets)) {
            struct sdk_span_of_buckets b;
            memcpy(&b, p, sizeof b);
            sdk_hist_bucket(&x->h, k, b.key, b.count);
        }
    for (uint32_t i = 0; i < v.n_classic && !x->h.failed; i++, p += 8)
        memcpy(&x->h.classic[i], p, 8);
    return !x->h.failed;
}

static uint64_t folded_generation(void)
{
    char path[512];
    struct folded_head h;
    path_of(path, sizeof path, "vane_folded.vsf");
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd < 0 ? 0 : pread(fd, &h, sizeof h, 0);
    if (fd >= 0)
        close(fd);
    return n == (ssize_t)sizeof h ? h.generation : 0;
}

/* VANE_OK also without a file. A broken one is counted and read as empty. */
static vane_status folded_read(struct sum *s)
{
    char path[512];
    struct folded_head h;
    struct stat st;
    path_of(path, sizeof path, "vane_folded.vsf");
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? VANE_OK : VANE_E_IO;
    char *p = NULL;
    size_t n = 0;
    bool good = fstat(fd, &st) == 0 && st.st_size >= (off_t)sizeof h && st.st_size < 1 << 30;
    if (good) {
        n = (size_t)st.st_size - sizeof h;
        p = sdk_alloc(n + 1);
        good = p && pread(fd, &h, sizeof h, 0) == (ssize_t)sizeof h && pread(fd, p, n, sizeof h) == (ssize_t)n &&
               !memcmp(h.magic, "VANEFOL1", 8) && h.bytes == n && h.hash == sdk_hash(p, n) &&
               h.n_held <= FILES_MAX * 4 && h.n_held * FILE_NAME_MAX <= n;
    }
    close(fd);
    if (good) {
        s->generation = h.generation;
        s->held = h.n_held ? sdk_alloc(h.n_held * FILE_NAME_MAX) : NULL;
        s->n_held = s->held ? h.n_held : 0;
        if (s->held)
            memcpy(s->held, p, s->n_held * FILE_NAME_MAX);
        s->failed |= h.n_held && !s->held;
        const char *at = p + h.n_held * FILE_NAME_MAX;
        for (uint64_t i = 0; i < h.n_records && good && !s->failed; i++)
            good = folded_read_record(s, &at, p + n);
    }
    sdk_free(p, n + 1);
    if (!good)
        sdk_count(SDK_FILES_BAD, 1);
    return s->failed ? VANE_E_NOMEM : VANE_OK;
}

static bool is_held(const struct sum *s, const char *name)
{
    for (size_t i = 0; i < s->n_held; i++)
        if (!strncmp(s->held[i], name, FILE_NAME_MAX))
            return true;
    return false;
}

/* ---- the folder ---- */

/* Names of the values' files. */
static size_t list_files(char (*ret)[FILE_NAME_MAX])
{
    DIR *d = opendir(sdk_mem_dir());
    size_t n = 0;
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        size_t len = strlen(e->d_name);
        if (len < 10 || len >= FILE_NAME_MAX || strncmp(e->d_name, "vane_", 5) || strcmp(e->d_name + len - 4, ".vsm"))
            continue;
        if (n == FILES_MAX) {
            sdk_count(SDK_FILES_BAD, 1);
            break;
        }
        memset(ret[n], 0, FILE_NAME_MAX);
        memcpy(ret[n++], e->d_name, len);
    }
    if (d)
        closedir(d);
    return n;
}

static char file_names[FILES_MAX][FILE_NAME_MAX]; /* under the collect lock */

/* Add the files to the sum: of the living and the dead, or of the dead only; names of those taken go to `taken`. */
static void add_files(struct sum *s, bool dead_only, char (*taken)[FILE_NAME_MAX], size_t *n_taken)
{
    static struct sdk_file file; /* large; under the collect lock */
    struct adding a = { .sum = s, .folding = dead_only };
    size_t n = list_files(file_names);
    for (size_t i = 0; i < n && !s->failed; i++) {
        char path[512];
        if (is_held(s, file_names[i]))
            continue;
        path_of(path, sizeof path, file_names[i]);
        vane_status st = sdk_file_read(&file, path);
        if (st) {
            if (st != VANE_E_IO || errno != ENOENT) /* one that went away meanwhile is in the next folded file */
                sdk_count(SDK_FILES_BAD, 1);
            continue;
        }
        a.alive = sdk_file_alive(file.head);
        if (!dead_only || !a.alive) {
            sdk_file_each(&file, add_record, &a);
            if (taken)
                memcpy(taken[(*n_taken)++], file_names[i], FILE_NAME_MAX);
        }
        sdk_file_free(&file);
    }
    sdk_hist_free(&a.scratch);
}

size_t sdk_multiproc_pids(uint32_t *ret, size_t max)
{
    if (!sdk_mem_mapped() || !sdk_cfg.multiproc_dir || !*sdk_cfg.multiproc_dir)
        return 0;
    size_t n = list_files(file_names), out = 0;
    for (size_t i = 0; i < n && out < max; i++) {
        char *end;
        uint32_t pid = (uint32_t)strtoul(file_names[i] + 5, &end, 10);
        uint64_t ticks = *end == '_' ? strtoull(end + 1, NULL, 10) : 0;
        bool twice = false;
        for (size_t k = 0; k < out; k++)
            twice |= ret[k] == pid;
        if (ticks && !twice && sdk_start_ticks(pid) == ticks)
            ret[out++] = pid;
    }
    return out;
}

/* ---- folding ---- */

static bool fold_write(const struct sum *s, char (*taken)[FILE_NAME_MAX], size_t n_taken)
{
    struct sdk_buf b;
    sdk_buf_init(&b, 1 << 30);
    struct folded_head h = { .magic = "VANEFOL1", .generation = s->generation + 1 };
    sdk_put(&b, (const char *)&h, sizeof h);
    char path[512], tmp[512];
    for (size_t i = 0; i < s->n_held; i++) { /* those whose files are gone need not be named any more */
        path_of(path, sizeof path, s->held[i]);
        if (access(path, F_OK) == 0) {
            sdk_put(&b, s->held[i], FILE_NAME_MAX);
            h.n_held++;
        }
    }
    for (size_t i = 0; i < n_taken; i++, h.n_held++)
        sdk_put(&b, taken[i], FILE_NAME_MAX);
    for (const struct sum_family *f = s->first; f; f = f->next)
        for (const struct sum_series *x = f->first; x; x = x->next, h.n_records++)
            fold_record(&b, f, x);
    bool ok = !b.failed;
    if (ok) {
        h.bytes = b.n - sizeof h;
        h.hash = sdk_hash(b.p + sizeof h, h.bytes);
        memcpy(b.p, &h, sizeof h);
        path_of(path, sizeof path, "vane_folded.vsf");
        snprintf(tmp, sizeof tmp, "%.480s.tmp", path);
        int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
        ok = fd >= 0;
        for (size_t at = 0; ok && at < b.n;) {
            ssize_t w = write(fd, b.p + at, b.n - at);
            ok = w > 0 || (w < 0 && errno == EINTR);
            at += w > 0 ? (size_t)w : 0;
        }
        if (fd >= 0)
            ok &= close(fd) == 0;
        ok = ok && rename(tmp, path) == 0;
        if (!ok)
            unlink(tmp);
    }
    sdk_buf_free(&b);
    return ok;
}

/* Collect lock held. */
static vane_status fold(void)
{
    char path[512];
    path_of(path, sizeof path, "vane_fold.lock");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0)
        return VANE_E_IO;
    if (flock(fd, LOCK_EX | LOCK_NB)) { /* another process is at it */
        close(fd);
        return VANE_OK;
    }
    static char taken[FILES_MAX][FILE_NAME_MAX];
    size_t n = 0;
    struct sum s;
    sum_init(&s);
    vane_status st = folded_read(&s);
    size_t held = s.n_held;
    if (!st)
        add_files(&s, true, taken, &n);
    if (!st && s.failed)
        st = VANE_E_NOMEM;
    if (!st && n && !fold_write(&s, taken, n))
        st = VANE_E_IO;
    for (size_t i = 0; !st && i < n + held; i++) {
        path_of(path, sizeof path, i < n ? taken[i] : s.held[i - n]);
        if (unlink(path) == 0 && i < n)
            sdk_count(SDK_FILES_FOLDED, 1);
    }
    sum_free(&s);
    close(fd); /* and with it the lock */
    if (st)
        sdk_diag(st, "folding \"%.200s\": %s", sdk_mem_dir(), st == VANE_E_IO ? strerror(errno) : vane_status_text(st));
    return st;
}

vane_status vane_multiproc_fold(void)
{
    if (!sdk_enter())
        return VANE_E_STATE;
    vane_status st = VANE_E_STATE;
    if (sdk_mem_mapped() && sdk_cfg.multiproc_dir && *sdk_cfg.multiproc_dir) {
        pthread_mutex_lock(&sdk_collect_mu);
        st = fold();
        pthread_mutex_unlock(&sdk_collect_mu);
    }
    sdk_leave();
    return st;
}

/* ---- the walk ---- */

static int visit_sum(const struct sdk_visitor *v, const struct sum *s)
{
    int stop = 0;
    for (struct sum_family *f = s->first; f && !stop; f = f->next) {
        stop = v->family_begin(v->ctx, &f->f);
        for (struct sum_series *x = f->first; x && !stop; x = x->next) {
            struct sdk_point p = { .labels = x->labels, .labels_n = x->labels_n, .created_unix_ms = x->created_ms };
            p.v.u = x->u;
            if (f->f.kind == VANE_STATESET)
                p.v.u = x->u ? x->u - 1 : 0;
            if (f->f.kind == VANE_HISTOGRAM) {
                sdk_hist_finish(&x->h, f->buckets_max, &p);
                p.classic = f->f.n_bounds ? x->h.classic : NULL;
                for (size_t i = 0; !f->f.native && p.classic && i <= f->f.n_bounds; i++)
                    p.count += p.classic[i];
            }
            stop = v->point(v->ctx, &f->f, &p);
        }
        if (!stop)
            stop = v->family_end(v->ctx, &f->f);
    }
    return stop;
}

int sdk_file_visit(const struct sdk_file *f, const struct sdk_visitor *v)
{
    struct sum s;
    struct adding a = { .sum = &s, .alive = true };
    sum_init(&s);
    pthread_mutex_lock(&sdk_collect_mu);
    int stop = sdk_file_each(f, add_record, &a);
    pthread_mutex_unlock(&sdk_collect_mu);
    sdk_hist_free(&a.scratch);
    stop = stop || s.failed ? 1 : visit_sum(v, &s);
    sum_free(&s);
    return stop;
}

int sdk_multiproc_collect(const struct sdk_visitor *v)
{
    static uint64_t last_fold_ns; /* under the collect lock */
    uint64_t now = sdk_mono_ns();
    if (!last_fold_ns || now - last_fold_ns > 10000000000u) {
        last_fold_ns = now;
        fold();
    }
    int stop = 0;
    struct sum s;
    for (int round = 0;; round++) {
        sum_init(&s);
        folded_read(&s);
        uint64_t generation = s.generation;
        add_files(&s, false, NULL, NULL);
        if (folded_generation() == generation || round == 9)
            break;
        sum_free(&s); /* somebody folded meanwhile: read again */
    }
    stop = s.failed ? 1 : visit_sum(v, &s);
    sum_free(&s);
    return stop;
}
