/* Addresses of metadata nodes: what is read, how it is printed, what is refused and in which words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/error.h"
#include "raft/store/address.h"

static void test_reads_and_prints(void **state KW_UNUSED) {
    static const struct {
        const char *text, *host, *printed;
        unsigned port, raft_port;
    } cases[] = {
        {"10.0.0.1:7380", "10.0.0.1", "10.0.0.1:7380:17380", 7380, 17380},
        {"meta-1.example:7380:9999", "meta-1.example", "meta-1.example:7380:9999", 7380, 9999},
        {"[::1]:7380", "::1", "[::1]:7380:17380", 7380, 17380},
        {"[fe80::1%eth0]:1:2", "fe80::1%eth0", "[fe80::1%eth0]:1:2", 1, 2},
        {"[localhost]:7380", "localhost", "localhost:7380:17380", 7380, 17380},
        {"h:55535", "h", "h:55535:65535", 55535, 65535},
        {"h:65535:1", "h", "h:65535:1", 65535, 1},
        {"h:007380", "h", "h:7380:17380", 7380, 17380},
    };
    for (size_t i = 0; i < KW_ARRAY_LEN(cases); i++) {
        struct kw_meta_address address, again;
        char why[128], printed[KW_META_ADDRESS_SIZE];
        assert_int_equal(kw_meta_address_parse(&address, cases[i].text, strlen(cases[i].text), why, sizeof(why)), 0);
        assert_string_equal(address.host, cases[i].host);
        assert_int_equal(address.port, cases[i].port);
        assert_int_equal(address.raft_port, cases[i].raft_port);
        kw_meta_address_print(&address, printed);
        assert_string_equal(printed, cases[i].printed);
        assert_int_equal(kw_meta_address_parse(&again, printed, strlen(printed), why, sizeof(why)), 0);
        assert_int_equal(again.raft_port, address.raft_port);
    }
}

static void test_refuses(void **state KW_UNUSED) {
    static const struct {
        const char *text, *reason;
    } cases[] = {
        {"", "expected host:port"},
        {"host", "expected host:port"},
        {"[::1]", "expected host:port"},
        {"[::1:7380", "expected host:port"},
        {"[::1]7380", "expected host:port"},
        {":7380", "host is not valid"},
        {"[]:7380", "host is not valid"},
        {"a b:7380", "host is not valid"},
        {"::1:7380", "host is not valid"},
        {"h:", "a port is"},
        {"h:0", "a port is"},
        {"h:65536", "a port is"},
        {"h:99999999999999999999999", "a port is"},
        {"h:7380x", "a port is"},
        {"h:-1", "a port is"},
        {"h:+1", "a port is"},
        {"h:1:", "a port is"},
        {"h:1:0", "a port is"},
        {"h:1:2:3", "a port is"},
        {"h:1:65536", "a port is"},
        {"h:55536", "give the raft port"},
        {"h:7380:7380", "another one"},
    };
    for (size_t i = 0; i < KW_ARRAY_LEN(cases); i++) {
        struct kw_meta_address address;
        char why[256] = "";
        int code = kw_meta_address_parse(&address, cases[i].text, strlen(cases[i].text), why, sizeof(why));
        if (code != KW_EINVALID || !strstr(why, cases[i].reason)) fail_msg("%s: %d %s", cases[i].text, code, why);
    }
}

static void test_length_counts(void **state KW_UNUSED) {
    struct kw_meta_address address;
    char why[512], text[KW_META_HOST_MAX + 16];
    assert_int_equal(kw_meta_address_parse(&address, "h:73809999", 6, why, sizeof(why)), 0);
    assert_int_equal(address.port, 7380);
    memset(text, 'h', sizeof(text));
    memcpy(text + KW_META_HOST_MAX, ":1", 3);
    assert_int_equal(kw_meta_address_parse(&address, text, strlen(text), why, sizeof(why)), 0);
    char printed[KW_META_ADDRESS_SIZE];
    kw_meta_address_print(&address, printed);
    assert_int_equal(strlen(printed), KW_META_HOST_MAX + strlen(":1:10001"));
    memset(text, 'h', sizeof(text));
    memcpy(text + KW_META_HOST_MAX + 1, ":1", 3);
    assert_int_equal(kw_meta_address_parse(&address, text, strlen(text), why, sizeof(why)), KW_EINVALID);
    assert_true(strlen(why) < 150); /* a long text is quoted in part */
}

static void test_peers(void **state KW_UNUSED) {
    struct kw_meta_peer peers[KW_META_PEERS_MAX];
    char why[256];
    int count = kw_meta_peers_parse(peers, " 3=c:7380,1=a:7380:9000 \t2=[::1]:7380, ", why, sizeof(why));
    assert_int_equal(count, 3);
    assert_int_equal(peers[0].id, 3);
    assert_string_equal(peers[1].address.host, "a");
    assert_int_equal(peers[1].address.raft_port, 9000);
    assert_string_equal(peers[2].address.host, "::1");
    assert_int_equal(
        kw_meta_peers_parse(peers, "1=h:1,2=h:2,3=h:3,4=h:4,5=h:5,6=h:6,7=h:7,8=h:8,9=h:9", why, sizeof(why)), 9);
}

static void test_peers_refused(void **state KW_UNUSED) {
    static const struct {
        const char *text, *reason;
    } cases[] = {
        {"", "expected id=host:port"},
        {" , ", "expected id=host:port"},
        {"a:7380", "expected id=host:port"},
        {"=a:7380", "the id is"},
        {"0=a:7380", "the id is"},
        {"x=a:7380", "the id is"},
        {"-1=a:7380", "the id is"},
        {"99999999999999999999999=a:7380", "the id is"},
        {"1=a", "expected host:port"},
        {"1=a:7380 1=b:7380", "listed twice"},
        {"1=a:7380 2=a:7380", "another peer has this address"},
        {"1=a:7380 2=a:7381:17380", "another peer has this address"},
        {"1=a:7380 2=a:17380", "another peer has this address"},
        {"1=h:1 2=h:2 3=h:3 4=h:4 5=h:5 6=h:6 7=h:7 8=h:8 9=h:9 10=h:10", "more peers"},
    };
    for (size_t i = 0; i < KW_ARRAY_LEN(cases); i++) {
        struct kw_meta_peer peers[KW_META_PEERS_MAX];
        char why[256] = "";
        int code = kw_meta_peers_parse(peers, cases[i].text, why, sizeof(why));
        if (code != KW_EINVALID || !strstr(why, cases[i].reason)) fail_msg("%s: %d %s", cases[i].text, code, why);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_and_prints), cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_length_counts),    cmocka_unit_test(test_peers),
        cmocka_unit_test(test_peers_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
