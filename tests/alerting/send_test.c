/* alerting/am_send.h: from a posted alert to a webhook's receipt, over a server that fails first. */
#include "test.h"

#include <stdio.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>

#include "alerting/am_send.h"

struct receiver {
    int fd;
    int answers[4]; /* status codes in order; 0 ends */
    char got[4][8192];
    size_t n;
};

static void *receive(void *arg)
{
    struct receiver *r = arg;
    for (; r->answers[r->n]; r->n++) {
        int c = accept(r->fd, NULL, NULL);
        size_t have = 0, want = SIZE_MAX;
        char *b = r->got[r->n];
        while (have < want && have + 1 < sizeof(r->got[0])) {
            ssize_t k = read(c, b + have, sizeof(r->got[0]) - 1 - have);
            if (k <= 0)
                break;
            have += (size_t)k;
            b[have] = 0;
            const char *end = strstr(b, "\r\n\r\n"), *len = strstr(b, "Content-Length: ");
            if (end && len)
                want = (size_t)(end + 4 - b) + (size_t)strtoul(len + 16, NULL, 10);
        }
        char out[128];
        int m = snprintf(out, sizeof(out), "HTTP/1.1 %d x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                         r->answers[r->n]);
        (void)!write(c, out, (size_t)m);
        close(c);
    }
    return NULL;
}

static void webhook(void **state)
{
    (void)state;
    static struct receiver r;
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t len = sizeof(at);
    pthread_t th;
    char yaml[512];
    struct err_text why = { 0 };
    memset(&r, 0, sizeof(r));
    r.answers[0] = 503;
    r.answers[1] = 200;
    r.fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(r.fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(r.fd, 4), 0);
    assert_int_equal(getsockname(r.fd, (struct sockaddr *)&at, &len), 0);
    pthread_create(&th, NULL, receive, &r);
    snprintf(yaml, sizeof(yaml),
             "route: {receiver: hook, group_wait: 0s, group_by: [alertname]}\n"
             "receivers:\n- name: hook\n  webhook_configs:\n  - url: http://127.0.0.1:%u/x\n",
             ntohs(at.sin_port));
    struct am_config *cfg;
    if (am_config_parse(STR("am.yml"), str_c(yaml), &cfg, NULL, &why) != OK)
        fail_msg("%s", why.msg);
    struct am_sender *s;
    struct am *am;
    struct am_sender_config sc = { .external_url = STR("http://vane.example") };
    assert_ok(am_sender_open(&sc, &s));
    struct am_options opt = { .ctx = s, .send = am_sender_send };
    assert_ok(am_open(&opt, cfg, os_now_ms(), &am));
    assert_ok(am_sender_serve(s, am, cfg, &why));
    struct label l[] = { { STR("alertname"), STR("Down") }, { STR("job"), STR("shop") } };
    struct am_alert alert = { .labels = { l, 2 }, .starts_ms = os_now_ms(), .generator_url = STR("http://p/g") };
    AUTO_BUF struct buf rejected;
    buf_init(&rejected, 0);
    assert_ok(am_post(am, &alert, 1, os_now_ms(), NULL, &rejected));
    for (int i = 0; i < 400 && r.n < 2; i++) { /* the second attempt comes after a pause */
        am_tick(am, os_now_ms());
        usleep(25000);
    }
    am_sender_close(s);
    pthread_join(th, NULL);
    close(r.fd);
    am_close(am);
    am_config_unref(cfg);
    assert_non_null(strstr(r.got[1], "POST /x "));
    assert_non_null(strstr(r.got[1], "\"alertname\":\"Down\""));
    assert_non_null(strstr(r.got[1], "\"externalURL\":\"http://vane.example\""));
    const char *k0 = strstr(r.got[0], "Idempotency-Key: "), *k1 = strstr(r.got[1], "Idempotency-Key: ");
    assert_non_null(k0);
    assert_non_null(k1);
    assert_memory_equal(k0, k1, 33); /* the same message again */
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(webhook) };
    return cmocka_run_group_tests_name("alerting/send", tests, NULL, NULL);
}
