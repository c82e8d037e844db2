/* See sdk_blackbox.h. The file is read as every rendering in multi-process mode reads it; here it does not matter whether
 * its process lives. */
#include "sdk_blackbox.h"
#include "sdk_file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static int show_region(void *ctx, const char kind[4], uint32_t index, const void *p, size_t n)
{
    (void)p;
    struct sdk_buf *b = ctx;
    sdk_putf(b, "# region %.4s %u: %zu bytes\n", kind, index, n);
    return b->failed;
}

static const char *state_of(const struct sdk_file_head *h)
{
    if (sdk_file_alive(h))
        return "running";
    return h->state == SDK_FILE_STOPPED ? "stopped in good order" : "died: it was killed, crashed, or lost power";
}

/* Text of a fixed field, which may lack its NUL. */
static void put_field(struct sdk_buf *b, const char *what, const char *s, size_t cap)
{
    char clean[256];
    size_t n = strnlen(s, cap);
    sdk_puts(b, what);
    sdk_put(b, clean, sdk_text(clean, sizeof clean, s, n));
}

static bool show_file(const char *path, struct sdk_buf *b)
{
    static struct sdk_file f;
    vane_status st = sdk_file_read(&f, path);
    sdk_putf(b, "# %.400s\n", path);
    if (st) {
        sdk_putf(b, "# cannot be read: %s\n\n",
                 st == VANE_E_IO ? strerror(errno) : "not a file of libvane, or of another version");
        return false;
    }
    put_field(b, "# service ", f.head->service, sizeof f.head->service);
    put_field(b, ", instance ", f.head->instance, sizeof f.head->instance);
    sdk_putf(b, ", process %u, started ", f.head->pid);
    sdk_put_rfc3339(b, f.head->created_unix_ms % 253402300800000u * 1000000u);
    sdk_putf(b, ", %s\n", state_of(f.head));
    int stop = sdk_expo_file(&f, b);
    if (stop && !b->failed)
        SDK_PUTS(b, "# what follows is missing: out of memory\n");
    sdk_file_regions(&f, show_region, b);
    SDK_PUTS(b, "\n");
    sdk_file_free(&f);
    return true;
}

static int is_ours(const struct dirent *e)
{
    size_t n = strlen(e->d_name);
    return n > 9 && !strncmp(e->d_name, "vane_", 5) && !strcmp(e->d_name + n - 4, ".vsm");
}

int sdk_blackbox_print(const char *path, int (*write)(void *ctx, const char *p, size_t n), void *ctx)
{
    struct stat st;
    if (stat(path, &st))
        return -1;
    struct sdk_buf b;
    sdk_buf_init(&b, 1 << 30);
    if (!sdk_buf_room(&b, 65536)) {
        errno = ENOMEM;
        return -1;
    }
    b.flush = write;
    b.flush_ctx = ctx;
    int shown = 0;
    if (!S_ISDIR(st.st_mode)) {
        shown = show_file(path, &b);
    } else {
        struct dirent **names = NULL;
        int n = scandir(path, &names, is_ours, alphasort), saved = errno;
        for (int i = 0; i < n; i++) {
            char file[4096];
            if ((size_t)snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name) < sizeof file && !b.failed)
                shown += show_file(file, &b);
            free(names[i]);
        }
        free(names);
        if (n < 0) {
            errno = saved;
            shown = -1;
        }
    }
    if (!b.failed && b.n)
        write(ctx, b.p, b.n);
    sdk_buf_free(&b);
    return shown;
}
