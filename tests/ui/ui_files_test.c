/* The embedded UI: the table is sorted, its bytes are what they claim to be, pages lead to the index. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#define ZLIB_CONST
#include <zlib.h>

#include "ui_files.h"

static const struct ui_file *find(const char *path)
{
    return ui_file_find(path, strlen(path));
}

static void rows_are_sorted_and_found(void **state)
{
    (void)state;
    assert_true(ui_files_n >= 1);
    for (size_t i = 0; i < ui_files_n; i++) {
        const struct ui_file *f = &ui_files[i];
        if (i > 0)
            assert_true(strcmp(ui_files[i - 1].path, f->path) < 0);
        assert_ptr_equal(find(f->path), f);
        assert_int_equal(f->path[0], '/');
        assert_int_equal(f->etag[0], '"');
        assert_int_equal(f->etag[strlen(f->etag) - 1], '"');
        assert_non_null(strchr(f->type, '/'));
    }
}

static void bytes_decompress_to_their_size(void **state)
{
    (void)state;
    for (size_t i = 0; i < ui_files_n; i++) {
        const struct ui_file *f = &ui_files[i];
        unsigned char *raw = malloc(f->n_raw + 1);
        z_stream z = { .next_in = f->gz, .avail_in = (uInt)f->n_gz };
        z.next_out = raw;
        z.avail_out = (uInt)f->n_raw + 1;
        assert_non_null(raw);
        assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
        assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
        assert_int_equal(z.total_out, f->n_raw);
        inflateEnd(&z);
        free(raw);
    }
}

static void pages_lead_to_the_index(void **state)
{
    (void)state;
    const struct ui_file *index = find("/index.html");
    assert_non_null(index);
    assert_ptr_equal(find("/"), index);
    if (ui_files_n > 1) { /* the UI was built */
        assert_ptr_equal(find("/explore"), index);
        assert_ptr_equal(find("/explore/"), index);
        assert_ptr_equal(find("/status"), index);
    }
    assert_null(find("/explorer"));
    assert_null(find("/assets/"));
    assert_null(find("/../etc/passwd"));
    assert_null(ui_file_find("", 0));
    assert_null(ui_file_find("/\0", 2));
    assert_null(ui_file_find("/index.htm", strlen("/index.htm")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_sorted_and_found),
        cmocka_unit_test(bytes_decompress_to_their_size),
        cmocka_unit_test(pages_lead_to_the_index),
    };
    return cmocka_run_group_tests_name("ui_files", tests, NULL, NULL);
}
