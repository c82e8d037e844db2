/* libvane's profiles written out: perftools.profiles.Profile as protobuf, in gzip. Functions are named from the symbol
 * tables of the ELF files that are mapped; gzip is written with stored blocks, so that no compressor is needed. */
#include "sdk_profile.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OBJECTS_MAX = 256, PROFILE_BYTES_MAX = 64 << 20, ELF_BYTES_MAX = 1 << 30 };

/* ---- what is mapped ---- */

struct object {
    char path[256];
    char build_id[41];
    uintptr_t base, from, to; /* executable part */
    uint64_t offset;          /* of it in the file */
    bool named;               /* functions were found */
};

struct objects {
    struct object o[OBJECTS_MAX];
    unsigned n;
};

static void read_build_id(struct object *o, const char *p, size_t n)
{
    while (n >= sizeof(ElfW(Nhdr))) {
        ElfW(Nhdr) h;
        memcpy(&h, p, sizeof h);
        size_t name = (h.n_namesz + 3u) & ~(size_t)3, desc = (h.n_descsz + 3u) & ~(size_t)3;
        if (name > n - sizeof h || desc > n - sizeof h - name)
            return;
        const char *id = p + sizeof h + name;
        if (h.n_type == NT_GNU_BUILD_ID && h.n_namesz == 4 && !memcmp(p + sizeof h, "GNU", 4))
            for (size_t i = 0; i < h.n_descsz && i < 20; i++)
                snprintf(o->build_id + 2 * i, 3, "%02x", (unsigned char)id[i]);
        p += sizeof h + name + desc;
        n -= sizeof h + name + desc;
    }
}

static int see_object(struct dl_phdr_info *info, size_t size, void *ctx)
{
    (void)size;
    struct objects *all = ctx;
    struct object *o = &all->o[all->n];
    memset(o, 0, sizeof *o);
    o->base = info->dlpi_addr;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        if (h->p_type == PT_LOAD && h->p_flags & PF_X) {
            o->from = info->dlpi_addr + h->p_vaddr;
            o->to = o->from + h->p_memsz;
            o->offset = h->p_offset;
        } else if (h->p_type == PT_NOTE) {
            read_build_id(o, (const void *)(info->dlpi_addr + h->p_vaddr), h->p_memsz);
        }
    }
    if (!o->to)
        return 0;
    snprintf(o->path, sizeof o->path, "%s", info->dlpi_name ? info->dlpi_name : "");
    if (!o->path[0]) {
        ssize_t n = readlink("/proc/self/exe", o->path, sizeof o->path - 1);
        o->path[n > 0 ? n : 0] = 0;
    }
    return ++all->n == OBJECTS_MAX;
}

/* ---- strings of the profile: number 0 is "" ---- */

struct strings {
    struct sdk_buf text;           /* all of them, each with its NUL */
    uint32_t *at, *slots, n, mask; /* at[number]: place in text; slots: number plus one by hash */
};

static bool strings_init(struct strings *s, uint32_t slots)
{
    memset(s, 0, sizeof *s);
    sdk_buf_init(&s->text, PROFILE_BYTES_MAX);
    s->mask = slots - 1;
    s->at = sdk_alloc(slots * sizeof *s->at);
    s->slots = sdk_alloc(slots * sizeof *s->slots);
    return s->at && s->slots;
}

static void strings_free(struct strings *s)
{
    sdk_buf_free(&s->text);
    sdk_free(s->at, (s->mask + 1) * sizeof *s->at);
    sdk_free(s->slots, (s->mask + 1) * sizeof *s->slots);
}

static uint64_t intern(struct strings *s, const char *text)
{
    size_t n = strlen(text);
    uint32_t i = (uint32_t)sdk_hash(text, n) & s->mask;
    for (; s->slots[i]; i = (i + 1) & s->mask)
        if (!strcmp(s->text.p + s->at[s->slots[i] - 1], text))
            return s->slots[i] - 1;
    if (s->n >= s->mask / 2) /* the table was made for all there can be */
        return 0;
    s->at[s->n] = (uint32_t)s->text.n;
    sdk_put(&s->text, text, n + 1);
    if (s->text.failed)
        return 0;
    s->slots[i] = ++s->n;
    return s->n - 1;
}

/* ---- locations ---- */

struct location {
    uintptr_t address;
    uint32_t object;   /* its number plus one; 0: none */
    uint64_t function; /* string number of its name; 0: unknown */
};

static int by_address(const void *a, const void *b)
{
    uintptr_t x = ((const struct location *)a)->address, y = ((const struct location *)b)->address;
    return x < y ? -1 : x > y;
}

/* Part [at, at + n) of the file, NULL when it is not there. */
static const void *part(const char *file, size_t size, uint64_t at, uint64_t n)
{
    return at <= size && n <= size - at ? file + at : NULL;
}

/* Name the locations [l, l + n) of object o, in order of address, from a table of symbols. */
static void name_from(const char *file, size_t size, const ElfW(Shdr) * syms, const ElfW(Shdr) * strs,
                      const struct object *o, struct location *l, size_t n, struct strings *names)
{
    const ElfW(Sym) *sym = part(file, size, syms->sh_offset, syms->sh_size);
    const char *str = part(file, size, strs->sh_offset, strs->sh_size);
    if (!sym || !str || !strs->sh_size || str[strs->sh_size - 1] || syms->sh_offset % _Alignof(ElfW(Sym)))
        return;
    for (size_t i = 0; i < syms->sh_size / sizeof *sym; i++) {
        if (ELF64_ST_TYPE(sym[i].st_info) != STT_FUNC || !sym[i].st_value || !sym[i].st_size ||
            sym[i].st_name >= strs->sh_size)
            continue;
        uintptr_t from = o->base + sym[i].st_value, to = from + sym[i].st_size;
        size_t lo = 0, hi = n;
        while (lo < hi) {
            size_t mid = (lo + hi) / 2;
            if (l[mid].address < from)
                lo = mid + 1;
            else
                hi = mid;
        }
        for (; lo < n && l[lo].address < to; lo++)
            if (!l[lo].function)
                l[lo].function = intern(names, str + sym[i].st_name);
    }
}

static void name_locations(struct object *o, struct location *l, size_t n, struct strings *names)
{
    int fd = open(o->path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0)
        return;
    char *file = MAP_FAILED;
    if (!fstat(fd, &st) && st.st_size > (off_t)sizeof(ElfW(Ehdr)) && st.st_size <= ELF_BYTES_MAX)
        file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (file == MAP_FAILED)
        return;
    size_t size = (size_t)st.st_size;
    const ElfW(Ehdr) *h = (const void *)file;
    const ElfW(Shdr) *s =
        h->e_shoff % _Alignof(ElfW(Shdr)) ? NULL : part(file, size, h->e_shoff, (uint64_t)h->e_shnum * sizeof *s);
    if (!memcmp(h->e_ident, ELFMAG, SELFMAG) && h->e_shentsize == sizeof *s && s)
        for (unsigned round = 0; round < 2; round++) /* the full table first */
            for (unsigned i = 0; i < h->e_shnum; i++)
                if (s[i].sh_type == (round ? SHT_DYNSYM : SHT_SYMTAB) && s[i].sh_link < h->e_shnum)
                    name_from(file, size, &s[i], &s[s[i].sh_link], o, l, n, names);
    munmap(file, size);
    for (size_t i = 0; i < n; i++)
        o->named |= l[i].function != 0;
}

/* ---- gzip ---- */

static uint32_t crc_of(const unsigned char *p, size_t n)
{
    uint32_t table[16], c = ~0u;
    for (uint32_t i = 0; i < 16; i++) {
        table[i] = i;
        for (int k = 0; k < 4; k++)
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xEDB88320u : 0);
    }
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        c = c >> 4 ^ table[c & 15];
        c = c >> 4 ^ table[c & 15];
    }
    return ~c;
}

static void put_le(struct sdk_buf *b, uint32_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        sdk_putc(b, (char)(v >> 8 * i));
}

static void put_gzip(struct sdk_buf *out, const char *p, size_t n)
{
    sdk_put(out, "\x1f\x8b\x08\0\0\0\0\0\0\x03", 10);
    for (size_t at = 0;;) {
        size_t k = n - at < 65535 ? n - at : 65535;
        sdk_putc(out, at + k == n);
        put_le(out, (uint32_t)k, 2);
        put_le(out, ~(uint32_t)k, 2);
        sdk_put(out, p + at, k);
        at += k;
        if (at == n)
            break;
    }
    put_le(out, crc_of((const unsigned char *)p, n), 4);
    put_le(out, (uint32_t)n, 4);
}

/* ---- the profile ---- */

static void put_value_type(struct sdk_buf *b, struct strings *s, unsigned field, const char *type, const char *unit)
{
    size_t m = sdk_pb_begin(b, field);
    sdk_pb_u64(b, 1, intern(s, type));
    sdk_pb_u64(b, 2, intern(s, unit));
    sdk_pb_end(b, m);
}

static void put_label(struct sdk_buf *b, struct strings *s, const char *key, const char *text, uint64_t number)
{
    size_t m = sdk_pb_begin(b, 3);
    sdk_pb_u64(b, 1, intern(s, key));
    if (text)
        sdk_pb_u64(b, 2, intern(s, text));
    else
        sdk_pb_u64(b, 3, number);
    sdk_pb_end(b, m);
}

static uintptr_t frame_address(const struct sdk_prof_stack *s, unsigned i)
{
    return s->pc[i] - (i > 0 && s->pc[i]); /* inside the call, not behind it */
}

static uint64_t location_id(const struct location *l, size_t n, uintptr_t address)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (l[mid].address < address)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo + 1;
}

static void put_sample(struct sdk_buf *b, struct strings *s, const struct sdk_prof_stack *k, const struct location *l,
                       size_t n_l, char (*endpoints)[96], unsigned n_endpoints, uint64_t period_ns)
{
    size_t m = sdk_pb_begin(b, 2);
    for (unsigned i = 0; i < k->n; i++)
        sdk_pb_u64(b, 1, location_id(l, n_l, frame_address(k, i)));
    uint64_t count = atomic_load_explicit(&k->count, memory_order_relaxed);
    sdk_pb_u64(b, 2, count);
    sdk_pb_u64(b, 2, k->label.waiting ? 0 : count * period_ns);
    static const vane_context none;
    char hex[33];
    struct sdk_buf h = { .p = hex, .cap = sizeof hex, .max = sizeof hex };
    put_label(b, s, "thread", NULL, (uint64_t)k->label.tid);
    if (k->label.waiting)
        put_label(b, s, "state", "waiting", 0);
    if (memcmp(k->label.trace_id, none.trace_id, 16)) {
        sdk_put_hex(&h, k->label.trace_id, 16);
        hex[32] = 0;
        put_label(b, s, "trace_id", hex, 0);
        h.n = 0;
        sdk_put_hex(&h, k->label.span_id, 8);
        hex[16] = 0;
        put_label(b, s, "span_id", hex, 0);
    }
    if (k->label.profile_id) {
        snprintf(hex, sizeof hex, "%016llx", (unsigned long long)k->label.profile_id);
        put_label(b, s, "profile.id", hex, 0);
    }
    if (k->label.endpoint && k->label.endpoint <= n_endpoints)
        put_label(b, s, "endpoint", endpoints[k->label.endpoint - 1], 0);
    sdk_pb_end(b, m);
}

struct work {
    struct objects objects;
    struct strings strings;
    struct location *l;
    size_t n_l, cap_l;
    bool *done; /* by string number: that function is written */
    size_t n_done;
    struct sdk_buf b;
};

static bool full(const struct sdk_prof_stack *s)
{
    return atomic_load_explicit(&s->state, memory_order_acquire) == SDK_PROF_FULL;
}

/* Every address once, in order, with its object and function. */
static bool find_locations(struct work *w, const struct sdk_prof_table *t)
{
    for (uint32_t i = 0; i < t->n; i++)
        w->cap_l += full(&t->stacks[i]) ? t->stacks[i].n : 0;
    if (w->cap_l && !(w->l = sdk_alloc(w->cap_l * sizeof *w->l)))
        return false;
    size_t n = 0;
    for (uint32_t i = 0; i < t->n; i++)
        for (unsigned k = 0; full(&t->stacks[i]) && k < t->stacks[i].n; k++)
            w->l[n++].address = frame_address(&t->stacks[i], k);
    if (n)
        qsort(w->l, n, sizeof *w->l, by_address);
    for (size_t i = 0; i < n; i++)
        if (!w->n_l || w->l[w->n_l - 1].address != w->l[i].address)
            w->l[w->n_l++] = w->l[i];
    uint32_t slots = 1024;
    while (slots < 4 * (w->n_l + t->n * 4u + 2u * OBJECTS_MAX)) /* names, three ids a stack */
        slots *= 2;
    if (!strings_init(&w->strings, slots))
        return false;
    intern(&w->strings, "");
    dl_iterate_phdr(see_object, &w->objects);
    for (unsigned i = 0; i < w->objects.n; i++) {
        struct object *o = &w->objects.o[i];
        size_t from = 0;
        while (from < w->n_l && w->l[from].address < o->from)
            from++;
        size_t to = from;
        while (to < w->n_l && w->l[to].address < o->to)
            w->l[to++].object = i + 1;
        if (to > from)
            name_locations(o, w->l + from, to - from, &w->strings);
    }
    w->n_done = w->strings.n;
    return (w->done = sdk_alloc(w->n_done * sizeof *w->done)) != NULL;
}

static void put_profile(struct work *w, const struct sdk_prof_table *t, char (*endpoints)[96], unsigned n_endpoints,
                        uint64_t unix_ns, uint64_t duration_ns, uint64_t period_ns)
{
    struct sdk_buf *b = &w->b;
    struct strings *s = &w->strings;
    put_value_type(b, s, 1, "samples", "count");
    put_value_type(b, s, 1, "cpu", "nanoseconds");
    for (uint32_t i = 0; i < t->n; i++)
        if (full(&t->stacks[i]))
            put_sample(b, s, &t->stacks[i], w->l, w->n_l, endpoints, n_endpoints, period_ns);
    for (unsigned i = 0; i < w->objects.n; i++) {
        const struct object *o = &w->objects.o[i];
        size_t m = sdk_pb_begin(b, 3);
        sdk_pb_u64(b, 1, i + 1);
        sdk_pb_u64(b, 2, o->from);
        sdk_pb_u64(b, 3, o->to);
        sdk_pb_u64(b, 4, o->offset);
        sdk_pb_u64(b, 5, intern(s, o->path));
        sdk_pb_u64(b, 6, intern(s, o->build_id));
        sdk_pb_u64(b, 7, o->named);
        sdk_pb_end(b, m);
    }
    for (size_t i = 0; i < w->n_l; i++) {
        size_t m = sdk_pb_begin(b, 4);
        sdk_pb_u64(b, 1, i + 1);
        if (w->l[i].object)
            sdk_pb_u64(b, 2, w->l[i].object);
        sdk_pb_u64(b, 3, w->l[i].address);
        if (w->l[i].function) {
            size_t line = sdk_pb_begin(b, 4);
            sdk_pb_u64(b, 1, w->l[i].function);
            sdk_pb_end(b, line);
        }
        sdk_pb_end(b, m);
    }
    for (size_t i = 0; i < w->n_l; i++) { /* a function's number is that of its name */
        uint64_t f = w->l[i].function;
        if (!f || w->done[f])
            continue;
        w->done[f] = true;
        size_t m = sdk_pb_begin(b, 5);
        for (unsigned field = 1; field <= 3; field++) /* id, name, system name */
            sdk_pb_u64(b, field, f);
        sdk_pb_end(b, m);
    }
    put_value_type(b, s, 11, "cpu", "nanoseconds");
    for (uint32_t i = 0; i < s->n; i++)
        sdk_pb_str(b, 6, s->text.p + s->at[i]);
    sdk_pb_u64(b, 9, unix_ns);
    sdk_pb_u64(b, 10, duration_ns);
    sdk_pb_u64(b, 12, period_ns);
}

vane_status sdk_pprof(const struct sdk_prof_table *t, char (*endpoints)[96], unsigned n_endpoints, uint64_t unix_ns,
                      uint64_t duration_ns, uint64_t period_ns, char **ret, size_t *ret_n)
{
    struct work *w = sdk_alloc(sizeof *w);
    if (!w)
        return VANE_E_NOMEM;
    struct sdk_buf out;
    sdk_buf_init(&w->b, PROFILE_BYTES_MAX);
    sdk_buf_init(&out, PROFILE_BYTES_MAX + PROFILE_BYTES_MAX / 1024);
    vane_status st = VANE_E_NOMEM;
    if (find_locations(w, t)) {
        put_profile(w, t, endpoints, n_endpoints, unix_ns, duration_ns, period_ns);
        if (!w->b.failed && !w->strings.text.failed)
            put_gzip(&out, w->b.p, w->b.n);
        if (!w->b.failed && !w->strings.text.failed && !out.failed && (*ret = malloc(out.n)) != NULL) {
            memcpy(*ret, out.p, out.n);
            *ret_n = out.n;
            st = VANE_OK;
        }
    }
    sdk_buf_free(&out);
    sdk_buf_free(&w->b);
    if (w->strings.mask)
        strings_free(&w->strings);
    sdk_free(w->done, w->n_done * sizeof *w->done);
    sdk_free(w->l, w->cap_l * sizeof *w->l);
    sdk_free(w, sizeof *w);
    return st;
}

/* ---- where it goes ---- */

vane_status sdk_pprof_write(const char *path, const char *p, size_t n)
{
    char beside[1100];
    int len = snprintf(beside, sizeof beside, "%s.%d.tmp", path, (int)getpid());
    if (len < 0 || (size_t)len >= sizeof beside)
        return VANE_E_ARG;
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0)
        return VANE_E_IO;
    size_t at = 0;
    while (at < n) {
        ssize_t k = write(fd, p + at, n - at);
        if (k <= 0 && errno != EINTR)
            break;
        at += k > 0 ? (size_t)k : 0;
    }
    bool ok = close(fd) == 0 && at == n;
    if (ok && rename(beside, path) == 0)
        return VANE_OK;
    int saved = errno;
    unlink(beside);
    errno = saved;
    return VANE_E_IO;
}

static bool send_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        p += k, n -= (size_t)k;
    }
    return true;
}

vane_status sdk_pprof_post(const char *url, const char *p, size_t n)
{
    if (strncmp(url, "http://", 7))
        return VANE_E_UNAVAILABLE;
    char host[256], head[1024], answer[13];
    const char *port = "80";
    size_t host_n = strcspn(url + 7, "/?#");
    const char *path = url + 7 + host_n;
    if (!host_n || host_n >= sizeof host || strcspn(url, "\r\n \t") != strlen(url) || memchr(url + 7, '@', host_n))
        return VANE_E_ARG;
    int len =
        snprintf(head, sizeof head,
                 "POST %s%s HTTP/1.1\r\nHost: %.*s\r\nContent-Type: application/octet-stream\r\nContent-Length: %zu\r\n"
                 "Connection: close\r\n\r\n",
                 *path == '/' ? "" : "/", path, (int)host_n, url + 7, n);
    if (len < 0 || (size_t)len >= sizeof head)
        return VANE_E_ARG;
    memcpy(host, url + 7, host_n);
    host[host_n] = 0;
    char *name = host, *colon = strrchr(host, ':'), *end = strchr(host, ']');
    if (colon && (!end || colon > end))
        *colon = 0, port = colon + 1;
    if (host[0] == '[' && end)
        *end = 0, name = host + 1;
    struct addrinfo hints, *all = NULL;
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    if (getaddrinfo(name, port, &hints, &all))
        return VANE_E_IO;
    vane_status st = VANE_E_IO;
    for (struct addrinfo *a = all; a && st; a = a->ai_next) {
        int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        struct timeval tv = { 10, 0 };
        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
        if (!connect(fd, a->ai_addr, a->ai_addrlen) && send_all(fd, head, (size_t)len) && send_all(fd, p, n) &&
            recv(fd, answer, 12, MSG_WAITALL) == 12)
            st = !memcmp(answer, "HTTP/1.", 7) && answer[9] == '2' ? VANE_OK : VANE_E_IO;
        close(fd);
    }
    freeaddrinfo(all);
    return st;
}
