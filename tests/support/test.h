/* What every cmocka test file includes: cmocka needs its headers in this order. */
#ifndef VANE_TESTS_SUPPORT_TEST_H
#define VANE_TESTS_SUPPORT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/str.h"

/* cmocka's messages do not show slices. */
#define assert_str(got, want)                                                                     \
    do {                                                                                          \
        str got_ = (got), want_ = str_c(want);                                                    \
        if (!str_eq(got_, want_))                                                                 \
            fail_msg("got \"" STR_FMT "\", want \"" STR_FMT "\"", STR_ARG(got_), STR_ARG(want_)); \
    } while (0)
#define assert_ok(expr)                                    \
    do {                                                   \
        enum err got_err_ = (expr);                        \
        if (got_err_ != OK)                                \
            fail_msg("%s: %s", #expr, err_name(got_err_)); \
    } while (0)
#define assert_err(expr, want)                                                          \
    do {                                                                                \
        enum err got_err_ = (expr);                                                     \
        if (got_err_ != (want))                                                         \
            fail_msg("%s: got %s, want %s", #expr, err_name(got_err_), err_name(want)); \
    } while (0)

/* Seeds of a crash test: those of VANE_SEEDS ("7" or "10-19": a long run), else first to last. True: a long run. */
static inline bool test_seeds(uint64_t *first, uint64_t *last)
{
    const char *env = getenv("VANE_SEEDS");
    char *end;
    if (!env)
        return false;
    *first = *last = strtoull(env, &end, 10);
    if (*end == '-')
        *last = strtoull(end + 1, NULL, 10);
    print_message("# seeds %llu to %llu\n", (unsigned long long)*first, (unsigned long long)*last);
    return true;
}

#endif
