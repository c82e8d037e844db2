// prometheus-cpp (Debian's prometheus-cpp-dev) on the same work as sdk_bench.c, in the same units. Built when it is installed.
#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <cstdio>
#include <ctime>
#include <functional>
#include <string>
#include <thread>
#include <vector>

static double now_s()
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double once(const std::function<void(long)> &run, long n)
{
    double t = now_s();
    run(n);
    return (now_s() - t) * 1e9 / (double)n;
}

static void row(const char *name, const std::function<void(long)> &run, long n)
{
    double one = 1e9;
    for (int k = 0; k < 5; k++)
        one = std::min(one, once(run, n));
    unsigned cores = std::max(1u, std::thread::hardware_concurrency());
    std::vector<double> ns(cores);
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < cores; i++)
        threads.emplace_back([&, i] { ns[i] = once(run, n); });
    double worst = 0;
    for (unsigned i = 0; i < cores; i++) {
        threads[i].join();
        worst = std::max(worst, ns[i]);
    }
    std::printf("{\"bench\":\"prometheus-cpp\",\"name\":\"%s\",\"ns\":%.2f,\"threads\":%u,\"all_cores_ns\":%.2f}\n", name, one, cores, worst);
}

int main()
{
    prometheus::Registry registry;
    auto &family = prometheus::BuildCounter().Name("bench_requests_total").Help("Requests.").Register(registry);
    auto &counter = family.Add({ { "method", "GET" }, { "endpoint", "/" }, { "status", "200" } });
    auto &histogram = prometheus::BuildHistogram().Name("bench_seconds").Help("Duration.").Register(registry).Add(
        {}, prometheus::Histogram::BucketBoundaries{ .005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10 });
    static const char *const codes[] = { "200", "404", "500", "201" };
    row("counter_bound", [&](long n) { for (long i = 0; i < n; i++) counter.Increment(); }, 5000000);
    row("histogram_explicit_14", [&](long n) { for (long i = 0; i < n; i++) histogram.Observe((double)(i & 1023) * 0.0013); }, 2000000);
    row("counter_unbound_3_labels", [&](long n) {
        for (long i = 0; i < n; i++)
            family.Add({ { "method", "GET" }, { "endpoint", "/api/users/{id}" }, { "status", codes[i & 3] } }).Increment();
    }, 300000);
    for (int i = 0; i < 10000; i++)
        family.Add({ { "path", "/api/v1/resource/" + std::to_string(i / 4) }, { "status", "200" }, { "instance", "node-" + std::to_string(i % 4) } }).Increment(i);
    double best = 1e9;
    for (int k = 0; k < 5; k++) {
        double t = now_s();
        std::string text = prometheus::TextSerializer().Serialize(registry.Collect());
        best = std::min(best, now_s() - t);
    }
    std::printf("{\"bench\":\"prometheus-cpp\",\"name\":\"scrape_10000_text\",\"ms\":%.3f}\n", best * 1e3);
    return 0;
}
