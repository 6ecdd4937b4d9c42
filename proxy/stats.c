/* Counting; see stats.h. */
#include "proxy/stats.h"

#include <string.h>

#include "base/alloc.h"
#include "base/base.h"

void kw_stats_deinit(struct kw_stats *stats) {
    kw_free(stats->commands);
    *stats = (struct kw_stats){0};
}

void kw_stats_reset(struct kw_stats *stats) {
    kw_stats_deinit(stats);
}

static struct kw_command_stats *row_for(struct kw_stats *stats, unsigned id) {
    if (KW_UNLIKELY(id >= stats->command_count)) {
        size_t count = kw_command_count();
        if (count <= id) count = (size_t)id + 1;
        stats->commands = kw_realloc(stats->commands, count * sizeof(*stats->commands));
        memset(stats->commands + stats->command_count, 0, (count - stats->command_count) * sizeof(*stats->commands));
        stats->command_count = count;
    }
    return &stats->commands[id];
}

void kw_stats_command(struct kw_stats *stats, const struct kw_command *cmd, uint64_t total_us, bool failed) {
    struct kw_command_stats *row = row_for(stats, cmd->id);
    stats->requests++;
    row->calls++;
    row->total_us += total_us;
    row->failed += failed;
}

void kw_stats_rejected(struct kw_stats *stats, const struct kw_command *cmd) {
    row_for(stats, cmd->id)->rejected++;
}

static void count_error(struct kw_stats *stats, const char *name, size_t len, uint64_t count) {
    for (unsigned i = 0; i < stats->error_count; i++) {
        if (strncmp(stats->errors[i].name, name, len) == 0 && stats->errors[i].name[len] == '\0') {
            stats->errors[i].count += count;
            return;
        }
    }
    if (stats->error_count == KW_STATS_ERRORS_MAX) return; /* names that scripts make up are not followed for ever */
    struct kw_error_stats *row = &stats->errors[stats->error_count++];
    memcpy(row->name, name, len);
    row->name[len] = '\0';
    row->count = count;
}

void kw_stats_error(struct kw_stats *stats, const char *reply, size_t len) {
    stats->error_replies++;
    size_t end = 1;
    while (end < len && reply[end] != ' ' && reply[end] != '\r' && end < KW_STATS_ERROR_NAME - 1) end++;
    if (end > 1) count_error(stats, reply + 1, end - 1, 1);
}

void kw_stats_add(struct kw_stats *sum, const struct kw_stats *from) {
    for (size_t id = 0; id < from->command_count; id++) {
        const struct kw_command_stats *add = &from->commands[id];
        if (!add->calls && !add->rejected) continue;
        struct kw_command_stats *row = row_for(sum, (unsigned)id);
        row->calls += add->calls;
        row->total_us += add->total_us;
        row->rejected += add->rejected;
        row->failed += add->failed;
    }
    sum->error_replies += from->error_replies;
    for (unsigned i = 0; i < from->error_count; i++) {
        count_error(sum, from->errors[i].name, strlen(from->errors[i].name), from->errors[i].count);
    }
    sum->requests += from->requests;
    sum->connections += from->connections;
    sum->redirects += from->redirects;
    sum->output_limit_closed += from->output_limit_closed;
    sum->bytes_in += from->bytes_in;
    sum->bytes_out += from->bytes_out;
    sum->clients += from->clients;
    sum->blocked += from->blocked;
    sum->inflight += from->inflight;
    sum->parked += from->parked;
    sum->tracking += from->tracking;
    sum->links += from->links;
    sum->link_bytes += from->link_bytes;
    sum->pool_bytes += from->pool_bytes;
}

void kw_stats_print_commands(const struct kw_stats *stats, struct kw_str *out) {
    for (size_t id = 0; id < stats->command_count; id++) {
        const struct kw_command_stats *row = &stats->commands[id];
        if (!row->calls && !row->rejected) continue;
        const struct kw_command *cmd = kw_command_by_id((unsigned)id);
        double each = row->calls ? (double)row->total_us / (double)row->calls : 0;
        kw_str_printf(out,
                      "cmdstat_%s:calls=%llu,usec=%llu,usec_per_call=%.2f,rejected_calls=%llu,failed_calls=%llu\r\n",
                      cmd->name, (unsigned long long)row->calls, (unsigned long long)row->total_us, each,
                      (unsigned long long)row->rejected, (unsigned long long)row->failed);
    }
}

void kw_stats_print_errors(const struct kw_stats *stats, struct kw_str *out) {
    for (unsigned i = 0; i < stats->error_count; i++) {
        kw_str_printf(out, "errorstat_%s:count=%llu\r\n", stats->errors[i].name,
                      (unsigned long long)stats->errors[i].count);
    }
}
