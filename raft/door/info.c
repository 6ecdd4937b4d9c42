/*
 * INFO in Redis's form: what this process is, who is connected, and all that
 * the replica counts. Answered from this node's own state, on any node.
 */
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/clock.h"
#include "raft/door/door_internal.h"

typedef unsigned long long ull;

static long resident_bytes(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file) return 0;
    if (fscanf(file, "%*s %ld", &pages) != 1) pages = 0;
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

static void print_server(struct kw_door *door, struct kw_str *out) {
    struct utsname os;
    char executable[512];
    const char *path = kw_config_path(door->options.cfg);
    uint64_t up_s = (kw_clock_ms() - door->started_ms) / 1000;
    ssize_t len = readlink("/proc/self/exe", executable, sizeof(executable) - 1);
    executable[len > 0 ? len : 0] = '\0';
    uname(&os);
    kw_str_printf(out,
                  "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nos:%s %s %s\r\narch_bits:64\r\n"
                  "multiplexing_api:epoll\r\nprocess_id:%d\r\nrun_id:%s\r\ntcp_port:%lld\r\nserver_time_usec:%llu\r\n"
                  "uptime_in_seconds:%llu\r\nuptime_in_days:%llu\r\nexecutable:%s\r\nconfig_file:%s\r\n"
                  "keyway_version:%s\r\nkeyway_role:meta\r\n",
                  os.sysname, os.release, os.machine, (int)getpid(), door->run_id, door->options.settings->port,
                  (ull)kw_clock_wall_us(), (ull)up_s, (ull)(up_s / 86400), executable, path ? path : "", KW_VERSION);
}

static void print_clients(struct kw_door *door, struct kw_str *out) {
    kw_str_printf(out,
                  "# Clients\r\nconnected_clients:%zu\r\nmaxclients:%lld\r\nblocked_clients:0\r\nwatchers:%zu\r\n"
                  "total_connections_received:%llu\r\nrejected_connections:%llu\r\nslow_clients_closed:%llu\r\n"
                  "total_commands_processed:%llu\r\ntotal_error_replies:%llu\r\ntotal_net_input_bytes:%llu\r\n"
                  "total_net_output_bytes:%llu\r\nmap_pushes:%llu\r\n",
                  door->session_count, door->options.settings->maxclients, door->watcher_count, (ull)door->connections,
                  (ull)door->rejected, (ull)door->slow_closed, (ull)door->commands, (ull)door->errors,
                  (ull)door->bytes_in, (ull)door->bytes_out, (ull)door->pushes);
}

static void print_memory(struct kw_door *door, struct kw_str *out) {
    kw_str_printf(out,
                  "# Memory\r\nused_memory:%zu\r\nused_memory_rss:%ld\r\nstate_bytes:%zu\r\nbuffer_bytes:%zu\r\n"
                  "maxmemory:0\r\nmaxmemory_policy:noeviction\r\n",
                  kw_alloc_used_bytes(), resident_bytes(), kw_meta_state_bytes(kw_door_state(door)),
                  kw_pool_bytes(door->pool));
}

static void print_members(const struct kw_replica_facts *facts, struct kw_str *out) {
    kw_str_printf(out, "members:%u\r\n", facts->member_count);
    for (unsigned i = 0; i < facts->member_count; i++) {
        const struct kw_replica_member *member = &facts->members[i];
        char address[KW_DOOR_ADDRESS_SIZE];
        kw_door_host_port(address, member->peer.address.host, member->peer.address.port);
        kw_str_printf(out, "member%u:id=%llu,address=%s,raft_port=%u,voter=%d,match_index=%llu\r\n", i,
                      (ull)member->peer.id, address, member->peer.address.raft_port, member->voter,
                      (ull)member->match_index);
    }
}

static void print_raft(struct kw_door *door, struct kw_str *out) {
    static const char *const roles[] = {"follower", "candidate", "leader", "stopped"};
    struct kw_replica_facts facts;
    char leader[KW_DOOR_ADDRESS_SIZE] = "";
    kw_replica_facts(door->replica, &facts);
    if (facts.leader_id) kw_door_host_port(leader, facts.leader.host, facts.leader.port);
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"node_id", facts.id},
        {"leader_id", facts.leader_id},
        {"term", facts.term},
        {"commit_index", facts.commit_index},
        {"applied_index", facts.applied_index},
        {"last_index", facts.last_index},
        {"snapshot_index", facts.snapshot_index},
        {"recovery_epoch", kw_meta_state_recovery_epoch(kw_door_state(door))},
        {"map_version", kw_meta_state_map(kw_door_state(door))->version},
        {"records_submitted", facts.submitted},
        {"records_rejected", facts.rejected},
        {"entries", facts.entries},
        {"reads", facts.reads},
        {"barriers", facts.barriers},
        {"read_rounds", facts.rounds},
        {"snapshots", facts.snapshots},
        {"elections", facts.elections},
        {"queue_records", facts.queue_records},
        {"queue_bytes", facts.queue_bytes},
        {"disk_free_bytes", facts.disk_free_bytes},
        {"refused_peers", facts.refused_peers},
        {"longest_turn_us", facts.longest_turn_us},
        {"longest_turn_cpu_us", facts.longest_turn_cpu_us},
    };
    kw_str_printf(out, "# Raft\r\ncluster_name:%s\r\nrole:%s\r\nleader_address:%s\r\n",
                  door->options.settings->cluster_name, roles[facts.role], leader);
    for (size_t i = 0; i < KW_ARRAY_LEN(numbers); i++) {
        kw_str_printf(out, "%s:%llu\r\n", numbers[i].name, (ull)numbers[i].value);
    }
    /* By their numbers in docs/decisions/0007-libraft-guard.md. */
    for (size_t i = 0; i < KW_ARRAY_LEN(facts.guard); i++) {
        kw_str_printf(out, "guard_rule_%zu:%llu\r\n", i + 1, (ull)facts.guard[i]);
    }
    print_members(&facts, out);
}

static void print_keyspace(struct kw_door *door, struct kw_str *out) {
    static const char *const names[] = {
#define X(name, text, key, value, count) text,
        KW_META_TABLES(X)
#undef X
    };
    kw_str_append_text(out, "# Keyspace\r\n");
    for (unsigned t = 0; t < KW_META_TABLE_COUNT; t++) {
        const struct kw_ptable *table = kw_meta_state_table(kw_door_state(door), (enum kw_meta_table)t);
        kw_str_printf(out, "%s:keys=%zu,bytes=%zu\r\n", names[t], kw_ptable_count(table), kw_ptable_bytes(table));
    }
}

static const struct {
    const char *name;
    void (*print)(struct kw_door *door, struct kw_str *out);
} sections[] = {
    {"server", print_server}, {"clients", print_clients},   {"memory", print_memory},
    {"raft", print_raft},     {"keyspace", print_keyspace},
};

static bool wanted(const struct kw_door_call *call, const char *section) {
    for (size_t i = 1; i < call->argc; i++) {
        const struct kw_arg *word = &call->argv[i];
        if (kw_door_is(word, section) || kw_door_is(word, "all") || kw_door_is(word, "default") ||
            kw_door_is(word, "everything"))
            return true;
    }
    return call->argc == 1;
}

void kw_door_info(struct kw_door_call *call) {
    struct kw_str text = {0};
    for (size_t i = 0; i < KW_ARRAY_LEN(sections); i++) {
        if (!wanted(call, sections[i].name)) continue;
        if (text.len) kw_str_append(&text, "\r\n", 2);
        sections[i].print(call->door, &text);
    }
    kw_str_resp_verbatim(call->out, call->resp, text.data ? text.data : "", text.len);
    kw_str_deinit(&text);
}
