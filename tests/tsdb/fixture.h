/* A metrics store in a folder of its own with a clock that tests turn, and a slow model beside it: per series a
 * sorted list of (time, bits), the last write of a time stays. */
#ifndef VANE_TESTS_TSDB_FIXTURE_H
#define VANE_TESTS_TSDB_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <math.h>
#include <unistd.h>

#include "store/store.h"
#include "support/test.h"
#include "tsdb/tsdb_int.h"

#define T0 1700000000000LL

struct test_clock {
    struct clock c;
    _Atomic int64_t now_ms; /* background threads read it */
};
static int64_t test_now(struct clock *c)
{
    return ((struct test_clock *)(void *)c)->now_ms;
}
static uint64_t test_mono(struct clock *c)
{
    (void)c;
    return os_mono_ns();
}

struct fixture {
    char dir[64];
    struct test_clock clk;
    struct store *st;
    struct tsdb *db;
    struct tsdb_config cfg;
    struct store_config scfg;
};

static inline void fx_open(struct fixture *f)
{
    struct err_text why = { 0 };
    enum err e = store_open(fs_os(), f->dir, &f->scfg, &f->clk.c, &f->st, &why);
    if (e)
        fail_msg("store_open: %s %s", err_name(e), why.msg);
    e = tsdb_open(&f->cfg, f->st, &f->clk.c, &f->db, &why);
    if (e)
        fail_msg("tsdb_open: %s %s", err_name(e), why.msg);
}
static inline void fx_close(struct fixture *f)
{
    tsdb_close(f->db);
    store_close(f->st);
}
/* As after kill -9: nothing is flushed, the log is all there is. */
static inline void fx_crash(struct fixture *f)
{
    f->db->test_no_flush = true;
    fx_close(f);
}
static inline void fx_init(struct fixture *f)
{
    ASSERT(f); /* -fsanitize=null makes gcc think of it */
    memset(f, 0, sizeof(*f));
    snprintf(f->dir, sizeof(f->dir), "/tmp/vane_tsdb_test_XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->clk = (struct test_clock){ { test_now, test_mono }, T0 + DAY_MS };
    tsdb_config_defaults(&f->cfg);
    f->cfg.retention_ms = 0;
    f->cfg.partitions = 3;
    store_config_defaults(&f->scfg);
    f->scfg.reserve_bytes = 0;
}
static inline void fx_deinit(struct fixture *f)
{
    char cmd[100];
    snprintf(cmd, sizeof(cmd), "rm -rf %s", f->dir);
    assert_int_equal(system(cmd), 0);
}

/* Labels like {__name__=, instance=, job=} from a format. */
static inline struct labels mk_labels(struct arena *a, const char *name, const char *instance)
{
    struct label *l = arena_array(a, struct label, 3);
    l[0] = (struct label){ LABEL_NAME, arena_str(a, str_c(name)) };
    l[1] = (struct label){ STR("instance"), arena_str(a, str_c(instance)) };
    l[2] = (struct label){ STR("job"), STR("test") };
    return (struct labels){ l, 3 };
}

#endif
