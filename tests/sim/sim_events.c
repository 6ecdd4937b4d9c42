/* Virtual time: a binary heap of events, ordered by moment and then by when they were made; and the generator. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "sim.h"

static uint64_t next_random(struct sim *sim) {
    sim->random += 0x9e3779b97f4a7c15u;
    uint64_t z = sim->random;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t sim_random(struct sim *sim, uint64_t below) {
    return below ? next_random(sim) % below : 0;
}

bool sim_chance(struct sim *sim, unsigned per_mille) {
    return sim_random(sim, 1000) < per_mille;
}

uint64_t sim_delay(struct sim *sim, uint64_t typical) {
    uint64_t delay = typical / 4 + sim_random(sim, typical + 1);
    if (sim_chance(sim, 20)) delay += sim_random(sim, typical * 30 + 1);
    return delay;
}

void *sim_grow(void *array, uint64_t *room, uint64_t need, size_t size) {
    if (need <= *room) return array;
    uint64_t old = *room;
    *room = need * 2 + 16;
    array = kw_realloc(array, *room * size);
    memset((char *)array + old * size, 0, (*room - old) * size);
    return array;
}

static bool earlier(const struct sim_event *a, const struct sim_event *b) {
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void push(struct sim *sim, struct sim_event event) {
    sim->heap = sim_grow(sim->heap, &sim->heap_room, sim->heap_count + 1, sizeof(*sim->heap));
    size_t hole = sim->heap_count++;
    while (hole > 0 && earlier(&event, &sim->heap[(hole - 1) / 2])) {
        sim->heap[hole] = sim->heap[(hole - 1) / 2];
        hole = (hole - 1) / 2;
    }
    sim->heap[hole] = event;
}

static struct sim_event pop(struct sim *sim) {
    struct sim_event top = sim->heap[0];
    struct sim_event last = sim->heap[--sim->heap_count];
    size_t hole = 0;
    for (;;) {
        size_t child = hole * 2 + 1;
        if (child >= sim->heap_count) break;
        if (child + 1 < sim->heap_count && earlier(&sim->heap[child + 1], &sim->heap[child])) child++;
        if (!earlier(&sim->heap[child], &last)) break;
        sim->heap[hole] = sim->heap[child];
        hole = child;
    }
    sim->heap[hole] = last;
    return top;
}

void sim_at(struct sim *sim, uint64_t at, struct sim_server *server, bool inside, sim_run *run, void *subject,
            uint64_t number) {
    push(sim, (struct sim_event){.at = at,
                                 .order = sim->order++,
                                 .server = server,
                                 .life = server ? server->life : 0,
                                 .inside = inside,
                                 .run = run,
                                 .subject = subject,
                                 .number = number});
}

/* Not in any header of libraft's, nor in its shared library: the uv backend calls it once a loop turn. */
void LegacyFireCompletedRequests(struct raft *raft);

static void run_inside(struct sim *sim, struct sim_event *event) {
    struct sim_server *server = event->server;
    sim_scribble(sim);
    event->run(sim, event);
    if (event->life != server->life || !server->raft) return;
    sim_check_leader(server);
    LegacyFireCompletedRequests(server->raft);
}

void sim_run_until(struct sim *sim, uint64_t until, bool (*done)(struct sim *sim)) {
    while (sim->heap_count > 0 && sim->heap[0].at <= until && !(done && done(sim))) {
        struct sim_event event = pop(sim);
        sim->now = event.at;
        if (event.server && event.life != event.server->life) continue;
        if (!event.inside || !event.server) {
            event.run(sim, &event);
        } else if (event.server->frozen_until > sim->now) {
            event.at = event.server->frozen_until;
            push(sim, event);
        } else {
            run_inside(sim, &event);
        }
    }
    if (sim->now < until && !(done && done(sim))) sim->now = until;
}
