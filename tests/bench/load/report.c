/* One line on standard output, flushed. Times are microseconds, unless they say seconds. */
#include "tests/bench/load/report.h"

#include <stdio.h>
#include <time.h>

#include "tests/bench/load/load.h"

static double clock_read(clockid_t clock) {
    struct timespec used = {0};
    if (clock_gettime(clock, &used) != 0) load_die("a process of --watch is gone");
    return (double)used.tv_sec + (double)used.tv_nsec / (double)LOAD_NS_PER_SECOND;
}

void load_cpu_read(struct load_cpu *cpu, const struct load_options *options) {
    cpu->own = clock_read(CLOCK_PROCESS_CPUTIME_ID);
    for (uint64_t i = 0; i < options->watched_count; i++) {
        clockid_t clock = 0;
        if (clock_getcpuclockid(options->watched[i], &clock) != 0) {
            load_die("--watch: there is no process %d", (int)options->watched[i]);
        }
        cpu->watched[i] = clock_read(clock);
    }
}

static void text_append(struct kw_str *line, const struct kw_str *text) {
    kw_str_append_text(line, "\"");
    for (size_t i = 0; i < text->len; i++) {
        unsigned char c = (unsigned char)text->data[i];
        if (c == '"' || c == '\\') {
            kw_str_printf(line, "\\%c", c);
        } else if (c < ' ' || c > '~') {
            kw_str_printf(line, "\\u%04x", c);
        } else {
            kw_str_append(line, &text->data[i], 1);
        }
    }
    kw_str_append_text(line, "\"");
}

static double us(uint64_t ns) {
    return (double)ns / LOAD_NS_PER_US;
}

static void latency_append(struct kw_str *line, const char *prefix, const struct load_histogram *latency) {
    static const struct {
        const char *name;
        double part;
    } rows[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}};
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) {
        kw_str_printf(line, ",\"%s%s_us\":%.1f", prefix, rows[i].name, us(load_histogram_at(latency, rows[i].part)));
    }
    kw_str_printf(line, ",\"%smax_us\":%.1f", prefix, us(latency->max));
}

static void cpu_append(struct kw_str *line, const struct load_options *options, const struct load_cpu *before) {
    struct load_cpu after;
    load_cpu_read(&after, options);
    kw_str_printf(line, ",\"cpu_seconds\":%.6f", after.own - before->own);
    if (options->watched_count == 0) return;
    kw_str_append_text(line, ",\"watched_cpu_seconds\":[");
    for (uint64_t i = 0; i < options->watched_count; i++) {
        kw_str_printf(line, "%s%.6f", i > 0 ? "," : "", after.watched[i] - before->watched[i]);
    }
    kw_str_append_text(line, "]");
}

void load_report_print(const struct load_options *options, const struct load_seen *seen, const struct load_cpu *before,
                       const struct load_histogram *each) {
    struct kw_str line = {0};
    double seconds = (double)(seen->end_ns - seen->begin_ns) / (double)LOAD_NS_PER_SECOND;
    kw_str_printf(&line,
                  "{\"workload\":\"%s\",\"requests\":%llu,\"errors\":%llu,\"first_error\":", options->workload->name,
                  (unsigned long long)seen->requests, (unsigned long long)seen->errors);
    text_append(&line, &seen->first_error);
    kw_str_printf(&line, ",\"nils\":%llu,\"seconds\":%.6f,\"per_second\":%.1f", (unsigned long long)seen->nils, seconds,
                  seconds > 0 ? (double)seen->requests / seconds : 0.0);
    latency_append(&line, "", &seen->latency);
    if (each) latency_append(&line, "each_", each);
    cpu_append(&line, options, before);
    kw_str_printf(&line, ",\"bytes_in\":%llu}", (unsigned long long)seen->bytes_in);
    (void)puts(line.data);
    (void)fflush(stdout);
    kw_str_deinit(&line);
}
