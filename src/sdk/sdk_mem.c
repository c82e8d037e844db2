/* Blocks of 32 KiB in one reserved address range, and what lies in them.
 *
 *     base | block 0 | block 1 | ...               up to memory_max_bytes
 *           file head   META      SLAB shard 0 seg 0     SLAB shard 3 seg 0     HEAP shard 3     REGION log 2 ...
 *
 * Without a folder the blocks are anonymous memory, there is no file head and no META, and the kernel zeroes them in a
 * child of fork (MADV_WIPEONFORK), but those that keep their values. With a folder block i is page-aligned part i of a
 * file of this process; a child gets a file of its own mapped over the same addresses in the fork handler.
 *
 * The disk space of a block is taken (fallocate) before it is mapped: a full disk is an error here and never a SIGBUS at
 * a write.
 *
 * The memory lock is a word with the owner's tid. It is held for a few system calls when a block is taken. A signal
 * handler that interrupts its own thread there sees its own tid and does without (shard 0). */
#include "sdk_mem.h"
#include "sdk_conf.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

char *sdk_mem_base;
struct sdk_shard *sdk_shards;
_Atomic uint32_t sdk_shards_used;

/* Before the first start: one slot whose generation no handle has. */
static struct sdk_slot_info no_slot = { .gen = UINT32_MAX };
struct sdk_slots sdk_slots = { &no_slot, 0 };

static _Atomic int lock_tid;
static uint32_t n_blocks, max_blocks, n_segs, shards_max;
static uint8_t block_kind[SDK_BLOCKS_MAX];
static bool block_keeps[SDK_BLOCKS_MAX], seg_keeps[SDK_SEGS_MAX], wipe_by_hand;
static uint32_t seg_open[2], seg_used[2]; /* by keep: the segment slots are given out from, its slots in use */
static uint32_t meta_block;
static bool info_ready[SDK_SEGS_MAX];

static int file_fd = -1;
static dev_t file_dev;
static ino_t file_ino;
static char file_path[512], file_dir[384];

static int my_tid(void)
{
    return (int)syscall(SYS_gettid);
}

/* false: this thread holds it already, interrupted by a signal. */
static bool mem_lock(void)
{
    int me = my_tid();
    for (;;) {
        int owner = 0;
        if (atomic_compare_exchange_weak_explicit(&lock_tid, &owner, me, memory_order_acquire, memory_order_relaxed))
            return true;
        if (owner == me)
            return false;
        sched_yield();
    }
}

static void mem_unlock(void)
{
    atomic_store_explicit(&lock_tid, 0, memory_order_release);
}

bool sdk_mem_mapped(void)
{
    return file_fd >= 0;
}

const char *sdk_mem_dir(void)
{
    return file_dir;
}

const char *sdk_mem_path(void)
{
    return file_path;
}

static struct sdk_file_head *file_head(void)
{
    return (struct sdk_file_head *)(void *)(sdk_mem_base + sizeof(struct sdk_block_head));
}

static struct sdk_block_head *head_of(uint32_t block)
{
    return (struct sdk_block_head *)(void *)(sdk_mem_base + (size_t)block * SDK_BLOCK);
}

/* ---- blocks ---- */

/* A host that becomes a daemon may have closed our descriptor, and another file may have got its number. */
static bool file_is_ours(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && st.st_dev == file_dev && st.st_ino == file_ino;
}

static bool file_ready(void)
{
    if (file_fd < 0 || file_is_ours(file_fd))
        return true;
    int fd = open(file_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    if (!file_is_ours(fd)) {
        close(fd);
        return false;
    }
    file_fd = fd;
    return true;
}

static bool map_blocks(int fd, uint32_t first, uint32_t n)
{
    off_t at = (off_t)first * SDK_BLOCK;
    size_t bytes = (size_t)n * SDK_BLOCK;
    if (fd < 0)
        return mprotect(sdk_mem_base + at, bytes, PROT_READ | PROT_WRITE) == 0;
    return posix_fallocate(fd, at, (off_t)bytes) == 0 &&
           mmap(sdk_mem_base + at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, at) != MAP_FAILED;
}

/* n blocks in a row. Lock held. Returns the first, UINT32_MAX when there is no room. */
static uint32_t blocks_new(uint32_t n, enum sdk_block_kind kind, uint32_t shard, uint32_t seg, bool keep)
{
    if (n > max_blocks - n_blocks || !file_ready() || !map_blocks(file_fd, n_blocks, n)) {
        sdk_count(SDK_ALLOC_FAILURES, 1);
        return UINT32_MAX;
    }
    uint32_t first = n_blocks;
    if (file_fd < 0 && !keep && !wipe_by_hand &&
        madvise(sdk_mem_base + (size_t)first * SDK_BLOCK, (size_t)n * SDK_BLOCK, MADV_WIPEONFORK))
        wipe_by_hand = true; /* a kernel before 4.14 */
    for (uint32_t i = first; i < first + n; i++) {
        block_kind[i] = (uint8_t)kind;
        block_keeps[i] = keep;
    }
    struct sdk_block_head *h = head_of(first);
    h->kind = (uint16_t)kind;
    h->shard = (uint16_t)shard;
    h->seg = seg;
    atomic_store_explicit(&h->used, kind == SDK_B_META ? sizeof *h : n, memory_order_relaxed);
    h->magic = SDK_BLOCK_MAGIC;
    n_blocks += n;
    if (file_fd >= 0)
        atomic_store_explicit(&file_head()->n_blocks, n_blocks, memory_order_release);
    sdk_count(SDK_MEMORY_BYTES, (uint64_t)n * SDK_BLOCK);
    return first;
}

/* The block of (shard, seg). Lock held. */
static uint64_t *slab_new(struct sdk_shard *s, uint32_t seg)
{
    uint64_t *p = atomic_load_explicit(&s->segs[seg], memory_order_relaxed);
    if (p)
        return p;
    uint32_t block = blocks_new(1, SDK_B_SLAB, sdk_shard_index(s), seg, seg_keeps[seg]);
    if (block == UINT32_MAX)
        return NULL;
    p = (uint64_t *)(void *)(sdk_mem_base + (size_t)block * SDK_BLOCK);
    atomic_store_explicit(&s->segs[seg], p, memory_order_release);
    return p;
}

/* ---- slots ---- */

static bool seg_new(bool keep)
{
    uint32_t seg = n_segs;
    if (seg >= SDK_SEGS_MAX)
        return false;
    size_t bytes = SDK_BLOCK_SLOTS * sizeof(struct sdk_slot_info);
    if (!info_ready[seg] && mprotect((char *)sdk_slots.info + seg * bytes, bytes, PROT_READ | PROT_WRITE))
        return false;
    info_ready[seg] = true;
    seg_keeps[seg] = keep;
    if (!slab_new(&sdk_shards[0], seg))
        return false;
    n_segs++;
    seg_open[keep] = seg;
    seg_used[keep] = SDK_HEAD_SLOTS;
    return true;
}

uint32_t sdk_slots_new(uint32_t n, uint32_t align, bool keep)
{
    uint32_t slot = 0;
    if (!mem_lock())
        return 0;
    uint32_t at = (seg_used[keep] + align - 1) / align * align;
    if (seg_used[keep] && at + n <= SDK_BLOCK_SLOTS) {
        slot = seg_open[keep] * SDK_BLOCK_SLOTS + at;
        seg_used[keep] = at + n;
    } else if (SDK_HEAD_SLOTS + n <= SDK_BLOCK_SLOTS && seg_new(keep)) {
        slot = seg_open[keep] * SDK_BLOCK_SLOTS + SDK_HEAD_SLOTS; /* the head is 8 slots: aligned */
        seg_used[keep] = SDK_HEAD_SLOTS + n;
    }
    mem_unlock();
    return slot;
}

/* Take n units off what the shard has, leaving `reserve`. 0: not enough. */
static uint32_t units_take(struct sdk_shard *s, uint32_t n, uint32_t reserve)
{
    uint64_t h = atomic_load_explicit(&s->heap, memory_order_relaxed);
    do {
        if ((h >> 32) - (uint32_t)h < (uint64_t)n + reserve)
            return 0;
    } while (!atomic_compare_exchange_weak_explicit(&s->heap, &h, h + n, memory_order_relaxed, memory_order_relaxed));
    return (uint32_t)h;
}

/* A block for the heap of a shard. Lock held. */
static bool heap_block(struct sdk_shard *s)
{
    uint32_t block = 0;
    while (block < n_blocks && block_kind[block] != SDK_B_FREE)
        block++;
    if (block < n_blocks) { /* of a parent's life: wiped */
        block_kind[block] = SDK_B_HEAP;
        *head_of(block) = (struct sdk_block_head){ .magic = SDK_BLOCK_MAGIC,
                                                   .kind = SDK_B_HEAP,
                                                   .shard = (uint16_t)sdk_shard_index(s) };
    } else {
        block = blocks_new(1, SDK_B_HEAP, sdk_shard_index(s), 0, false);
    }
    if (block == UINT32_MAX)
        return false;
    uint64_t per = SDK_BLOCK / SDK_UNIT;
    atomic_store_explicit(&s->heap, (block + 1) * per << 32 | (block * per + 1), memory_order_relaxed);
    return true;
}

/* Without the lock from what is there; with it from a new block. A handler that interrupts its own thread under the lock
 * gets nothing from its own shard, and from shard 0 the reserve. */
enum { UNITS_RESERVE = 64 };

uint32_t sdk_units_new(struct sdk_shard *s, uint32_t n)
{
    uint32_t reserve = sdk_shard_index(s) ? 0 : UNITS_RESERVE, unit = units_take(s, n, reserve);
    if (unit)
        return unit;
    if (!mem_lock())
        return units_take(s, n, 0);
    unit = units_take(s, n, reserve);
    if (!unit)
        unit = heap_block(s) ? units_take(s, n, reserve) : units_take(s, n, 0);
    mem_unlock();
    return unit;
}

bool sdk_units_prepare(void)
{
    uint64_t h = atomic_load_explicit(&sdk_shards[0].heap, memory_order_relaxed);
    if ((h >> 32) - (uint32_t)h >= UNITS_RESERVE)
        return true;
    if (!mem_lock())
        return false;
    bool ok = heap_block(&sdk_shards[0]);
    mem_unlock();
    return ok;
}

/* ---- shards ---- */

static bool shard_take(uint32_t i, int expected, int me)
{
    return atomic_compare_exchange_strong_explicit(&sdk_shards[i].tid, &expected, me, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

/* A free shard, or one whose thread is gone without saying so. NULL: all are in use. */
static struct sdk_shard *shard_find(int me)
{
    for (uint32_t i = 1; i <= shards_max; i++) {
        int owner = atomic_load_explicit(&sdk_shards[i].tid, memory_order_relaxed);
        if ((owner == 0 || owner == me) && shard_take(i, owner, me))
            return &sdk_shards[i];
    }
    int pid = (int)getpid();
    for (uint32_t i = 1; i <= shards_max; i++) {
        int owner = atomic_load_explicit(&sdk_shards[i].tid, memory_order_relaxed);
        if (owner && syscall(SYS_tgkill, pid, owner, 0) && errno == ESRCH && shard_take(i, owner, me))
            return &sdk_shards[i];
    }
    return NULL;
}

static void shard_give_back(struct sdk_shard *s)
{
    atomic_store_explicit(&s->tid, 0, memory_order_release);
}

/* The thread's own shard; shard 0 when there is none. */
static struct sdk_shard *shard_attach(struct sdk_tls *t)
{
    int saved = errno;
    struct sdk_shard *s = shard_find(my_tid());
    errno = saved;
    if (t->shard) { /* a signal handler was faster */
        if (s && s != t->shard)
            shard_give_back(s);
        return t->shard;
    }
    if (!s) {
        t->shard = &sdk_shards[0];
        sdk_count(SDK_THREADS_SHARED, 1);
        return t->shard;
    }
    uint32_t used = atomic_load_explicit(&sdk_shards_used, memory_order_relaxed);
    while (used <= sdk_shard_index(s) &&
           !atomic_compare_exchange_weak_explicit(&sdk_shards_used, &used, sdk_shard_index(s) + 1, memory_order_acq_rel,
                                                  memory_order_relaxed))
        ;
    t->shard = s;
    atomic_signal_fence(memory_order_release);
    t->segs = s->segs;
    sdk_thread_hook_in_signal();
    return s;
}

SDK_COLD struct sdk_shard *sdk_shard_mine(void)
{
    return sdk_tls.shard ? sdk_tls.shard : shard_attach(&sdk_tls);
}

uint64_t sdk_spans_started(void)
{
    uint64_t n = 0;
    for (uint32_t i = 1; sdk_shards && i < atomic_load_explicit(&sdk_shards_used, memory_order_acquire); i++)
        n += atomic_load_explicit(&sdk_shards[i].spans_started, memory_order_relaxed);
    return n;
}

_Atomic uint64_t *sdk_slot_slow(uint32_t slot, bool *ret_shared, struct sdk_shard **ret_shard)
{
    uint32_t seg = SDK_SLOT_SEG(slot);
    struct sdk_shard *s = sdk_shard_mine();
    uint64_t *p = NULL;
    if (sdk_shard_index(s) && mem_lock()) {
        p = slab_new(s, seg);
        mem_unlock();
    }
    *ret_shared = p == NULL;
    if (!p) {
        s = &sdk_shards[0];
        p = atomic_load_explicit(&s->segs[seg], memory_order_acquire);
    }
    *ret_shard = s;
    return p ? (_Atomic uint64_t *)(void *)(p + slot % SDK_BLOCK_SLOTS) : NULL;
}

vane_status vane_thread_attach(void)
{
    struct sdk_tls *t = &sdk_tls;
    if (!sdk_on())
        return VANE_E_STATE;
    if (t->shard == &sdk_shards[0])
        t->shard = NULL; /* perhaps one is free by now */
    struct sdk_shard *s = t->shard ? t->shard : shard_attach(t);
    if (!sdk_shard_index(s))
        return VANE_E_LIMIT;
    sdk_thread_hook();
    for (uint32_t seg = 0; seg < n_segs; seg++)
        if (!seg_keeps[seg] && mem_lock()) {
            slab_new(s, seg);
            mem_unlock();
        }
    return VANE_OK;
}

static void mem_thread_exit(void)
{
    struct sdk_tls *t = &sdk_tls;
    struct sdk_shard *s = t->shard;
    t->segs = sdk_no_segs;
    t->shard = NULL;
    atomic_signal_fence(memory_order_release);
    if (s && sdk_shard_index(s))
        shard_give_back(s);
}

/* ---- META and regions ---- */

void *sdk_meta_append(const void *p, size_t n)
{
    if (file_fd < 0 || n > SDK_BLOCK - sizeof(struct sdk_block_head) || !mem_lock())
        return NULL;
    struct sdk_block_head *h = meta_block ? head_of(meta_block) : NULL;
    if (!h || SDK_BLOCK - h->used < n) {
        uint32_t block = blocks_new(1, SDK_B_META, 0, 0, false);
        h = block == UINT32_MAX ? NULL : head_of(block);
        if (h)
            meta_block = block;
    }
    void *at = NULL;
    if (h) {
        at = (char *)h + h->used;
        memcpy(at, p, n);
        atomic_store_explicit(&h->used, h->used + (uint32_t)n, memory_order_release);
    }
    mem_unlock();
    return at;
}

void *sdk_region(const char kind[4], uint32_t index, size_t n)
{
    size_t blocks = (n + sizeof(struct sdk_block_head) + SDK_BLOCK - 1) / SDK_BLOCK;
    if (!n || blocks > max_blocks || !mem_lock())
        return NULL;
    uint32_t first = blocks_new((uint32_t)blocks, SDK_B_REGION, 0, 0, false);
    struct sdk_block_head *h = first == UINT32_MAX ? NULL : head_of(first);
    if (h) {
        memcpy(h->region, kind, 4);
        h->index = index;
        h->bytes = n;
    }
    mem_unlock();
    return h ? h + 1 : NULL;
}

/* ---- the file ---- */

/* Also called in the fork handler: no stdio. */
uint64_t sdk_start_ticks(uint32_t pid)
{
    char text[1024], path[48] = "/proc/";
    size_t len = 6 + sdk_fmt_u64(path + 6, pid);
    memcpy(path + len, "/stat", 6);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return 0;
    text[n] = 0;
    char *at = strrchr(text, ')'); /* the name may hold anything */
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    uint64_t v = 0;
    for (at = at ? at + 1 : text + n; *at >= '0' && *at <= '9'; at++)
        v = v * 10 + (uint64_t)(*at - '0');
    return v;
}

void sdk_boot_id(uint8_t id[16])
{
    char text[40] = "";
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    size_t at = 0;
    for (ssize_t i = 0; i < n && at < 32; i++) {
        char c = text[i];
        int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (v < 0)
            continue;
        id[at / 2] = (uint8_t)(at % 2 ? id[at / 2] | v : v << 4);
        at++;
    }
}

/* Digits without stdio: also used in the fork handler. */
static char *put_text(char *at, const char *end, const char *s)
{
    while (*s && at < end - 1)
        *at++ = *s++;
    *at = 0;
    return at;
}

/* vane_<pid>_<start ticks>_<n>.vsm: n counts the starts of one process, whose earlier files still hold its counts. */
static int file_create(uint64_t ticks)
{
    char path[512];
    int fd = -1;
    for (uint64_t n = 0; n < 100000 && fd < 0; n++) {
        char num[3][24], *at = path, *end = path + sizeof path;
        num[0][sdk_fmt_u64(num[0], (uint64_t)getpid())] = 0;
        num[1][sdk_fmt_u64(num[1], ticks)] = 0;
        num[2][sdk_fmt_u64(num[2], n)] = 0;
        const char *const parts[] = { file_dir, "/vane_", num[0], "_", num[1], "_", num[2], ".vsm" };
        for (size_t i = 0; i < SDK_COUNT_OF(parts); i++)
            at = put_text(at, end, parts[i]);
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
        if (fd < 0 && errno != EEXIST)
            return -1;
    }
    struct stat st;
    if (fd >= 0 && fstat(fd, &st) == 0) {
        file_dev = st.st_dev;
        file_ino = st.st_ino;
        memcpy(file_path, path, sizeof path);
    }
    return fd;
}

static void file_head_fill(uint64_t ticks)
{
    struct sdk_file_head *h = file_head();
    h->version = SDK_FILE_VERSION;
    h->block_bytes = SDK_BLOCK;
    h->pid = (uint32_t)getpid();
    h->state = SDK_FILE_RUNNING;
    h->start_ticks = ticks;
    sdk_boot_id(h->boot_id);
    h->created_unix_ms = sdk_unix_ms_coarse();
    atomic_store_explicit(&h->n_blocks, n_blocks, memory_order_relaxed);
    const char *service = sdk_resource_value("service.name"), *instance = sdk_resource_value("service.instance.id");
    put_text(h->service, h->service + sizeof h->service, service ? service : "");
    put_text(h->instance, h->instance + sizeof h->instance, instance ? instance : "");
    memcpy(h->magic, "VANESDK1", 8); /* last: a file without it is not read */
}

static vane_status file_start(void)
{
    const char *dir = sdk_cfg.multiproc_dir && *sdk_cfg.multiproc_dir ? sdk_cfg.multiproc_dir : sdk_cfg.blackbox_dir;
    file_dir[0] = file_path[0] = 0;
    if (!dir || !*dir)
        return VANE_OK;
    struct stat st;
    if (strlen(dir) >= sizeof file_dir || stat(dir, &st) || !S_ISDIR(st.st_mode)) {
        sdk_diag(VANE_E_IO, "the folder \"%.200s\" (PROMETHEUS_MULTIPROC_DIR) is none or too long; create it first",
                 dir);
        return VANE_E_IO;
    }
    memcpy(file_dir, dir, strlen(dir) + 1);
    uint64_t ticks = sdk_start_ticks((uint32_t)getpid());
    file_fd = file_create(ticks);
    if (file_fd < 0) {
        sdk_diag(VANE_E_IO, "cannot create a file in \"%.200s\": %s", dir, strerror(errno));
        return VANE_E_IO;
    }
    n_blocks = 1; /* so that blocks_new() finds a head to write to */
    block_kind[0] = SDK_B_FILE;
    if (!map_blocks(file_fd, 0, 1)) {
        sdk_diag(VANE_E_IO, "no room for \"%.300s\": %s", file_path, strerror(errno));
        close(file_fd);
        unlink(file_path);
        file_fd = -1;
        return VANE_E_IO;
    }
    *head_of(0) = (struct sdk_block_head){ .magic = SDK_BLOCK_MAGIC, .kind = SDK_B_FILE };
    file_head_fill(ticks);
    return VANE_OK;
}

/* ---- life ---- */

static void *reserve(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* Taken once, kept for ever: handles of any age may look here. */
static bool reserve_all(void)
{
    size_t info = (size_t)SDK_SEGS_MAX * SDK_BLOCK_SLOTS * sizeof(struct sdk_slot_info);
    if (!sdk_mem_base)
        sdk_mem_base = reserve((size_t)SDK_BLOCKS_MAX * SDK_BLOCK);
    if (sdk_mem_base && !sdk_shards) {
        void *p = mmap(NULL, SDK_SHARDS_MAX * sizeof(struct sdk_shard), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        sdk_shards = p == MAP_FAILED ? NULL : p;
    }
    if (sdk_shards && !sdk_slots.mask) {
        struct sdk_slot_info *p = reserve(info);
        size_t first = SDK_BLOCK_SLOTS * sizeof *p;
        if (!p || mprotect(p, first, PROT_READ | PROT_WRITE))
            return false;
        info_ready[0] = true;
        p[0].gen = UINT32_MAX;
        sdk_slots.info = p;
        sdk_slots.mask = SDK_SEGS_MAX * SDK_BLOCK_SLOTS - 1;
    }
    return sdk_slots.mask != 0;
}

static vane_status mem_start(void)
{
    if (!reserve_all()) {
        sdk_diag(VANE_E_NOMEM, "vane_start: no address space (ulimit -v?)");
        return VANE_E_NOMEM;
    }
    for (uint32_t i = 0; i < atomic_load(&sdk_shards_used); i++) { /* the others are untouched memory */
        struct sdk_shard *s = &sdk_shards[i];
        atomic_store_explicit(&s->heap, 0, memory_order_relaxed);
        atomic_store_explicit(&s->spans_started, 0, memory_order_relaxed);
        for (uint32_t seg = 0; seg < n_segs; seg++)
            atomic_store_explicit(&s->segs[seg], NULL, memory_order_relaxed);
    }
    if (n_blocks && mmap(sdk_mem_base, (size_t)SDK_BLOCKS_MAX * SDK_BLOCK, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
        return VANE_E_NOMEM;
    memset(block_kind, 0, sizeof block_kind);
    n_blocks = n_segs = meta_block = 0;
    memset(seg_used, 0, sizeof seg_used);
    wipe_by_hand = false;
    max_blocks = (uint32_t)(sdk_cfg.memory_max_bytes / SDK_BLOCK);
    shards_max = sdk_cfg.threads_max;
    if (!atomic_load(&sdk_shards_used))
        atomic_store(&sdk_shards_used, 1);
    return file_start();
}

static void mem_stop(void)
{
    atomic_fetch_sub(&sdk_counters[SDK_MEMORY_BYTES], (uint64_t)(n_blocks - (file_fd >= 0)) * SDK_BLOCK);
    if (file_fd < 0)
        return;
    file_head()->state = SDK_FILE_STOPPED;
    if (file_is_ours(file_fd))
        close(file_fd);
    file_fd = -1;
    if (!sdk_cfg.multiproc_dir || !*sdk_cfg.multiproc_dir)
        unlink(file_path); /* nothing to look back at: it ended well */
}

/* ---- fork ---- */

static void mem_fork_prepare(void)
{
    mem_lock();
}

static void mem_fork_parent(void)
{
    mem_unlock();
}

/* A file of the child's own over the same addresses: what describes the blocks is copied, the values are zero. Without
 * one (full disk) the child counts for itself in anonymous memory. */
static void file_fork_child(void)
{
    uint64_t ticks = sdk_start_ticks((uint32_t)getpid());
    bool parents = file_is_ours(file_fd); /* not a descriptor that has become the host's */
    int fd = file_create(ticks);
    bool ok = fd >= 0 && posix_fallocate(fd, 0, (off_t)n_blocks * SDK_BLOCK) == 0;
    for (uint32_t i = 0; ok && i < n_blocks; i++) {
        bool whole = block_kind[i] == SDK_B_META || block_kind[i] == SDK_B_FILE;
        size_t n = whole ? SDK_BLOCK : sizeof(struct sdk_block_head);
        if (head_of(i)->magic == SDK_BLOCK_MAGIC && block_kind[i] != SDK_B_HEAP)
            ok = pwrite(fd, head_of(i), n, (off_t)i * SDK_BLOCK) == (ssize_t)n;
    }
    int flags = ok ? MAP_SHARED | MAP_FIXED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    if (mmap(sdk_mem_base, (size_t)n_blocks * SDK_BLOCK, PROT_READ | PROT_WRITE, flags, ok ? fd : -1, 0) == MAP_FAILED)
        ok = false;
    if (parents)
        close(file_fd);
    file_fd = ok ? fd : -1;
    if (!ok) {
        if (fd >= 0) {
            close(fd);
            unlink(file_path);
        }
        file_path[0] = 0;
        sdk_count(SDK_FILES_BAD, 1);
        return;
    }
    file_head_fill(ticks);
}

static void mem_fork_child(void)
{
    int me = my_tid();
    bool had_reserve = sdk_shards && atomic_load_explicit(&sdk_shards[0].heap, memory_order_relaxed) != 0;
    if (file_fd >= 0)
        file_fork_child();
    for (uint32_t i = 0; i < n_blocks && wipe_by_hand && file_fd < 0; i++)
        if (!block_keeps[i])
            memset(head_of(i), 0, SDK_BLOCK);
    for (uint32_t i = 0; i < n_blocks; i++)
        if (block_kind[i] == SDK_B_HEAP)
            block_kind[i] = SDK_B_FREE;
    for (uint32_t i = 0; sdk_shards && i < atomic_load(&sdk_shards_used); i++) {
        atomic_store_explicit(&sdk_shards[i].heap, 0, memory_order_relaxed);
        atomic_store_explicit(&sdk_shards[i].spans_started, 0, memory_order_relaxed);
        atomic_store_explicit(&sdk_shards[i].tid, &sdk_shards[i] == sdk_tls.shard && i ? me : 0, memory_order_relaxed);
    }
    mem_unlock();
    if (had_reserve)
        sdk_units_prepare();
}

const struct sdk_module sdk_mem_module = {
    .name = "mem",
    .start = mem_start,
    .stop = mem_stop,
    .fork_prepare = mem_fork_prepare,
    .fork_parent = mem_fork_parent,
    .fork_child = mem_fork_child,
    .thread_exit = mem_thread_exit,
};
