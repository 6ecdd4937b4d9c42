/* base/bind: the words of `bind`, and the sockets that they stand for. */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/bind.h"
#include "base/error.h"

/* From a block that is kept for documentation: no machine has it. */
#define NOWHERE "203.0.113.9"

struct opened {
    int fds[KW_BIND_MAX];
    int count;
    char why[200];
};

static struct opened open_port(const char *bind, unsigned port) {
    struct opened o = {.why = ""};
    o.count = kw_bind_open(o.fds, bind, port, 8, o.why, sizeof(o.why));
    return o;
}

static void close_all(struct opened *o) {
    for (int i = 0; i < o->count; i++) assert_int_equal(close(o->fds[i]), 0);
}

static struct sockaddr_storage address_of(int fd) {
    struct sockaddr_storage at = {0};
    socklen_t len = sizeof(at);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    return at;
}

static unsigned port_of(int fd) {
    struct sockaddr_storage at = address_of(fd);
    if (at.ss_family == AF_INET6) return ntohs(((struct sockaddr_in6 *)&at)->sin6_port);
    return ntohs(((struct sockaddr_in *)&at)->sin_port);
}

/* Whether somebody listens there; host is an IPv4 address in host order, 0 for ::1. */
static bool connects(uint32_t host, unsigned port) {
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    v4.sin_addr.s_addr = htonl(host);
    v6.sin6_addr = in6addr_loopback;
    int fd = socket(host ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    int err = host ? connect(fd, (struct sockaddr *)&v4, sizeof(v4)) : connect(fd, (struct sockaddr *)&v6, sizeof(v6));
    close(fd);
    return err == 0;
}

/* Not every machine speaks IPv6. */
static bool has_ipv6(void) {
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    int err = bind(fd, (struct sockaddr *)&at, sizeof(at));
    close(fd);
    return err == 0;
}

static const uint32_t home = 0x7f000001, neighbour = 0x7f000002;

static void words_of_a_list(void **state) {
    (void)state;
    const char *cursor = "10.0.0.1,-::1  * -";
    struct kw_bind_host word;
    static const struct {
        const char *host;
        bool optional;
    } want[] = {{"10.0.0.1", false}, {"::1", true}, {"*", false}, {"-", false}};
    for (size_t i = 0; i < KW_ARRAY_LEN(want); i++) {
        assert_true(kw_bind_next(&cursor, &word));
        assert_int_equal(word.len, strlen(want[i].host));
        assert_memory_equal(word.host, want[i].host, word.len);
        assert_int_equal(word.optional, want[i].optional);
    }
    assert_false(kw_bind_next(&cursor, &word));
}

static void hosts_that_are_everywhere(void **state) {
    (void)state;
    static const char *const everywhere[] = {"*", "::*", "0.0.0.0", "::"};
    static const char *const somewhere[] = {"", "127.0.0.1", "::1", "*.example", "0.0.0.01"};
    for (size_t i = 0; i < KW_ARRAY_LEN(everywhere); i++) {
        assert_true(kw_bind_everywhere(everywhere[i], strlen(everywhere[i])));
    }
    for (size_t i = 0; i < KW_ARRAY_LEN(somewhere); i++) {
        assert_false(kw_bind_everywhere(somewhere[i], strlen(somewhere[i])));
    }
}

static void every_word_is_listened_on(void **state) {
    (void)state;
    struct opened o = open_port("127.0.0.1 127.0.0.2", 0);
    assert_int_equal(o.count, 2);
    unsigned first = port_of(o.fds[0]), second = port_of(o.fds[1]);
    assert_true(connects(home, first) && connects(neighbour, second));
    assert_false(connects(neighbour, first));
    close_all(&o);
    assert_false(connects(home, first));
}

static void a_star_is_every_ipv4_address(void **state) {
    (void)state;
    struct opened o = open_port("*", 0);
    assert_int_equal(o.count, 1);
    unsigned port = port_of(o.fds[0]);
    assert_true(connects(home, port) && connects(neighbour, port));
    assert_false(connects(0, port));
    close_all(&o);
}

/* The line that redis.conf begins with: whatever there is of both families. */
static void the_default_of_redis(void **state) {
    (void)state;
    struct opened o = open_port("* -::*", 0);
    assert_int_equal(o.count, has_ipv6() ? 2 : 1);
    assert_true(connects(home, port_of(o.fds[0])));
    if (o.count == 2) {
        assert_true(connects(0, port_of(o.fds[1])));
        assert_false(connects(home, port_of(o.fds[1])));
    }
    close_all(&o);
}

static void a_name_is_each_address_that_it_has(void **state) {
    (void)state;
    struct opened o = open_port("localhost", 0);
    assert_true(o.count >= 1);
    for (int i = 0; i < o.count; i++) {
        assert_true(connects(address_of(o.fds[i]).ss_family == AF_INET ? home : 0, port_of(o.fds[i])));
    }
    close_all(&o);
}

/* By two words, or by a name that the resolver knows twice: one socket, and no complaint about our own. */
static void an_address_that_is_named_twice(void **state) {
    (void)state;
    static const char *const binds[] = {"127.0.0.1 127.0.0.1", "127.0.0.1 -127.0.0.1", "* 0.0.0.0", "127.0.0.1,127.1"};
    for (size_t i = 0; i < KW_ARRAY_LEN(binds); i++) {
        struct opened o = open_port(binds[i], 0);
        assert_string_equal(o.why, "");
        assert_int_equal(o.count, 1);
        close_all(&o);
    }
    struct opened name = open_port("localhost", 0), both = open_port("localhost 127.0.0.1 localhost", 0);
    assert_int_equal(both.count, name.count);
    close_all(&name);
    close_all(&both);
}

static void what_is_optional_may_be_missing(void **state) {
    (void)state;
    struct opened o = open_port("-" NOWHERE " 127.0.0.1", 0);
    assert_int_equal(o.count, 1);
    close_all(&o);
    o = open_port("127.0.0.1 " NOWHERE, 0);
    assert_int_equal(o.count, KW_EIO);
    assert_string_equal(o.why, "cannot listen on " NOWHERE ":0: Cannot assign requested address");
    o = open_port("-" NOWHERE, 0);
    assert_int_equal(o.count, KW_EINVALID);
    assert_string_equal(o.why, "this machine has none of the addresses that bind names");
}

/* Also an optional address is wanted where the machine has it. */
static void a_port_that_is_taken(void **state) {
    (void)state;
    static const char *const binds[] = {"127.0.0.2 127.0.0.1", "127.0.0.2 -127.0.0.1"};
    struct opened holder = open_port("127.0.0.1", 0);
    unsigned port = port_of(holder.fds[0]);
    char want[100];
    snprintf(want, sizeof(want), "cannot listen on 127.0.0.1:%u: Address already in use", port);
    for (size_t i = 0; i < KW_ARRAY_LEN(binds); i++) {
        struct opened o = open_port(binds[i], port);
        assert_int_equal(o.count, KW_EIO);
        assert_string_equal(o.why, want);
        assert_false(connects(neighbour, port)); /* what was opened before is closed again */
    }
    close_all(&holder);
}

static void lists_that_are_wrong(void **state) {
    (void)state;
    char many[17 * 16] = "", lengthy[300];
    size_t len = 0;
    for (int i = 1; i <= 17; i++) len += (size_t)snprintf(many + len, sizeof(many) - len, "127.0.0.%d ", i);
    memset(lengthy, 'x', sizeof(lengthy));
    lengthy[sizeof(lengthy) - 1] = '\0';
    const struct {
        const char *bind, *why;
    } cases[] = {
        {"", "bind names no address"},
        {" , ", "bind names no address"},
        {many, "bind names more than 16 addresses"},
        {"127.0.0.1 999.1.1.1", "bind 999.1.1.1: "},
        {"no.such.name.invalid", "bind no.such.name.invalid: "},
        {lengthy, "longer than a host name can be"},
    };
    for (size_t i = 0; i < KW_ARRAY_LEN(cases); i++) {
        struct opened o = open_port(cases[i].bind, 0);
        assert_int_equal(o.count, KW_EINVALID);
        if (!strstr(o.why, cases[i].why)) fail_msg("'%s' in place of '%s'", o.why, cases[i].why);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_of_a_list),
        cmocka_unit_test(hosts_that_are_everywhere),
        cmocka_unit_test(every_word_is_listened_on),
        cmocka_unit_test(a_star_is_every_ipv4_address),
        cmocka_unit_test(the_default_of_redis),
        cmocka_unit_test(a_name_is_each_address_that_it_has),
        cmocka_unit_test(an_address_that_is_named_twice),
        cmocka_unit_test(what_is_optional_may_be_missing),
        cmocka_unit_test(a_port_that_is_taken),
        cmocka_unit_test(lists_that_are_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
