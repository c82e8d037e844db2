/* A program that leaves a black box: metrics, spans, and log lines of several threads, then dies by SIGKILL in the middle of
 * it, itself or in a child of fork. For blackbox_test.py, with VANE_BLACKBOX_DIR.
 * Arguments: "plain", "fork", or "push" (spans are taken by a pusher too); lines of each thread. */
#include <vane/vane.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 3 };
static int lines;
static pthread_barrier_t written;

static void *worker(void *arg)
{
    int me = *(const int *)arg;
    VANE_LOG_SCOPE(vane_int("thread", me));
    VANE_SPAN(span, "work");
    for (int i = 0; i < lines; i++) {
        VANE_INFO("line", vane_int("i", i), vane_str("password", "hunter2"), vane_str("odd", "a b\x1b[31m\xff\nc"));
        if (i % 64 == 63)
            vane_flush(1000); /* so that no ring is full */
    }
    pthread_barrier_wait(&written);
    pause(); /* keeps its ring: another thread would write over it */
    return NULL;
}

static void work(void)
{
    vane_counter jobs = vane_counter_bind(vane_counter_new("jobs_total", "Jobs.", ""), VANE_NO_LABELS);
    pthread_t t[THREADS];
    static int me[THREADS];
    pthread_barrier_init(&written, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++) {
        me[i] = i;
        pthread_create(&t[i], NULL, worker, &me[i]);
    }
    pthread_barrier_wait(&written);
    for (int i = 0; i < 5000; i++) { /* the ring of spans goes round */
        VANE_SPAN(span, "step");
        vane_span_set(&span, vane_int("i", i));
        vane_counter_inc(jobs);
    }
    vane_span s;
    vane_span_start(&s, "long", VANE_SPAN_CLIENT);
    vane_span_set(&s, vane_str("first", "1"));
    char text[601] = "";
    memset(text, 'x', sizeof text - 1);
    vane_span_set(&s, vane_str("text", text));
    vane_span_event(&s, "lost", NULL, 0);
    vane_span_status(&s, VANE_SPAN_ERROR, "too long");
    vane_span_end(&s);
    vane_span_start(&s, "the \"last\" one", VANE_SPAN_SERVER);
    vane_span_set(&s, vane_str("user.id", "u-7"));
    vane_span_set(&s, vane_f64("ratio", 0.5));
    vane_span_set(&s, vane_bool("hit", 1));
    vane_attr tries = vane_int("tries", 3);
    vane_span_event(&s, "retry", &tries, 1);
    vane_span_status(&s, VANE_SPAN_ERROR, "declined");
    VANE_ERROR("giving up", vane_f64("ratio", 0.5));
    vane_span_end(&s);
    vane_audit("ada", "delete", "order/7", "denied", NULL, 0);
}

int main(int argc, char **argv)
{
    vane_config cfg = VANE_CONFIG_INIT;
    cfg.service_name = "boxed";
    cfg.log_sinks = "none";
    cfg.log_ring_bytes = 16384;
    if (argc < 3)
        return 1;
    if (!strcmp(argv[1], "push")) {
        cfg.otlp_traces_endpoint = "http://127.0.0.1:1/v1/traces"; /* nobody there */
        cfg.batch_delay_ms = 10;
        cfg.span_queue_max = 8192;
    }
    lines = atoi(argv[2]);
    if (vane_start(&cfg))
        return 1;
    if (!strcmp(argv[1], "fork")) {
        VANE_INFO("of the parent");
        pid_t pid = fork();
        if (pid) {
            int status;
            waitpid(pid, &status, 0);
            printf("%d %d\n", (int)pid, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
            fflush(stdout);
            raise(SIGKILL); /* a process that stops in good order leaves nothing */
        }
    }
    work();
    raise(SIGKILL);
    return 2;
}
