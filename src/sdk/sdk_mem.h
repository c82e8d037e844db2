/* Memory of metric values: blocks, shards, slots. docs/libvane-internals.md has the picture, sdk_mem.c the rules. */
#pragma once

#include "sdk_int.h"

#pragma GCC visibility push(hidden)

#define SDK_BLOCK       32768u          /* bytes of a block */
#define SDK_BLOCK_SLOTS (SDK_BLOCK / 8) /* slots of a block; the first SDK_HEAD_SLOTS are its head */
#define SDK_HEAD_SLOTS  8u
#define SDK_UNIT        64u   /* bytes of an allocation unit of heap blocks */
#define SDK_BLOCKS_MAX  2048u /* 64 MiB; 20 bits of unit numbers */
#define SDK_SHARDS_MAX  257u  /* shard 0 is everybody's */
#define SDK_SLOT_SEG(s) ((s) / SDK_BLOCK_SLOTS)

/* Head of a block: 64 bytes, as in the file (docs/format/sdk-file.md). */
enum sdk_block_kind {
    SDK_B_FREE = 0,
    SDK_B_FILE = 1,
    SDK_B_META = 2,
    SDK_B_SLAB = 3,
    SDK_B_HEAP = 4,
    SDK_B_REGION = 5
};
struct sdk_block_head {
    uint32_t magic; /* SDK_BLOCK_MAGIC */
    uint16_t kind, shard;
    uint32_t seg;          /* of a slab */
    _Atomic uint32_t used; /* bytes of a META block, head included; blocks of a region */
    char region[4];        /* kind of a region */
    uint32_t index;        /* of a region */
    uint64_t bytes;        /* of a region */
    uint64_t spare_[4];
};
_Static_assert(sizeof(struct sdk_block_head) == SDK_HEAD_SLOTS * 8, "docs/format/sdk-file.md, table 2");
#define SDK_BLOCK_MAGIC 0x4B4C4256u /* "VBLK" */

/* Block 0 of a file, behind its head. */
struct sdk_file_head {
    char magic[8]; /* "VANESDK1" */
    uint32_t version, block_bytes;
    uint32_t pid, state;  /* SDK_FILE_* */
    uint64_t start_ticks; /* field 22 of /proc/PID/stat: tells a reused pid */
    uint8_t boot_id[16];  /* a file of an earlier boot is of a dead process */
    uint64_t created_unix_ms;
    _Atomic uint32_t n_blocks;
    uint32_t spare_;
    char service[128], instance[64];
};
enum { SDK_FILE_VERSION = 1, SDK_FILE_RUNNING = 1, SDK_FILE_STOPPED = 2 };

/* A shard: the slots one thread writes to. */
struct sdk_shard {
    sdk_seg segs[SDK_SEGS_MAX];
    _Atomic int tid;                /* of its thread; 0: free */
    _Atomic uint64_t heap;          /* units: end << 32 | next */
    _Atomic uint64_t spans_started; /* its part of SDK_SPANS_STARTED; of shard 0: unused */
} __attribute__((aligned(64)));
extern struct sdk_shard *sdk_shards; /* [SDK_SHARDS_MAX], NULL before the first start */
static inline uint32_t sdk_shard_index(const struct sdk_shard *s)
{
    return (uint32_t)(s - sdk_shards);
}
extern _Atomic uint32_t sdk_shards_used; /* all shards that ever had a thread are below */

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SDK_PORTABLE 1
#endif
#endif
#if !defined(__x86_64__) || defined(__SANITIZE_THREAD__)
#define SDK_PORTABLE 1
#endif

/* Add to memory that only this thread writes to. On x86-64 one instruction without a lock prefix, so that a signal handler
 * that adds to the same comes before or after it, never in between; other machines (and ThreadSanitizer, which does not see
 * into assembly) use a relaxed atomic add, which is as right and somewhat slower. */
static inline void sdk_own_add(_Atomic uint64_t *p, uint64_t n)
{
#ifdef SDK_PORTABLE
    atomic_fetch_add_explicit(p, n, memory_order_relaxed);
#else
    __asm__ volatile("addq %1, %0" : "+m"(*p) : "er"(n) : "cc");
#endif
}

/* This thread's shard, taken now if it has none yet; shard 0 when there is none left. Signals: safe. */
struct sdk_shard *sdk_shard_mine(void);

/* What is known of a slot without looking at its series. */
struct sdk_slot_info {
    _Atomic uint32_t gen; /* of the handle that is alive; changes when the slot is freed */
    uint8_t schema;       /* native histogram */
    uint8_t native;
    uint16_t n_bounds; /* explicit bounds: their counts lie behind the slot of the sum */
    const void *more;  /* struct sdk_series * of histograms and of what keeps exemplars */
};
struct sdk_slots {
    struct sdk_slot_info *info;
    uint32_t mask;
};
extern struct sdk_slots sdk_slots;

extern char *sdk_mem_base;

/* The block lies in a file of this process. */
bool sdk_mem_mapped(void);
/* The folder and name of that file; "" without. */
const char *sdk_mem_dir(void);
const char *sdk_mem_path(void);

/* Start of a process in clock ticks since boot, 0 when there is none; the id of this boot. */
uint64_t sdk_start_ticks(uint32_t pid);
void sdk_boot_id(uint8_t id[16]);

/* n slots that do not cross a block, aligned to `align` slots (1 or 8); zero in every shard. keep: they keep their values
 * in a child of fork (gauges). 0: no memory. Registry lock held. */
uint32_t sdk_slots_new(uint32_t n, uint32_t align, bool keep);

/* This thread's slot for writing when segs had none: attaches the thread and takes the block, or answers the slot of
 * shard 0 with *ret_shared true: then add atomically. NULL only when the handle is of a slot that does not exist.
 * Signals: safe. */
_Atomic uint64_t *sdk_slot_slow(uint32_t slot, bool *ret_shared, struct sdk_shard **ret_shard);

/* n units of 64 bytes for a shard, zeroed. Returns the unit's number, 0 when there is none, or none now because a signal
 * handler has interrupted its own thread here; shard 0 keeps a reserve for that case, once it is prepared. Signals: safe. */
uint32_t sdk_units_new(struct sdk_shard *shard, uint32_t n);
/* Give shard 0 its reserve. Registry lock held. */
bool sdk_units_prepare(void);
static inline _Atomic uint64_t *sdk_unit(uint32_t unit)
{
    return (_Atomic uint64_t *)(void *)(sdk_mem_base + (size_t)unit * SDK_UNIT);
}

/* A slot of shard k for reading or zeroing, NULL when the shard never wrote to its block. */
static inline _Atomic uint64_t *sdk_slot_of(uint32_t shard, uint32_t slot)
{
    uint64_t *seg = atomic_load_explicit(&sdk_shards[shard].segs[SDK_SLOT_SEG(slot)], memory_order_acquire);
    return seg ? (_Atomic uint64_t *)(void *)(seg + slot % SDK_BLOCK_SLOTS) : NULL;
}

/* Append bytes (n a multiple of 8) to the META blocks. Returns where they are, NULL when not mapped or no room. */
void *sdk_meta_append(const void *p, size_t n);

#pragma GCC visibility pop
