/* Backups: a folder that holds any number of copies of a data directory, each file's bytes once.
 *
 *   DIR/BACKUP          "vane backup 1": a newer number is refused
 *   DIR/LOCK            held while a process makes, thins out or reads backups
 *   DIR/objects/HASH    the bytes of one file, named by their XXH3-128
 *   DIR/backups/NAME    which files a backup consists of (docs/format/backup.md)
 *
 * Objects are synced before the list that names them appears, and a list appears whole: a backup that was cut short
 * leaves the earlier ones as they were, and what it has copied is used by the next. Segments never change, so one that
 * an earlier backup holds (same path, size and hash in its trailer) is neither read nor written again.
 *
 * Threads: one at a time per handle. */
#ifndef VANE_STORE_BACKUP_H
#define VANE_STORE_BACKUP_H

#include "base/fs.h"

struct backup;
struct backup_hooks { /* zero-initialised: none */
    void *ctx;
    void (*progress)(void *ctx, const char *what, uint64_t bytes_done, uint64_t bytes_total);
    void (*problem)(void *ctx, const char *path, const char *text); /* something is damaged or missing */
};
struct backup_result {
    uint64_t files, bytes;               /* all of it */
    uint64_t copied_files, copied_bytes; /* of these, new in the folder */
    uint64_t problems;
};
struct backup_info {
    str name;
    int64_t time_ms;
    uint64_t files, bytes;
    uint64_t problems; /* files that were damaged or missing when it was made */
    bool readable;     /* false: the list itself is damaged, the numbers are 0 */
};

/* create: make the folder (it must be absent, empty, or one of backups). Otherwise ERR_NOT_FOUND.
 * ERR_BUSY: another process has it. ERR_UNSUPPORTED: written by a newer vane. ERR_EXISTS: it holds something else. */
enum err backup_open(struct fs *fs, const char *dir, bool create, const struct backup_hooks *hooks, struct backup **ret,
                     struct err_text *reterr) MUST_CHECK;
void backup_close(struct backup *b); /* NULL is fine */

/* Copy a data directory (a snapshot, or one that no process has open) as backup NAME ([0-9A-Za-z-]). OK: everything
 * was sound. ERR_CORRUPT: the backup was made, but files of the source are damaged or missing (told to the hook, and
 * kept in the list): the damaged are copied as they are, their sound pages still count. Other errors (ERR_BUSY: the source is in use;
 * ERR_NO_SPACE; ERR_IO; ERR_UNSUPPORTED: newer format; ERR_NOT_FOUND: no data directory): no backup was made. */
enum err backup_make(struct backup *b, const char *source, const char *name, int64_t now_ms, struct backup_result *ret,
                     struct err_text *reterr) MUST_CHECK;
/* All backups, oldest first, in a. */
enum err backup_list(struct backup *b, struct arena *a, struct backup_info **ret, size_t *ret_n,
                     struct err_text *reterr) MUST_CHECK;
/* Hash every byte of one backup (NULL: of all). ERR_CORRUPT: objects are damaged or missing (told to the hook). */
enum err backup_verify(struct backup *b, const char *name, struct backup_result *ret,
                       struct err_text *reterr) MUST_CHECK;
/* Delete all but the newest `keep` (at least 1), then objects that nothing names any more. ERR_CORRUPT: a list cannot be
 * read, so it is not known what is needed: nothing was deleted. */
enum err backup_thin(struct backup *b, size_t keep, uint64_t *ret_backups, uint64_t *ret_bytes,
                     struct err_text *reterr) MUST_CHECK;
/* Write backup NAME (NULL: the newest) to TARGET, which must be absent, empty, or left by a restore that was cut short
 * (ERR_EXISTS otherwise), and read all of it back. OK: every byte is as it was in the source, and the source was sound.
 * ERR_CORRUPT: files are damaged (told to the hook), all else was restored and the directory can be opened; what those
 * held is missing in its answers, which say so. If the MANIFEST is among them nothing can be opened.
 * The MANIFEST comes last: a directory that was not restored to the end cannot be opened by mistake. */
enum err backup_restore(struct backup *b, const char *name, const char *target, struct backup_result *ret,
                        struct err_text *reterr) MUST_CHECK;

/* Can this list be read? (fuzz target) */
enum err backup_list_verify(str text, struct err_text *reterr) MUST_CHECK;

#endif
