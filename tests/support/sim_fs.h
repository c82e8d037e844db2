/* A simulated disk behind `struct fs` (base/fs.h): files in memory that know what has been synced, and fail on demand.
 *
 *   what was written but not synced survives a power cut by sectors of 512 bytes: each old or new, at random;
 *   a file that has grown may or may not keep its new size; bytes never written read as zeros;
 *   names (create, rename, unlink) that were not followed by sync_dir of their directory survive as a random
 *   prefix of what was done in that directory;
 *   a failed sync leaves the file's unsynced bytes unsynced for good, also when a later sync succeeds.
 *
 * "Operations" are what changes the disk: writes, syncs, truncations, creations, renames, unlinks, mkdirs.
 * Threads: any; everything is under one lock. The seed decides all that is random. */
#ifndef VANE_TESTS_SIM_FS_H
#define VANE_TESTS_SIM_FS_H

#include "base/fs.h"

struct sim_fs;
struct sim_fs *sim_fs_new(uint64_t seed);
void sim_fs_free(struct sim_fs *s);
struct fs *sim_fs_fs(struct sim_fs *s);

/* Power goes at the k-th operation from now (1 = the next), in the middle of it; from then on everything fails with
 * ERR_IO. 0 = never. */
void sim_fs_cut_at(struct sim_fs *s, uint64_t k);
bool sim_fs_was_cut(struct sim_fs *s);
/* Operations k .. k+n-1 from now fail with ERR_IO, a failed write half done. n = 0: none. */
void sim_fs_fail_at(struct sim_fs *s, uint64_t k, uint64_t n);
bool sim_fs_failed(struct sim_fs *s); /* one of those has been met */
/* Size of the disk in bytes of file content; 0 = no limit. A write that does not fit is done as far as it fits. */
void sim_fs_space(struct sim_fs *s, uint64_t bytes);
uint64_t sim_fs_used(struct sim_fs *s);
uint64_t sim_fs_ops(struct sim_fs *s); /* operations so far */

/* The power cut itself (also without sim_fs_cut_at): throws away what was not durable. Then the disk works again,
 * without limits and failures. All files must be closed. */
void sim_fs_power_cut(struct sim_fs *s);
/* Flip these bits of one byte, as a bad disk would. */
void sim_fs_damage(struct sim_fs *s, const char *path, uint64_t off, uint8_t bits);

#endif
