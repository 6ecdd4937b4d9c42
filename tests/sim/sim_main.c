/*
 * sim_raft: runs seeds of the simulation, one process each, as many at a time
 * as there are processors, and says which failed and why.
 *
 *   sim_raft [--seeds N] [--first S] [--nodes 3|5] [--disorder] [--without RULE] [--jobs N]
 *   sim_raft --seed S --nodes 3|5 [--disorder] [--without RULE] [--trace]      one seed, told in full
 *   sim_raft --mutations      each rule that guards safety is left out in turn: seeds must fail then
 *
 * Without --nodes the seeds are shared out among four scenarios: 3 and 5 nodes, in order and in disorder.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "sim.h"

enum { JOBS_MAX = 64, REASON_SIZE = 560, CPU_SECONDS = 20, SHOWN_MAX = 20 };

struct scenario {
    unsigned nodes;
    bool disorder;
    unsigned rules;
};

struct job {
    pid_t pid; /* 0: free */
    uint64_t seed;
    int fd;
};

struct batch {
    struct scenario scenario;
    uint64_t first, count;
    bool quiet, stop_at_failure;
    /* Results. */
    uint64_t failures, ran, first_failure;
    char first_reason[REASON_SIZE];
};

static unsigned jobs;

static void live(const struct scenario *scenario, uint64_t seed, bool trace, int report) {
    struct rlimit cpu = {.rlim_cur = CPU_SECONDS, .rlim_max = CPU_SECONDS + 1};
    struct rlimit core = {0};
    setrlimit(RLIMIT_CPU, &cpu);
    setrlimit(RLIMIT_CORE, &core);
    struct sim *sim = kw_calloc(1, sizeof(*sim));
    sim->options = (struct sim_options){.seed = seed,
                                        .nodes = scenario->nodes,
                                        .rules = scenario->rules,
                                        .disorder = scenario->disorder,
                                        .trace = trace,
                                        .report = report};
    sim_live(sim);
    if (trace) {
        printf("%llu commands acknowledged, %llu applied\n", (unsigned long long)sim->answered,
               (unsigned long long)sim->history_count);
        for (unsigned i = 0; i < KW_GUARD_RULE_COUNT; i++)
            printf("rule %u acted %llu times\n", i + 1, sim_acted(sim, i));
    }
}

static void spawn(const struct batch *batch, struct job *job, uint64_t seed) {
    int ends[2];
    fflush(stdout);
    if (pipe(ends) != 0) abort();
    pid_t pid = fork();
    if (pid < 0) abort();
    if (pid == 0) {
        close(ends[0]);
        live(&batch->scenario, seed, false, ends[1]);
        _exit(0);
    }
    close(ends[1]);
    *job = (struct job){.pid = pid, .seed = seed, .fd = ends[0]};
}

/* Empty: it passed. */
static void reason_of(const struct job *job, int status, char reason[REASON_SIZE]) {
    ssize_t got = read(job->fd, reason, REASON_SIZE - 1);
    reason[got > 0 ? got : 0] = '\0';
    reason[strcspn(reason, "\n")] = '\0';
    if (WIFSIGNALED(status)) {
        int number = WTERMSIG(status);
        snprintf(reason, REASON_SIZE, "%s (signal %d)", number == SIGXCPU ? "does not end" : "crash", number);
    } else if (WEXITSTATUS(status) != 0 && reason[0] == '\0') {
        snprintf(reason, REASON_SIZE, "exit code %d", WEXITSTATUS(status));
    }
}

static void note_failure(struct batch *batch, uint64_t seed, const char *reason) {
    batch->failures++;
    if (batch->failures == 1 || seed < batch->first_failure) {
        batch->first_failure = seed;
        snprintf(batch->first_reason, sizeof(batch->first_reason), "%s", reason);
    }
    if (!batch->quiet && batch->failures <= SHOWN_MAX) {
        printf("FAILED  --nodes %u%s --seed %llu: %s\n", batch->scenario.nodes,
               batch->scenario.disorder ? " --disorder" : "", (unsigned long long)seed, reason);
    }
}

static void reap(struct batch *batch, struct job running[JOBS_MAX]) {
    int status = 0;
    char reason[REASON_SIZE];
    pid_t pid = wait(&status);
    for (unsigned i = 0; i < jobs; i++) {
        struct job *job = &running[i];
        if (job->pid != pid) continue;
        reason_of(job, status, reason);
        close(job->fd);
        job->pid = 0;
        batch->ran++;
        if (reason[0] != '\0') note_failure(batch, job->seed, reason);
    }
}

static struct job *free_job(struct job running[JOBS_MAX]) {
    for (unsigned i = 0; i < jobs; i++) {
        if (running[i].pid == 0) return &running[i];
    }
    return NULL;
}

static void run_batch(struct batch *batch) {
    struct job running[JOBS_MAX] = {0};
    uint64_t begun = 0;
    while (begun < batch->count || begun > batch->ran) {
        if (batch->stop_at_failure && batch->failures > 0) batch->count = begun;
        struct job *job = begun < batch->count ? free_job(running) : NULL;
        if (job) {
            spawn(batch, job, batch->first + begun++);
        } else if (begun > batch->ran) {
            reap(batch, running);
        }
    }
}

static const char *order_name(const struct scenario *scenario) {
    return scenario->disorder ? "in disorder" : "in order";
}

/* A batch of seeds is one test. */
static int run_seeds(const struct scenario *scenario, uint64_t first, uint64_t count) {
    struct batch batch = {.scenario = *scenario, .first = first, .count = count};
    run_batch(&batch);
    printf("%s  %u nodes, %s: %llu seeds from %llu, %llu failed\n", batch.failures ? "FAILED" : "ok    ",
           scenario->nodes, order_name(scenario), (unsigned long long)batch.ran, (unsigned long long)first,
           (unsigned long long)batch.failures);
    return batch.failures == 0;
}

/* The rules without which acknowledged data is lost or memory is corrupted, each with the scenario that shows it. */
static const struct {
    enum kw_guard_rule rule;
    const char *what;
    struct scenario scenario;
} MUTATIONS[] = {
    {KW_GUARD_DROP_INSTALL, "2 (C: install during an own snapshot)", {5, true, 0}},
    {KW_GUARD_HONEST_RESULT, "3 (A: results that claim too much)", {5, true, 0}},
    {KW_GUARD_SNAPSHOT_TERM, "4 (B: term of another snapshot)", {5, true, 0}},
    {KW_GUARD_COPY_ENTRIES, "5 (E: entries freed while they are sent)", {5, true, 0}},
};

static int run_mutation(size_t which, uint64_t bound) {
    struct batch batch = {
        .scenario = MUTATIONS[which].scenario, .first = 1, .count = bound, .quiet = true, .stop_at_failure = true};
    batch.scenario.rules = KW_GUARD_ALL & ~(unsigned)MUTATIONS[which].rule;
    run_batch(&batch);
    if (batch.failures == 0) {
        printf("FAILED  without rule %s nothing fails in %llu seeds\n", MUTATIONS[which].what,
               (unsigned long long)batch.ran);
        return 0;
    }
    printf("ok      without rule %s: seed %llu fails: %s\n", MUTATIONS[which].what,
           (unsigned long long)batch.first_failure, batch.first_reason);
    return 1;
}

static int finish(unsigned passed, unsigned failed) {
    printf("%u passed, %u failed, 0 skipped\n", passed, failed);
    return failed ? 1 : 0;
}

static int run_mutations(uint64_t bound) {
    unsigned passed = 0;
    for (size_t i = 0; i < KW_ARRAY_LEN(MUTATIONS); i++) passed += (unsigned)run_mutation(i, bound);
    return finish(passed, (unsigned)KW_ARRAY_LEN(MUTATIONS) - passed);
}

static int run_scenarios(unsigned rules, uint64_t first, uint64_t count) {
    static const struct scenario all[] = {{3, false, 0}, {5, false, 0}, {3, true, 0}, {5, true, 0}};
    unsigned passed = 0;
    for (size_t i = 0; i < KW_ARRAY_LEN(all); i++) {
        struct scenario scenario = all[i];
        scenario.rules = rules;
        passed += (unsigned)run_seeds(&scenario, first, (count + 3 - i) / 4);
    }
    return finish(passed, (unsigned)KW_ARRAY_LEN(all) - passed);
}

static unsigned without(const char *text) {
    char *end;
    unsigned long rule = strtoul(text, &end, 10);
    if (*end != '\0' || rule < 1 || rule > KW_GUARD_RULE_COUNT) {
        fprintf(stderr, "sim_raft: --without takes the number of a rule, 1 to %d\n", KW_GUARD_RULE_COUNT);
        exit(2);
    }
    return 1u << (rule - 1);
}

enum choice {
    OPT_SEEDS = 1,
    OPT_FIRST,
    OPT_SEED,
    OPT_TRACE,
    OPT_WITHOUT,
    OPT_NODES,
    OPT_DISORDER,
    OPT_MUTATIONS,
    OPT_JOBS
};

static const struct option OPTIONS[] = {
    {"seeds", required_argument, NULL, OPT_SEEDS},     {"first", required_argument, NULL, OPT_FIRST},
    {"seed", required_argument, NULL, OPT_SEED},       {"trace", no_argument, NULL, OPT_TRACE},
    {"without", required_argument, NULL, OPT_WITHOUT}, {"nodes", required_argument, NULL, OPT_NODES},
    {"disorder", no_argument, NULL, OPT_DISORDER},     {"mutations", no_argument, NULL, OPT_MUTATIONS},
    {"jobs", required_argument, NULL, OPT_JOBS},       {NULL, 0, NULL, 0},
};

struct wish {
    struct scenario scenario; /* nodes 0: all */
    uint64_t first, count, seed;
    bool one, trace, mutations;
};

static void take_option(struct wish *wish, int option) {
    switch (option) {
    case OPT_SEEDS: wish->count = strtoull(optarg, NULL, 10); break;
    case OPT_FIRST: wish->first = strtoull(optarg, NULL, 10); break;
    case OPT_SEED:
        wish->seed = strtoull(optarg, NULL, 10);
        wish->one = true;
        break;
    case OPT_TRACE: wish->trace = true; break;
    case OPT_WITHOUT: wish->scenario.rules &= ~without(optarg); break;
    case OPT_NODES: wish->scenario.nodes = (unsigned)strtoul(optarg, NULL, 10); break;
    case OPT_DISORDER: wish->scenario.disorder = true; break;
    case OPT_MUTATIONS: wish->mutations = true; break;
    case OPT_JOBS: jobs = (unsigned)strtoul(optarg, NULL, 10); break;
    default: exit(2);
    }
}

int main(int argc, char **argv) {
    struct wish wish = {.scenario = {.rules = KW_GUARD_ALL}, .first = 1, .count = 400};
    jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    int option;
    while ((option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1) take_option(&wish, option);
    if (jobs < 1 || jobs > JOBS_MAX) jobs = jobs < 1 ? 1 : JOBS_MAX;
    if (wish.scenario.nodes == 0 && (wish.one || wish.scenario.disorder)) wish.scenario.nodes = 3;
    if (wish.scenario.nodes != 0 && wish.scenario.nodes != 3 && wish.scenario.nodes != 5) {
        fprintf(stderr, "sim_raft: --nodes is 3 or 5\n");
        return 2;
    }
    if (wish.mutations) return run_mutations(wish.count);
    if (wish.scenario.nodes == 0) return run_scenarios(wish.scenario.rules, wish.first, wish.count);
    if (wish.one && wish.trace) {
        live(&wish.scenario, wish.seed, true, STDOUT_FILENO);
        return finish(1, 0);
    }
    unsigned passed = (unsigned)run_seeds(&wish.scenario, wish.one ? wish.seed : wish.first, wish.one ? 1 : wish.count);
    return finish(passed, 1 - passed);
}
