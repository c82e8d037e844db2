/* GET each address given, then show the metrics. cc example.c vane_curl.c $(pkg-config --cflags --libs libvane libcurl) */
#include "vane_curl.h"

#include <vane/vane.h>

#include <stdio.h>

static size_t ignore(char *p, size_t size, size_t n, void *ctx)
{
    (void)p, (void)ctx;
    return size * n;
}

int main(int argc, char **argv)
{
    if (vane_start(NULL))
        return 1;
    CURL *h = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "X-Own: yes");
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, ignore);
    curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, 2000L);
    for (int i = 1; i < argc; i++) {
        curl_easy_setopt(h, CURLOPT_URL, argv[i]);
        CURLcode code = vane_curl_perform(h, "GET", argv[i], headers);
        VANE_INFO("asked", vane_str("result", curl_easy_strerror(code)));
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(h);
    char *body;
    size_t n;
    if (vane_render(VANE_FORMAT_TEXT, &body, &n) == VANE_OK) {
        fwrite(body, 1, n, stdout);
        vane_render_free(body);
    }
    return vane_stop(2000);
}
