/* The real file system behind struct fs; see fs.h. */
#include "base/fs_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/check.h"
#include "base/hash.h"

struct fs_file {
    struct fs_file_base base;
    int fd;
};

enum { PATH_BYTES_MAX = 2048 };

static enum err last_errno(void)
{
    return err_from_errno(errno ? errno : EIO);
}

static enum err real_open(struct fs *fs, const char *path, enum fs_mode mode, struct fs_file **ret)
{
    static const int flags[] = {
        [FS_READ] = O_RDONLY,
        [FS_WRITE] = O_RDWR,
        [FS_CREATE] = O_RDWR | O_CREAT | O_TRUNC,
        [FS_CREATE_NEW] = O_RDWR | O_CREAT | O_EXCL,
        [FS_APPEND] = O_WRONLY | O_CREAT | O_APPEND,
    };
    int fd = open(path, flags[mode] | O_CLOEXEC, 0640);
    if (fd < 0)
        return last_errno();
    struct fs_file *f = mem_zalloc(sizeof(*f));
    f->base.fs = fs;
    f->fd = fd;
    *ret = f;
    return OK;
}

static void real_close(struct fs_file *f)
{
    close(f->fd);
    mem_free(f);
}

static enum err real_pread(struct fs_file *f, void *p, size_t n, uint64_t off, size_t *ret_n)
{
    size_t done = 0;
    while (done < n) {
        ssize_t got = pread(f->fd, (char *)p + done, n - done, (off_t)(off + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return last_errno();
        if (got == 0)
            break;
        done += (size_t)got;
    }
    *ret_n = done;
    return OK;
}

/* iov is copied in pieces: a partial write goes on where it stopped. */
static enum err real_pwritev(struct fs_file *f, const struct iovec *iov, int n_iov, uint64_t off)
{
    struct iovec part[64];
    for (int at = 0; at < n_iov;) {
        int n = MIN(n_iov - at, (int)ARRAY_LEN(part));
        memcpy(part, iov + at, (size_t)n * sizeof(*part));
        struct iovec *v = part;
        int left = n;
        while (left > 0) {
            ssize_t got = pwritev(f->fd, v, left, (off_t)off);
            if (got < 0 && errno == EINTR)
                continue;
            if (got < 0)
                return last_errno();
            off += (uint64_t)got;
            size_t done = (size_t)got;
            while (left > 0 && done >= v->iov_len) {
                done -= v->iov_len;
                v++;
                left--;
            }
            if (left > 0) {
                v->iov_base = (char *)v->iov_base + done;
                v->iov_len -= done;
            }
        }
        at += n;
    }
    return OK;
}

static enum err real_append(struct fs_file *f, str piece)
{
    ssize_t got;
    do
        got = write(f->fd, piece.p, piece.n);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return last_errno();
    return (size_t)got == piece.n ? OK : ERR_NO_SPACE;
}

static enum err real_datasync(struct fs_file *f)
{
    return fdatasync(f->fd) == 0 ? OK : last_errno();
}

static enum err real_truncate(struct fs_file *f, uint64_t size)
{
    return ftruncate(f->fd, (off_t)size) == 0 ? OK : last_errno();
}

static enum err real_size(struct fs_file *f, uint64_t *ret)
{
    struct stat st;
    if (fstat(f->fd, &st) != 0)
        return last_errno();
    *ret = (uint64_t)st.st_size;
    return OK;
}

static enum err real_map(struct fs_file *f, str *ret)
{
    uint64_t size = 0;
    TRY(real_size(f, &size));
    if (size == 0) {
        *ret = STR("");
        return OK;
    }
    void *p = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, f->fd, 0);
    if (p == MAP_FAILED)
        return last_errno();
    *ret = (str){ p, (size_t)size };
    fs_map_enter(*ret);
    return OK;
}

static void real_unmap(struct fs_file *f, str map)
{
    (void)f;
    if (map.n == 0)
        return;
    fs_map_leave(map);
    munmap((void *)(uintptr_t)map.p, map.n);
}

static enum err real_rename(struct fs *fs, const char *from, const char *to)
{
    (void)fs;
    return rename(from, to) == 0 ? OK : last_errno();
}

static enum err real_unlink(struct fs *fs, const char *path)
{
    (void)fs;
    return unlink(path) == 0 ? OK : last_errno();
}

static enum err real_mkdir(struct fs *fs, const char *path)
{
    (void)fs;
    struct stat st;
    if (mkdir(path, 0750) == 0)
        return OK;
    int e = errno;
    if (e == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return OK;
    return err_from_errno(e);
}

static enum err real_sync_dir(struct fs *fs, const char *path)
{
    (void)fs;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return last_errno();
    enum err e = fsync(fd) == 0 ? OK : last_errno();
    close(fd);
    return e;
}

static enum err real_list(struct fs *fs, const char *path, struct arena *a, str **ret_names, size_t *ret_n)
{
    (void)fs;
    DIR *d = opendir(path);
    if (!d)
        return last_errno();
    VEC(str) names = { 0 };
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            avec_push(a, &names, arena_str(a, str_c(e->d_name)));
    closedir(d);
    *ret_names = names.p;
    *ret_n = names.n;
    return OK;
}

static enum err real_space(struct fs *fs, const char *path, uint64_t *ret_free, uint64_t *ret_total)
{
    (void)fs;
    struct statvfs st;
    if (statvfs(path, &st) != 0)
        return last_errno();
    *ret_free = (uint64_t)st.f_bavail * st.f_frsize;
    *ret_total = (uint64_t)st.f_blocks * st.f_frsize;
    return OK;
}

static enum err real_lock(struct fs *fs, const char *path, struct fs_file **ret)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        return last_errno();
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        enum err e = errno == EWOULDBLOCK ? ERR_BUSY : last_errno();
        close(fd);
        return e;
    }
    struct fs_file *f = mem_zalloc(sizeof(*f));
    f->base.fs = fs;
    f->fd = fd;
    *ret = f;
    return OK;
}

static enum err real_link(struct fs *fs, const char *from, const char *to)
{
    (void)fs;
    if (link(from, to) == 0)
        return OK;
    bool cannot = errno == EXDEV || errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS || errno == EMLINK;
    return cannot ? ERR_UNSUPPORTED : last_errno();
}

static enum err real_rmdir(struct fs *fs, const char *path)
{
    (void)fs;
    return rmdir(path) == 0 ? OK : last_errno();
}

static const struct fs_ops real_ops = {
    .open = real_open,
    .close = real_close,
    .pread = real_pread,
    .append = real_append,
    .pwritev = real_pwritev,
    .datasync = real_datasync,
    .truncate = real_truncate,
    .size = real_size,
    .map = real_map,
    .unmap = real_unmap,
    .rename = real_rename,
    .unlink = real_unlink,
    .mkdir = real_mkdir,
    .sync_dir = real_sync_dir,
    .list = real_list,
    .space = real_space,
    .lock = real_lock,
    .link = real_link,
    .rmdir = real_rmdir,
};

struct fs *fs_os(void)
{
    static struct fs real = { &real_ops };
    return &real;
}

enum err fs_open(struct fs *fs, const char *path, enum fs_mode mode, struct fs_file **ret)
{
    return fs->ops->open(fs, path, mode, ret);
}
void fs_close(struct fs_file *f)
{
    if (f)
        fs_ops_of(f)->close(f);
}
enum err fs_pread(struct fs_file *f, void *p, size_t n, uint64_t off, size_t *ret_n)
{
    return fs_ops_of(f)->pread(f, p, n, off, ret_n);
}
enum err fs_pwrite(struct fs_file *f, const void *p, size_t n, uint64_t off)
{
    struct iovec iov = { (void *)(uintptr_t)p, n };
    return fs_ops_of(f)->pwritev(f, &iov, 1, off);
}
enum err fs_pwritev(struct fs_file *f, const struct iovec *iov, int n_iov, uint64_t off)
{
    return fs_ops_of(f)->pwritev(f, iov, n_iov, off);
}
enum err fs_append(struct fs_file *f, str piece)
{
    return fs_ops_of(f)->append ? fs_ops_of(f)->append(f, piece) : ERR_UNSUPPORTED;
}

uint64_t fs_stamp(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return 0;
    uint64_t h = hash_u64((uint64_t)st.st_mtim.tv_sec * 1000000000ull + (uint64_t)st.st_mtim.tv_nsec);
    return hash_u64(h ^ (uint64_t)st.st_size ^ (uint64_t)st.st_ino << 20) | 1;
}

enum err fs_datasync(struct fs_file *f)
{
    return fs_ops_of(f)->datasync(f);
}
enum err fs_truncate(struct fs_file *f, uint64_t size)
{
    return fs_ops_of(f)->truncate(f, size);
}
enum err fs_size(struct fs_file *f, uint64_t *ret)
{
    return fs_ops_of(f)->size(f, ret);
}
enum err fs_map(struct fs_file *f, str *ret)
{
    return fs_ops_of(f)->map(f, ret);
}
void fs_unmap(struct fs_file *f, str map)
{
    fs_ops_of(f)->unmap(f, map);
}
enum err fs_rename(struct fs *fs, const char *from, const char *to)
{
    return fs->ops->rename(fs, from, to);
}
enum err fs_unlink(struct fs *fs, const char *path)
{
    return fs->ops->unlink(fs, path);
}
enum err fs_mkdir(struct fs *fs, const char *path)
{
    return fs->ops->mkdir(fs, path);
}
enum err fs_sync_dir(struct fs *fs, const char *path)
{
    return fs->ops->sync_dir(fs, path);
}
enum err fs_list(struct fs *fs, const char *path, struct arena *a, str **ret_names, size_t *ret_n)
{
    return fs->ops->list(fs, path, a, ret_names, ret_n);
}
enum err fs_space(struct fs *fs, const char *path, uint64_t *ret_free, uint64_t *ret_total)
{
    return fs->ops->space(fs, path, ret_free, ret_total);
}
enum err fs_lock(struct fs *fs, const char *path, struct fs_file **ret)
{
    return fs->ops->lock(fs, path, ret);
}

enum err fs_link(struct fs *fs, const char *from, const char *to)
{
    return fs->ops->link ? fs->ops->link(fs, from, to) : ERR_UNSUPPORTED;
}

static enum err copy_bytes(struct fs_file *from, struct fs_file *to)
{
    enum { PIECE = 1 << 20 };
    AUTO_FREE char *p = mem_alloc(PIECE);
    size_t n = PIECE;
    for (uint64_t off = 0; n == PIECE; off += n) {
        TRY(fs_pread(from, p, PIECE, off, &n));
        if (n)
            TRY(fs_pwrite(to, p, n, off));
    }
    return fs_datasync(to);
}

enum err fs_copy(struct fs *fs, const char *from, const char *to)
{
    AUTO_FS_FILE struct fs_file *in = NULL;
    AUTO_FS_FILE struct fs_file *out = NULL;
    TRY(fs_open(fs, from, FS_READ, &in));
    TRY(fs_open(fs, to, FS_CREATE_NEW, &out));
    enum err e = copy_bytes(in, out);
    if (e)
        IGNORE_ERR(fs_unlink(fs, to));
    return e;
}

static enum err remove_tree(struct fs *fs, const char *path, unsigned depth)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str *names;
    size_t n;
    enum err e = fs_unlink(fs, path); /* of a symbolic link: the link */
    if (!e || e == ERR_NOT_FOUND)
        return OK;
    if (depth == 0 || fs_list(fs, path, &a, &names, &n))
        return e;
    for (size_t i = 0; i < n; i++)
        TRY(remove_tree(fs, arena_printf(&a, "%s/" STR_FMT, path, STR_ARG(names[i])).p, depth - 1));
    return fs->ops->rmdir ? fs->ops->rmdir(fs, path) : OK;
}

enum err fs_remove_tree(struct fs *fs, const char *path)
{
    return remove_tree(fs, path, 32);
}

enum err fs_mkdirs(struct fs *fs, const char *path)
{
    char part[PATH_BYTES_MAX];
    size_t n = strlen(path);
    if (n >= sizeof(part))
        return ERR_LIMIT;
    memcpy(part, path, n + 1);
    for (size_t i = 1; i < n; i++)
        if (part[i] == '/') {
            part[i] = '\0';
            TRY(fs_mkdir(fs, part));
            part[i] = '/';
        }
    return fs_mkdir(fs, part);
}

static enum err sync_parent_of(struct fs *fs, char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n && path[n - 1] != '/')
        n--;
    while (n > 1 && path[n - 1] == '/')
        n--;
    path[n] = '\0';
    enum err e = fs_sync_dir(fs, n ? path : ".");
    return e == ERR_PERMISSION ? OK : e;
}

enum err fs_sync_parent(struct fs *fs, const char *path)
{
    char part[PATH_BYTES_MAX];
    if (snprintf(part, sizeof(part), "%s", path) >= (int)sizeof(part))
        return ERR_LIMIT;
    return sync_parent_of(fs, part);
}

enum err fs_sync_parents(struct fs *fs, const char *path)
{
    char part[PATH_BYTES_MAX];
    if (snprintf(part, sizeof(part), "%s", path) >= (int)sizeof(part))
        return ERR_LIMIT;
    do
        TRY(sync_parent_of(fs, part));
    while (part[0] && strcmp(part, "/") != 0);
    return OK;
}

/* Files of /proc say size 0: read until the end, not until the size. */
enum err fs_read_file(struct fs *fs, const char *path, size_t bytes_max, struct arena *a, str *ret,
                      struct err_text *reterr)
{
    AUTO_FS_FILE struct fs_file *f = NULL;
    enum err e = fs_open(fs, path, FS_READ, &f);
    if (e)
        return err_fail(reterr, e, "%s: %s", path, err_describe(e));
    AUTO_BUF struct buf b = { 0 };
    for (size_t got = 1; got > 0;) {
        buf_reserve(&b, 16384);
        e = fs_pread(f, b.p + b.n, 16384, b.n, &got);
        if (e)
            return err_fail(reterr, e, "%s: %s", path, err_describe(e));
        b.n += got;
        if (b.n > bytes_max)
            return err_fail(reterr, ERR_LIMIT, "%s: larger than %zu bytes", path, bytes_max);
    }
    *ret = arena_str(a, buf_str(&b));
    return OK;
}

enum err fs_write_file_atomic(struct fs *fs, const char *path, str content)
{
    char tmp[PATH_BYTES_MAX], dir[PATH_BYTES_MAX];
    if (snprintf(tmp, sizeof(tmp), "%s.tmp", path) >= (int)sizeof(tmp))
        return ERR_LIMIT;
    const char *slash = strrchr(path, '/');
    snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    {
        AUTO_FS_FILE struct fs_file *f = NULL;
        TRY(fs_open(fs, tmp, FS_CREATE, &f));
        TRY(fs_pwrite(f, content.p, content.n, 0));
        TRY(fs_datasync(f));
    }
    TRY(fs_rename(fs, tmp, path));
    return fs_sync_dir(fs, dir);
}
