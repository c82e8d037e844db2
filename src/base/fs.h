/* Files behind one table of functions, so that tests can put a faulty disk under the store
 * (tests/store: power cuts, torn writes, ENOSPC, EIO). Everything durable goes through a `struct fs`;
 * fs_os() is the real one. Paths are relative to nothing: pass whole paths. */
#ifndef VANE_BASE_FS_H
#define VANE_BASE_FS_H

#include <stdatomic.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/vec.h"

struct fs;
struct fs_file; /* an open file of some fs */

enum fs_mode {
    FS_READ,       /* must exist */
    FS_WRITE,      /* read and write, must exist */
    FS_CREATE,     /* read and write, created or truncated */
    FS_CREATE_NEW, /* read and write, ERR_EXISTS if it is there */
    FS_APPEND,     /* created if absent; for fs_append only: other processes may append to it or move it away */
};

struct fs_ops {
    enum err (*open)(struct fs *fs, const char *path, enum fs_mode mode, struct fs_file **ret);
    void (*close)(struct fs_file *f);
    enum err (*pread)(struct fs_file *f, void *p, size_t n, uint64_t off, size_t *ret_n); /* short only at the end */
    enum err (*pwritev)(struct fs_file *f, const struct iovec *iov, int n_iov, uint64_t off); /* all or error */
    /* At the end, whatever else was written meanwhile; a piece a call. NULL where a fs has no such files. */
    enum err (*append)(struct fs_file *f, str piece);
    enum err (*datasync)(struct fs_file *f);
    enum err (*truncate)(struct fs_file *f, uint64_t size);
    enum err (*size)(struct fs_file *f, uint64_t *ret);
    enum err (*map)(struct fs_file *f, str *ret); /* whole file, read-only; valid until unmap */
    void (*unmap)(struct fs_file *f, str map);
    enum err (*rename)(struct fs *fs, const char *from, const char *to);
    enum err (*unlink)(struct fs *fs, const char *path);
    enum err (*mkdir)(struct fs *fs, const char *path); /* one level; an existing directory is OK */
    enum err (*sync_dir)(struct fs *fs, const char *path);
    /* Names (not paths) of regular files and directories, in any order, copied into a. */
    enum err (*list)(struct fs *fs, const char *path, struct arena *a, str **ret_names, size_t *ret_n);
    enum err (*space)(struct fs *fs, const char *path, uint64_t *ret_free, uint64_t *ret_total);
    /* Exclusive lock on a file (created if absent) held until close; ERR_BUSY if another process has it. */
    enum err (*lock)(struct fs *fs, const char *path, struct fs_file **ret);
    /* One more name of a file. ERR_UNSUPPORTED where that cannot be (another file system); NULL: nowhere. */
    enum err (*link)(struct fs *fs, const char *from, const char *to);
    enum err (*rmdir)(struct fs *fs, const char *path); /* an empty one; NULL: there are none to remove */
};
struct fs {
    const struct fs_ops *ops;
};
struct fs_file_base { /* every fs_file starts with this */
    struct fs *fs;
};

struct fs *fs_os(void);
static inline const struct fs_ops *fs_ops_of(struct fs_file *f)
{
    return ((struct fs_file_base *)(void *)f)->fs->ops;
}
/* Thin calls; errors carry errno's meaning (ERR_NO_SPACE, ERR_NOT_FOUND, ERR_IO ...). */
enum err fs_open(struct fs *fs, const char *path, enum fs_mode mode, struct fs_file **ret) MUST_CHECK;
void fs_close(struct fs_file *f); /* NULL is fine */
enum err fs_pread(struct fs_file *f, void *p, size_t n, uint64_t off, size_t *ret_n) MUST_CHECK;
enum err fs_pwrite(struct fs_file *f, const void *p, size_t n, uint64_t off) MUST_CHECK;
enum err fs_pwritev(struct fs_file *f, const struct iovec *iov, int n_iov, uint64_t off) MUST_CHECK;
enum err fs_append(struct fs_file *f, str piece) MUST_CHECK; /* one write: lines of several writers do not mix */
enum err fs_datasync(struct fs_file *f) MUST_CHECK;
enum err fs_truncate(struct fs_file *f, uint64_t size) MUST_CHECK;
enum err fs_size(struct fs_file *f, uint64_t *ret) MUST_CHECK;
enum err fs_map(struct fs_file *f, str *ret) MUST_CHECK;
void fs_unmap(struct fs_file *f, str map);
/* How many pages of a mapping could not be read so far; they read as zeros (base/fs_map.c). Compare it before and
 * after use. Finding it costs a walk: keep the pointer, which is good until fs_unmap. Any thread. */
const atomic_uint *fs_map_faults(str map);
enum err fs_rename(struct fs *fs, const char *from, const char *to) MUST_CHECK;
enum err fs_unlink(struct fs *fs, const char *path) MUST_CHECK;
enum err fs_mkdir(struct fs *fs, const char *path) MUST_CHECK;
enum err fs_mkdirs(struct fs *fs, const char *path) MUST_CHECK; /* with parents */
enum err fs_sync_dir(struct fs *fs, const char *path) MUST_CHECK;
/* The directory that holds path: its name survives a power cut. OK also where that directory may not be opened. */
enum err fs_sync_parent(struct fs *fs, const char *path) MUST_CHECK;
enum err fs_sync_parents(struct fs *fs, const char *path) MUST_CHECK; /* and those above it */
enum err fs_list(struct fs *fs, const char *path, struct arena *a, str **ret_names, size_t *ret_n) MUST_CHECK;
enum err fs_space(struct fs *fs, const char *path, uint64_t *ret_free, uint64_t *ret_total) MUST_CHECK;
enum err fs_lock(struct fs *fs, const char *path, struct fs_file **ret) MUST_CHECK;
enum err fs_link(struct fs *fs, const char *from, const char *to) MUST_CHECK;
/* The bytes of one file as a new one (ERR_EXISTS), synced. What is half-written after an error is removed. */
enum err fs_copy(struct fs *fs, const char *from, const char *to) MUST_CHECK;
enum err fs_remove_tree(struct fs *fs, const char *path) MUST_CHECK; /* absent: OK. Follows no symbolic links */
static inline void fs_close_cleanup(struct fs_file **f)
{
    fs_close(*f);
}
#define AUTO_FS_FILE __attribute__((cleanup(fs_close_cleanup)))

/* Whole small files (configuration, /proc): up to bytes_max, ERR_LIMIT beyond. The result lives in a. */
enum err fs_read_file(struct fs *fs, const char *path, size_t bytes_max, struct arena *a, str *ret,
                      struct err_text *reterr) MUST_CHECK;
/* A fingerprint of a real file's time, size and inode: another one means that it changed. 0: no regular file. */
uint64_t fs_stamp(const char *path);
/* Write to path.tmp, sync, rename, sync the directory. */
enum err fs_write_file_atomic(struct fs *fs, const char *path, str content) MUST_CHECK;

#endif
